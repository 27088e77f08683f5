package app_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/targettest"
)

// signIn is a world whose users sign in: Clerk's API is reachable, and its
// webhooks are held back until somebody lets them go.
func signIn(t *testing.T, options ...app.Option) *world {
	t.Helper()
	w := newWorldWith(t, setup{options: options, env: map[string]string{
		"CLERK_AUTHORIZED_PARTIES": "https://shop.example.test", "LOCKSTEP_CORS_ORIGINS": "https://shop.example.test"}})
	w.clerk.Webhooks.Hold()
	return w
}

func (w *world) newUser(spec emulator.UserSpec) string {
	w.t.Helper()
	u, err := w.clerk.CreateUser(spec)
	must(w.t, err)
	return u.ID
}

func ada() emulator.UserSpec {
	return emulator.UserSpec{FirstName: "Ada", Email: "ada@example.test", Verified: true}
}

func (w *world) token(spec emulator.TokenSpec) string {
	w.t.Helper()
	if spec.AuthorizedParty == "" {
		spec.AuthorizedParty = "https://shop.example.test"
	}
	token, err := w.clerk.MintToken(spec)
	must(w.t, err)
	return token
}

// call sends a request with a bearer token and returns the answer and its body.
func (w *world) call(method, path, token string, header ...string) (*http.Response, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, nil)
	must(w.t, err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	must(w.t, err)
	body, err := io.ReadAll(resp.Body)
	must(w.t, err)
	must(w.t, resp.Body.Close())
	return resp, string(body)
}

type meAnswer struct {
	UserID, ProfileID string
	Profile           struct{ ID, Email, FirstName, Username string }
	Customers         []struct {
		Target, CustomerID string
		Status             lockstep.Status
	}
}

func (w *world) me(token, query string) (me meAnswer) {
	w.t.Helper()
	resp, body := w.call("GET", "/v1/me"+query, token)
	if resp.StatusCode != http.StatusOK {
		w.t.Fatalf("/v1/me: %d %s", resp.StatusCode, body)
	}
	must(w.t, json.Unmarshal([]byte(body), &me))
	return me
}

func TestFirstCallMakesProfileAndCustomers(t *testing.T) {
	t.Parallel()
	w := signIn(t)
	id := w.newUser(ada())
	me := w.me(w.token(emulator.TokenSpec{UserID: id}), "?wait=10s")
	if me.UserID != id || me.ProfileID != id || me.Profile.Email != "ada@example.test" || me.Profile.Username != "Ada" {
		t.Errorf("%+v", me)
	}
	if len(me.Customers) != 1 || me.Customers[0].Target != "medusa" || me.Customers[0].Status != lockstep.StatusLinked || me.Customers[0].CustomerID == "" {
		t.Errorf("customers: %+v", me.Customers)
	}
}

func TestManyFirstCallsAtOnce(t *testing.T) {
	t.Parallel()
	for name, webhook := range map[string]bool{"calls alone": false, "and the webhook": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := signIn(t)
			id := w.newUser(ada())
			token := w.token(emulator.TokenSpec{UserID: id})
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					if resp, body := w.call("GET", "/v1/me?wait=5s", token); resp.StatusCode != http.StatusOK {
						t.Errorf("%d %s", resp.StatusCode, body)
					}
				})
			}
			if webhook {
				w.clerk.Webhooks.ReleaseShuffled()
			}
			wg.Wait()
			w.eventually("one customer", inStep, 1)
			calls := w.clerk.Faults.Total("GET /v1/users/{user_id}")
			if !webhook && calls != 1 || calls > 1 {
				t.Errorf("%d calls of Clerk's API", calls)
			}
			for _, table := range []string{"public.profiles", "medusa.customer", "lockstep.customer_links"} {
				if n := testdb.Query[int](t, w.pool, "select count(*) from "+table); n != 1 {
					t.Errorf("%d rows in %s", n, table)
				}
			}
		})
	}
}

func TestClerkAway(t *testing.T) {
	t.Parallel()
	w := signIn(t)
	known, unknown := w.newUser(ada()), w.newUser(emulator.UserSpec{FirstName: "Eve"})
	w.me(w.token(emulator.TokenSpec{UserID: known}), "")
	must(t, w.clerk.Faults.Set(emulator.Rule{Rate: 1, Fault: emulator.Fault{Action: emulator.ActionRefuse, Status: 500}}))
	w.me(w.token(emulator.TokenSpec{UserID: known}), "")
	resp, body := w.call("GET", "/v1/me", w.token(emulator.TokenSpec{UserID: unknown}))
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a new user while Clerk is away: %d %s", resp.StatusCode, body)
	}
	must(t, w.clerk.Faults.Set())
	w.me(w.token(emulator.TokenSpec{UserID: unknown}), "")
}

func TestTargetAwayDoesNotMatter(t *testing.T) {
	t.Parallel()
	w := signIn(t, app.WithTargets(func(target lockstep.Target) lockstep.Target {
		return targettest.NewFlaky(target, targettest.Rates{Seed: 1, Fail: 1})
	}))
	id := w.newUser(ada())
	me := w.me(w.token(emulator.TokenSpec{UserID: id}), "?wait=100ms")
	if me.Profile.ID != id || len(me.Customers) != 1 || me.Customers[0].Status == lockstep.StatusLinked {
		t.Errorf("%+v", me)
	}
}

