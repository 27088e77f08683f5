package medusa_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/medusa"
)

const (
	logins  = "POST /auth/user/emailpass"
	renewal = "POST /auth/token/refresh"
)

// movedClock is a time that tests move.
type movedClock struct {
	mu  sync.Mutex
	now time.Time
}

func newMovedClock() *movedClock { return &movedClock{now: time.Now()} }

func (c *movedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *movedClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// TestLoginIsKept: many callers log in once; the token is renewed before it ends,
// and made anew once it has ended or is refused.
func TestLoginIsKept(t *testing.T) {
	t.Parallel()
	clock := newMovedClock()
	w := openAPIWith(t, emulator.MedusaOptions{Now: clock.Now})
	target := w.target(t, byLogin(w.Medusa))
	target.SetClock(clock.Now)
	check := func(what string, wantLogins, wantRenewals int) {
		t.Helper()
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				if err := target.Check(t.Context()); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			})
		}
		all.Wait()
		if l, r := w.Faults.Total(logins), w.Faults.Total(renewal); l != wantLogins || r != wantRenewals {
			t.Errorf("%s: %d logins and %d renewals, want %d and %d", what, l, r, wantLogins, wantRenewals)
		}
	}
	check("at first", 1, 0)
	clock.add(22 * time.Hour)
	check("before its last hour", 1, 0)
	clock.add(90 * time.Minute)
	check("in its last hour", 1, 1)
	clock.add(23*time.Hour + 30*time.Minute)
	must(t, w.Faults.Script(renewal, emulator.Fault{Action: emulator.ActionRefuse}))
	check("when it cannot be renewed", 1, 2)
	clock.add(time.Minute)
	check("a little later", 1, 3)
	clock.add(25 * time.Hour)
	check("after its end", 2, 3)
	clock.add(time.Second)
	w.EndLogins()
	check("once it is refused", 3, 3)
}

// TestLoginThatIsWrong says what to type, and names nobody.
func TestLoginThatIsWrong(t *testing.T) {
	t.Parallel()
	w := openAPI(t)
	for what, o := range map[string]medusa.APIOptions{
		"MEDUSA_ADMIN_PASSWORD": {AdminEmail: "vilhelmina@example.test", AdminPassword: "kvistgaard"},
		"MEDUSA_API_KEY":        {Key: "sk_kvistgaard"},
	} {
		err := w.target(t, o).Check(t.Context())
		if lockstep.KindOf(err) != lockstep.ErrRefused || !strings.Contains(err.Error(), what) ||
			strings.Contains(err.Error(), "kvistgaard") || strings.Contains(err.Error(), "vilhelmina") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestLoginFails: what stands before a login is told like what stands before any
// request; nothing was written.
func TestLoginFails(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault emulator.Fault
		want  lockstep.ErrorKind
	}{
		"limit":  {emulator.Fault{Action: emulator.ActionRefuse, Status: 429, RetryAfter: time.Second}, lockstep.ErrThrottled},
		"outage": {emulator.Fault{Action: emulator.ActionRefuse, Status: 500}, lockstep.ErrTransient},
		"broken": {emulator.Fault{Action: emulator.ActionDropBefore}, lockstep.ErrTransient},
	} {
		w := openAPI(t)
		must(t, w.Faults.Script(logins, tt.fault))
		if _, err := w.target(t, byLogin(w.Medusa)).Create(t.Context(), person(1)); lockstep.KindOf(err) != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
		if n := len(w.Customers()); n != 0 {
			t.Errorf("%s: %d customers", name, n)
		}
	}
	second := fakeMedusa(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"location":"somewhere"}`)) })
	err := newAPI(t, second, medusa.APIOptions{AdminEmail: "a@example.test", AdminPassword: "x"}).Check(t.Context())
	if lockstep.KindOf(err) != lockstep.ErrRefused || !strings.Contains(err.Error(), "MEDUSA_API_KEY") {
		t.Errorf("a login in two steps: %v", err)
	}
}

func TestNoWayIn(t *testing.T) {
	t.Parallel()
	for _, o := range []medusa.APIOptions{
		{URL: "http://localhost"}, {URL: "http://localhost", AdminEmail: "a"}, {URL: "http://localhost", AdminPassword: "a", Key: "sk_a"},
		{Key: "sk_a"}, {URL: "localhost:9000", Key: "sk_a"}, {URL: "ftp://localhost", Key: "sk_a"}, {URL: "http://u:p@localhost", Key: "sk_a"},
		{URL: "http://localhost?x=1", Key: "sk_a"}, {URL: "http://bad host", Key: "sk_a"},
	} {
		if _, err := medusa.NewAPI(o); err == nil || !strings.Contains(err.Error(), "MEDUSA_") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
