package inbox

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/targettest"
)

// scripted is a fake whose Resolve fails as told, as long as told.
type scripted struct {
	*targettest.Fake
	fail atomic.Pointer[func() error]
}

func newScripted(fail func() error) *scripted {
	s := &scripted{Fake: targettest.NewFake("fake")}
	s.script(fail)
	return s
}

func (s *scripted) script(fail func() error) { s.fail.Store(&fail) }

func (s *scripted) Resolve(ctx context.Context, q lockstep.Query) (lockstep.Found, error) {
	if err := (*s.fail.Load())(); err != nil {
		return lockstep.Found{}, err
	}
	return s.Fake.Resolve(ctx, q)
}

func (s *scripted) Check(context.Context) error { return (*s.fail.Load())() }

func TestLimitSpendsNoAttempt(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	s := newScripted(func() error {
		if calls.Add(1) <= 3 {
			return &lockstep.TargetError{Kind: lockstep.ErrThrottled, After: time.Millisecond}
		}
		return nil
	})
	b := newBox(t, s)
	b.accept(user("a", 1))
	b.eventually("linked", isStatus, "user_a", "linked")
	if n := testdb.Query[int](t, b.pool, `select attempt from lockstep.river_job where kind = 'sync'`); n != 1 {
		t.Errorf("%d attempts after 3 limits, want 1", n)
	}
}

// saving has no points for bulk work, and all a live change needs.
type saving struct {
	*targettest.Fake
	refused atomic.Int64
}

func (s *saving) Resolve(ctx context.Context, q lockstep.Query) (lockstep.Found, error) {
	if IsBulk(ctx) {
		s.refused.Add(1)
		return lockstep.Found{}, &lockstep.TargetError{Kind: lockstep.ErrThrottled, After: time.Millisecond}
	}
	return s.Fake.Resolve(ctx, q)
}

// A mass push keeps all workers of a target busy with jobs that wait for points: a
// live change is linked while none of them is.
func TestLiveChangeNeverWaitsBehindBulkJobs(t *testing.T) {
	t.Parallel()
	s := &saving{Fake: targettest.NewFake("fake")}
	b := newBox(t, s)
	users := testdb.Query[[]string](t, b.pool, `with made as (insert into public.profiles (id, username, email, email_verified, clerk_updated_at)
		select 'user_bulk' || n, 'u', 'bulk' || n || '@example.test', true, now() from generate_series(1, 300) n returning id) select array_agg(id) from made`)
	if err := b.Leave(t.Context(), "fake", users); err != nil {
		t.Fatal(err)
	}
	b.waitFor("every worker has a job that waits", func() bool { return s.refused.Load() > 200 })
	b.accept(user("live", 1))
	b.eventually("the live change is linked", isStatus, "user_live", "linked")
	if n := testdb.Query[int](t, b.pool, `select count(*) from lockstep.customer_links where clerk_user_id <> 'user_live' and applied < desired`); n != 300 {
		t.Errorf("%d of 300 wait", n)
	}
}

func TestRefusedTargetIsPausedAloneAndResumes(t *testing.T) {
	t.Parallel()
	refuse := func() error {
		return &lockstep.TargetError{Kind: lockstep.ErrRefused, Err: errors.New("credentials were revoked")}
	}
	s, healthy := newScripted(refuse), targettest.NewFake("healthy")
	b := newBox(t, s, healthy)
	for _, id := range []string{"a", "b", "c"} {
		b.accept(user(id, 1))
	}
	b.eventually("the other target is in step", `select count(*) = 3 from lockstep.customer_links where target = 'healthy' and status = 'linked'`)
	b.eventually("paused", `select count(*) = 1 from lockstep.targets where target = 'fake' and paused_at is not null and reason like '%revoked%'`)
	if n := testdb.Query[int](t, b.pool, `select count(*) from lockstep.customer_links where target = 'fake' and applied < desired`); n != 3 {
		t.Errorf("%d changes wait, want 3", n)
	}
	s.script(func() error { return nil })
	b.eventually("in step after the pause", `select count(*) = 3 from lockstep.customer_links where target = 'fake' and status = 'linked' and applied = desired`)
	b.eventually("resumed", `select count(*) = 0 from lockstep.targets where paused_at is not null`)
}

