package emulator

import (
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
)

// exampleDocuments cuts example-operations.graphql into one document per operation.
func exampleDocuments(t *testing.T, schema *ast.Schema) map[string]string {
	t.Helper()
	doc := parseDocument(schema, string(shopifyFile(t, "example-operations.graphql")))
	if len(doc.errs) > 0 {
		t.Fatal(doc.errs[0])
	}
	documents := map[string]string{}
	for _, op := range doc.query.Operations {
		var text strings.Builder
		one := &ast.QueryDocument{Operations: ast.OperationList{op}}
		formatter.NewFormatter(&text).FormatQueryDocument(one)
		if strings.Contains(text.String(), "CustomerSnapshot") {
			one.Fragments = doc.query.Fragments
			text.Reset()
			formatter.NewFormatter(&text).FormatQueryDocument(one)
		}
		documents[op.Name] = text.String()
	}
	return documents
}

// TestExampleOperations runs every operation that customer parity needs; the
// answers are checked against the schema by world.run.
func TestExampleOperations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	documents := exampleDocuments(t, w.s.schema)
	w.define(w.bolt)
	first := w.put(w.acme, CustomerSpec{Email: "ada@example.com", Phone: "+16135550142", FirstName: "Ada", Subject: "user_1", Addresses: []ShopAddress{{Address1: "1 Example Street", City: "Ottawa", Province: "ON", CountryCode: "CA"}}})
	second := w.put(w.acme, CustomerSpec{Email: "ada.two@example.com", Tags: []string{"x"}})
	third := w.put(w.acme, CustomerSpec{FirstName: "Nobody"})
	type vars = map[string]any
	metafield := vars{"ownerId": first.ID, "key": "clerk_user_id", "value": "user_1"}
	address := "https://lockstep.example.com/webhooks/shopify"
	steps := []struct {
		name string
		vars vars
		want string // code of the error, "" for none
	}{
		{"ShopInfo", nil, ""},
		{"CreateCustomIdDefinition", vars{"definition": vars{"ownerType": "CUSTOMER", "key": "clerk_user_id", "name": "Clerk", "type": "id"}}, ""},
		{"FindCustomIdDefinition", vars{"identifier": vars{"ownerType": "CUSTOMER", "key": "clerk_user_id"}}, ""},
		{"ClaimCustomer", vars{"metafields": []vars{metafield}}, ""},
		{"ResolveCustomer", vars{"clerk": customID("user_1"), "email": vars{"emailAddress": "ADA@example.com"}}, ""},
		{"GetCustomer", vars{"id": first.ID}, ""},
		{"GetCustomers", vars{"ids": []string{first.ID, "gid://shopify/Customer/1", second.ID}}, ""},
		{"SetCustomer", vars{"identifier": customID("user_2"), "input": vars{"email": "new@example.com", "phone": "+16135550143"}}, ""},
		{"CreateCustomer", vars{"input": vars{"email": "c@example.com"}}, ""},
		{"UpdateCustomer", vars{"input": vars{"id": first.ID, "lastName": "Byron"}}, ""},
		{"ReleaseCustomer", vars{"metafields": []vars{{"ownerId": first.ID, "namespace": "$app", "key": "clerk_user_id"}}}, ""},
		{"ApplyTags", vars{"id": first.ID, "add": []string{"clerk"}, "remove": []string{"x"}}, ""},
		{"SetEmailConsent", vars{"input": vars{"customerId": first.ID, "emailMarketingConsent": vars{"marketingState": "SUBSCRIBED"}}}, ""},
		{"RequestErasure", vars{"customerId": third.ID}, ""},
		{"DeleteCustomer", vars{"input": vars{"id": third.ID}}, ""},
		{"MergePreview", vars{"one": first.ID, "two": second.ID}, ""},
		{"MergeCustomers", vars{"one": first.ID, "two": second.ID}, ""},
		{"MergeStatus", vars{"jobId": "gid://shopify/Job/none"}, ""},
		{"CreateWebhook", vars{"topic": "CUSTOMERS_UPDATE", "webhookSubscription": vars{"uri": address}}, ""},
		{"ListWebhooks", nil, ""},
		{"DeleteWebhook", vars{"id": "gid://shopify/WebhookSubscription/1"}, ""},
		{"PageCustomers", vars{"first": 2}, ""},
		{"StartBulkExport", vars{"query": "{ customers { edges { node { id } } } }"}, ""},
		{"BulkOperationState", vars{"id": "gid://shopify/BulkOperation/1"}, ""},
		{"RunningBulkOperations", nil, ""},
		{"CancelBulk", vars{"id": "gid://shopify/BulkOperation/1"}, ""},
		{"StageJSONL", vars{"input": []vars{{"filename": "f", "mimeType": "text/jsonl", "resource": "BULK_MUTATION_VARIABLES", "httpMethod": "POST"}}}, ""},
		{"StartBulkImport", vars{"mutation": "m", "stagedUploadPath": "p"}, ""},
	}
	for _, step := range steps {
		text := documents[step.name]
		delete(documents, step.name)
		if reply := w.run(text, step.vars); reply.code() != step.want || len(reply.Extensions.Cost.Status.sum()) == 0 {
			t.Errorf("%s: %+v, want code %q", step.name, reply.Errors, step.want)
		}
	}
	for name := range documents {
		t.Errorf("%s was not run", name)
	}
}

