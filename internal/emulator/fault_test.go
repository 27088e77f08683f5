package emulator

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// patchOverNetwork changes a user's first name over a real connection.
func patchOverNetwork(t *testing.T, c *Clerk, id, name string) (*http.Response, error) {
	t.Helper()
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	r, err := http.NewRequestWithContext(t.Context(), "PATCH", server.URL+"/v1/users/"+id, jsonBody(t, map[string]string{"first_name": name}))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.SecretKey())
	resp, err := server.Client().Do(r)
	if err == nil {
		t.Cleanup(func() { resp.Body.Close() })
	}
	return resp, err
}

func TestDroppedRequests(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		action  Action
		applied bool
		outcome string
	}{
		{ActionDropBefore, false, "drop_before"},
		{ActionDropAfter, true, "drop_after 200"},
	} {
		t.Run(string(test.action), func(t *testing.T) {
			t.Parallel()
			c := newTestClerk(t, ClerkOptions{})
			u := mustCreate(t, c, UserSpec{FirstName: "Before"})
			if err := c.Faults.Script("PATCH /v1/users/*", Fault{Action: test.action}); err != nil {
				t.Fatal(err)
			}
			if resp, err := patchOverNetwork(t, c, u.ID, "After"); err == nil {
				t.Fatalf("answered %s", resp.Status)
			}
			now, err := c.User(u.ID)
			if err != nil {
				t.Fatal(err)
			}
			if applied := *now.FirstName == "After"; applied != test.applied {
				t.Errorf("applied: %v, want %v", applied, test.applied)
			}
			want := []Count{{"PATCH /v1/users/{user_id}", test.outcome, 1}}
			if diff := cmp.Diff(want, c.Faults.Counts()); diff != "" {
				t.Errorf("counts: %s", diff)
			}
			if resp, err := patchOverNetwork(t, c, u.ID, "Again"); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("after the script: %v", err)
			}
		})
	}
}

func TestScriptRunsInOrder(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	err := c.Faults.Set(Rule{Route: "GET /v1/users", Script: []Fault{
		{Action: ActionRefuse},
		{},
		{Action: ActionRefuse, Status: http.StatusTooManyRequests, RetryAfter: 1500 * time.Millisecond},
	}})
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, call(t, c, "GET", "/v1/users/count", nil), http.StatusOK, "") // another route
	wantStatus(t, call(t, c, "GET", "/v1/users", nil), http.StatusServiceUnavailable, "internal_clerk_error")
	wantStatus(t, call(t, c, "GET", "/v1/users", nil), http.StatusOK, "")
	limited := call(t, c, "GET", "/v1/users", nil)
	wantStatus(t, limited, http.StatusTooManyRequests, codeTooMany)
	if got := limited.Header().Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After %q", got)
	}
	wantStatus(t, call(t, c, "GET", "/v1/users", nil), http.StatusOK, "")
	want := []Count{
		{"GET /v1/users", "200", 2}, {"GET /v1/users", "refuse 429", 1}, {"GET /v1/users", "refuse 503", 1},
		{"GET /v1/users/count", "200", 1},
	}
	if diff := cmp.Diff(want, c.Faults.Counts()); diff != "" {
		t.Errorf("counts: %s", diff)
	}
	if got := c.Faults.Total("GET *"); got != 5 {
		t.Errorf("total %d", got)
	}
}

func TestRatesAreRepeatable(t *testing.T) {
	t.Parallel()
	outcomes := func() (failed []int) {
		c := newTestClerk(t, ClerkOptions{Seed: 7})
		if err := c.Faults.Set(Rule{Rate: 0.25, Fault: Fault{Action: ActionRefuse, Status: 500}}); err != nil {
			t.Fatal(err)
		}
		for i := range 400 {
			if call(t, c, "GET", "/v1/users/count", nil).Code == http.StatusInternalServerError {
				failed = append(failed, i)
			}
		}
		return failed
	}
	first := outcomes()
	if len(first) < 60 || len(first) > 140 {
		t.Errorf("%d of 400 failed", len(first))
	}
	if diff := cmp.Diff(first, outcomes()); diff != "" {
		t.Errorf("the same seed failed others: %s", diff)
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	testKey()
	synctest.Test(t, func(t *testing.T) {
		c := newTestClerk(t, ClerkOptions{})
		u := mustCreate(t, c, UserSpec{})
		if err := c.Faults.Set(Rule{Rate: 1, Fault: Fault{Delay: time.Hour}}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		wantStatus(t, call(t, c, "PATCH", "/v1/users/"+u.ID, `{"first_name":"Late"}`), http.StatusOK, "")
		if took := time.Since(start); took != time.Hour {
			t.Errorf("took %v", took)
		}
		// A client that gives up ends the delay, and its request is applied.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, "PATCH", "/v1/users/"+u.ID, jsonBody(t, `{"first_name":"Gone"}`))
		r.Header.Set("Authorization", "Bearer "+c.SecretKey())
		c.ServeHTTP(httptest.NewRecorder(), r)
		if now, _ := c.User(u.ID); *now.FirstName != "Gone" || time.Since(start) != time.Hour+time.Second {
			t.Errorf("%s after %v", *now.FirstName, time.Since(start))
		}
	})
}

func TestFaultsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	f := newFaults(1)
	keep := Rule{Route: "keep", Fault: Fault{Action: ActionPass}}
	if err := f.Set(keep); err != nil {
		t.Fatal(err)
	}
	for _, rule := range []Rule{
		{Rate: 1.5}, {Rate: -1},
		{Fault: Fault{Action: "explode"}},
		{Fault: Fault{Action: ActionRefuse, Status: 200}},
		{Script: []Fault{{Action: "explode"}}},
	} {
		if f.Set(rule) == nil {
			t.Errorf("%+v was accepted", rule)
		}
	}
	if f.Script("x", Fault{Action: "explode"}) == nil {
		t.Error("a bad script was accepted")
	}
	if diff := cmp.Diff([]Rule{keep}, f.Rules()); diff != "" {
		t.Errorf("a refused rule changed the others: %s", diff)
	}
}

func TestRouteMatches(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, route string
		want           bool
	}{
		{"", "GET /v1/users", true},
		{"*", "GET /v1/users", true},
		{"GET /v1/users", "GET /v1/users", true},
		{"GET /v1/users", "GET /v1/users/count", false},
		{"GET *", "PATCH /v1/users", false},
		{"* /v1/users*", "PATCH /v1/users/{user_id}", true},
		{"*users*count", "GET /v1/users/count", true},
		{"*users*count", "GET /v1/users/count/x", false},
	} {
		if got := routeMatches(test.pattern, test.route); got != test.want {
			t.Errorf("%q matches %q: %v", test.pattern, test.route, got)
		}
	}
}

func TestFaultJSON(t *testing.T) {
	t.Parallel()
	rule := Rule{Route: "GET *", Rate: 0.5, Fault: Fault{Action: ActionRefuse, Status: 429, RetryAfter: 2 * time.Second, Delay: 30 * time.Millisecond}, Script: []Fault{{Action: ActionDropAfter}}}
	data, err := json.Marshal(rule)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"route":"GET *","script":[{"action":"drop_after"}],"rate":0.5,"fault":{"action":"refuse","status":429,"retry_after_s":2,"delay_ms":30}}`
	if string(data) != want {
		t.Errorf("got  %s\nwant %s", data, want)
	}
	if diff := cmp.Diff(rule, decode[Rule](t, data)); diff != "" {
		t.Errorf("round trip: %s", diff)
	}
}
