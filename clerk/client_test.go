package clerk

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
)

func (w world) create(t testing.TB, spec emulator.UserSpec) string {
	t.Helper()
	user, err := w.CreateUser(spec)
	if err != nil {
		t.Fatal(err)
	}
	return user.ID
}

// script gives the next requests of a route these fates.
func (w world) script(t testing.TB, route string, faults ...emulator.Fault) {
	t.Helper()
	if err := w.Faults.Script(route, faults...); err != nil {
		t.Fatal(err)
	}
}

func refuse(status int, after time.Duration) emulator.Fault {
	return emulator.Fault{Action: emulator.ActionRefuse, Status: status, RetryAfter: after}
}

func TestGetUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.ClerkOptions{})
	id := w.create(t, emulator.UserSpec{
		FirstName: "Ada", Email: "ada@example.test", Verified: true,
		ExtraEmails: []emulator.EmailSpec{{Address: "first@example.test"}},
	})
	user, err := w.client.GetUser(t.Context(), id)
	if err != nil || user.ID != id || user.FirstName != "Ada" || user.Email != "ada@example.test" || !user.EmailVerified {
		t.Errorf("%+v, %v", user, err)
	}
	for _, id := range []string{"user_2tSYNTHnobody", "", "user_../count", "count"} {
		if _, err := w.client.GetUser(t.Context(), id); !errors.Is(err, ErrNotFound) || (id != "" && strings.Contains(err.Error(), id)) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestRequestHeaders(t *testing.T) {
	t.Parallel()
	var got http.Header
	client := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		fmt.Fprint(w, `{"object":"total_count","total_count":7}`)
	})
	if n, err := client.Count(t.Context()); n != 7 || err != nil {
		t.Fatal(n, err)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer sk_test_synthetic", "Clerk-Api-Version": "2026-05-12", "User-Agent": "lockstep",
	} {
		if got.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Get(name), want)
		}
	}
}

func clientOf(t *testing.T, serve http.HandlerFunc) *Client {
	t.Helper()
	httpClient := &http.Client{Transport: direct{serve}, CheckRedirect: newHTTPClient().CheckRedirect}
	client, err := NewClient(ClientConfig{SecretKey: "sk_test_synthetic", HTTP: httpClient})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// 64 who ask at once make one call, and one who leaves does not end it.
func TestGetUserIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.ClerkOptions{})
		id := w.create(t, emulator.UserSpec{FirstName: "Ada"})
		w.fail(t, userRoute, emulator.Fault{Action: emulator.ActionPass, Delay: time.Second})
		first, leave := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := w.client.GetUser(first, id); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrUnavailable) {
				t.Error(err)
			}
		})
		synctest.Wait()
		for range 64 {
			group.Go(func() {
				if user, err := w.client.GetUser(t.Context(), id); err != nil || user.ID != id {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		leave()
		group.Wait()
		if n := w.Faults.Total(userRoute); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

func TestGetUserNowSharesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.ClerkOptions{})
		id := w.create(t, emulator.UserSpec{FirstName: "Ada"})
		w.script(t, userRoute, emulator.Fault{Action: emulator.ActionPass, Delay: time.Second})
		go func() { _, _ = w.client.GetUser(t.Context(), id) }()
		synctest.Wait()
		if _, err := w.client.GetUserNow(t.Context(), id); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		if n := w.Faults.Total(userRoute); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
	})
}

