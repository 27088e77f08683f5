package web_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/lockstephq/lockstep/docs"
	"github.com/lockstephq/lockstep/internal/watch"
	"github.com/lockstephq/lockstep/internal/web"
)

const operatorToken = "0123456789abcdef0123456789abcdef"

// newOperator runs an operator API whose functions say what they were asked.
func newOperator(t *testing.T, fail error) *front {
	t.Helper()
	say := func(what string) func(context.Context) (any, error) {
		return func(context.Context) (any, error) { return what, fail }
	}
	of := func(what string) func(context.Context, string) (any, error) {
		return func(_ context.Context, id string) (any, error) { return what + " " + id, fail }
	}
	log := &logBuffer{}
	f := web.Front{
		Ready: func(context.Context) (web.Health, error) { return web.Health{}, nil },
		Log:   watch.Logger(t, log),
		Operator: &web.Operator{
			Token: operatorToken, Status: say("status"), Watchdogs: say("watchdogs"), Conflicts: of("conflicts"),
			Choose: func(_ context.Context, user, target, choice, customer string) (any, error) {
				return fmt.Sprintf("choose %s %s %s %s", user, target, choice, customer), fail
			},
			User: of("user"), Timeline: of("timeline"), Sync: of("sync"),
			Forget: func(_ context.Context, id, customers string) (any, error) {
				return "forget " + id + " " + customers, fail
			},
			Erasures: func(_ context.Context, before int64) (any, error) { return fmt.Sprint("erasures ", before), fail },
			Retry: func(_ context.Context, target string, users []string) (any, error) {
				return fmt.Sprintf("retry %s %v", target, users), fail
			},
		},
	}
	server := httptest.NewServer(f.Handler())
	t.Cleanup(server.Close)
	return &front{server, t, log}
}

func (f *front) operate(method, path, auth, body string) response {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.URL+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	return f.send(req)
}

func TestOperatorRoutes(t *testing.T) {
	t.Parallel()
	f := newOperator(t, nil)
	for _, c := range []struct{ method, path, body, want string }{
		{"GET", "status", "", "status"},
		{"GET", "watchdogs", "", "watchdogs"},
		{"GET", "conflicts", "", "conflicts "},
		{"GET", "conflicts?target=medusa", "", "conflicts medusa"},
		{"GET", "users/user_a", "", "user user_a"},
		{"GET", "users/user_a/timeline", "", "timeline user_a"},
		{"POST", "users/user_a/sync", "", "sync user_a"},
		{"POST", "conflicts/resolve", `{"user":"user_a","target":"medusa","choice":"use","customer_id":"cus_1"}`, "choose user_a medusa use cus_1"},
		{"POST", "conflicts/resolve", `{"user":"user_a","target":"medusa","choice":"keep"}`, "choose user_a medusa keep "},
		{"POST", "users/user_a/forget", "", "forget user_a "},
		{"POST", "users/user_a/forget", `{"customers":"delete"}`, "forget user_a delete"},
		{"GET", "erasures", "", "erasures 0"},
		{"GET", "erasures?before=7", "", "erasures 7"},
		{"POST", "retry", "", "retry  []"},
		{"POST", "retry", `{"users":null}`, "retry  []"},
		{"POST", "retry", `{"target":"medusa","users":["user_a","user_b"]}`, "retry medusa [user_a user_b]"},
	} {
		got := f.operate(c.method, "/v1/operator/"+c.path, "Bearer "+operatorToken, c.body)
		if got.status != http.StatusOK || got.body != fmt.Sprintf("%q\n", c.want) || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: %+v, want %q", c.method, c.path, got, c.want)
		}
	}
}

func TestOperatorTokenIsNeeded(t *testing.T) {
	t.Parallel()
	f := newOperator(t, nil)
	for _, auth := range []string{"", "Bearer", "Bearer ", "Bearer " + operatorToken[1:], "Bearer " + operatorToken + "0",
		"Basic " + operatorToken, operatorToken, "Bearer  " + operatorToken, "Bearer false"} {
		for _, path := range documented(t) {
			method, route, _ := strings.Cut(path, " ")
			got := f.operate(method, strings.ReplaceAll(route, "{id}", "user_a"), auth, "")
			wantError(t, got, http.StatusUnauthorized, "UNAUTHORIZED")
			if got.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: no WWW-Authenticate", path)
			}
		}
	}
	if got := f.operate("GET", "/v1/operator/status", "bearer "+operatorToken, ""); got.status != http.StatusOK {
		t.Errorf("the scheme in lower case: %+v", got)
	}
}

