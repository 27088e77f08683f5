package emulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	exportAll = `{ customers { edges { node { id email addressesV2 { edges { node { city } } } } } } }`
	runExport = `mutation($query: String!) { bulkOperationRunQuery(query: $query, groupObjects: false) { bulkOperation { id status } userErrors { code field message } } }`
	runImport = `mutation($mutation: String!, $path: String!, $name: String) {
  bulkOperationRunMutation(mutation: $mutation, stagedUploadPath: $path, clientIdentifier: $name) { bulkOperation { id status } userErrors { code field message } } }`
	readBulk = `query($id: ID!) { bulkOperation(id: $id) { id type status errorCode createdAt completedAt objectCount rootObjectCount fileSize url partialDataUrl query } }`
	stage    = `mutation($input: [StagedUploadInput!]!) { stagedUploadsCreate(input: $input) { stagedTargets { url resourceUrl parameters { name value } } userErrors { field message } } }`
	setOne   = `mutation($identifier: CustomerSetIdentifiers, $input: CustomerSetInput!) { customerSet(identifier: $identifier, input: $input) { customer { id email } userErrors { code field message } } }`
)

// export starts an export and returns its id.
func (w *world) export(query string) string {
	w.t.Helper()
	id, _ := w.want(runExport, map[string]any{"query": query}).at("bulkOperationRunQuery.bulkOperation.id").(string)
	return id
}

// await looks until an operation has a status of those given; the emulator's own
// worker brings it there.
func (w *world) await(id string, status ...string) gqlReply {
	w.t.Helper()
	for {
		reply := w.run(readBulk, map[string]any{"id": id})
		if got, _ := reply.at("bulkOperation.status").(string); slices.Contains(status, got) {
			return reply
		}
		if w.t.Context().Err() != nil {
			w.t.Fatal("the test is over")
		}
	}
}

func (w *world) get(url string, header http.Header) *httptest.ResponseRecorder {
	w.t.Helper()
	path, ok := strings.CutPrefix(url, "http://shopify.example.test")
	if !ok {
		w.t.Fatalf("%q is not the emulator's", url)
	}
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	rec := httptest.NewRecorder()
	w.s.ServeHTTP(rec, r)
	return rec
}

func jsonLines(t *testing.T, text string) (lines []map[string]any) {
	t.Helper()
	for line := range strings.Lines(text) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		lines = append(lines, v)
	}
	return lines
}

// upload stages a file and returns its path.
func (w *world) upload(content string) string {
	w.t.Helper()
	reply := w.want(stage, map[string]any{"input": []any{map[string]any{
		"resource": "BULK_MUTATION_VARIABLES", "filename": "vars.jsonl", "mimeType": "text/jsonl", "httpMethod": "POST"}}})
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	key := ""
	parameters, _ := reply.at("stagedUploadsCreate.stagedTargets.0.parameters").([]any)
	for _, p := range parameters {
		p := p.(map[string]any)
		name, value := p["name"].(string), p["value"].(string)
		if name == "key" {
			key = value
		}
		if err := form.WriteField(name, value); err != nil {
			w.t.Fatal(err)
		}
	}
	file, err := form.CreateFormFile("file", "vars.jsonl")
	if err == nil {
		_, err = file.Write([]byte(content))
	}
	if err == nil {
		err = form.Close()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	url, _ := reply.at("stagedUploadsCreate.stagedTargets.0.url").(string)
	r := httptest.NewRequest(http.MethodPost, strings.TrimPrefix(url, "http://shopify.example.test"), &body)
	r.Header.Set("Content-Type", form.FormDataContentType())
	rec := httptest.NewRecorder()
	w.s.ServeHTTP(rec, r)
	if rec.Code != http.StatusCreated {
		w.t.Fatalf("upload: %d", rec.Code)
	}
	return key
}

func TestBulkQuery(t *testing.T) {
	t.Parallel()
	rc := &receiver{}
	w := newWorld(t, shopReceiver(rc))
	for i := range 100 {
		w.put(w.acme, CustomerSpec{Email: fmt.Sprintf("c%d@example.test", i), Addresses: []ShopAddress{{City: "Ribe"}, {City: "Aarhus"}}})
	}
	reply := w.await(w.export(exportAll), bulkCompleted)
	if got := fmt.Sprintf("%v %v %v", reply.at("bulkOperation.objectCount"), reply.at("bulkOperation.rootObjectCount"), reply.at("bulkOperation.partialDataUrl")); got != "300 100 <nil>" {
		t.Errorf("objects, roots, partial: %s", got)
	}
	url, _ := reply.at("bulkOperation.url").(string)
	whole := w.get(url, nil)
	lines := jsonLines(t, whole.Body.String())
	if fmt.Sprint(whole.Body.Len()) != reply.at("bulkOperation.fileSize") || len(lines) != 300 {
		t.Errorf("%d bytes in %d lines, fileSize %v", whole.Body.Len(), len(lines), reply.at("bulkOperation.fileSize"))
	}
	var order []string
	children := map[any]int{}
	for _, line := range lines {
		if parent := line["__parentId"]; parent != nil {
			children[parent]++
		} else {
			order = append(order, line["id"].(string))
		}
	}
	if len(order) != 100 || len(children) != 100 || children[order[0]] != 2 {
		t.Errorf("%d roots, %d parents", len(order), len(children))
	}
	if slices.IsSorted(order) {
		t.Error("the order was kept, which Shopify does not promise")
	}
	part := w.get(url, http.Header{"Range": {"bytes=100-"}})
	if part.Code != http.StatusPartialContent || part.Body.String() != whole.Body.String()[100:] {
		t.Errorf("a range: %d, %d bytes", part.Code, part.Body.Len())
	}
	if err := w.acme.Webhooks.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	finished := selectMessages(w.acme.Webhooks.Messages(), "", "bulk_operations/finish")
	if len(finished) != 1 {
		t.Fatalf("%d webhooks", len(finished))
	}
	var got, want map[string]any
	if json.Unmarshal(finished[0].Body, &got) != nil || json.Unmarshal(shopifyFile(t, "webhooks/bulk_operations_finish.json"), &want) != nil {
		t.Fatal("a body is no JSON")
	}
	if fmt.Sprint(sortedKeys(got), got["status"], got["type"]) != fmt.Sprint(sortedKeys(want), want["status"], want["type"]) {
		t.Errorf("%s", finished[0].Body)
	}
	w.clock.Add(8 * 24 * time.Hour)
	if reply := w.await(reply.at("bulkOperation.id").(string), bulkExpired); reply.at("bulkOperation.url") != nil || w.get(url, nil).Code != http.StatusForbidden {
		t.Error("the result is there after eight days")
	}
}

func TestBulkQueryOfNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	if reply := w.await(w.export(exportAll), bulkCompleted); reply.at("bulkOperation.url") != nil || reply.at("bulkOperation.objectCount") != "0" {
		t.Errorf("%v", reply.Data)
	}
	for query, code := range map[string]string{
		`{ shop { id } }`:                      "INVALID",
		`{ customers { edges { node { x } }`:   "INVALID",
		`mutation { customerDelete { shop } }`: "INVALID",
		`{ customers { nodes { metafields { nodes { owner { ... on Customer { addressesV2 { nodes { id } } } } } } } } }`: "INVALID",
	} {
		reply := w.run(runExport, map[string]any{"query": query})
		if errs := reply.userErrors("bulkOperationRunQuery"); len(errs) != 1 || !strings.Contains(errs[0], "|"+code+"|") {
			t.Errorf("%s: %v", query, errs)
		}
	}
}

