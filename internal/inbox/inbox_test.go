package inbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/localpg/pgtest"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/internal/watch"
	"github.com/lockstephq/lockstep/targettest"
)

// box is a running Inbox over a database of its own.
type box struct {
	*Inbox
	t    testing.TB
	db   pgtest.DB
	pool *pgxpool.Pool
}

func newBox(t testing.TB, targets ...lockstep.Target) *box {
	t.Helper()
	db := testdb.New(t)
	b := &box{t: t, db: db, pool: testdb.Pool(t, db, "")}
	b.Inbox = b.start(targets...)
	return b
}

// start runs one more worker process's worth of Inbox until the test ends.
func (b *box) start(targets ...lockstep.Target) *Inbox {
	b.t.Helper()
	in, err := NewWorker(Config{
		Pool: testdb.Pool(b.t, b.db, testdb.Role), JobPool: testdb.Pool(b.t, b.db, testdb.Role),
		Targets: targets, Workers: 100, Log: watch.Logger(b.t),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("run: %v", err)
		}
	})
	return in
}

// user is a delivery about a user: version n, with a verified e-mail.
func user(id string, n int) lockstep.Delivery {
	return lockstep.Delivery{Source: "clerk", ID: fmt.Sprintf("msg_%s_%d", id, n), Kind: "user.updated", User: lockstep.User{
		ID: "user_" + id, FirstName: fmt.Sprintf("Name%d", n), Email: id + "@example.test", EmailVerified: true,
		CreatedAt: time.UnixMilli(1), UpdatedAt: time.UnixMilli(int64(1000 + n))}}
}

func deleted(id string) lockstep.Delivery {
	return lockstep.Delivery{Source: "clerk", ID: "msg_del_" + id, Kind: "user.deleted", User: lockstep.User{ID: "user_" + id, Deleted: true}}
}

func (b *box) accept(d lockstep.Delivery) {
	b.t.Helper()
	if _, err := b.Accept(b.t.Context(), d); err != nil {
		b.t.Error(err)
	}
}

// eventually waits until a query for a boolean says yes.
func (b *box) eventually(what, ask string, args ...any) {
	b.t.Helper()
	b.waitFor(what, func() (yes bool) {
		err := b.pool.QueryRow(b.t.Context(), ask, args...).Scan(&yes)
		if err != nil && b.t.Context().Err() == nil {
			b.t.Fatalf("%s: %v", what, err)
		}
		return yes
	})
}

func (b *box) waitFor(what string, ask func() bool) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ask() {
		select {
		case <-ctx.Done():
			b.t.Fatalf("%s: never came true; links: %s", what, b.links())
		case <-tick.C:
		}
	}
}

func (b *box) links() string {
	return testdb.Query[string](b.t, b.pool, `select coalesce(string_agg(concat_ws(' ', clerk_user_id, target, status, customer_id, reason,
		desired, applied, queued_at, lease_until), E'\n'), 'none') from (select * from lockstep.customer_links order by updated_at desc limit 20) l`)
}

const (
	settled = `select not exists (select 1 from lockstep.customer_links where applied < desired)
		and not exists (select 1 from lockstep.river_job where kind = 'dispatch' and state <> 'completed')`
	isStatus = `select coalesce((select status = $2 and applied = desired from lockstep.customer_links where clerk_user_id = $1), false)`
)

// live lists a fake's customers, by the user whose mark they carry.
func live(t testing.TB, f *targettest.Fake) map[string][]lockstep.Customer {
	t.Helper()
	records, err := f.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byUser := map[string][]lockstep.Customer{}
	for _, r := range records {
		byUser[r.UserID] = append(byUser[r.UserID], r.Customer)
	}
	return byUser
}