// An API without a token would let everybody in; there is none.
func TestOperatorIsOffWithoutAToken(t *testing.T) {
	t.Parallel()
	f := newFront(t, nil, nil)
	for _, auth := range []string{"", "Bearer ", "Bearer false"} {
		wantError(t, f.operate("GET", "/v1/operator/status", auth, ""), http.StatusNotFound, "NOT_FOUND")
	}
	short := httptest.NewServer(web.Front{Log: watch.Logger(t), Operator: &web.Operator{
		Status: func(context.Context) (any, error) { return nil, nil }}}.Handler())
	t.Cleanup(short.Close)
	f = &front{short, t, nil}
	wantError(t, f.operate("GET", "/v1/operator/status", "Bearer ", ""), http.StatusUnauthorized, "UNAUTHORIZED")
}

func TestOperatorErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		status int
		code   string
		quotes bool
	}{
		{&web.RefusedError{Kind: web.ErrNotFound, Text: "some-cause"}, http.StatusNotFound, "NOT_FOUND", true},
		{&web.RefusedError{Kind: web.ErrBadRequest, Text: "some-cause"}, http.StatusBadRequest, "BAD_REQUEST", true},
		{&web.RefusedError{Text: "some-cause"}, http.StatusServiceUnavailable, "UPSTREAM_UNAVAILABLE", true},
		{errors.New("some-cause"), http.StatusServiceUnavailable, "UPSTREAM_UNAVAILABLE", false},
		{fmt.Errorf("some-cause: %w", web.ErrNotFound), http.StatusServiceUnavailable, "UPSTREAM_UNAVAILABLE", false},
	} {
		f := newOperator(t, c.err)
		got := f.operate("GET", "/v1/operator/users/user_a", "Bearer "+operatorToken, "")
		wantError(t, got, c.status, c.code)
		if strings.Contains(got.body, "some-cause") != c.quotes {
			t.Errorf("%v: answered %s", c.err, got.body)
		}
		if (got.header.Get("Retry-After") != "") != (c.status == http.StatusServiceUnavailable) {
			t.Errorf("%v: Retry-After %q", c.err, got.header.Get("Retry-After"))
		}
	}
	f := newOperator(t, nil)
	for _, body := range []string{`{`, `[]`, `{"user":["user_a"]}`, `{"users":"user_a"}`, strings.Repeat(" ", 70_000) + `{}`} {
		wantError(t, f.operate("POST", "/v1/operator/retry", "Bearer "+operatorToken, body), http.StatusBadRequest, "BAD_REQUEST")
	}
	for _, body := range []string{``, `{`, `[]`, `{}`, `{"user":"user_a"}`, `{"target":"medusa","choice":"keep"}`,
		`{"user":"user_a","target":"medusa","choice":"keep","force":true}`} {
		wantError(t, f.operate("POST", "/v1/operator/conflicts/resolve", "Bearer "+operatorToken, body), http.StatusBadRequest, "BAD_REQUEST")
	}
	empty := f.operate("POST", "/v1/operator/retry", "Bearer "+operatorToken, `{"target":"medusa","users":[]}`)
	wantError(t, empty, http.StatusBadRequest, "BAD_REQUEST")
	if !strings.Contains(empty.body, "leave \\\"users\\\" out to retry all") {
		t.Errorf("an empty list of users: %s", empty.body)
	}
	wantError(t, f.operate("DELETE", "/v1/operator/status", "Bearer "+operatorToken, ""), http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED")
}

// documented lists what docs/openapi.yaml describes: "GET /v1/operator/status".
func documented(t *testing.T) (routes []string) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(docs.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			routes = append(routes, method+" "+path)
		}
	}
	slices.Sort(routes)
	return routes
}

// The document and the routes say the same, in both directions.
func TestEveryOperatorRouteIsDocumented(t *testing.T) {
	t.Parallel()
	served := append(web.OperatorRoutes(), "GET /v1/operator/openapi.yaml")
	slices.Sort(served)
	if !slices.Equal(served, documented(t)) {
		t.Errorf("served:\n%s\ndocumented:\n%s", strings.Join(served, "\n"), strings.Join(documented(t), "\n"))
	}
	f := newOperator(t, nil)
	bodies := map[string]string{"/v1/operator/conflicts/resolve": `{"user":"user_a","target":"medusa","choice":"keep"}`}
	for _, r := range served {
		method, path, _ := strings.Cut(r, " ")
		if got := f.operate(method, strings.ReplaceAll(path, "{id}", "user_a"), "Bearer "+operatorToken, bodies[path]); got.status != http.StatusOK {
			t.Errorf("%s: %+v", r, got)
		}
	}
	got := f.operate("GET", "/v1/operator/openapi.yaml", "Bearer "+operatorToken, "")
	if got.body != string(docs.OpenAPI()) || got.header.Get("Content-Type") != "application/yaml" {
		t.Errorf("the document is served as %s, %d bytes", got.header.Get("Content-Type"), len(got.body))
	}
}
