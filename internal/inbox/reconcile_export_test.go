package inbox

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/targettest"
)

// exportBox has 30 linked users in a target that exports seven at a time.
func exportBox(t *testing.T) (*box, *targettest.Exporting) {
	t.Helper()
	x := targettest.NewExporting("fake")
	x.Page = 7
	return stocked(t, 30, x), x
}

// harm does three kinds of it, and says what must be found.
func (b *box) harm(x *targettest.Exporting) map[string]int {
	b.t.Helper()
	all := live(b.t, x.Fake)
	renamed, gone := all["user_003"][0], all["user_004"][0]
	renamed.FirstName = "Renamed"
	_, err := x.Put(b.t.Context(), targettest.Record{Customer: lockstep.Customer{UserID: "user_nobody", Email: "nobody@example.test"}})
	if err := errors.Join(err, x.Edit(b.t.Context(), targettest.Record{Customer: renamed}), x.Delete(b.t.Context(), gone.ID)); err != nil {
		b.t.Fatal(err)
	}
	return map[string]int{"fake customer-differs": 1, "fake customer-gone": 1, "fake mark-orphan": 1}
}

// Whatever becomes of its exports, a deep walk sees everybody, once, and takes
// nobody for gone whom an export that is not whole does not show.
func TestDeepWalkByExport(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		life   targettest.ExportLife
		begun  int
		listed bool
	}{
		"as usual":            {targettest.ExportLife{}, 1, false},
		"one fails":           {targettest.ExportLife{Fail: 1}, 2, false},
		"one is not whole":    {targettest.ExportLife{Short: 1}, 2, false},
		"all fail":            {targettest.ExportLife{Fail: 9}, exportTries, true},
		"none is whole":       {targettest.ExportLife{Short: 9}, exportTries, true},
		"none may be started": {targettest.ExportLife{Refused: true}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, x := exportBox(t)
			want := b.harm(x)
			x.Set(tt.life)
			r := b.reconcile(ReconcileOptions{Deep: true, Target: "fake"})
			if d := cmp.Diff(want, foundKinds(r)); d != "" || r.Steps[1].LookedAt != 30 || len(r.Open) != 1 {
				t.Errorf("looked at %d of 30, %d left (-want +got):\n%s", r.Steps[1].LookedAt, len(r.Open), d)
			}
			if n, lists := len(x.Begun()), x.Calls()["List"]; n != tt.begun || lists > 0 != tt.listed {
				t.Errorf("%d exports and %d lists", n, lists)
			}
		})
	}
}

// deepRun is a run under way beside the test.
type deepRun struct {
	report Report
	err    error
}

func (b *box) runBeside(ctx context.Context, o ReconcileOptions) <-chan deepRun {
	done := make(chan deepRun, 1)
	go func() {
		r, err := b.Reconcile(ctx, nil, o)
		done <- deepRun{r, err}
	}()
	return done
}

const exportIsNamed = `select count(*) > 0 from lockstep.reconcile_steps s join lockstep.reconcile_runs r on r.id = s.run_id
	where s.name = 'customers' and s.cursor like '{%' and r.state = 'running' and r.lease = $1 and r.dry_run = $2`

// A run whose node is taken for dead is gone on with by another, which waits for
// the very same export; the first stores nothing more, and cancels nothing.
func TestAnotherNodeTakesTheExport(t *testing.T) {
	t.Parallel()
	b, x := exportBox(t)
	x.Set(targettest.ExportLife{Held: true})
	first := b.runBeside(t.Context(), ReconcileOptions{Deep: true, Target: "fake"})
	b.eventually("the first is at the export", exportIsNamed, 1, false)
	b.expire()
	second := b.runBeside(t.Context(), ReconcileOptions{Resume: true})
	b.eventually("the second has the run", exportIsNamed, 2, false)
	x.Set(targettest.ExportLife{})
	if got := <-first; !errors.Is(got.err, postgres.ErrLost) {
		t.Errorf("the first ended with %v", got.err)
	}
	got := <-second
	if got.err != nil || !got.report.Clean() || got.report.Steps[1].LookedAt != 30 {
		t.Errorf("the second: %+v, %v", got.report, got.err)
	}
	if begun, cancelled := x.Begun(), x.Cancelled(); len(begun) != 1 || len(cancelled) != 0 {
		t.Errorf("%d exports, %d of them cancelled", len(begun), len(cancelled))
	}
}

