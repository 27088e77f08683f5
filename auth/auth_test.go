package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/watch"
)

// answerErr is an error that knows its status, as those of clerk do.
type answerErr struct {
	status int
	after  time.Duration
}

func (e answerErr) Error() string             { return "secret cause" }
func (e answerErr) HTTPStatus() int           { return e.status }
func (e answerErr) RetryAfter() time.Duration { return e.after }

// fakeVerifier believes "good:USER" and fails as told for other tokens.
type fakeVerifier struct{ failures map[string]error }

func (v fakeVerifier) VerifySession(_ context.Context, token string, fromCookie bool) (userID, sessionID string, claims any, err error) {
	if userID, ok := strings.CutPrefix(token, "good:"); ok {
		return userID, "sess_1", fmt.Sprintf("cookie=%v", fromCookie), nil
	}
	if err, ok := v.failures[token]; ok {
		return "", "", nil, err
	}
	return "", "", nil, fmt.Errorf("wrapped: %w", answerErr{status: http.StatusUnauthorized})
}

// fakeStore is a store and the Clerk behind it.
type fakeStore struct {
	mu             sync.Mutex
	profiles       map[string]lockstep.Profile
	err            error // the database is away
	inClerk        map[string]error
	takes          time.Duration // of each reading
	reads, fetches atomic.Int32
}

func (s *fakeStore) Profile(_ context.Context, id string) (lockstep.Profile, error) {
	s.reads.Add(1)
	s.mu.Lock()
	p, ok := s.profiles[id]
	err := s.err
	s.mu.Unlock()
	time.Sleep(s.takes)
	switch {
	case err != nil:
		return lockstep.Profile{}, err
	case !ok:
		return lockstep.Profile{}, fmt.Errorf("store: %w", ErrNoProfile)
	}
	return p, nil
}

func (s *fakeStore) fetch(ctx context.Context, id string) (lockstep.Profile, error) {
	s.fetches.Add(1)
	time.Sleep(s.takes)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err, ok := s.inClerk[id]; !ok {
		return lockstep.Profile{}, fmt.Errorf("clerk: %w", ErrNoUser)
	} else if err != nil {
		return lockstep.Profile{}, err
	}
	s.profiles[id] = lockstep.Profile{ID: id, Username: "new"}
	return s.profiles[id], ctx.Err()
}

func (s *fakeStore) set(p lockstep.Profile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.profiles[p.ID] = p
}

func newStore() *fakeStore {
	return &fakeStore{
		profiles: map[string]lockstep.Profile{
			"user_ada":    {ID: "user_ada", Username: "ada"},
			"user_banned": {ID: "user_banned", Banned: true},
			"user_gone":   {ID: "user_gone", DeletedAt: time.Unix(1, 0)},
		},
		inClerk: map[string]error{
			"user_new": nil, "user_outage": errors.New("connection refused: secret cause"),
			"user_limited": answerErr{status: http.StatusServiceUnavailable, after: 1500 * time.Millisecond},
		},
	}
}

