package shopify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/watch"
)

const testShop = "acme.myshopify.com"

// request is what a fake shop was asked.
type request struct {
	operation string // its name in the document
	path      string
	token     string
	variables string // as JSON
}

// fakeShop answers with what script says, and keeps the requests.
type fakeShop struct {
	*httptest.Server

	mu       sync.Mutex
	requests []request
}

// newFakeShop serves every GraphQL request by answer.
func newFakeShop(t *testing.T, answer func(w http.ResponseWriter, r request)) *fakeShop {
	t.Helper()
	f := &fakeShop{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := readRequest(r)
		f.mu.Lock()
		f.requests = append(f.requests, got)
		f.mu.Unlock()
		answer(w, got)
	}))
	t.Cleanup(f.Close)
	return f
}

func readRequest(r *http.Request) request {
	body, _ := io.ReadAll(r.Body)
	var sent struct {
		Query     string          `json:"query"`
		Variables json.RawMessage `json:"variables"`
	}
	_ = json.Unmarshal(body, &sent)
	_, rest, _ := strings.Cut(sent.Query, " ")
	name, _, _ := strings.Cut(strings.TrimSpace(rest), "(")
	return request{name, r.URL.Path, r.Header.Get("X-Shopify-Access-Token"), string(sent.Variables)}
}

// asked returns the names of the operations so far.
func (f *fakeShop) asked() (names []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.requests {
		names = append(names, r.operation)
	}
	return names
}

// newTestTarget is a target of the fake shop, with the definition made already.
func newTestTarget(t *testing.T, url string, change ...func(*Options)) *Target {
	t.Helper()
	o := Options{Shop: testShop, Tokens: StaticToken("shpat_test"), APIURL: url + "/{shop}", Patience: -1}
	for _, f := range change {
		f(&o)
	}
	target, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	target.defined.Store(true)
	return target
}

// body answers with status 200 and a text.
func body(text string) func(http.ResponseWriter, request) {
	return func(w http.ResponseWriter, _ request) { fmt.Fprint(w, text) }
}

const (
	ada     = `{"id":"gid://shopify/Customer/7","firstName":"Ada","lastName":"Byron","state":"DISABLED","verifiedEmail":true,"tags":[],"defaultEmailAddress":{"emailAddress":"ada@example.test"},"defaultPhoneNumber":null,"identityProviderSubjects":[],"mark":{"namespace":"app--1","value":"user_ada"}}`
	readAda = `{"data":{"customer":` + ada + `,"byUser":` + ada + `,"byLink":null,"byEmail":null,"customerSet":{"customer":` + ada + `,"userErrors":[]}}}`
)

func wantAda() lockstep.Customer {
	return lockstep.Customer{UserID: "user_ada", Email: "ada@example.test", FirstName: "Ada", LastName: "Byron"}
}

func adaNow() lockstep.Customer {
	c := wantAda()
	c.ID = idPrefix + "7"
	return c
}

// readIt and writeIt are one read and one write.
func readIt(ctx context.Context, t *Target) error {
	_, err := t.Resolve(ctx, lockstep.Query{UserID: "user_ada"})
	return err
}

func writeIt(ctx context.Context, t *Target) error {
	_, err := t.Create(ctx, wantAda())
	return err
}

// logTo collects a target's log lines.
func logTo(t *testing.T, b *strings.Builder, mu *sync.Mutex) *slog.Logger {
	return watch.Logger(t, writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return b.Write(p)
	}))
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
