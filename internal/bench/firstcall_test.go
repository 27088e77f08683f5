package bench_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
)

// firstCallers is how many users call for the first time, one after another.
const firstCallers = 300

// BenchmarkFirstCall measures what Lockstep adds to a new user's first call of
// /v1/me: everything but Clerk's answer, which the emulator times itself.
func BenchmarkFirstCall(b *testing.B) {
	w := newWorld(b)
	w.migrated(b, "first")
	clerk := newTimedClerk(b)
	w.events.env = append(w.events.env, "CLERK_AUTHORIZED_PARTIES=")
	for _, s := range clerk.Settings() {
		w.events.env = append(w.events.env, s.Name+"="+s.Value)
	}
	s := w.serve(b, "first", app.RoleAll, 0)
	var whole, own []time.Duration
	for i := range firstCallers {
		u, err := clerk.CreateUser(emulator.UserSpec{FirstName: "Ada", Email: fmt.Sprintf("ada%d@example.test", i), Verified: true})
		must(b, err)
		token, err := clerk.MintToken(emulator.TokenSpec{UserID: u.ID})
		must(b, err)
		took := callMe(b, s.addr, token)
		whole = append(whole, took)
		own = append(own, took-clerk.answered(u.ID))
	}
	if n := count(b, connect(b, w.pg.URL("postgres", "first")), `select count(*) from public.profiles`); n != firstCallers {
		b.Fatalf("%d profiles, want %d", n, firstCallers)
	}
	s.end(b)
	table("first call of a new user, /v1/me, ms (the seed: 110 to 250 in all)",
		"|p50|p99",
		fmt.Sprintf("in all|%.2f|%.2f", ms(quantile(whole, 0.5)), ms(quantile(whole, 0.99))),
		fmt.Sprintf("without Clerk|%.2f|%.2f", ms(quantile(own, 0.5)), ms(quantile(own, 0.99))))
	b.ReportMetric(ms(quantile(own, 0.5)), "own-p50-ms")
	b.ReportMetric(ms(quantile(own, 0.99)), "own-p99-ms")
}

func callMe(b *testing.B, addr, token string) time.Duration {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+addr+"/v1/me", nil)
	must(b, err)
	r.Header.Set("Authorization", "Bearer "+token)
	start := time.Now()
	resp, err := http.DefaultClient.Do(r)
	took := time.Since(start)
	must(b, err)
	must(b, resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		b.Fatalf("/v1/me: %s", resp.Status)
	}
	return took
}

// timedClerk is an emulated Clerk that remembers how long it took to answer
// for each user.
type timedClerk struct {
	*emulator.Clerk
	mu   sync.Mutex
	took map[string]time.Duration
}

func newTimedClerk(b *testing.B) *timedClerk {
	b.Helper()
	// A production key: with a development one the client keeps to 10 calls a second.
	clerk, err := emulator.NewClerk(emulator.ClerkOptions{SecretKey: "sk_live_benchmark"})
	must(b, err)
	b.Cleanup(clerk.Close)
	c := &timedClerk{Clerk: clerk, took: map[string]time.Duration{}}
	server := httptest.NewServer(http.HandlerFunc(c.serve))
	b.Cleanup(server.Close)
	clerk.SetBaseURL(server.URL)
	return c
}

func (c *timedClerk) serve(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	c.ServeHTTP(w, r)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]] = time.Since(start)
}

func (c *timedClerk) answered(user string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.took[user]
}