// sum is empty without a throttle status.
func (s throttleStatus) sum() string {
	if s.MaximumAvailable == 0 || s.RestoreRate == 0 {
		return ""
	}
	return "ok"
}

// TestEveryEmulatedFieldHasTheSchemasType asks for all that the emulator has.
func TestEveryEmulatedFieldHasTheSchemasType(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{SearchLag: -1})
	w.define(w.acme)
	at := w.clock.Now()
	c := w.put(w.acme, CustomerSpec{
		Email: "ada@example.com", Phone: "+16135550142", FirstName: "Ada", Note: new("n"), Tags: []string{"a"}, Subject: "user_1",
		EmailConsent: ShopConsent{State: "SUBSCRIBED", OptInLevel: "SINGLE_OPT_IN", UpdatedAt: &at},
		Addresses:    []ShopAddress{{Address1: "1 Example Street", CountryCode: "CA", Province: "ON"}}, Orders: 1,
		Metafields: []ShopMetafield{{Key: "clerk_user_id", Type: "id", Value: "user_1"}, {Namespace: "custom", Key: "json", Type: "json", Value: `{"a":1}`}},
	})
	w.put(w.acme, CustomerSpec{FirstName: "Bare"})
	w.acme.IndexNow()
	for _, name := range []string{"Customer", "Shop", "AppInstallation", "MetafieldDefinition"} {
		selection := everything(w.s.schema, name, 3)
		var reply gqlReply
		switch name {
		case "Customer":
			reply = w.run("query($id: ID!) { customer(id: $id) "+selection+" customers(first: 2) { edges { cursor node { id } } pageInfo { startCursor endCursor hasNextPage hasPreviousPage } } }", map[string]any{"id": c.ID})
		case "Shop":
			reply = w.run("{ shop "+selection+" }", nil)
		case "AppInstallation":
			reply = w.run("{ currentAppInstallation "+selection+" publicApiVersions { handle displayName supported } }", nil)
		default:
			reply = w.run(`{ metafieldDefinitions(first: 5, ownerType: CUSTOMER) { nodes `+selection+` } }`, nil)
		}
		for _, err := range reply.Errors {
			if err.Extensions["code"] != "NOT_EMULATED" {
				t.Errorf("%s: %+v", name, err)
			}
		}
		if len(reply.Data) == 0 {
			t.Errorf("%s: no data: %+v", name, reply.Errors)
		}
	}
}

