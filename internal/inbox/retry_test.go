package inbox

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/internal/watch"
	"github.com/lockstephq/lockstep/targettest"
)

func refuseUser() error {
	return &lockstep.TargetError{Kind: lockstep.ErrInvalid, Err: errors.New("the name is not allowed")}
}

func working() error { return nil }

// What was given up is tried again when asked for, as often as asked for: no
// trace of an earlier try is in the way.
func TestRetryQueuesWhatWasGivenUp(t *testing.T) {
	t.Parallel()
	s, healthy := newScripted(refuseUser), targettest.NewFake("healthy")
	b := newBox(t, s, healthy)
	for _, id := range []string{"a", "b", "c"} {
		b.accept(user(id, 1))
	}
	allFailed := `select count(*) = 3 from lockstep.customer_links where target = 'fake' and status = 'failed' and queued_at is null`
	b.eventually("failed", allFailed)
	for range 2 { // in vain
		r, err := b.Retry(t.Context(), "", nil)
		if err != nil || len(r.Targets) != 2 || r.Targets[0].Links != 3 || r.Targets[1].Links != 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		b.eventually("failed again", allFailed)
	}
	s.script(working)
	r, err := b.Retry(t.Context(), "fake", []string{"user_b"})
	if err != nil || len(r.Targets) != 1 || r.Targets[0].Links != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	b.eventually("one is linked", `select coalesce((select status = 'linked' from lockstep.customer_links where clerk_user_id = 'user_b' and target = 'fake'), false)`)
	if n := testdb.Query[int](t, b.pool, `select count(*) from lockstep.customer_links where target = 'fake' and status = 'failed'`); n != 2 {
		t.Errorf("%d others are failed, want 2", n)
	}
	if _, err := b.Retry(t.Context(), "fake", nil); err != nil {
		t.Fatal(err)
	}
	b.eventually("all are linked", `select count(*) = 6 from lockstep.customer_links where status = 'linked' and applied = desired`)
}

// A user who waits for a far-off attempt is tried now.
func TestRetryHastensAUser(t *testing.T) {
	t.Parallel()
	s := newScripted(func() error { return &lockstep.TargetError{Kind: lockstep.ErrThrottled, After: time.Hour} })
	b := newBox(t, s)
	b.accept(user("a", 1))
	b.eventually("snoozed", `select exists (select 1 from lockstep.river_job where kind = 'sync' and state = 'scheduled')`)
	s.script(working)
	if r, err := b.Retry(t.Context(), "", []string{"user_a"}); err != nil || r.Targets[0].Links != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	b.eventually("linked", isStatus, "user_a", "linked")
}

func TestRetryAsksAPausedTarget(t *testing.T) {
	t.Parallel()
	s := newScripted(func() error {
		return &lockstep.TargetError{Kind: lockstep.ErrRefused, Err: errors.New("credentials were revoked")}
	})
	b := newBox(t, s)
	b.accept(user("a", 1))
	b.eventually("paused", `select exists (select 1 from lockstep.targets where target = 'fake' and paused_at is not null)`)
	r, err := b.Retry(t.Context(), "", nil)
	if want := "refused for all customers: credentials were revoked"; err != nil || !r.Targets[0].Paused || r.Targets[0].Reason != want {
		t.Errorf("%+v, %v, want paused because %s", r, err, want)
	}
	// The sweep resumes it as well; whoever is first, it runs again.
	s.script(working)
	if r, err = b.Retry(t.Context(), "", nil); err != nil || r.Targets[0].Paused || r.Targets[0].Reason != "" {
		t.Errorf("%+v, %v", r, err)
	}
	b.eventually("linked", isStatus, "user_a", "linked")
}

// Accepted changes whose fan-out the engine gave up start again.
func TestRetryStartsDeadJobs(t *testing.T) {
	t.Parallel()
	b := newBox(t, targettest.NewFake("fake"))
	b.exec(`insert into public.profiles (id, username, email, email_verified, clerk_updated_at) values ('user_a', 'a', 'a@example.test', true, now());
		insert into lockstep.river_job (kind, args, queue, state, attempt, finalized_at, max_attempts, priority)
		values ('dispatch', '{"users":["user_a"]}', 'dispatch', 'discarded', 70, now(), 70, 1),
		       ('upkeep', '{}', 'upkeep', 'discarded', 1, now(), 1, 1)`)
	v, err := Vitals(t.Context(), b.store)
	if err != nil || v.Discarded != 1 { // nobody misses the other
		t.Errorf("%d dead jobs, %v", v.Discarded, err)
	}
	if r, err := b.Retry(t.Context(), "", nil); err != nil || r.Jobs != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	b.eventually("linked", isStatus, "user_a", "linked")
}

func TestRetryOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	b := newBox(t, targettest.NewFake("fake"))
	if _, err := b.Retry(t.Context(), "other", nil); !errors.Is(err, ErrUnknownTarget) {
		t.Error(err)
	}
	if _, err := b.Retry(t.Context(), "", []string{"user_nobody"}); !errors.Is(err, postgres.ErrNoProfile) {
		t.Error(err)
	}
}

