package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/docs"
	"github.com/lockstephq/lockstep/targettest"
)

const operatorToken = "canary-0123456789abcdef0123456789abcdef"

// operators is a world whose operator API is on.
func operators(t *testing.T, options ...app.Option) *world {
	t.Helper()
	return newWorldWith(t, setup{options: options, env: map[string]string{"LOCKSTEP_OPERATOR_TOKEN": operatorToken}})
}

// operate sends a request with the operator's token and holds the answer
// against docs/openapi.yaml.
func (w *world) operate(method, path, body string) answer {
	w.t.Helper()
	header := http.Header{"Authorization": {"Bearer " + operatorToken}, "Content-Type": {"application/json"}}
	got := w.request(method, "/v1/operator/"+path, header, strings.NewReader(body))
	w.wantDocumented(method, "/v1/operator/"+path, got)
	return got
}

func openAPIRouter(t *testing.T) routers.Router {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(docs.OpenAPI())
	must(t, err)
	router, err := legacy.NewRouter(doc)
	must(t, err)
	return router
}

func (w *world) wantDocumented(method, path string, got answer) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, path, nil)
	must(w.t, err)
	route, params, err := openAPIRouter(w.t).FindRoute(req)
	must(w.t, err)
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
		Status:                 got.status, Header: got.header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	input.SetBodyBytes([]byte(got.body))
	if err := openapi3filter.ValidateResponse(w.t.Context(), input); err != nil {
		w.t.Errorf("%s %s answered %d %s, which is not as documented: %v", method, path, got.status, got.body, err)
	}
}

func TestOperatorAnswersAsDocumented(t *testing.T) {
	t.Parallel()
	w := operators(t)
	w.alter(`insert into medusa.customer (id, email, has_account) values ('cus_account', 'eve@example.test', true);
		alter table medusa.customer add constraint no_bob check (first_name <> 'Bob')`)
	ada, eve, bob := w.create("ada"), w.create("eve"), w.create("Bob")
	w.delivered()
	w.eventually("linked", isLinked, ada.ID)
	for id, status := range map[string]string{eve.ID: "conflict", bob.ID: "failed"} {
		w.eventually(status, `select coalesce((select status = $2 and applied = desired or status = 'failed' and $2 = 'failed' from lockstep.customer_links where clerk_user_id = $1), false)`, id, status)
	}
	w.alter(`alter table medusa.customer drop constraint no_bob`)
	for _, c := range []struct {
		method, path, body string
		status             int
		holds              string
	}{
		{"GET", "status", "", 200, `"linked":1,"pending":0,"waiting":0,"conflicts":1,"failed":1,`},
		{"GET", "watchdogs", "", 200, `{"watchdog":"silence","subject":"clerk","alarm":false,"message":""}`},
		{"GET", "conflicts", "", 200, `"blocked_by":"cus_account"`},
		{"GET", "conflicts?target=medusa", "", 200, eve.ID},
		{"GET", "conflicts?target=other", "", 400, "No such target"},
		{"GET", "conflicts", "", 200, `"command":"lockstep conflicts resolve ` + eve.ID + ` --target medusa --use cus_account","user":"` + eve.ID + `","choice":"use","customer_id":"cus_account"`},
		{"POST", "conflicts/resolve", `{"user":"user_nobody","target":"medusa","choice":"create"}`, 404, "resend"},
		{"POST", "conflicts/resolve", `{"user":"` + eve.ID + `","target":"other","choice":"create"}`, 400, "No such target"},
		{"POST", "conflicts/resolve", `{"user":"` + eve.ID + `","target":"medusa","choice":"merge"}`, 400, "choose one of use, keep, create and unlink"},
		{"POST", "conflicts/resolve", `{"user":"` + eve.ID + `","target":"medusa","choice":"use"}`, 400, "use needs the customer's id"},
		{"POST", "conflicts/resolve", `{"user":"` + eve.ID + `","target":"medusa","choice":"keep","customer_id":"cus_account"}`, 400, "the others take none"},
		{"POST", "conflicts/resolve", `{"user":"` + eve.ID + `","target":"medusa","choice":"keep"}`, 400, "no customer there to keep"},
		{"POST", "conflicts/resolve", `{}`, 400, "GET /v1/operator/conflicts lists the choices"},
		{"GET", "users/" + ada.ID, "", 200, `"email":"ada@Example.test"`},
		{"GET", "users/" + eve.ID, "", 200, `"status":"conflict"`},
		{"GET", "users/user_nobody", "", 404, "resend"},
		{"GET", "users/" + ada.ID + "/timeline", "", 200, `"what":"create"`},
		{"GET", "users/user_nobody/timeline", "", 404, "resend"},
		{"POST", "users/" + ada.ID + "/sync", "", 200, `"status":"linked"`},
		{"POST", "users/user_nobody/sync", "", 404, "resend"},
		{"POST", "retry", `{"users":["user_nobody"]}`, 404, "resend"},
		{"POST", "retry", `{"target":"other"}`, 400, "No such target"},
		{"POST", "retry", `{"target":`, 400, "leave out"},
		{"POST", "retry", `{"users":[]}`, 400, "an empty list"},
		{"POST", "retry", `{"target":"medusa"}`, 200, `"links":1,`},
		{"POST", "conflicts/resolve", `{"user":"` + eve.ID + `","target":"medusa","choice":"use","customer_id":"cus_account"}`, 200, `"choice":"use","customer_id":"cus_account"`},
		{"GET", "openapi.yaml", "", 200, "openapi: 3.1.0"},
	} {
		if got := w.operate(c.method, c.path, c.body); got.status != c.status || !strings.Contains(got.body, c.holds) {
			t.Errorf("%s %s: %d %s, want %d with %s", c.method, c.path, got.status, got.body, c.status, c.holds)
		}
	}
	w.eventually("what was given up is linked", isLinked, bob.ID)
	w.eventually("what was chosen is linked", isLinked+` and exists (select from lockstep.customer_links where clerk_user_id = $1 and customer_id = 'cus_account')`, eve.ID)
	if got := w.operate("GET", "users/"+eve.ID+"/timeline", ""); !strings.Contains(got.body, "a person chose through the operator API: the user's customer is cus_account") {
		t.Errorf("the timeline does not tell of the choice: %s", got.body)
	}
	anonymous := w.request(http.MethodGet, "/v1/operator/status", nil, nil)
	w.wantError(anonymous, http.StatusUnauthorized, "UNAUTHORIZED")
	w.wantDocumented(http.MethodGet, "/v1/operator/status", anonymous)
}

