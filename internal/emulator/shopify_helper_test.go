package emulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// fakeClock is a clock that only the test moves.
type fakeClock struct {
	mu sync.Mutex
	at time.Time
}

func newFakeClock() *fakeClock {
	return &fakeClock{at: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *fakeClock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// world is an emulator with shops "acme" and "bolt" and a clock.
type world struct {
	t     *testing.T
	s     *Shopify
	clock *fakeClock
	acme  *Shop
	bolt  *Shop
}

func newWorld(t *testing.T, options ShopifyOptions) *world {
	t.Helper()
	w := &world{t: t, clock: newFakeClock()}
	if options.Now == nil {
		options.Now = w.clock.Now
	}
	if options.Seed == 0 {
		options.Seed = 1
	}
	if options.Shops == nil {
		options.Shops = []ShopSpec{{Domain: "acme.myshopify.com"}, {Domain: "bolt"}}
	}
	options.BaseURL = "http://shopify.example.test"
	var err error
	if w.s, err = NewShopify(options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.s.Close)
	w.acme, w.bolt = w.s.Shop("acme"), w.s.Shop("bolt.myshopify.com")
	return w
}

// gqlReply is an answer as a client reads it.
type gqlReply struct {
	Status     int
	Header     http.Header
	Data       map[string]any
	Errors     []gqlError
	Extensions struct {
		Cost struct {
			Requested int            `json:"requestedQueryCost"`
			Actual    *int           `json:"actualQueryCost"`
			Status    throttleStatus `json:"throttleStatus"`
		}
	}
}

// code is the code of the first error.
func (r gqlReply) code() string {
	if len(r.Errors) == 0 {
		return ""
	}
	code, _ := r.Errors[0].Extensions["code"].(string)
	return code
}

// at reads "customerSet.customer.id"; a number is an index.
func (r gqlReply) at(path string) any {
	var value any = r.Data
	for step := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}

// userErrors renders the userErrors of a root field as "path|code|message".
func (r gqlReply) userErrors(root string) []string {
	list, _ := r.at(root + ".userErrors").([]any)
	told := []string{}
	for _, entry := range list {
		e, _ := entry.(map[string]any)
		var path []string
		steps, _ := e["field"].([]any)
		for _, step := range steps {
			path = append(path, fmt.Sprint(step))
		}
		code, _ := e["code"].(string)
		told = append(told, strings.Join(path, ".")+"|"+code+"|"+fmt.Sprint(e["message"]))
	}
	return told
}

func (w *world) post(shop *Shop, version string, body any, header http.Header) *httptest.ResponseRecorder {
	w.t.Helper()
	path := fmt.Sprintf("/%s/admin/api/%s/graphql.json", shop.Domain(), version)
	r := httptest.NewRequest(http.MethodPost, path, jsonBody(w.t, body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Shopify-Access-Token", shop.AccessToken())
	for name, values := range header {
		r.Header[name] = values
	}
	rec := httptest.NewRecorder()
	w.s.ServeHTTP(rec, r)
	return rec
}

// run executes a document in acme and checks the answer's types.
func (w *world) run(query string, vars map[string]any) gqlReply {
	w.t.Helper()
	return w.runIn(w.acme, query, vars)
}

func (w *world) runIn(shop *Shop, query string, vars map[string]any) gqlReply {
	w.t.Helper()
	rec := w.post(shop, NewestShopifyVersion, map[string]any{"query": query, "variables": vars}, nil)
	reply := gqlReply{Status: rec.Code, Header: rec.Header()}
	if rec.Code == http.StatusOK {
		decoder := json.NewDecoder(bytes.NewReader(rec.Body.Bytes()))
		decoder.UseNumber()
		if err := decoder.Decode(&reply); err != nil {
			w.t.Fatalf("%v: %s", err, rec.Body)
		}
		if reply.Data != nil {
			checkAnswer(w.t, w.s.schema, query, reply.Data)
		}
	}
	return reply
}

// want fails unless a document succeeds without any error.
func (w *world) want(query string, vars map[string]any) gqlReply {
	w.t.Helper()
	reply := w.run(query, vars)
	if len(reply.Errors) > 0 || reply.Data == nil {
		w.t.Fatalf("%s: errors %+v", query, reply.Errors)
	}
	for root := range reply.Data {
		if errs := reply.userErrors(root); len(errs) > 0 {
			w.t.Fatalf("%s: %v", root, errs)
		}
	}
	return reply
}

// define makes the definition for custom ids.
func (w *world) define(shop *Shop) {
	w.t.Helper()
	reply := w.runIn(shop, `mutation($d: MetafieldDefinitionInput!) { metafieldDefinitionCreate(definition: $d) { createdDefinition { id } userErrors { field code message } } }`,
		map[string]any{"d": map[string]any{"ownerType": "CUSTOMER", "key": "clerk_user_id", "name": "Clerk user", "type": "id"}})
	if reply.at("metafieldDefinitionCreate.createdDefinition.id") == nil {
		w.t.Fatalf("no definition: %+v %v", reply.Errors, reply.userErrors("metafieldDefinitionCreate"))
	}
}

func (w *world) put(shop *Shop, spec CustomerSpec) ShopCustomer {
	w.t.Helper()
	c, err := shop.PutCustomer(spec)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) equal(what string, got, want any) {
	w.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// words renders values with a space between any two.
func words(values ...any) string { return strings.TrimSpace(fmt.Sprintln(values...)) }

func (w *world) wantErrors(reply gqlReply, root string, want ...string) {
	w.t.Helper()
	if got := reply.userErrors(root); !slices.Equal(got, want) {
		w.t.Errorf("%s: userErrors %q, want %q (errors %+v)", root, got, want, reply.Errors)
	}
}

const setMutation = `mutation($identifier: CustomerSetIdentifiers, $input: CustomerSetInput!) {
  customerSet(identifier: $identifier, input: $input) {
    customer { id email phone firstName lastName displayName note tags locale state verifiedEmail canDelete
      defaultAddress { address1 } addressesV2(first: 5) { nodes { address1 provinceCode } }
      clerk: metafield(key: "clerk_user_id") { value type compareDigest } }
    userErrors { field code message } } }`

func (w *world) set(identifier, input map[string]any) gqlReply {
	w.t.Helper()
	return w.run(setMutation, map[string]any{"identifier": identifier, "input": input})
}

func customID(value string) map[string]any {
	return map[string]any{"customId": map[string]any{"key": "clerk_user_id", "value": value}}
}

func shopifyFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/shopify/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// checkAnswer checks that an answer has exactly the fields that were asked for,
// each of the schema's type and nullability. It shares nothing with the executor.
func checkAnswer(t *testing.T, schema *ast.Schema, query string, data map[string]any) {
	t.Helper()
	doc := parseDocument(schema, query)
	if len(doc.errs) > 0 {
		t.Fatalf("data for an invalid document: %v", doc.errs[0])
	}
	root := schema.Query
	if doc.query.Operations[0].Operation == ast.Mutation {
		root = schema.Mutation
	}
	c := &answerChecker{schema: schema}
	c.object(root, []ast.SelectionSet{doc.query.Operations[0].SelectionSet}, data, "data")
	for _, wrong := range c.wrong {
		t.Error(wrong)
	}
}

type answerChecker struct {
	schema *ast.Schema
	wrong  []string
}

func (c *answerChecker) fail(path, format string, args ...any) {
	c.wrong = append(c.wrong, path+": "+fmt.Sprintf(format, args...))
}

// asked is one key that a selection asks for on a type.
type asked struct {
	def  *ast.FieldDefinition
	sets []ast.SelectionSet
}

func (c *answerChecker) asked(def *ast.Definition, set ast.SelectionSet, into map[string]*asked) {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			if into[s.Alias] == nil {
				into[s.Alias] = &asked{def: s.Definition}
			}
			into[s.Alias].sets = append(into[s.Alias].sets, s.SelectionSet)
		case *ast.InlineFragment:
			c.fragment(def, s.TypeCondition, s.SelectionSet, into)
		case *ast.FragmentSpread:
			c.fragment(def, s.Definition.TypeCondition, s.Definition.SelectionSet, into)
		}
	}
}

func (c *answerChecker) fragment(def *ast.Definition, condition string, set ast.SelectionSet, into map[string]*asked) {
	if condition == "" || condition == def.Name || slices.Contains(def.Interfaces, condition) {
		c.asked(def, set, into)
	}
}

func (c *answerChecker) object(def *ast.Definition, sets []ast.SelectionSet, value any, path string) {
	members, ok := value.(map[string]any)
	if !ok {
		c.fail(path, "%v is no %s", value, def.Name)
		return
	}
	if name, ok := members["__typename"].(string); ok {
		def = c.schema.Types[name]
	}
	want := map[string]*asked{}
	for _, set := range sets {
		c.asked(def, set, want)
	}
	for key, field := range want {
		member, present := members[key]
		if !present {
			c.fail(path, "%s is missing", key)
			continue
		}
		c.value(field.def.Type, field.sets, member, path+"."+key)
	}
	for key := range members {
		if want[key] == nil && !def.IsAbstractType() {
			c.fail(path, "%s was not asked for", key)
		}
	}
}

func (c *answerChecker) value(typ *ast.Type, sets []ast.SelectionSet, value any, path string) {
	if value == nil {
		if typ.NonNull {
			c.fail(path, "null, but the schema says %s", typ)
		}
		return
	}
	if typ.Elem != nil {
		list, ok := value.([]any)
		if !ok {
			c.fail(path, "%v is no list", value)
		}
		for i, entry := range list {
			c.value(typ.Elem, sets, entry, fmt.Sprintf("%s.%d", path, i))
		}
		return
	}
	def := c.schema.Types[typ.NamedType]
	switch def.Kind {
	case ast.Enum:
		if name, ok := value.(string); !ok || def.EnumValues.ForName(name) == nil {
			c.fail(path, "%v is no %s", value, def.Name)
		}
	case ast.Scalar:
		c.scalar(def.Name, value, path)
	default:
		c.object(def, sets, value, path)
	}
}

func (c *answerChecker) scalar(name string, value any, path string) {
	text, isText := value.(string)
	number, isNumber := value.(json.Number)
	_, isBool := value.(bool)
	ok := isText
	switch name {
	case "Int":
		_, err := number.Int64()
		ok = isNumber && err == nil
	case "Boolean":
		ok = isBool
	case "JSON":
		ok = true
	case "ID":
		ok = isText && strings.HasPrefix(text, "gid://shopify/")
	case "DateTime":
		_, err := time.Parse("2006-01-02T15:04:05Z", text)
		ok = isText && err == nil
	case "UnsignedInt64":
		_, err := strconv.ParseUint(text, 10, 64)
		ok = isText && err == nil
	}
	if !ok {
		c.fail(path, "%#v is no %s", value, name)
	}
}

// shopReceiver is options that deliver to a receiver, one message at a time.
func shopReceiver(rc *receiver) ShopifyOptions {
	return ShopifyOptions{
		Client: &http.Client{Transport: rc}, Senders: 1,
		Shops: []ShopSpec{{Domain: "acme", WebhookURL: "http://lockstep.example.test/webhooks/shopify", Secrets: []string{"old-secret", "new-secret"}}, {Domain: "bolt"}},
	}
}

func readAll(t *testing.T, r io.Reader) []byte {
	t.Helper()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