func TestUserThatCannotBeWrittenFailsVisibly(t *testing.T) {
	t.Parallel()
	s := newScripted(func() error {
		return &lockstep.TargetError{Kind: lockstep.ErrInvalid, Err: errors.New("the name is not allowed")}
	})
	b := newBox(t, s)
	b.accept(user("a", 1))
	b.eventually("failed", `select count(*) = 1 from lockstep.customer_links where status = 'failed' and reason like '%not allowed%' and queued_at is null`)
	b.eventually("the job is kept", `select count(*) = 1 from lockstep.river_job where kind = 'sync' and state = 'cancelled'`)
	s.script(func() error { return nil })
	b.accept(user("a", 2)) // the next change tries again
	b.eventually("linked", isStatus, "user_a", "linked")
}

func TestPanicIsAFailureLikeAnyOther(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	s := newScripted(func() error {
		if calls.Add(1) == 1 {
			panic("ada@example.test")
		}
		return nil
	})
	b := newBox(t, s)
	b.accept(user("a", 1))
	b.eventually("linked", isStatus, "user_a", "linked")
	if n := testdb.Query[int](t, b.pool, `select count(*) from lockstep.river_job where errors::text like '%ada@example.test%'`); n != 0 {
		t.Error("the job's errors quote the panic")
	}
}

// A worker that was killed leaves a running job and a leased link. When the
// lease ends the sweep takes over.
func TestLostJobIsTakenOver(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	b := newBox(t, f)
	_, err := b.pool.Exec(t.Context(), `
		insert into public.profiles (id, username, email, email_verified, clerk_updated_at) values ('user_a', 'a', 'a@example.test', true, now());
		insert into lockstep.customer_links (clerk_user_id, target, desired, applied, queued_at, lease, lease_until)
		values ('user_a', 'fake', 3, 1, now() - interval '40 seconds', 7, now() + interval '1 second');
		insert into lockstep.river_job (kind, args, queue, state, attempt, attempted_at, attempted_by, max_attempts, priority)
		values ('sync', '{"user":"user_a","target":"fake"}', 'fake', 'running', 1, now(), '{dead}', 5, 1)`)
	if err != nil {
		t.Fatal(err)
	}
	b.eventually("linked", isStatus, "user_a", "linked")
}

// Two users, one e-mail: one link, one conflict that names both and says what
// to do; once the first user is deleted, the second gets the customer.
func TestConflictEndsWhenItsCauseDoes(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	b := newBox(t, f)
	b.accept(user("old", 1))
	b.eventually("the first is linked", isStatus, "user_old", "linked")
	second := user("new", 1)
	second.User.Email = "old@example.test"
	b.accept(second)
	b.eventually("the second is in conflict", isStatus, "user_new", "conflict")
	id := live(t, f)["user_old"][0].ID
	reason := testdb.Query[string](t, b.pool, `select reason from lockstep.customer_links where clerk_user_id = 'user_new'`)
	if want := "the e-mail of user_new belongs to customer " + id + " of user user_old: change the e-mail of one, or delete that user"; reason != want {
		t.Errorf("reason %q, want %q", reason, want)
	}
	b.accept(deleted("old"))
	b.eventually("the second has the customer", `select coalesce((select customer_id = $1 and status = 'linked' from lockstep.customer_links
		where clerk_user_id = 'user_new'), false)`, id)
	b.eventually("the first is released", isStatus, "user_old", "released")
	if got := live(t, f); len(got) != 1 || len(got["user_new"]) != 1 {
		t.Errorf("customers: %+v", got)
	}
}

func TestUnverifiedGuestIsAdoptedOnceVerified(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	b := newBox(t, f)
	guest, err := f.Put(t.Context(), targettest.Record{Customer: lockstep.Customer{Email: "A@Example.test"}, Foreign: map[string]string{"orders": "3"}})
	if err != nil {
		t.Fatal(err)
	}
	first := user("a", 1)
	first.User.EmailVerified = false
	b.accept(first)
	b.eventually("waiting", isStatus, "user_a", "waiting")
	if c := live(t, f)["user_a"]; len(c) != 0 {
		t.Errorf("an unverified e-mail made or took %+v", c)
	}
	b.accept(user("a", 2))
	b.eventually("linked", isStatus, "user_a", "linked")
	got, _, err := f.Get(t.Context(), guest.ID)
	if err != nil || got.UserID != "user_a" || got.Foreign["orders"] != "3" {
		t.Errorf("the guest is now %+v, %v", got, err)
	}
}