// A target that fails is told of as the contract's errors are.
func TestOperatorSyncOfATargetThatIsAway(t *testing.T) {
	t.Parallel()
	w := operators(t, app.WithTargets(func(t lockstep.Target) lockstep.Target { return away{t} }))
	u := w.create("ada")
	w.delivered()
	w.eventually("known", `select count(*) = 1 from public.profiles where id = $1`, u.ID)
	got := w.operate("POST", "users/"+u.ID+"/sync", "")
	w.wantError(got, http.StatusServiceUnavailable, "UPSTREAM_UNAVAILABLE")
	if !strings.Contains(got.body, "it stays due: medusa: resolve: temporary failure: no route") {
		t.Error(got.body)
	}
}

// away is a target that cannot be reached.
type away struct{ lockstep.Target }

func (away) Resolve(context.Context, lockstep.Query) (lockstep.Found, error) {
	return lockstep.Found{}, &lockstep.TargetError{Kind: lockstep.ErrTransient, Err: errors.New("no route")}
}

// Ready is who can accept deliveries; the rest of the truth is in the detail.
func TestReadyzTellsTheWholeTruth(t *testing.T) {
	t.Parallel()
	refused := targettest.NewFake("refused")
	w := newWorld(t, app.WithExtraTargets(refusing{refused}))
	w.eventually("a worker", `select exists (select 1 from lockstep.river_leader where expires_at > now())`)
	w.create("ada")
	w.eventually("one is paused", `select exists (select 1 from lockstep.targets where target = 'refused' and paused_at is not null)`)
	w.waitFor("readyz says so", func(context.Context) bool {
		got := w.request(http.MethodGet, "/readyz", nil, nil)
		var body struct {
			Status, Database string
			Worker           *bool
			Oldest           *float64 `json:"oldest_pending_seconds"`
			Paused, Alarms   []string
		}
		must(t, json.Unmarshal([]byte(got.body), &body))
		if got.status != http.StatusOK || body.Status != "ready" || body.Database != "ok" || strings.Contains(got.body, "revoked") {
			t.Fatalf("%d %s", got.status, got.body)
		}
		return body.Worker != nil && *body.Worker && body.Oldest != nil && *body.Oldest > 0 &&
			slices.Equal(body.Paused, []string{"refused"}) && slices.Contains(body.Alarms, "target_paused refused")
	})
}

// refusing is a target whose credentials were revoked.
type refusing struct{ lockstep.Target }

var errRevoked = &lockstep.TargetError{Kind: lockstep.ErrRefused, Err: errors.New("credentials were revoked")}

func (refusing) Check(context.Context) error { return errRevoked }

func (refusing) Resolve(context.Context, lockstep.Query) (lockstep.Found, error) {
	return lockstep.Found{}, errRevoked
}

func TestMetricsOfARunningLockstep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const users = 5
	for i := range users {
		w.create(fmt.Sprintf("ada.%d", i))
	}
	w.delivered()
	w.eventually("all are linked", inStep, users)
	w.wantError(w.request(http.MethodPost, "/webhooks/clerk", nil, strings.NewReader("{}")), http.StatusUnauthorized, "UNAUTHORIZED")
	metrics := w.request(http.MethodGet, "/metrics", nil, nil)
	for _, line := range []string{
		fmt.Sprintf(`lockstep_deliveries_total{receipt="applied",source="clerk"} %d`, users),
		`lockstep_deliveries_refused_total{reason="signature",source="clerk"} 1`,
		fmt.Sprintf(`lockstep_target_calls_total{call="create",outcome="ok",target="medusa"} %d`, users),
		fmt.Sprintf(`lockstep_lag_seconds_count{target="medusa"} %d`, users),
		`lockstep_database_up 1`,
	} {
		if !strings.Contains(metrics.body, line+"\n") {
			t.Errorf("no line %s in\n%s", line, metrics.body)
		}
	}
}

// With an address of their own, metrics are not where the world comes in.
func TestMetricsAtAnAddressOfTheirOwn(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := l.Addr().String()
	must(t, l.Close())
	w := newWorldWith(t, setup{env: map[string]string{"LOCKSTEP_METRICS_ADDR": addr}})
	w.wantError(w.request(http.MethodGet, "/metrics", nil, nil), http.StatusNotFound, "NOT_FOUND")
	w.waitFor("metrics", func(ctx context.Context) bool {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
		must(t, err)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		var text bytes.Buffer
		_, err = text.ReadFrom(resp.Body)
		must(t, err)
		return strings.Contains(text.String(), "lockstep_database_up 1")
	})
}
