package inbox

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/internal/watch"
	"github.com/lockstephq/lockstep/targettest"
)

// people is a Directory in memory.
type people []lockstep.User

func (p people) List(context.Context, string) ([]lockstep.User, string, bool, error) {
	return p, "", false, nil
}
func (p people) Changed(context.Context, int) ([]lockstep.User, bool, error) { return p, false, nil }
func (p people) Count(context.Context) (int, error)                          { return len(p), nil }
func (p people) ByID(_ context.Context, ids []string) (found []lockstep.User, err error) {
	for _, u := range p {
		for _, id := range ids {
			if u.ID == id {
				found = append(found, u)
			}
		}
	}
	return found, nil
}

// stocked has n linked users with the ids user_000, user_001, …
func stocked(t *testing.T, n int, targets ...lockstep.Target) *box {
	t.Helper()
	b := newBox(t, targets...)
	for i := range n {
		b.accept(user(fmt.Sprintf("%03d", i), 1))
	}
	b.eventually("all are linked", `select count(*) = $1 from lockstep.customer_links where status = 'linked' and applied = desired`, n*len(targets))
	b.eventually("all is dispatched", settled)
	return b
}

func (b *box) reconcile(o ReconcileOptions) Report {
	b.t.Helper()
	r, err := b.Reconcile(b.t.Context(), nil, o)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func foundKinds(r Report) map[string]int {
	all := map[string]int{}
	for _, d := range r.Drift {
		all[d.Target+" "+string(d.Kind)] = d.Found
	}
	return all
}

// A shallow run finds what our own tables tell, for a target that was added
// later too, and leaves alone whoever is no user of Clerk's.
func TestShallowReconcile(t *testing.T) {
	t.Parallel()
	f, later := targettest.NewFake("fake"), targettest.NewFake("later")
	b := stocked(t, 30, f)
	_, err := b.pool.Exec(t.Context(), `insert into public.profiles (id, username) values ('0b0e7b1e-7bd1-4bb0-9c0f-2d1c2f1f0c11', 'legacy'), ('users_of_old', 'legacy')`)
	if err != nil {
		t.Fatal(err)
	}
	if r := b.reconcile(ReconcileOptions{}); len(r.Drift) != 0 || !r.Clean() || r.Steps[0].LookedAt != 30 {
		t.Errorf("nothing is wrong: %+v", r)
	}
	_, err = b.pool.Exec(t.Context(), `
		delete from lockstep.customer_links where clerk_user_id in ('user_000', 'user_001', 'user_002');
		update lockstep.customer_links set status = 'failed', updated_at = now() - interval '7 hours' where clerk_user_id = 'user_003';
		update lockstep.customer_links set status = 'failed' where clerk_user_id = 'user_004';
		update public.profiles set first_name = 'Changed', updated_at = now() where id = 'user_005';
		update public.profiles set deleted_at = now() where id = 'user_006';
		update lockstep.customer_links set status = 'pending' where clerk_user_id = 'user_007'`)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"fake link-missing": 3, "fake link-failed": 1, "fake link-stale": 2, "fake link-unreleased": 1}
	dry := b.reconcile(ReconcileOptions{DryRun: true})
	if d := cmp.Diff(want, foundKinds(dry)); d != "" || dry.Clean() {
		t.Errorf("a dry run (-want +got):\n%s", d)
	}
	r := b.reconcile(ReconcileOptions{})
	if d := cmp.Diff(want, foundKinds(r)); d != "" || !r.Clean() {
		t.Errorf("clean %v (-want +got):\n%s", r.Clean(), d)
	}
	if r := b.reconcile(ReconcileOptions{}); len(r.Drift) != 0 {
		t.Errorf("again: %+v", r.Drift)
	}
	got := live(t, f)
	if len(got["user_006"]) != 0 || got["user_005"][0].FirstName != "Changed" {
		t.Errorf("the store holds %+v and %+v", got["user_005"], got["user_006"])
	}

	both := &box{t: t, db: b.db, pool: b.pool}
	both.Inbox = both.start(f, later)
	if d := cmp.Diff(map[string]int{"later link-missing": 29}, foundKinds(both.reconcile(ReconcileOptions{}))); d != "" {
		t.Errorf("a target that was added (-want +got):\n%s", d)
	}
	if n := len(live(t, later)); n != 29 {
		t.Errorf("%d customers in the target that was added, want 29", n)
	}
}

