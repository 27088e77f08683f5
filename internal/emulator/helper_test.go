package emulator

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// testKey spares most tests the making of a key.
var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		panic(err)
	}
	return key
})

var contract = sync.OnceValues(func() (*openapi3.T, error) {
	return openapi3.NewLoader().LoadFromFile("testdata/openapi.yml")
})

func newTestClerk(t *testing.T, options ClerkOptions) *Clerk {
	t.Helper()
	if options.Seed == 0 {
		options.Seed = 1
	}
	options.Key = testKey()
	options.BaseURL = "http://clerk.example.test"
	c, err := NewClerk(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func mustCreate(t *testing.T, c *Clerk, spec UserSpec) User {
	t.Helper()
	u, err := c.CreateUser(spec)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// call makes a request with the secret key and checks the answer against Clerk's
// description.
func call(t *testing.T, c *Clerk, method, target string, body any) *httptest.ResponseRecorder {
	t.Helper()
	return callWith(t, c, method, target, body, http.Header{"Authorization": {"Bearer " + c.SecretKey()}})
}

func callWith(t *testing.T, c *Clerk, method, target string, body any, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, jsonBody(t, body))
	r.Header = header
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	checkContract(t, c.routeName(r), w)
	return w
}

func jsonBody(t *testing.T, body any) io.Reader {
	t.Helper()
	if body == nil {
		return http.NoBody
	}
	if text, ok := body.(string); ok {
		return strings.NewReader(text)
	}
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(data)
}

// checkContract validates a body. An error that the description does not list
// for its route must still have the form of Clerk's errors.
func checkContract(t *testing.T, route string, w *httptest.ResponseRecorder) {
	t.Helper()
	schema := responseSchema(t, route, w.Code)
	var body any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%s: body is not JSON: %v: %s", route, err, w.Body)
	}
	if err := schema.VisitJSON(body, openapi3.MultiErrors()); err != nil {
		t.Errorf("%s %d does not follow openapi.yml: %v\n%s", route, w.Code, err, w.Body)
	}
}

func responseSchema(t *testing.T, route string, status int) *openapi3.Schema {
	t.Helper()
	doc, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	method, path, _ := strings.Cut(route, " ")
	if item := doc.Paths.Value(strings.TrimPrefix(path, "/v1")); item != nil {
		if response := item.GetOperation(method).Responses.Status(status); response != nil {
			return response.Value.Content.Get("application/json").Schema.Value
		}
	}
	if status < 400 {
		t.Fatalf("%s: status %d is not in openapi.yml", route, status)
	}
	return doc.Components.Schemas["ClerkErrors"].Value
}

func wantStatus(t *testing.T, w *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	var body errorBody
	_ = json.Unmarshal(w.Body.Bytes(), &body) // a list is no error body
	got := ""
	if len(body.Errors) > 0 {
		got = body.Errors[0].Code
	}
	if w.Code != status || got != code {
		t.Errorf("status %d %q, want %d %q: %s", w.Code, got, status, code, w.Body)
	}
}

func decode[T any](t *testing.T, data []byte) T {
	t.Helper()
	var value T
	if err := json.Unmarshal(data, &value); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return value
}

func readTestdata[T any](t *testing.T, name string) T {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return decode[T](t, data)
}

// delivery is a webhook as it arrived.
type delivery struct {
	header http.Header
	body   []byte
}

func (d delivery) id() string { return d.header.Get("Svix-Id") }

// receiver is a webhook endpoint without a network: the http.RoundTripper of the
// emulator's client. answer decides every reply; nil means 200.
type receiver struct {
	answer func(n int, r *http.Request) (*http.Response, error)

	mu  sync.Mutex
	got []delivery
}

func (rc *receiver) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	rc.mu.Lock()
	rc.got = append(rc.got, delivery{r.Header.Clone(), body})
	n := len(rc.got)
	rc.mu.Unlock()
	if rc.answer == nil {
		return reply(http.StatusOK), nil
	}
	return rc.answer(n, r)
}

func (rc *receiver) deliveries() []delivery {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return append([]delivery(nil), rc.got...)
}

func (rc *receiver) ids() []string {
	var ids []string
	for _, d := range rc.deliveries() {
		ids = append(ids, d.id())
	}
	return ids
}

func reply(status int) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody}
}

// receiving gives options that deliver to a receiver, one message at a time.
func receiving(rc *receiver) ClerkOptions {
	return ClerkOptions{WebhookURL: "http://lockstep.example.test/webhooks/clerk", Client: &http.Client{Transport: rc}, Senders: 1}
}