func TestConflictsNameWhatStandsInTheWay(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	b := newBox(t, f)
	b.accept(user("old", 1))
	b.eventually("linked", isStatus, "user_old", "linked")
	second := user("new", 1)
	second.User.Email = "old@example.test"
	b.accept(second)
	b.eventually("conflict", isStatus, "user_new", "conflict")
	b.exec(`update lockstep.history set at = now() - interval '3 days' where clerk_user_id = 'user_new'`)
	list, err := b.store.Conflicts(t.Context(), []string{"fake"}, 10)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	got, blocking := list[0], live(t, f)["user_old"][0].ID
	if got.User != "user_new" || got.BlockedBy != blocking || got.HeldBy != "user_old" || got.Deleted || got.CustomerID != "" {
		t.Errorf("%+v", got)
	}
	if age := time.Since(got.Since); age < 71*time.Hour { // rechecks do not count
		t.Errorf("since %v", got.Since)
	}
	if list, err := b.store.Conflicts(t.Context(), []string{"other"}, 10); err != nil || len(list) != 0 {
		t.Errorf("of another target: %+v, %v", list, err)
	}
}

// The lag counts from accepting, over failures, to the target's yes.
func TestLagCountsFromAccepting(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t, testdb.New(t), standin.Owner)
	_, err := pool.Exec(t.Context(), `insert into public.profiles (id, username, email, email_verified, clerk_updated_at) values ('user_a', 'a', 'a@example.test', true, now());
		insert into lockstep.customer_links (clerk_user_id, target, desired, queued_at) values ('user_a', 'fake', 1, now() - interval '1 hour')`)
	if err != nil {
		t.Fatal(err)
	}
	var lags []time.Duration
	in, err := New(Config{Pool: pool, JobPool: pool, Targets: []lockstep.Target{targettest.NewFake("fake")}, Log: watch.Logger(t),
		Linked: func(_ string, lag time.Duration) { lags = append(lags, lag) }})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // nothing waits for the second
		if err := in.syncNow(t.Context(), postgres.Key{UserID: "user_a", Target: "fake"}); err != nil {
			t.Fatal(err)
		}
	}
	if len(lags) != 1 || lags[0] < time.Hour || lags[0] > 2*time.Hour {
		t.Errorf("lags %v, want one of an hour", lags)
	}
}

// Dispatch hands on when a change was accepted, not when it got to it.
func TestDispatchKeepsTheTimeOfAcceptance(t *testing.T) {
	t.Parallel()
	s := newScripted(func() error { return &lockstep.TargetError{Kind: lockstep.ErrThrottled, After: time.Hour} })
	b := newBox(t, s)
	b.exec(`insert into public.profiles (id, username) values ('user_a', 'a');
		insert into lockstep.river_job (kind, args, queue, state, created_at, max_attempts, priority)
		values ('dispatch', '{"users":["user_a"]}', 'dispatch', 'available', now() - interval '2 hours', 70, 1)`)
	b.eventually("queued since then", `select coalesce((select queued_at < now() - interval '119 minutes' from lockstep.customer_links), false)`)
	v, err := Vitals(t.Context(), b.store)
	if err != nil || len(v.Targets) != 1 || v.Targets[0].PendingAge < 119*time.Minute {
		t.Errorf("%+v, %v", v, err)
	}
	status, err := b.store.Status(t.Context(), []string{"fake"})
	if err != nil || status[0].LagSeconds < 119*60 || status[0].Oldest == nil || time.Since(*status[0].Oldest) < 119*time.Minute {
		t.Errorf("%+v, %v", status, err)
	}
}

func TestVitals(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	b := newBox(t, f)
	b.eventually("a leader", `select exists (select 1 from lockstep.river_leader where expires_at > now())`)
	for i := range 3 {
		d := user(fmt.Sprint(i), 1)
		d.Source = []string{"clerk", "clerk-api", "other"}[i]
		b.accept(d)
	}
	b.eventually("settled", settled)
	b.exec(`update lockstep.deliveries set received_at = now() - interval '2 days' where source = 'other';
		update lockstep.customer_links set status = 'failed' where clerk_user_id = 'user_0';
		update lockstep.customer_links set status = 'conflict' where clerk_user_id = 'user_1';
		insert into lockstep.targets values ('fake', now() - interval '1 hour', 'test');
		insert into lockstep.buckets (target, tokens, capacity, rate) values ('fake', 100, 1000, 0);
		update lockstep.checkpoints set updated_at = now() - interval '9 days' where name = 'installed'`)
	v, err := Vitals(t.Context(), b.store)
	if err != nil {
		t.Fatal(err)
	}
	if !v.Leader || v.Discarded != 0 || v.DispatchAge != 0 || v.Installed < 9*24*time.Hour {
		t.Errorf("%+v", v)
	}
	if len(v.Sources) != 3 || v.Sources[0].Source != "clerk" || v.Sources[0].Age > time.Hour || v.Sources[2].Age < 48*time.Hour {
		t.Errorf("sources %+v", v.Sources)
	}
	if len(v.Targets) != 1 || v.Targets[0].Failed != 1 || v.Targets[0].Conflicts != 1 || !v.Targets[0].Paused || v.Targets[0].PausedFor < time.Hour {
		t.Errorf("targets %+v", v.Targets)
	}
	if len(v.Buckets) != 1 || v.Buckets[0].Tokens != 100 || v.Buckets[0].Capacity != 1000 {
		t.Errorf("buckets %+v", v.Buckets)
	}
}