// A change that was accepted and is not handed out yet is no drift.
func TestWhatIsUnderWayIsNoDrift(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	b := &box{t: t, db: db, pool: testdb.Pool(t, db, "")}
	in, err := New(Config{Pool: b.pool, JobPool: b.pool, Targets: []lockstep.Target{targettest.NewFake("fake")}, Log: watch.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	b.Inbox = in
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	b.accept(user("a", 1)) // nobody works it off
	if r := b.reconcile(ReconcileOptions{NoWait: true}); len(r.Drift) != 0 {
		t.Errorf("%+v", r.Drift)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// The one run under way keeps all others out; who lost the lease stores nothing.
func TestOneRunAtATime(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	b := stocked(t, 3, f)
	spec := postgres.RunSpec{Deep: true, Targets: []string{"fake"}, Steps: []postgres.StepSpec{{Name: stepLinks, Target: "fake"}}}
	first, err := b.store.OpenRun(t.Context(), spec, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Reconcile(t.Context(), people{}, ReconcileOptions{Deep: true})
	if busy, ok := errors.AsType[*postgres.RunningError](err); !ok || busy.ID != first.ID || busy.Holder == "" {
		t.Errorf("beside another run: %v", err)
	}
	if _, err := b.pool.Exec(t.Context(), `update lockstep.reconcile_runs set lease_until = now() - interval '1 second'`); err != nil {
		t.Fatal(err)
	}
	second, err := b.store.ResumeRun(t.Context(), time.Minute)
	if err != nil || second.ID != first.ID || !second.Resumed {
		t.Fatalf("%+v, %v", second, err)
	}
	if err := b.store.Renew(t.Context(), first); !errors.Is(err, postgres.ErrLost) {
		t.Errorf("who lost the lease renewed it: %v", err)
	}
	late := &reconciling{Inbox: b.Inbox, run: first, options: ReconcileOptions{Progress: func(Progress) {}}}
	steps, err := b.store.Steps(t.Context(), first.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := late.walkLinks(t.Context(), &steps[0]); !errors.Is(err, postgres.ErrLost) {
		t.Errorf("who lost the lease stored a page: %v", err)
	}
}

// A run that asks another question gives up one that was left behind.
func TestAnotherRunGivesUpTheOld(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	b := stocked(t, 3, f)
	old, err := b.store.OpenRun(t.Context(), postgres.RunSpec{Deep: true, DryRun: true, Targets: []string{"fake"}}, -time.Second)
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.Reconcile(t.Context(), nil, ReconcileOptions{Deep: true, Target: "fake"})
	if err != nil || !r.Clean() || r.Steps[1].LookedAt != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	if state := testdb.Query[string](t, b.pool, `select state from lockstep.reconcile_runs where id = $1`, old.ID); state != "cancelled" {
		t.Errorf("the old run is %s", state)
	}
}

// Reports do not grow for ever, though every run fails.
func TestFailedRunsAreForgottenToo(t *testing.T) {
	t.Parallel()
	b := stocked(t, 1, targettest.NewFake("fake"))
	if _, err := b.pool.Exec(t.Context(), `
		insert into lockstep.reconcile_runs (deep, dry_run, full_walk, targets, settings, lease, lease_until, holder, state)
		select deep, false, false, '{}', '{}', 1, null, '', 'failed' from generate_series(1, 100), unnest('{true,false}'::bool[]) deep`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := b.Reconcile(ctx, nil, ReconcileOptions{Progress: func(Progress) { cancel() }}); err == nil {
		t.Error("a cancelled run came to its end")
	}
	left := func(deep bool) int {
		return testdb.Query[int](t, b.pool, `select count(*) from lockstep.reconcile_runs where deep = $1`, deep)
	}
	if left(false) != keepRuns || left(true) != 100 {
		t.Errorf("%d shallow runs are left, want %d, and %d deep ones, want 100", left(false), keepRuns, left(true))
	}
}

// unlisted hides that a target can list its customers.
type unlisted struct{ lockstep.Target }

func TestTargetThatCannotListIsNotFine(t *testing.T) {
	t.Parallel()
	b := stocked(t, 3, unlisted{targettest.NewFake("fake")})
	r := b.reconcile(ReconcileOptions{Deep: true, Target: "fake"})
	if r.Clean() || r.Steps[1].Walked || r.Steps[1].Reason != cannotList || r.Steps[2].Walked {
		t.Errorf("%+v", r.Steps)
	}
}

// What a target keeps refusing is left, with the reason, and ends the waiting.
func TestReconcileLeavesWhatFails(t *testing.T) {
	t.Parallel()
	s := newScripted(func() error { return nil })
	b := stocked(t, 3, s)
	s.script(func() error {
		return &lockstep.TargetError{Kind: lockstep.ErrInvalid, Err: errors.New("the name is not allowed")}
	})
	if _, err := b.pool.Exec(t.Context(), `delete from lockstep.customer_links where clerk_user_id = 'user_000'`); err != nil {
		t.Fatal(err)
	}
	r := b.reconcile(ReconcileOptions{})
	if len(r.Open) != 1 || r.Open[0].Fate != postgres.FateLeft || r.Open[0].UserID != "user_000" || r.Open[0].Reason == "" || r.Clean() {
		t.Errorf("%+v", r)
	}
}

// A paused target's repairs are not waited for without end.
func TestReconcileDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	s := newScripted(func() error { return nil })
	b := stocked(t, 3, s)
	s.script(func() error {
		return &lockstep.TargetError{Kind: lockstep.ErrRefused, Err: errors.New("credentials were revoked")}
	})
	if _, err := b.pool.Exec(t.Context(), `delete from lockstep.customer_links where clerk_user_id = 'user_000'`); err != nil {
		t.Fatal(err)
	}
	r := b.reconcile(ReconcileOptions{Patience: time.Second})
	if len(r.Open) != 1 || r.Open[0].Reason != "still queued" {
		t.Errorf("%+v", r)
	}
}

// Live changes go before bulk work that was queued first.
func TestLiveChangeGoesBeforeBulkWork(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	f.Delay = 5 * time.Millisecond
	b := stocked(t, 300, f)
	if _, err := b.pool.Exec(t.Context(), `delete from lockstep.customer_links`); err != nil {
		t.Fatal(err)
	}
	f.Delay = time.Second // three times that, and as often as a user takes calls, for all of them
	b.reconcile(ReconcileOptions{NoWait: true})
	b.accept(user("299", 2)) // its job waits behind 298 others, if it is not overtaken
	b.eventually("the live change is there", `select count(*) = 1 from lockstep.customer_links where clerk_user_id = 'user_299' and applied = desired`)
	if n := testdb.Query[int](t, b.pool, `select count(*) from lockstep.customer_links where applied < desired`); n == 0 {
		t.Error("all of the bulk work was done before the live change")
	}
	b.eventually("the rest follows", settled)
}

// Everything works through a pooler in transaction mode: no prepared statements.
func TestReconcileThroughAPooler(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	db := testdb.New(t)
	config, err := pgxpool.ParseConfig(db.URL(standin.Owner))
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	in, err := NewWorker(Config{Pool: pool, JobPool: pool, Targets: []lockstep.Target{f}, PollOnly: true, Log: watch.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	users := people{user("a", 1).User, user("b", 1).User, user("c", 1).User}
	orphan, err := f.Put(t.Context(), targettest.Record{Customer: lockstep.Customer{UserID: "user_nobody", Email: "nobody@example.test"}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := in.Reconcile(t.Context(), users, ReconcileOptions{Deep: true})
	if err != nil || foundKinds(r)[" profile-missing"] != 3 || len(r.Open) != 1 || r.Open[0].CustomerID != orphan.ID {
		t.Errorf("%+v, %v", r, err)
	}
	if n := len(live(t, f)); n != 4 {
		t.Errorf("%d users have customers, want 4", n)
	}
	if r, err = in.Reconcile(t.Context(), users[:2], ReconcileOptions{Deep: true, DryRun: true, Full: true}); err != nil || foundKinds(r)[" user-deleted"] != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