func newGuard(t *testing.T, s *fakeStore, change func(*Config)) *Guard {
	t.Helper()
	c := Config{Profiles: s, Fetch: s.fetch, Verifier: fakeVerifier{map[string]error{
		"pending": answerErr{status: http.StatusForbidden}, "nokeys": answerErr{status: http.StatusServiceUnavailable},
		"teapot": answerErr{status: http.StatusTeapot}, "plain": errors.New("secret cause"),
	}}}
	if change != nil {
		change(&c)
	}
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func request(header, cookie string) *http.Request {
	r := httptest.NewRequest("GET", "/v1/me", nil)
	if header != "" {
		r.Header.Set("Authorization", header)
	}
	if cookie != "" {
		r.AddCookie(&http.Cookie{Name: "__session", Value: cookie})
	}
	return r
}

// who answers with the session's user, or "anonymous".
func who(w http.ResponseWriter, r *http.Request) {
	name := "anonymous"
	if s, ok := FromContext(r.Context()); ok {
		name = s.UserID
	}
	fmt.Fprint(w, name)
}

type answer struct {
	Status                 int
	Body, Challenge, Retry string
}

func call(h http.Handler, r *http.Request) answer {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	a := answer{w.Code, w.Body.String(), w.Header().Get("WWW-Authenticate"), w.Header().Get("Retry-After")}
	var failed struct {
		Error struct{ Code, Message string }
	}
	if json.Unmarshal(w.Body.Bytes(), &failed) == nil && failed.Error.Message != "" && w.Header().Get("Content-Type") == "application/json" {
		a.Body = failed.Error.Code
	}
	return a
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	ok := func(user string) answer { return answer{200, user, "", ""} }
	missing := answer{401, "UNAUTHORIZED", "Bearer", ""}
	invalid := answer{401, "UNAUTHORIZED", `Bearer error="invalid_token"`, ""}
	forbidden := answer{403, "FORBIDDEN", "", ""}
	away := answer{503, "UPSTREAM_UNAVAILABLE", "", "5"}
	anonymous := ok("anonymous")
	for _, test := range []struct {
		name, header, cookie string
		required, optional   answer
	}{
		{"nothing", "", "", missing, anonymous},
		{"bearer", "Bearer good:user_ada", "", ok("user_ada"), ok("user_ada")},
		{"scheme in lower case", "bearer  good:user_ada ", "", ok("user_ada"), ok("user_ada")},
		{"cookie", "", "good:user_ada", ok("user_ada"), ok("user_ada")},
		{"bearer before cookie", "Bearer good:user_ada", "good:user_new", ok("user_ada"), ok("user_ada")},
		{"a bad bearer is not mended by a cookie", "Bearer bad", "good:user_ada", invalid, invalid},
		{"another scheme", "Basic Z29vZA==", "", missing, anonymous},
		{"another scheme and a cookie", "Basic Z29vZA==", "good:user_ada", ok("user_ada"), ok("user_ada")},
		{"no scheme", "good:user_ada", "", missing, anonymous},
		{"bearer of nothing", "Bearer", "", invalid, invalid},
		{"bad bearer", "Bearer bad", "", invalid, invalid},
		{"bad cookie", "", "bad", invalid, anonymous},
		{"pending bearer", "Bearer pending", "", forbidden, forbidden},
		{"pending cookie", "", "pending", forbidden, anonymous},
		{"no keys", "Bearer nokeys", "", away, away},
		{"no keys for the cookie", "", "nokeys", away, away},
		{"an error with a strange status", "Bearer teapot", "", away, away},
		{"an error with a strange status, for a cookie", "", "teapot", away, away},
		{"an error without a status", "Bearer plain", "", away, away},
		{"new user", "Bearer good:user_new", "", ok("user_new"), ok("user_new")},
		{"banned", "Bearer good:user_banned", "", forbidden, forbidden},
		{"deleted", "Bearer good:user_gone", "", invalid, invalid},
		{"not in Clerk", "Bearer good:user_nobody", "", invalid, invalid},
		{"Clerk is away", "Bearer good:user_outage", "", away, away},
		{"Clerk limits us", "Bearer good:user_limited", "", answer{503, "UPSTREAM_UNAVAILABLE", "", "2"}, answer{503, "UPSTREAM_UNAVAILABLE", "", "2"}},
	} {
		guard := newGuard(t, newStore(), nil)
		for range 2 { // from the cache too
			if diff := cmp.Diff(test.required, call(guard.RequireAuth(http.HandlerFunc(who)), request(test.header, test.cookie))); diff != "" {
				t.Errorf("RequireAuth, %s: %s", test.name, diff)
			}
			if diff := cmp.Diff(test.optional, call(guard.OptionalAuth(http.HandlerFunc(who)), request(test.header, test.cookie))); diff != "" {
				t.Errorf("OptionalAuth, %s: %s", test.name, diff)
			}
		}
	}
}

func TestSession(t *testing.T) {
	t.Parallel()
	want := Session{
		UserID: "user_ada", SessionID: "sess_1", ProfileID: "user_ada",
		Profile: lockstep.Profile{ID: "user_ada", Username: "ada"}, Claims: "cookie=true",
	}
	var got Session
	newGuard(t, newStore(), nil).RequireAuth(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, _ = FromContext(r.Context())
	})).ServeHTTP(httptest.NewRecorder(), request("", "good:user_ada"))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if s, ok := FromContext(t.Context()); ok {
		t.Errorf("a session from nowhere: %+v", s)
	}
}

func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newStore()
		var log bytes.Buffer
		guard := newGuard(t, store, func(c *Config) { c.Log = watch.Logger(t, &log) })
		h := guard.RequireAuth(http.HandlerFunc(who))
		store.err = errors.New("no route to host")
		for range 2 { // an outage is not remembered
			if a := call(h, request("Bearer good:user_ada", "")); a.Status != 503 || a.Challenge != "" || a.Retry == "" {
				t.Errorf("%+v", a)
			}
		}
		if !strings.Contains(log.String(), "no route to host") || store.fetches.Load() != 0 {
			t.Errorf("%d fetches, log %q", store.fetches.Load(), &log)
		}
		store.err = nil
		if a := call(h, request("Bearer good:user_ada", "")); a.Status != 200 {
			t.Errorf("the database is back: %+v", a)
		}
		store.err = errors.New("no route to host")
		if a := call(h, request("Bearer good:user_ada", "")); a.Status != 200 {
			t.Errorf("a user just seen: %+v", a)
		}
	})
}