func TestSyncReadsFromClerkNow(t *testing.T) {
	t.Parallel()
	w := signIn(t)
	id := w.newUser(ada())
	token := w.token(emulator.TokenSpec{UserID: id})
	w.me(token, "")
	name := "Augusta"
	_, err := w.clerk.UpdateUser(id, emulator.UserChange{FirstName: &name})
	must(t, err)
	resp, body := w.call("POST", "/v1/me/sync?wait=10s", token)
	var me meAnswer
	if err := json.Unmarshal([]byte(body), &me); err != nil || resp.StatusCode != http.StatusOK || me.Profile.FirstName != name {
		t.Errorf("%d %s %v", resp.StatusCode, body, err)
	}
	if me := w.me(token, ""); me.Profile.FirstName != name {
		t.Errorf("after the sync: %+v", me)
	}
}

func TestDeletionAndBanEndTheSession(t *testing.T) {
	t.Parallel()
	w := signIn(t)
	gone, banned := w.newUser(ada()), w.newUser(emulator.UserSpec{FirstName: "Eve"})
	tokens := map[string]string{gone: w.token(emulator.TokenSpec{UserID: gone}), banned: w.token(emulator.TokenSpec{UserID: banned})}
	for _, token := range tokens {
		w.me(token, "")
	}
	yes := true
	must(t, w.clerk.DeleteUser(gone))
	_, err := w.clerk.UpdateUser(banned, emulator.UserChange{Banned: &yes})
	must(t, err)
	must(t, w.clerk.Webhooks.Release())
	must(t, w.clerk.Webhooks.Wait(t.Context()))
	for id, want := range map[string]int{gone: http.StatusUnauthorized, banned: http.StatusForbidden} {
		if resp, body := w.call("GET", "/v1/me", tokens[id]); resp.StatusCode != want {
			t.Errorf("%d %s, want %d", resp.StatusCode, body, want)
		}
	}
}

func TestSessionStatuses(t *testing.T) {
	t.Parallel()
	w := signIn(t)
	id := w.newUser(ada())
	good := w.token(emulator.TokenSpec{UserID: id})
	for name, tt := range map[string]struct {
		path, token string
		header      []string
		want        int
		challenge   string
	}{
		"no token":                  {"/v1/me", "", nil, 401, "Bearer"},
		"garbage":                   {"/v1/me", "x.y.z", nil, 401, `Bearer error="invalid_token"`},
		"pending session":           {"/v1/me", w.token(emulator.TokenSpec{UserID: id, Shape: "session_pending"}), nil, 403, ""},
		"template token":            {"/v1/me", w.token(emulator.TokenSpec{UserID: id, Shape: "jwt_template"}), nil, 401, `Bearer error="invalid_token"`},
		"another origin's token":    {"/v1/me", w.token(emulator.TokenSpec{UserID: id, AuthorizedParty: "https://evil.example.test"}), nil, 401, `Bearer error="invalid_token"`},
		"unknown user":              {"/v1/me", w.token(emulator.TokenSpec{UserID: "user_neverHeardOf"}), nil, 401, `Bearer error="invalid_token"`},
		"cookie":                    {"/v1/me", "", []string{"Cookie", "__session=" + good}, 200, ""},
		"scheme in another case":    {"/v1/me", "", []string{"Authorization", "bEARER " + good}, 200, ""},
		"wait is no duration":       {"/v1/me?wait=soon", good, nil, 400, ""},
		"proxy, signed in":          {"/v1/auth", good, nil, 200, ""},
		"proxy that appends a path": {"/v1/auth/orders/1", good, nil, 200, ""},
		"proxy, anonymous":          {"/v1/auth", "", nil, 401, "Bearer"},
	} {
		resp, body := w.call("GET", tt.path, tt.token, tt.header...)
		if resp.StatusCode != tt.want || resp.Header.Get("WWW-Authenticate") != tt.challenge {
			t.Errorf("%s: %d %q %s, want %d %q", name, resp.StatusCode, resp.Header.Get("WWW-Authenticate"), body, tt.want, tt.challenge)
		}
	}
	if resp, _ := w.call("POST", "/v1/auth", good); resp.Header.Get("X-User-Id") != id || resp.Header.Get("X-Profile-Id") != id {
		t.Errorf("headers for the proxy: %v", resp.Header)
	}
}

func TestCORSIsForConfiguredOriginsOnly(t *testing.T) {
	t.Parallel()
	w := signIn(t)
	for origin, want := range map[string]string{"https://shop.example.test": "https://shop.example.test", "https://evil.example.test": "", "null": ""} {
		for _, method := range []string{"OPTIONS", "GET"} {
			resp, _ := w.call(method, "/v1/me", "", "Origin", origin)
			if got := resp.Header.Get("Access-Control-Allow-Origin"); got != want || !slices.Contains(resp.Header.Values("Vary"), "Origin") {
				t.Errorf("%s from %s: allowed %q, vary %q", method, origin, got, resp.Header.Values("Vary"))
			}
		}
	}
}

// Once the profile is known, a call asks Clerk nothing.
func TestKnownCallerCostsClerkNothing(t *testing.T) {
	t.Parallel()
	w := signIn(t)
	token := w.token(emulator.TokenSpec{UserID: w.newUser(ada())})
	w.me(token, "?wait=10s")
	before := w.clerk.Faults.Total("*")
	for range 100 {
		if resp, body := w.call("GET", "/v1/auth", token); resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}
	if n := w.clerk.Faults.Total("*") - before; n != 0 {
		t.Errorf("%d calls of Clerk", n)
	}
}
