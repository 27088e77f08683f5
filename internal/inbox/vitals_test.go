package inbox

import (
	"errors"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/targettest"
)

// What a deep run found, and held back, shows until the next one.
func TestVitalsOfReconciling(t *testing.T) {
	t.Parallel()
	b := stocked(t, 3, targettest.NewFake("fake"))
	b.exec(`update lockstep.checkpoints set updated_at = now() - interval '9 days' where name = 'installed'`)
	look := func() (v postgres.Vitals, s postgres.TargetStatus) {
		t.Helper()
		v, err := Vitals(t.Context(), b.store)
		if err != nil {
			t.Fatal(err)
		}
		status, err := b.store.Status(t.Context(), b.names)
		if err != nil {
			t.Fatal(err)
		}
		return v, status[0]
	}
	if v, s := look(); v.Reconciled < 9*24*time.Hour || v.Held != 0 || len(v.Drift) != 0 || s.Reconciled != nil {
		t.Errorf("never: %+v %+v", v, s)
	}
	b.reconcile(ReconcileOptions{Deep: true, Target: "fake"})
	if v, s := look(); v.Reconciled < 9*24*time.Hour || s.Reconciled == nil {
		t.Errorf("one target alone: %+v %+v", v, s)
	}
	b.maxDeletions = 1
	if _, err := b.Reconcile(t.Context(), people{}, ReconcileOptions{Deep: true, Full: true}); err != nil {
		t.Fatal(err)
	}
	v, _ := look()
	want := postgres.DriftVitals{Kind: string(lockstep.DriftUserDeleted), Found: 3, Left: 3}
	if v.Reconciled > time.Hour || v.Held != 3 || len(v.Drift) != 1 || v.Drift[0] != want {
		t.Errorf("three users are gone: %+v", v)
	}
	if _, err := b.Reconcile(t.Context(), people{}, ReconcileOptions{Deep: true, Full: true, Allow: 3}); err != nil {
		t.Fatal(err)
	}
	if v, _ := look(); v.Held != 0 {
		t.Errorf("three were deleted: %+v", v)
	}
}

// A target that was disconnected on purpose is no alarm, is not compared, and
// waits for a person.
func TestDisconnectedTargetIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := stocked(t, 3, targettest.NewFake("fake"), targettest.NewFake("other"))
	if _, err := b.Disconnect(t.Context(), "fake", "test", true); err != nil {
		t.Fatal(err)
	}
	b.accept(user("000", 2))
	b.eventually("the change is dispatched", `select count(*) = 1 from lockstep.customer_links where target = 'other' and desired > 1 and applied = desired`)
	if n := testdb.Query[int](t, b.pool, `select count(*) from lockstep.customer_links where target = 'fake'`); n != 0 {
		t.Errorf("%d links fell due in a target that was disconnected", n)
	}
	if r := b.reconcile(ReconcileOptions{}); len(r.Steps) != 1 || r.Steps[0].Target != "other" || !r.Clean() {
		t.Errorf("%+v", r)
	}
	if _, err := b.Reconcile(t.Context(), nil, ReconcileOptions{Target: "fake"}); !errors.Is(err, postgres.ErrDisconnected) {
		t.Errorf("by name: %v", err)
	}
	v, err := Vitals(t.Context(), b.store)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range v.Targets {
		if target.Target == "fake" && (target.Paused || target.PendingAge != 0) {
			t.Errorf("%+v", target)
		}
	}
	if r, err := b.Retry(t.Context(), "fake", nil); err != nil || !r.Targets[0].Paused || r.Targets[0].Resumed || r.Targets[0].Reason == "" {
		t.Errorf("%+v, %v", r, err)
	}
	if err := b.Connect(t.Context(), "fake", "https://lockstep.example.test"); err != nil {
		t.Fatal(err)
	}
	b.eventually("who changed meanwhile is looked at", `select count(*) = 1 from lockstep.customer_links
		where target = 'fake' and clerk_user_id = 'user_000' and status = 'linked' and applied = desired`)
}