// everything selects all fields of a type that need no argument but a page size,
// and that no other field hides.
func everything(schema *ast.Schema, typename string, depth int) string {
	var b strings.Builder
	b.WriteString("{ ")
	for _, field := range schema.Types[typename].Fields {
		name, args := field.Name, ""
		if strings.HasPrefix(name, "__") || name == "metafields" && typename != "Customer" || name == "metafield" {
			continue
		}
		if field.Arguments.ForName("first") != nil {
			args = "(first: 2)"
		}
		target := schema.Types[field.Type.Name()]
		switch {
		case target.IsLeafType():
			b.WriteString(name + args + " ")
		case depth > 0 && target.Kind == ast.Object && target.Name != "Customer" && target.Name != "QueryRoot":
			b.WriteString(name + args + " " + everything(schema, target.Name, depth-1) + " ")
		}
	}
	b.WriteString("__typename }")
	return b.String()
}

func TestDocumentsAreValidated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	for query, want := range map[string]string{
		`{ shop { nam } }`:                                  "undefinedField",
		`{ customer { id } }`:                               "missingRequiredArguments",
		`{ customer(id: "x", name: 1) { id } }`:             "argumentNotAccepted",
		`{ customers(first: "x") { nodes { id } } }`:        "argumentLiteralsIncompatible",
		`query($a: Int) { shop { id } }`:                    "variableNotUsed",
		`query($a: Int!) { customer(id: $a) { id } }`:       "variableMismatch",
		`{ shop { id }`:                                     "parseError",
		`{ __schema { types { name } } }`:                   "NOT_EMULATED",
		`{ customers { nodes { id } } }`:                    "BAD_REQUEST",
		`{ customers(first: 251) { nodes { id } } }`:        "BAD_REQUEST",
		`{ customers(first: 1, last: 1) { nodes { id } } }`: "BAD_REQUEST",
		`{ customerByIdentifier(identifier: {id: "gid://shopify/Customer/1", emailAddress: "a@example.com"}) { id } }`: "argumentLiteralsIncompatible",
	} {
		if reply := w.run(query, nil); reply.code() != want {
			t.Errorf("%s: %+v, want %s", query, reply.Errors, want)
		}
	}
	w.equal("no name", w.run("query A { shop { id } } query B { shop { id } }", nil).Errors[0].Message, `No operation named ""`)
}

func TestFragmentsAliasesAndDirectives(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	c := w.put(w.acme, CustomerSpec{Email: "ada@example.com", FirstName: "Ada"})
	reply := w.want(`query($id: ID!, $yes: Boolean!) {
		one: customer(id: $id) { ...F id first: firstName }
		two: node(id: $id) { id ... on Customer { lastName @skip(if: $yes) email @include(if: $yes) } ... on Shop { name } }
		gone: customer(id: "gid://shopify/Customer/5") { id }
	} fragment F on Customer { id defaultEmailAddress { emailAddress } ...G } fragment G on Customer { defaultEmailAddress { validFormat } }`,
		map[string]any{"id": c.ID, "yes": true})
	w.equal("merged", reply.at("one.defaultEmailAddress"), map[string]any{"emailAddress": "ada@example.com", "validFormat": true})
	w.equal("alias", reply.at("one.first"), "Ada")
	w.equal("condition", reply.at("two"), map[string]any{"id": c.ID, "email": "ada@example.com"})
	w.equal("null", reply.Data["gone"], nil)
}