func TestChangeReachesEveryTarget(t *testing.T) {
	t.Parallel()
	one, two := targettest.NewFake("shopify:one.myshopify.com"), targettest.NewFake("shopify:two.myshopify.com")
	b := newBox(t, one, two)
	b.accept(user("a", 1))
	b.eventually("both are linked", `select count(*) = 2 from lockstep.customer_links where status = 'linked' and applied = desired`)
	b.accept(user("a", 2))
	b.eventually("the dispatch is done", `select count(*) = 2 from lockstep.river_job where kind = 'dispatch' and state = 'completed'`)
	b.eventually("settled", settled)
	for _, f := range []*targettest.Fake{one, two} {
		if c := live(t, f)["user_a"]; len(c) != 1 || c[0].FirstName != "Name2" || c[0].Email != "a@example.test" {
			t.Errorf("%s holds %+v", f.Name(), c)
		}
	}
	if n := testdb.Query[int](t, b.pool, `select count(*) from lockstep.shopify_customer_links where clerk_user_id = 'user_a' and shopify_shop = 'one.myshopify.com'`); n != 1 {
		t.Errorf("the view shows %d links", n)
	}
}

func TestReplayAndUnchangedVersionsCostTheTargetNothing(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	b := newBox(t, f)
	b.accept(user("a", 1))
	b.eventually("linked", isStatus, "user_a", "linked")
	calls := f.Calls()
	again := user("a", 1)
	for i := range 5 {
		b.accept(again) // a duplicate
		newer := user("a", 1)
		newer.ID, newer.User.UpdatedAt = fmt.Sprint("msg_", i), time.UnixMilli(int64(2000+i)) // the same content
		b.accept(newer)
	}
	if n := testdb.Query[int](t, b.pool, `select count(*) from lockstep.river_job where kind = 'dispatch'`); n != 1 {
		t.Errorf("%d dispatches, want 1", n)
	}
	if got := f.Calls(); fmt.Sprint(got) != fmt.Sprint(calls) {
		t.Errorf("calls went from %v to %v", calls, got)
	}
}

// The measured case of the design: a burst of 20 changes for each of 500 users
// over a remote that takes 200 ms. Nobody is worked on twice at once, nobody
// ends stale, and coalescing makes far fewer than 10,000 rounds.
func TestBurst(t *testing.T) {
	t.Parallel()
	users, delay := 500, 200*time.Millisecond
	if testing.Short() {
		users, delay = 50, 20*time.Millisecond
	}
	const versions = 20
	f := targettest.NewFake("fake")
	f.Delay = delay
	b := newBox(t, f)
	start := time.Now()
	var wg sync.WaitGroup
	for u := range users {
		wg.Go(func() {
			for v := range versions {
				b.accept(user(fmt.Sprintf("%03d", u), v))
			}
		})
	}
	wg.Wait()
	b.eventually("settled", settled)
	stale := 0
	for u := range users {
		c := live(t, f)[fmt.Sprintf("user_%03d", u)]
		if len(c) != 1 || c[0].FirstName != fmt.Sprintf("Name%d", versions-1) {
			stale++
		}
	}
	calls := f.Calls()
	t.Logf("%d events, %d users, remote %v: converged after %v, %v calls, %d overlaps, %d stale users",
		users*versions, users, delay, time.Since(start).Round(100*time.Millisecond), calls, f.Overlaps(), stale)
	if stale > 0 || f.Overlaps() > 0 {
		t.Errorf("%d stale users, %d overlaps", stale, f.Overlaps())
	}
	if calls["Create"] != users || calls["Resolve"] > users*versions/2 {
		t.Errorf("%d creates and %d rounds for %d users", calls["Create"], calls["Resolve"], users)
	}
}