func TestRetries(t *testing.T) {
	t.Parallel()
	broken := emulator.Fault{Action: emulator.ActionDropAfter}
	for _, test := range []struct {
		name   string
		faults []emulator.Fault
		want   error
		calls  int
		least  time.Duration
	}{
		{"one 500", []emulator.Fault{refuse(500, 0)}, nil, 2, firstBackoff / 2},
		{"502, 503, 504", []emulator.Fault{refuse(502, 0), refuse(503, 0), refuse(504, 0)}, nil, 4, firstBackoff},
		{"a broken connection", []emulator.Fault{broken, {Action: emulator.ActionDropBefore}}, nil, 3, firstBackoff},
		{"a hanging connection", []emulator.Fault{{Action: emulator.ActionPass, Delay: time.Hour}}, nil, 2, attemptTimeout},
		{"429", []emulator.Fault{refuse(429, 3*time.Second)}, nil, 2, 3 * time.Second},
		{"429 without a time", []emulator.Fault{refuse(429, 0)}, nil, 2, firstBackoff / 2},
		{"503 with a time", []emulator.Fault{refuse(503, 2*time.Second)}, nil, 2, 2 * time.Second},
		{"five 500", []emulator.Fault{refuse(500, 0), refuse(500, 0), refuse(500, 0), refuse(500, 0), refuse(500, 0)}, ErrUnavailable, 5, firstBackoff},
		{"422", []emulator.Fault{refuse(422, 0)}, ErrRequest, 1, 0},
		{"401", []emulator.Fault{refuse(401, 0)}, ErrUnauthorized, 1, 0},
		{"403", []emulator.Fault{refuse(403, 0)}, ErrUnauthorized, 1, 0},
		{"404", []emulator.Fault{refuse(404, 0)}, ErrNotFound, 1, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, emulator.ClerkOptions{})
			id := w.create(t, emulator.UserSpec{FirstName: "Ada"})
			w.script(t, userRoute, test.faults...)
			began := time.Now()
			_, err := w.client.GetUserNow(t.Context(), id)
			if !errors.Is(err, test.want) || w.Faults.Total(userRoute) != test.calls || time.Since(began) < test.least {
				t.Errorf("%s: %v after %d calls in %v", test.name, err, w.Faults.Total(userRoute), time.Since(began))
			}
			if err != nil && strings.Contains(err.Error(), id) {
				t.Errorf("%s: the error names the user: %v", test.name, err)
			}
		})
	}
}

// A caller with little time hears at once how long to wait, and nobody asks
// Clerk again before that.
func TestRateLimitedByClerk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.ClerkOptions{})
		id := w.create(t, emulator.UserSpec{FirstName: "Ada"})
		w.script(t, userRoute, refuse(429, 8*time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		for range 10 {
			_, err := w.client.GetUser(ctx, id)
			failed, ok := errors.AsType[*APIError](err)
			if !ok || failed.Kind != ErrUnavailable || failed.RetryAfter() != 8*time.Second {
				t.Fatalf("%v", err)
			}
		}
		if time.Since(began) != 0 || w.Faults.Total(userRoute) != 1 {
			t.Errorf("%d calls in %v", w.Faults.Total(userRoute), time.Since(began))
		}
		if _, err := w.client.GetUser(t.Context(), id); err != nil || time.Since(began) < 8*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// However many calls are made at once, Clerk's limit is not met.
func TestOwnRateLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.ClerkOptions{RateLimit: emulator.DevelopmentRateLimit})
		var group sync.WaitGroup
		for range 500 {
			group.Go(func() {
				if _, err := w.client.Count(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		began := time.Now()
		group.Wait()
		for _, count := range w.Faults.Counts() {
			if count.Outcome != "200" {
				t.Errorf("%+v", count)
			}
		}
		if took := time.Since(began); took > 60*time.Second {
			t.Errorf("500 calls took %v", took)
		}
	})
}

func TestLimiterBoundsEveryWindow(t *testing.T) {
	t.Parallel()
	for _, perWindow := range []int{1, 2, 9, 10, 100, 1000} {
		synctest.Test(t, func(t *testing.T) {
			limit := newLimiter(perWindow)
			var sent []time.Time
			for i := range 3 * perWindow {
				if i == perWindow {
					time.Sleep(time.Minute) // idle: the burst comes back, and no more
				}
				if err := limit.wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				sent = append(sent, time.Now())
			}
			for i := range sent {
				if i+perWindow < len(sent) && sent[i+perWindow].Sub(sent[i]) < limitWindow-time.Millisecond {
					t.Fatalf("%d + 1 requests in %v", perWindow, sent[i+perWindow].Sub(sent[i]))
				}
			}
		})
	}
}

func TestAnswersOfOthers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		body   string
		want   error
	}{
		"a proxy's 404":         {404, "<html>not found</html>", ErrUnavailable},
		"a proxy's 403":         {403, "<html>blocked</html>", ErrUnavailable},
		"a redirect":            {302, "", ErrUnavailable},
		"a page":                {200, "<html>welcome</html>", ErrUnavailable},
		"another user":          {200, `{"id":"user_other","updated_at":1}`, ErrMalformed},
		"no user":               {200, `{}`, ErrMalformed},
		"a code that is a text": {400, `{"errors":[{"code":"ada@example.test is taken","message":"ada@example.test"}]}`, ErrRequest},
	} {
		synctest.Test(t, func(t *testing.T) {
			client := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "https://evil.example/")
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
			})
			if _, err := client.GetUser(t.Context(), ada); !errors.Is(err, test.want) || strings.Contains(err.Error(), "ada@") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// The transport's errors carry the address, and with it the user's id.
func TestErrorsNameNoUser(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	client, err := NewClient(ClientConfig{SecretKey: "sk_test_synthetic", BaseURL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.GetUser(t.Context(), ada); !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), ada) {
		t.Error(err)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for header, want := range map[string]time.Duration{
			"": 0, "3": 3 * time.Second, "-3": 0, "soon": 0, "999999999999": maxRetryAfter, "86400": maxRetryAfter,
			time.Now().Add(9 * time.Second).UTC().Format(http.TimeFormat): 9 * time.Second,
			time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat):      0,
		} {
			if got := retryAfter(header); got != want {
				t.Errorf("%q: %v, want %v", header, got, want)
			}
		}
	})
}