// The hot path asks nobody; after the TTL, and after Forget, it asks again.
func TestChangesAreSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newStore()
		guard := newGuard(t, store, nil)
		h := guard.RequireAuth(http.HandlerFunc(who))
		status := func(user string) int { return call(h, request("Bearer good:"+user, "")).Status }
		for range 1000 {
			if status("user_ada") != 200 {
				t.Fatal("refused")
			}
		}
		if n := store.reads.Load(); n != 1 {
			t.Errorf("%d readings, want 1", n)
		}
		store.set(lockstep.Profile{ID: "user_ada", Banned: true})
		if status("user_ada") != 200 {
			t.Error("read again within the TTL")
		}
		time.Sleep(3 * time.Second)
		if status("user_ada") != 403 {
			t.Error("a ban was not seen after the TTL")
		}
		store.set(lockstep.Profile{ID: "user_ada", DeletedAt: time.Now()})
		guard.Forget("user_ada", "user_unknown")
		if status("user_ada") != 401 {
			t.Error("a deletion was not seen after Forget")
		}
	})
}

func TestUnknownUserIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newStore()
		h := newGuard(t, store, nil).RequireAuth(http.HandlerFunc(who))
		for range 100 {
			call(h, request("Bearer good:user_nobody", ""))
		}
		if n := store.fetches.Load(); n != 1 {
			t.Errorf("%d calls of Clerk for one deleted user", n)
		}
		store.inClerk["user_nobody"] = nil
		time.Sleep(3 * time.Second)
		if a := call(h, request("Bearer good:user_nobody", "")); a.Status != 200 {
			t.Errorf("%+v", a)
		}
	})
}

// Of 64 first calls at once one asks, though the first of them gives up.
func TestFirstCallsAreShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newStore()
		store.takes = time.Second
		h := newGuard(t, store, nil).RequireAuth(http.HandlerFunc(who))
		ctx, leave := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { call(h, request("Bearer good:user_new", "").WithContext(ctx)) })
		synctest.Wait()
		for range 64 {
			group.Go(func() {
				if a := call(h, request("Bearer good:user_new", "")); a.Status != 200 {
					t.Errorf("%+v", a)
				}
			})
		}
		synctest.Wait()
		leave()
		group.Wait()
		if store.reads.Load() != 1 || store.fetches.Load() != 1 {
			t.Errorf("%d readings, %d fetches", store.reads.Load(), store.fetches.Load())
		}
	})
}

// A reading that began before a change must not be remembered after it.
func TestForgetDuringReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newStore()
		store.takes = time.Second
		guard := newGuard(t, store, func(c *Config) { c.TTL = time.Hour })
		h := guard.RequireAuth(http.HandlerFunc(who))
		done := make(chan answer)
		go func() { done <- call(h, request("Bearer good:user_ada", "")) }()
		synctest.Wait() // it has read the old version
		store.set(lockstep.Profile{ID: "user_ada", Banned: true})
		guard.Forget("user_ada")
		if a := call(h, request("Bearer good:user_ada", "")); a.Status != 403 {
			t.Errorf("joined a reading from before the change: %+v", a)
		}
		<-done
		if a := call(h, request("Bearer good:user_ada", "")); a.Status != 403 {
			t.Errorf("the old version was remembered: %+v", a)
		}
	})
}

func TestSlowReadingEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard := newGuard(t, newStore(), func(c *Config) {
			c.Profiles, c.Timeout = nil, 4*time.Second
			c.Fetch = func(ctx context.Context, _ string) (lockstep.Profile, error) {
				<-ctx.Done()
				return lockstep.Profile{}, ctx.Err()
			}
		})
		began := time.Now()
		a := call(guard.RequireAuth(http.HandlerFunc(who)), request("Bearer good:user_ada", ""))
		if a.Status != 503 || time.Since(began) != 4*time.Second {
			t.Errorf("%+v after %v", a, time.Since(began))
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	var loads atomic.Int32
	c := newCache(100, func(_ context.Context, id string) (lockstep.Profile, error) {
		loads.Add(1)
		return lockstep.Profile{ID: id}, nil
	})
	c.ttl, c.timeout, c.now = time.Hour, time.Hour, func() time.Time { return time.Unix(1, 0) }
	for i := range 1000 {
		for _, id := range []string{"user_hot", fmt.Sprintf("user_%d", i)} {
			if p, err := c.get(t.Context(), id); err != nil || p.ID != id {
				t.Fatal(p, err)
			}
		}
	}
	if n := len(c.young) + len(c.old); n > 100 || len(c.readings) != 0 {
		t.Errorf("%d profiles, %d readings", n, len(c.readings))
	}
	if n := loads.Load(); n != 1001 {
		t.Errorf("%d loads: a profile in use was forgotten", n)
	}
}

func TestConfigNeeds(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{}); err == nil {
		t.Error("an empty Config was accepted")
	}
}