func TestBulkMutation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	w.define(w.acme)
	w.put(w.acme, CustomerSpec{Email: "taken@example.test"})
	content := `{"identifier":{"customId":{"key":"clerk_user_id","value":"user_a"}},"input":{"email":"a@example.test"}}
{"identifier":{"customId":{"key":"clerk_user_id","value":"user_b"}},"input":{"email":"taken@example.test"}}
{"input":{"mail":"x"}}
no json
`
	path := w.upload(content)
	before := w.acme.Usage().Used
	started := w.want(runImport, map[string]any{"mutation": setOne, "path": path, "name": "lockstep-push-1"})
	if used := w.acme.Usage().Used - before; used != 10 {
		t.Errorf("starting cost %v points", used)
	}
	reply := w.await(started.at("bulkOperationRunMutation.bulkOperation.id").(string), bulkCompleted)
	url, _ := reply.at("bulkOperation.url").(string)
	got := map[string]string{}
	for _, line := range jsonLines(t, w.get(url, nil).Body.String()) {
		number := fmt.Sprint(line["__lineNumber"])
		delete(line, "__lineNumber")
		text, _ := json.Marshal(line)
		got[number] = string(text)
	}
	for number, part := range map[string]string{"0": `"email":"a@example.test"`, "1": `"code":"TAKEN"`, "2": "INVALID_VARIABLE", "3": `"errors"`} {
		if !strings.Contains(got[number], part) {
			t.Errorf("line %s: %s", number, got[number])
		}
	}
	for vars, code := range map[string]string{`nowhere|` + setOne: "NO_SUCH_FILE", path + `|{ shop { id } }`: "INVALID_MUTATION"} {
		where, mutation, _ := strings.Cut(vars, "|")
		reply := w.run(runImport, map[string]any{"mutation": mutation, "path": where})
		if errs := reply.userErrors("bulkOperationRunMutation"); len(errs) != 1 || !strings.Contains(errs[0], "|"+code+"|") {
			t.Errorf("%s: %v", vars, errs)
		}
	}
}

