package shopify

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lockstephq/lockstep"
	"github.com/vektah/gqlparser/v2"
)

// TestInlinedDocuments: what is sent as a text within a text fits the schema too,
// carries its name, and a query has no variables.
func TestInlinedDocuments(t *testing.T) {
	t.Parallel()
	schema := adminSchema(t)
	for _, namespace := range []string{"", "custom", "$app:x"} {
		target := newTestTarget(t, "http://shop.example.test", func(o *Options) { o.Namespace = namespace })
		for file, variables := range map[string]int{"export": 0, "import": 2} {
			text := target.inlined(file, "lockstep_1")
			doc, errs := gqlparser.LoadQueryWithRules(schema, text, nil)
			if len(errs) > 0 {
				t.Errorf("%s in %q does not fit the schema: %v\n%s", file, namespace, errs, text)
				continue
			}
			if op := doc.Operations[0]; op.Name != "lockstep_1" || len(op.VariableDefinitions) != variables {
				t.Errorf("%s is named %q and has %d variables", file, op.Name, len(op.VariableDefinitions))
			}
			for _, use := range deprecated(doc.Operations[0].SelectionSet) {
				t.Errorf("%s reads %s, which is deprecated", file, use)
			}
			if strings.Contains(text, strconv.Quote(namespace)) != (namespace != "") {
				t.Errorf("%s in %q:\n%s", file, namespace, text)
			}
		}
	}
}

// fileServer serves a file in pieces: each request gets at most so many bytes
// before its connection breaks.
func fileServer(t *testing.T, content []byte, most int, ranges bool) (*httptest.Server, *int) {
	t.Helper()
	requests := new(int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*requests++
		from := 0
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && ranges {
			w.Header().Set("Content-Length", strconv.Itoa(len(content)-from))
			w.WriteHeader(http.StatusPartialContent)
		} else {
			from = 0
		}
		end := min(len(content), from+most)
		_, _ = w.Write(content[from:end])
		_ = http.NewResponseController(w).Flush()
		if end < len(content) {
			panic(http.ErrAbortHandler)
		}
	}))
	server.Config.ErrorLog = nil
	t.Cleanup(server.Close)
	return server, requests
}

// A file comes whole and once, however often its connection breaks.
func TestLinesOverBrokenConnections(t *testing.T) {
	t.Parallel()
	var content bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&content, "%d\n", i)
	}
	server, requests := fileServer(t, content.Bytes(), 1500, true)
	target := newTestTarget(t, server.URL)
	read := func(from int64) (got []string) {
		for l, err := range target.lines(t.Context(), server.URL, from, int64(content.Len())) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, strings.TrimSpace(string(l.text)))
		}
		return got
	}
	if got := read(0); len(got) != 1000 || got[999] != "999" || *requests < 3 {
		t.Errorf("%d lines in %d requests", len(got), *requests)
	}
	if got := read(20); len(got) != 990 || got[0] != "10" {
		t.Errorf("from the eleventh line: %d, first %q", len(got), got[0])
	}
	whole, _ := fileServer(t, content.Bytes(), content.Len(), false)
	server = whole
	if got := read(20); len(got) != 990 || got[0] != "10" {
		t.Errorf("without ranges: %d, first %q", len(got), got[0])
	}
}

func TestLinesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	long, _ := fileServer(t, append(bytes.Repeat([]byte("x"), maxLine+1), '\n'), 2*maxLine, true)
	gone := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(gone.Close)
	target := newTestTarget(t, long.URL)
	for _, test := range []struct {
		url  string
		want error
	}{{long.URL, lockstep.ErrInvalid}, {gone.URL, ErrExpired}} {
		var all []error
		for _, err := range target.lines(t.Context(), test.url, 0, maxLine) {
			all = append(all, err)
		}
		if len(all) != 1 || !errors.Is(all[0], test.want) {
			t.Errorf("%v, want %v", all, test.want)
		}
	}
}

// The token goes to the shop alone.
func TestFilesGetNoToken(t *testing.T) {
	t.Parallel()
	var sent []http.Header
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { sent = append(sent, r.Header) }))
	t.Cleanup(server.Close)
	target := newTestTarget(t, server.URL)
	for range target.lines(t.Context(), server.URL, 0, 0) {
		t.Error("an empty file has a line")
	}
	if err := target.post(t.Context(), stagedTarget{URL: server.URL}, []byte("{}\n")); err != nil {
		t.Fatal(err)
	}
	if len(sent) != 2 || slices.ContainsFunc(sent, func(h http.Header) bool { return h.Get("X-Shopify-Access-Token") != "" }) {
		t.Errorf("%v", sent)
	}
}

// An export that makes no progress is no use: the shop is to be listed.
func TestExportStalls(t *testing.T) {
	t.Parallel()
	const running = `{"id":"gid://shopify/BulkOperation/1","status":"RUNNING","query":"query lockstep_a {","objectCount":"0","rootObjectCount":"0","fileSize":null}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"data":{"bulkOperations":{"nodes":[`+running+`]},"bulkOperation":`+running+`}}`)
	}))
	t.Cleanup(server.Close)
	target := newTestTarget(t, server.URL)
	target.exportStall = 1
	for page, err := range target.Export(t.Context(), lockstep.Export{Name: "lockstep_a"}) {
		if !errors.Is(err, lockstep.ErrNoExport) || len(page.Customers) > 0 {
			t.Errorf("%+v, %v", page, err)
		}
	}
}