func TestCustomerDeletedBehindOurBackIsMadeAgain(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	b := newBox(t, f)
	b.accept(user("a", 1))
	b.eventually("linked", isStatus, "user_a", "linked")
	first := live(t, f)["user_a"][0].ID
	if err := f.Delete(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	b.accept(user("a", 2))
	b.eventually("linked to another", `select coalesce((select customer_id <> $1 and status = 'linked' from lockstep.customer_links
		where clerk_user_id = 'user_a' and applied = desired), false)`, first)
}

func TestStatusCountsEveryUserOnce(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	b := newBox(t, f)
	b.accept(user("a", 1))
	b.accept(user("b", 1))
	twin := user("c", 1)
	twin.User.Email = "a@example.test"
	b.eventually("linked", isStatus, "user_a", "linked")
	b.accept(twin)
	b.accept(deleted("b"))
	b.eventually("conflict", isStatus, "user_c", "conflict")
	b.eventually("released", isStatus, "user_b", "released")
	status, err := b.store.Status(t.Context(), []string{"fake", "never"})
	if err != nil || len(status) != 2 {
		t.Fatal(status, err)
	}
	got, never := status[0], status[1]
	if got.Users != 2 || got.Linked != 1 || got.Conflicts != 1 || got.Released != 1 || got.Pending+got.Waiting+got.Failed != 0 {
		t.Errorf("%+v", got)
	}
	if never.Users != 2 || never.Pending != 2 {
		t.Errorf("a target nobody has been synced to: %+v", never)
	}
}

func TestTimelineTellsWhatHappened(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	b := newBox(t, f)
	b.accept(user("a", 1))
	b.eventually("linked", isStatus, "user_a", "linked")
	b.accept(deleted("a"))
	b.eventually("released", isStatus, "user_a", "released")
	entries, err := b.store.Timeline(t.Context(), "user_a", 10)
	if err != nil {
		t.Fatal(err)
	}
	var what []string
	for _, e := range entries {
		what = append(what, e.What)
	}
	want := []string{"user.updated", "create", "user.deleted", "release"}
	if len(what) != len(want) {
		t.Fatalf("%v, want %v", what, want)
	}
	for i := range want {
		if what[i] != want[i] {
			t.Errorf("%v, want %v", what, want)
			break
		}
	}
}

// A version that comes while an older one is being refused is tried: the job
// of the older one was live, so it made none of its own.
func TestChangeDuringAFailureIsNotLost(t *testing.T) {
	t.Parallel()
	started, goOn := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	s := newScripted(func() error {
		if calls.Add(1) > 1 {
			return nil
		}
		close(started)
		<-goOn
		return &lockstep.TargetError{Kind: lockstep.ErrInvalid, Err: errors.New("the name is not allowed")}
	})
	b := newBox(t, s)
	b.accept(user("a", 1))
	<-started
	b.accept(user("a", 2))
	b.eventually("the change is noted", `select coalesce((select desired = 2 from lockstep.customer_links), false)`)
	close(goOn)
	b.eventually("linked", isStatus, "user_a", "linked")
	if c := live(t, s.Fake)["user_a"]; len(c) != 1 || c[0].FirstName != "Name2" {
		t.Errorf("the target holds %+v", c)
	}
}

// A conflict that somebody ended in the store's admin is looked at again.
func TestHeldLinkIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	b := newBox(t, f)
	account, err := f.Put(t.Context(), targettest.Record{Customer: lockstep.Customer{Email: "a@example.test", Account: true}})
	if err != nil {
		t.Fatal(err)
	}
	b.accept(user("a", 1))
	b.eventually("conflict", isStatus, "user_a", "conflict")
	if err := f.Delete(t.Context(), account.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := b.pool.Exec(t.Context(), `update lockstep.customer_links set updated_at = now() - interval '11 minutes'`); err != nil {
		t.Fatal(err)
	}
	b.eventually("linked", isStatus, "user_a", "linked")
}

func TestWorkersForManyTargets(t *testing.T) {
	t.Parallel()
	for targets, want := range map[int]int{0: 32, 1: 32, 8: 32, 20: 12, 32: 8, 100: 8} {
		if got := workersFor(targets); got != want {
			t.Errorf("%d for each of %d targets, want %d", got, targets, want)
		}
	}
}