// Five of each kind may run; the sixth is told so. One that is held can be cancelled.
func TestBulkLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	w.define(w.acme)
	w.put(w.acme, CustomerSpec{Email: "c@example.test"})
	if err := w.acme.SetBulk(BulkLife{Held: true}); err != nil {
		t.Fatal(err)
	}
	path := w.upload(`{"input":{"email":"d@example.test"}}` + "\n")
	var first string
	for i := range maxBulk {
		id := w.export(exportAll)
		if i == 0 {
			first = id
		}
		w.want(runImport, map[string]any{"mutation": setOne, "path": path})
	}
	for root, reply := range map[string]gqlReply{
		"bulkOperationRunQuery":    w.run(runExport, map[string]any{"query": exportAll}),
		"bulkOperationRunMutation": w.run(runImport, map[string]any{"mutation": setOne, "path": path}),
	} {
		if errs := reply.userErrors(root); len(errs) != 1 || !strings.Contains(errs[0], "|OPERATION_IN_PROGRESS|") {
			t.Errorf("%s: %v", root, errs)
		}
	}
	running := w.want(`{ bulkOperations(first: 10, query: "operation_type:query AND (status:running OR status:created)") { nodes { id } } }`, nil)
	if nodes, _ := running.at("bulkOperations.nodes").([]any); len(nodes) < maxBulk {
		t.Errorf("%d are listed", len(nodes))
	}
	w.want(`mutation($id: ID!) { bulkOperationCancel(id: $id) { bulkOperation { status } userErrors { field message } } }`, map[string]any{"id": first})
	if err := w.acme.SetBulk(BulkLife{}); err != nil {
		t.Fatal(err)
	}
	w.await(first, bulkCanceled)
	w.export(exportAll)
}

func TestBulkGoesWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	for i := range 100 {
		w.put(w.acme, CustomerSpec{Email: fmt.Sprintf("c%d@example.test", i)})
	}
	if err := w.acme.SetBulk(BulkLife{Faults: []BulkFault{{Status: "FAILED", ErrorCode: "TIMEOUT", After: 50}}}); err != nil {
		t.Fatal(err)
	}
	reply := w.await(w.export(`{ customers { nodes { id } } }`), bulkFailed)
	url, _ := reply.at("bulkOperation.partialDataUrl").(string)
	if lines := jsonLines(t, w.get(url, nil).Body.String()); len(lines) != 50 || reply.at("bulkOperation.errorCode") != "TIMEOUT" || reply.at("bulkOperation.url") != nil {
		t.Errorf("%d lines of %v", len(lines), reply.Data)
	}
	w.acme.SetScopes("read_products")
	reply = w.await(w.export(`{ customers { nodes { id } } }`), bulkFailed)
	if reply.at("bulkOperation.errorCode") != "ACCESS_DENIED" {
		t.Errorf("without the scope: %v", reply.Data)
	}
	if err := w.acme.SetBulk(BulkLife{Refused: true}); err != nil {
		t.Fatal(err)
	}
	if reply := w.run(runExport, map[string]any{"query": exportAll}); reply.code() != "ACCESS_DENIED" {
		t.Errorf("refused: %v", reply.Errors)
	}
	if err := w.acme.SetBulk(BulkLife{Faults: []BulkFault{{Status: "DONE"}}}); err == nil {
		t.Error("an end that is none was taken")
	}
}

// The pace is the emulator's clock's, and each look catches up with it.
func TestBulkPace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	for i := range 100 {
		w.put(w.acme, CustomerSpec{Email: fmt.Sprintf("c%d@example.test", i)})
	}
	if err := w.acme.SetBulk(BulkLife{Pace: 10}); err != nil {
		t.Fatal(err)
	}
	id := w.export(`{ customers { nodes { id } } }`)
	w.clock.Add(5 * time.Second)
	if reply := w.run(readBulk, map[string]any{"id": id}); reply.at("bulkOperation.objectCount") != "50" || reply.at("bulkOperation.status") != bulkRunning {
		t.Errorf("after five seconds: %v", reply.Data)
	}
	w.clock.Add(6 * time.Second)
	w.await(id, bulkCompleted)
}

// A result breaks off in the middle, and an upload's answer is lost.
func TestStorageFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	for i := range 100 {
		w.put(w.acme, CustomerSpec{Email: fmt.Sprintf("c%d@example.test", i)})
	}
	server := httptest.NewServer(w.s)
	defer server.Close()
	w.s.SetBaseURL(server.URL)
	reply := w.await(w.export(`{ customers { nodes { id } } }`), bulkCompleted)
	for _, action := range []Action{ActionTruncate, ActionRefuse, ActionDropBefore, ActionDropAfter} {
		if err := w.s.Faults.Set(Rule{Route: "acme GET storage", Script: []Fault{{Action: action}, {Action: action}}}); err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, reply.at("bulkOperation.url").(string), nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := server.Client().Do(req)
		if err != nil {
			continue // as it should be for those that drop
		}
		var body bytes.Buffer
		_, err = body.ReadFrom(res.Body)
		if half := int(res.ContentLength) / 2; action == ActionTruncate && (err == nil || body.Len() != half) {
			t.Errorf("%d bytes of %d, %v", body.Len(), res.ContentLength, err)
		} else if action == ActionRefuse && res.StatusCode != http.StatusServiceUnavailable || action == ActionDropBefore || action == ActionDropAfter {
			t.Errorf("%s: %d", action, res.StatusCode)
		}
		_ = res.Body.Close()
	}
}