func TestTwoNodesShareTheWork(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	f.Delay = 5 * time.Millisecond
	b := newBox(t, f)
	other := b.start(f)
	const users = 100
	var wg sync.WaitGroup
	for u := range users {
		wg.Go(func() {
			for v := range 5 {
				in := []*Inbox{b.Inbox, other}[v%2]
				if _, err := in.Accept(t.Context(), user(fmt.Sprint(u), v)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.eventually("settled", settled)
	if got := live(t, f); len(got) != users || f.Overlaps() != 0 {
		t.Errorf("%d customers for %d users, %d overlaps", len(got), users, f.Overlaps())
	}
}

func TestFaultyTargetConverges(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	b := newBox(t, targettest.NewFlaky(f, targettest.Rates{Seed: 1, Fail: 0.4, After: 0.34}))
	const users = 100
	for u := range users {
		b.accept(user(fmt.Sprint(u), 1))
	}
	b.eventually("settled", settled)
	for u, c := range live(t, f) {
		if len(c) != 1 {
			t.Errorf("%s has %d customers", u, len(c))
		}
	}
	if got := len(live(t, f)); got != users {
		t.Errorf("%d customers for %d users", got, users)
	}
}

func TestSyncUserGoesTheSameWay(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	b := newBox(t, f)
	b.accept(user("a", 1))
	b.eventually("linked", isStatus, "user_a", "linked")
	records, err := f.Live(t.Context())
	if err != nil || len(records) != 1 {
		t.Fatal(records, err)
	}
	records[0].FirstName = "Edited"
	if err := f.Edit(t.Context(), records[0]); err != nil {
		t.Fatal(err)
	}
	explained, err := b.Explain(t.Context(), "user_a")
	if err != nil || len(explained) != 1 || explained[0].Decision.Action != "update" {
		t.Errorf("explain: %+v, %v", explained, err)
	}
	if c := live(t, f)["user_a"]; c[0].FirstName != "Edited" {
		t.Error("explain wrote")
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := b.SyncUser(t.Context(), "user_a"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if c := live(t, f)["user_a"]; len(c) != 1 || c[0].FirstName != "Name1" {
		t.Errorf("after sync: %+v", c)
	}
	if err := b.SyncUser(t.Context(), "user_nobody"); !errors.Is(err, postgres.ErrNoProfile) {
		t.Errorf("unknown user: %v", err)
	}
}

func TestOtherInstanceIsRefused(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	first, second := user("a", 1), user("b", 1)
	first.Instance, second.Instance = "ins_production", "ins_development"
	b.accept(first)
	if _, err := b.Accept(t.Context(), second); !errors.Is(err, ErrInstance) {
		t.Errorf("another instance: %v", err)
	}
	if n := testdb.Query[int](t, b.pool, `select count(*) from public.profiles`); n != 1 {
		t.Errorf("%d profiles", n)
	}
}

// A delivery that PostgreSQL refuses must not take down those it shares a
// batch with.
func TestPoisonSuffersAlone(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	if _, err := b.pool.Exec(t.Context(), `alter table public.profiles add check (username <> 'poison')`); err != nil {
		t.Fatal(err)
	}
	var batch []*request
	for i := range 5 {
		d := user(fmt.Sprint(i), 1)
		if i == 2 {
			d.User.Username = "poison"
		}
		batch = append(batch, &request{delivery: d, answer: make(chan answer, 1)})
	}
	b.flush(t.Context(), batch)
	for i, r := range batch {
		if a := <-r.answer; (a.err != nil) != (i == 2) {
			t.Errorf("delivery %d: %+v", i, a)
		}
	}
}

func TestQueueNamesAreValidAndDistinct(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t, testdb.New(t), "")
	seen := map[string]string{}
	for _, target := range []string{"medusa", "shopify:a-b.myshopify.com", "shopify:a.b.myshopify.com", "shopify:a--b.myshopify.com", "shopify:A-b.myshopify.com",
		"shopify:a-very-long-name-of-a-shop-that-goes-on-and-on-for-ever-and-ever-1.myshopify.com", "shopify:a-very-long-name-of-a-shop-that-goes-on-and-on-for-ever-and-ever-2.myshopify.com", "ä"} {
		name := queueName(target)
		if other, dup := seen[name]; dup {
			t.Errorf("%s and %s share queue %s", target, other, name)
		}
		seen[name] = target
		f := targettest.NewFake(target)
		if _, err := NewWorker(Config{Pool: pool, JobPool: pool, Targets: []lockstep.Target{f}, Log: watch.Logger(t)}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
