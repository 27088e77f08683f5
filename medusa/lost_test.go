package medusa_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/medusa"
)

// links is what Lockstep remembers of each user.
type links struct {
	target lockstep.Target
	byUser map[string]lockstep.Link
}

func newLinks(target lockstep.Target) *links {
	return &links{target, map[string]lockstep.Link{}}
}

// sync makes Medusa hold what the profile says, as a worker does.
func (l *links) sync(t testing.TB, p lockstep.Profile) (engine.Result, error) {
	t.Helper()
	res, err := engine.Sync(t.Context(), l.target, p, l.byUser[p.ID], l.owners, "")
	if err == nil {
		l.byUser[p.ID] = lockstep.Link{UserID: p.ID, CustomerID: res.Customer.ID, Status: res.Decision.Status}
	}
	return res, err
}

func (l *links) owners(_ context.Context, _ string, ids []string) (map[string]string, error) {
	owner := map[string]string{}
	for _, id := range ids {
		for user, link := range l.byUser {
			if link.CustomerID == id {
				owner[id] = user
			}
		}
	}
	return owner, nil
}

// oneEach checks that every user has the one customer that its link names.
func (w apiWorld) oneEach(t *testing.T, l *links) {
	t.Helper()
	seen := map[string]string{}
	for _, c := range w.Customers() {
		user, _ := c.Metadata["clerk_user_id"].(string)
		if seen[user] != "" || l.byUser[user].CustomerID != c.ID {
			t.Errorf("customer %s is %q's, whose link says %q", c.ID, user, l.byUser[user].CustomerID)
		}
		seen[user] = c.ID
	}
	if len(seen) != len(l.byUser) {
		t.Errorf("%d customers for %d users", len(seen), len(l.byUser))
	}
}

// TestLostAnswersOfTheAPI loses 200 answers to writes that took place, and some before:
// users with and without an e-mail, whose e-mail changes meanwhile, and workers
// that are killed in between and start with nothing in memory.
func TestLostAnswersOfTheAPI(t *testing.T) {
	t.Parallel()
	clock := newMovedClock()
	w := openAPI(t)
	worker := func() *medusa.API {
		target := w.target(t, byLogin(w.Medusa))
		target.SetClock(clock.Now)
		return target
	}
	l := newLinks(worker())
	must(t, w.Faults.Set(
		emulator.Rule{Route: "POST /admin/customers*", Rate: 0.5, Fault: emulator.Fault{Action: emulator.ActionDropAfter}},
		emulator.Rule{Route: "POST /admin/customers*", Rate: 0.2, Fault: emulator.Fault{Action: emulator.ActionDropBefore}},
	))
	random := rand.New(rand.NewPCG(7, 7))
	users := 0
	for w.lostAfter() < 200 {
		if users == 0 || random.IntN(3) > 0 {
			users++
		}
		user := 1 + random.IntN(users)
		if len(l.byUser) < users {
			user = users
		}
		for done := false; !done; { // as the queue does, which comes back
			_, err := l.sync(t, anyProfile(random, user))
			switch lockstep.KindOf(err) {
			case lockstep.ErrThrottled:
				clock.add(medusa.Settle)
			case lockstep.ErrUnknown:
			default:
				must(t, err)
				done = true
			}
			if random.IntN(10) == 0 {
				l.target = worker() // killed, and another took over
			}
		}
	}
	w.oneEach(t, l)
	t.Logf("%d users, %d answers lost after the commit", users, w.lostAfter())
}

// anyProfile is a user whose name differs each time, and whose e-mail comes, goes
// and moves.
func anyProfile(random *rand.Rand, user int) lockstep.Profile {
	p := lockstep.Profile{ID: fmt.Sprintf("user_%04d", user), FirstName: fmt.Sprintf("Name%d", random.IntN(1000))}
	if random.IntN(3) > 0 {
		p.Email, p.EmailVerified = fmt.Sprintf("User%04d.%d@example.test", user, random.IntN(3)), true
	}
	return p
}

func (w apiWorld) lostAfter() (n int) {
	for _, count := range w.Faults.Counts() {
		if count.Outcome == "drop_after 200" {
			n += count.N
		}
	}
	return n
}

// lateMedusa keeps writes, like one whose database is away, and does them when it
// is told.
type lateMedusa struct {
	to   http.Handler
	held chan func()
}

func (m lateMedusa) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		m.to.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	kept := r.Clone(context.WithoutCancel(r.Context()))
	kept.Body = io.NopCloser(bytes.NewReader(body))
	m.held <- func() { m.to.ServeHTTP(httptest.NewRecorder(), kept) }
	<-r.Context().Done()
}

// TestCarriedOutLate: Medusa does what it was asked long after the answer was
// given up, when the target has looked, and the e-mail has changed.
func TestCarriedOutLate(t *testing.T) {
	t.Parallel()
	withEmail := lockstep.Profile{ID: "user_1", Email: "a@example.test", EmailVerified: true}
	moved := lockstep.Profile{ID: "user_1", Email: "b@example.test", EmailVerified: true}
	bare := lockstep.Profile{ID: "user_1", FirstName: "Ada"}
	for name, tt := range map[string]struct {
		first, then lockstep.Profile
		want        lockstep.ErrorKind // of the second, while the first is kept
	}{
		"no e-mail":       {bare, bare, lockstep.ErrThrottled},
		"e-mail came":     {bare, moved, lockstep.ErrThrottled},
		"e-mail moved":    {withEmail, moved, lockstep.ErrThrottled},
		"e-mail the same": {withEmail, withEmail, lockstep.ErrUnknown}, // it is kept as well
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := newMovedClock()
			w := openAPI(t)
			late := lateMedusa{w.Medusa, make(chan func(), 100)}
			server := httptest.NewServer(late)
			t.Cleanup(server.Close)
			o := byKey(w.Medusa)
			o.Timeout = 100 * time.Millisecond
			target := newAPI(t, server.URL, o)
			target.SetClock(clock.Now)
			l := newLinks(target)
			_, err := target.Create(t.Context(), tt.first.Customer())
			if lockstep.KindOf(err) != lockstep.ErrUnknown {
				t.Fatal(err)
			}
			if _, err := l.sync(t, tt.then); lockstep.KindOf(err) != tt.want {
				t.Errorf("while it is kept: %v, want %s", err, tt.want)
			}
			for len(late.held) > 0 {
				(<-late.held)()
			}
			clock.add(medusa.Settle)
			l.target = newAPI(t, w.url, byKey(w.Medusa))
			_, err = l.sync(t, tt.then)
			must(t, err)
			w.oneEach(t, l)
		})
	}
}

// TestUpdateOfNothing sends no event: a subscriber that writes back would go round
// for ever.
func TestUpdateOfNothing(t *testing.T) {
	t.Parallel()
	w := openAPI(t)
	target := w.target(t, byLogin(w.Medusa))
	now, err := target.Create(t.Context(), person(1))
	must(t, err)
	before := len(w.Events())
	stale := now
	stale.FirstName = "Another"
	for _, seen := range []lockstep.Customer{now, stale} {
		_, err = target.Update(t.Context(), seen, person(1))
		must(t, err)
		_, err = target.Adopt(t.Context(), seen, person(1))
		must(t, err)
	}
	if events := w.Events()[before:]; len(events) > 0 {
		t.Errorf("sent %+v", events)
	}
}
