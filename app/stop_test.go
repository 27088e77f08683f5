package app_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// refusesConnections waits until the world's Lockstep takes no new requests.
func (w *world) refusesConnections() {
	w.t.Helper()
	w.waitFor("no new connections", func(ctx context.Context) bool {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
}

func TestStopAnswersRequestsInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lock, err := w.pool.Begin(t.Context())
	must(t, err)
	defer func() { _ = lock.Rollback(context.Background()) }() // if the test fails before it commits
	_, err = lock.Exec(t.Context(), `lock table lockstep.deliveries in access exclusive mode`)
	must(t, err)
	answered := make(chan answer, 1)
	go func() {
		defer close(answered) // without an answer too
		answered <- w.send("msg_1", userEvent("user.created", 1000))
	}()
	w.eventually("the request waits for the database",
		`select count(*) > 0 from pg_locks where not granted and relation = 'lockstep.deliveries'::regclass`)
	w.asked()
	w.refusesConnections()
	must(t, lock.Commit(t.Context()))
	if got := <-answered; got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.body)
	}
	must(t, w.wait())
	if n := testdb.Query[int](t, w.pool, `select count(*) from public.profiles where id = 'user_a'`); n != 1 {
		t.Error("the request was answered and not stored")
	}
}

// gate is a target whose writes wait until it is opened.
type gate struct {
	lockstep.Target
	entered, opened chan struct{}
	once            sync.Once
}

func (g *gate) Create(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
	g.once.Do(func() { close(g.entered) })
	select {
	case <-g.opened:
		return g.Target.Create(ctx, want)
	case <-ctx.Done():
		return lockstep.Customer{}, ctx.Err()
	}
}

func TestStopLetsRunningJobsFinish(t *testing.T) {
	t.Parallel()
	g := &gate{entered: make(chan struct{}), opened: make(chan struct{})}
	w := newWorld(t, app.WithTargets(func(t lockstep.Target) lockstep.Target {
		g.Target = t
		return g
	}))
	u := w.create("Ada")
	<-g.entered
	w.asked()
	w.refusesConnections()
	close(g.opened)
	must(t, w.wait())
	if !testdb.Query[bool](t, w.pool, isLinked, u.ID) {
		t.Error("the job that ran was cut off")
	}
	if n := testdb.Query[int](t, w.pool, `select count(*) from lockstep.river_job where state = 'running'`); n != 0 {
		t.Errorf("%d jobs are left in state running", n)
	}
	if n := testdb.Query[int](t, w.pool, `select count(*) from lockstep.customer_links where lease_until is not null`); n != 0 {
		t.Errorf("%d links are left leased", n)
	}
}

// What waits when a stop comes is done by the next process.
func TestStopAndStartLoseNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 3 {
		for range 10 {
			w.create("ada." + w.lastUser())
		}
		w.restart(nil)
	}
	w.delivered()
	w.eventually("all are linked", inStep, 30)
}

func (w *world) lastUser() string {
	users := w.clerk.Users()
	if len(users) == 0 {
		return "first"
	}
	return strings.ToLower(users[len(users)-1].ID)
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct{ addr, want string }{
		{w.addr, "is in use"},
		{"203.0.113.1:8080", "is no address of this machine"}, // of the range for documentation
		{"canary", "is no address of this machine"},
	} {
		a := w.open(map[string]string{"LOCKSTEP_ADDR": c.addr})
		err := a.Serve(t.Context(), app.RoleAll, nil)
		a.Close()
		if err == nil || !strings.HasPrefix(err.Error(), "LOCKSTEP_ADDR "+c.want) || !strings.Contains(err.Error(), "such as :80") {
			t.Errorf("%s: %v", c.addr, err)
			continue
		}
		if strings.Contains(err.Error(), c.addr) {
			t.Errorf("the error repeats the value: %v", err)
		}
	}
	w.stillWorks()
}

func TestStopBeforeTheStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.open(nil)
	defer a.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, a.Serve(ctx, app.RoleAll, nil))
}