func TestVariablesAreCoercedStrictly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	const head = "Variable $input of type CustomerSetInput! was provided invalid value"
	for _, test := range []struct {
		identifier, input any
		want              string
	}{
		{nil, map[string]any{"metafields": []any{}}, head + " for metafields (Field is not defined on CustomerSetInput)"},
		{nil, map[string]any{"email": 5}, head + ` for email (Could not coerce value 5 to String)`},
		{nil, map[string]any{"tags": []any{"a", nil}}, head + " for tags.1 (Expected value to not be null)"},
		{nil, nil, head},
		{map[string]any{}, map[string]any{}, "Variable $identifier of type CustomerSetIdentifiers was provided invalid value"},
		{map[string]any{"id": "gid://shopify/Customer/1", "email": "a@example.com"}, map[string]any{}, "Variable $identifier of type CustomerSetIdentifiers was provided invalid value"},
		{map[string]any{"id": nil}, map[string]any{}, "Variable $identifier of type CustomerSetIdentifiers was provided invalid value"},
		{map[string]any{"id": "5"}, map[string]any{}, "Variable $identifier of type CustomerSetIdentifiers was provided invalid value for id (Invalid global id '5')"},
		{map[string]any{"customId": map[string]any{"value": "x"}}, map[string]any{}, "Variable $identifier of type CustomerSetIdentifiers was provided invalid value for customId.key (Expected value to not be null)"},
		{nil, map[string]any{"addresses": []any{map[string]any{"countryCode": "ca"}}}, head + " for addresses.0.countryCode (Expected \"ca\" to be one of: AC, AD"},
	} {
		reply := w.run(setMutation, map[string]any{"identifier": test.identifier, "input": test.input})
		if len(reply.Errors) != 1 || !strings.HasPrefix(reply.Errors[0].Message, test.want) || reply.code() != "INVALID_VARIABLE" {
			t.Errorf("%v %v: %+v, want %s", test.identifier, test.input, reply.Errors, test.want)
		}
	}
	long := make([]string, 251)
	w.equal("251 tags", w.run(setMutation, map[string]any{"input": map[string]any{"tags": long}}).code(), "MAX_INPUT_SIZE_EXCEEDED")
	w.equal("customers", w.acme.CustomerCount(), 0)
}

// TestNullIsNotAbsent: null clears, absent leaves alone, an unset variable is absent.
func TestNullIsNotAbsent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	c := w.put(w.acme, CustomerSpec{Email: "ada@example.com", FirstName: "Ada", LastName: "Byron", Note: new("keep")})
	w.want(`mutation($id: ID!, $first: String, $last: String) { customerUpdate(input: {id: $id, firstName: $first, lastName: $last}) { customer { id } userErrors { field message } } }`,
		map[string]any{"id": c.ID, "last": nil})
	got, _ := w.acme.Customer(c.ID)
	w.equal("names", []string{got.FirstName, got.LastName, *got.Note}, []string{"Ada", "", "keep"})
}

// TestTheCheckerChecks: a checker that lets everything pass proves nothing.
func TestTheCheckerChecks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	const query = `{ customer(id: "gid://shopify/Customer/1") { id tags state createdAt numberOfOrders canDelete defaultEmailAddress { emailAddress } } }`
	op := parseDocument(w.s.schema, query).query.Operations[0]
	good := func() in {
		return in{
			"id": "gid://shopify/Customer/1", "tags": []any{"a"}, "state": "DISABLED", "createdAt": "2026-11-23T08:00:00Z",
			"numberOfOrders": "0", "canDelete": true, "defaultEmailAddress": in{"emailAddress": "a@example.com"},
		}
	}
	check := func(customer in) int {
		c := &answerChecker{schema: w.s.schema}
		c.object(w.s.schema.Query, []ast.SelectionSet{op.SelectionSet}, in{"customer": customer}, "data")
		return len(c.wrong)
	}
	w.equal("good", check(good()), 0)
	for name, value := range map[string]any{
		"id": "1", "tags": nil, "state": "GUEST", "createdAt": "yesterday", "numberOfOrders": 0, "canDelete": "true",
		"defaultEmailAddress": in{"emailAddress": nil}, "extra": 1,
	} {
		bad := good()
		bad[name] = value
		w.equal(name, check(bad), 1)
	}
	bad := good()
	delete(bad, "tags")
	w.equal("missing", check(bad), 1)
}