// expire ends the lease of the run under way, as time does when its node is dead.
func (b *box) expire() {
	b.t.Helper()
	if _, err := b.pool.Exec(b.t.Context(), `update lockstep.reconcile_runs set lease_until = now() - interval '1 second' where state = 'running'`); err != nil {
		b.t.Fatal(err)
	}
}

// Killed between two pages, a run goes on with the next page of its export.
func TestExportGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	b, x := exportBox(t)
	killed := ReconcileOptions{Deep: true, Target: "fake", Progress: func(p Progress) {
		if p.What == "fake customers" && p.Done == 14 {
			b.expire()
			if _, err := b.store.ResumeRun(t.Context(), -time.Second); err != nil { // somebody, who dies at once
				t.Error(err)
			}
		}
	}}
	if _, err := b.Reconcile(t.Context(), nil, killed); !errors.Is(err, postgres.ErrLost) {
		t.Fatalf("the first ended with %v", err)
	}
	r := b.reconcile(ReconcileOptions{Resume: true})
	if !r.Clean() || r.Steps[1].LookedAt != 30 || len(x.Begun()) != 1 {
		t.Errorf("%d exports, %+v", len(x.Begun()), r)
	}
}

// A person who stops a run leaves no export under way; a node that stops leaves
// it to the next.
func TestStoppedRunAndItsExport(t *testing.T) {
	t.Parallel()
	b, x := exportBox(t)
	x.Set(targettest.ExportLife{Held: true})
	ctx, cancel := context.WithCancel(t.Context())
	if r, err := b.Reconcile(ctx, nil, ReconcileOptions{Deep: true, Target: "fake", Progress: onExport(cancel)}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled run: %+v, %v", r, err)
	}
	if begun := x.Begun(); len(begun) != 1 || !slices.Equal(x.Cancelled(), begun) {
		t.Errorf("%d exports, %d of them cancelled", len(begun), len(x.Cancelled()))
	}
	stop := make(chan struct{})
	_, err := b.Reconcile(t.Context(), nil, ReconcileOptions{Deep: true, Target: "fake", stop: stop, Progress: onExport(func() { close(stop) })})
	if !errors.Is(err, errStopping) {
		t.Errorf("a node that stops: %v", err)
	}
	x.Set(targettest.ExportLife{})
	r := b.reconcile(ReconcileOptions{Resume: true})
	if !r.Clean() || len(x.Begun()) != 2 || len(x.Cancelled()) != 1 {
		t.Errorf("%d exports, %d of them cancelled; %+v", len(x.Begun()), len(x.Cancelled()), r)
	}
}

func onExport(do func()) func(Progress) {
	return func(p Progress) {
		if strings.HasSuffix(p.What, " export") {
			do()
		}
	}
}

// The export of a run that was killed, and that another question gave up, is
// cancelled by the next run.
func TestAbandonedExportIsDropped(t *testing.T) {
	t.Parallel()
	b, x := exportBox(t)
	x.Set(targettest.ExportLife{Held: true})
	first := b.runBeside(t.Context(), ReconcileOptions{Deep: true, Target: "fake"})
	b.eventually("the first is at the export", exportIsNamed, 1, false)
	b.expire()
	second := b.runBeside(t.Context(), ReconcileOptions{Deep: true, DryRun: true, Target: "fake"})
	b.eventually("the second is at the export", exportIsNamed, 1, true)
	if begun := x.Begun(); !slices.Equal(x.Cancelled(), begun[:1]) {
		t.Errorf("%q were begun, %q cancelled", begun, x.Cancelled())
	}
	x.Set(targettest.ExportLife{})
	if got := <-first; !errors.Is(got.err, postgres.ErrLost) {
		t.Errorf("the first ended with %v", got.err)
	}
	if got := <-second; got.err != nil || !got.report.Clean() {
		t.Errorf("the second: %+v, %v", got.report, got.err)
	}
	if n := testdb.Query[int](t, b.pool, `select count(*) from lockstep.reconcile_steps where cursor <> '' and state = 'todo'`); n != 0 {
		t.Errorf("%d places of runs that ended are still there", n)
	}
}