func TestClientSettings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]ClientConfig{
		"no key": {}, "publishable key": {SecretKey: "pk_test_hunter2"}, "broken key": {SecretKey: "sk_test_hunter2\nx"},
		"base is no URL": {SecretKey: "sk_test_hunter2", BaseURL: "clerk"},
	} {
		if _, err := NewClient(c); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	c, err := NewClient(ClientConfig{SecretKey: " sk_live_x ", BaseURL: "https://api.clerk.com/v1/"})
	if err != nil || c.base != "https://api.clerk.com" || c.secret != "sk_live_x" || c.limit.interval > limitWindow/900 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestIssuer(t *testing.T) {
	t.Parallel()
	key := func(text string) string { return "pk_test_" + base64.StdEncoding.EncodeToString([]byte(text)) }
	if got, err := Issuer(key("example-slug-12.clerk.accounts.dev$")); err != nil || got != "https://example-slug-12.clerk.accounts.dev" {
		t.Error(got, err)
	}
	for _, bad := range []string{"", "pk_test_", "pk_test_!!", key("no dollar"), key("$"), key("a/b$"), "sk_test_" + key("x$")[8:]} {
		if got, err := Issuer(bad); err == nil {
			t.Errorf("%q: %q", bad, got)
		}
	}
}

func TestUsersByID(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.ClerkOptions{})
	var ids []string
	for range 230 {
		ids = append(ids, w.create(t, emulator.UserSpec{FirstName: "Ada"}))
	}
	users, err := w.client.UsersByID(t.Context(), append(ids[10:], "user_gone", "-"+ids[0], "")...)
	if err != nil || len(users) != 220 || w.Faults.Total(listRoute) != 3 {
		t.Errorf("%d users, %v, %d calls", len(users), err, w.Faults.Total(listRoute))
	}
	if users, err := w.client.UsersByID(t.Context()); len(users) != 0 || err != nil {
		t.Error(users, err)
	}
	if n, err := w.client.Count(t.Context()); n != 230 || err != nil {
		t.Error(n, err)
	}
}

// walk lists all users; between is done after each page but the last.
func walk(t *testing.T, client *Client, between func(page []lockstep.User)) map[string]int {
	t.Helper()
	seen, cursor := map[string]int{}, Cursor{}
	for range 100 {
		var users []lockstep.User
		var more bool
		var err error
		if users, cursor, more, err = client.ListUsers(t.Context(), cursor); err != nil {
			t.Fatal(err)
		}
		for _, user := range users {
			seen[user.ID]++
		}
		if !more {
			return seen
		}
		between(users)
	}
	t.Fatal("the walk does not end")
	return nil
}
