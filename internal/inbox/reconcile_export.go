package inbox

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
)

const exportTries = 3 // exports that come to nothing, before the target is listed

// exportCursor is the place of the step customers in an export. It is stored before
// the export is begun, so that whoever goes on finds that very one. In a walk by
// List the place is a customer's id, which begins with no brace.
type exportCursor struct {
	Name  string    `json:"export"`
	Place string    `json:"place,omitempty"`
	Began time.Time `json:"began"` // before it was asked for
	Tries int       `json:"tries,omitempty"`
}

func isExport(cursor string) bool { return strings.HasPrefix(cursor, "{") }

// walkExport compares the customers of an export with the links. It fails with
// ErrNoExport, and the step is at its beginning, where the target is to be listed.
func (r *reconciling) walkExport(ctx context.Context, step *postgres.RunStep, target lockstep.Exporter) (err error) {
	var at exportCursor
	defer func() {
		if step.State != postgres.StepDone && !r.goesOn(ctx, err) {
			r.dropExport(ctx, target, at.Name)
		}
	}()
	if step.Cursor == "" {
		if err := r.dropAbandoned(ctx, step.Target, target); err != nil {
			return err
		}
		if err := r.beginExport(ctx, step, &at); err != nil {
			return err
		}
	} else if json.Unmarshal([]byte(step.Cursor), &at) != nil {
		return fmt.Errorf("reconcile run %d: its place is damaged", r.run.ID)
	}
	for {
		failed, err := r.takeExport(ctx, step, target, &at)
		switch {
		case err != nil || failed == nil:
			return err
		case errors.Is(failed, lockstep.ErrNoExport), lockstep.KindOf(failed) == lockstep.ErrGone && at.Tries+1 == exportTries:
			r.log.Warn("no export is to be had: the target is listed", "run", r.run.ID, "target", step.Target, "reason", failed)
			if err := r.beginAnew(ctx, step, ""); err != nil {
				return err
			}
			return lockstep.ErrNoExport
		case lockstep.KindOf(failed) != lockstep.ErrGone:
			return r.unlessStopped(ctx, step, failed)
		}
		r.dropExport(ctx, target, at.Name)
		at.Tries++
		if err := r.beginExport(ctx, step, &at); err != nil {
			return err
		}
	}
}

// takeExport compares an export page by page. What failed at the target is apart
// from what failed here.
func (r *reconciling) takeExport(ctx context.Context, step *postgres.RunStep, target lockstep.Exporter, at *exportCursor) (failed, err error) {
	seen := func(n int) { r.options.Progress(Progress{What: step.Target + " export", Done: n}) }
	failed = patiently(ctx, func(context.Context) error { // no single call: it takes as long as it takes
		for page, failed := range target.Export(ctx, lockstep.Export{Name: at.Name, Place: at.Place, Seen: seen}) {
			if failed != nil {
				return failed
			}
			if err = r.exportPage(ctx, step, page, at); err != nil {
				return nil
			}
		}
		return nil
	})
	if failed != nil || err != nil {
		return failed, err
	}
	return nil, r.page(ctx, step, func(_ pgx.Tx, next *postgres.RunStep) error {
		next.State = postgres.StepDone
		return nil
	})
}

func (r *reconciling) exportPage(ctx context.Context, step *postgres.RunStep, page lockstep.ExportPage, at *exportCursor) error {
	to := *at
	to.Place = page.Place
	cursor, err := json.Marshal(to)
	if err != nil {
		return err
	}
	err = r.page(ctx, step, func(tx pgx.Tx, next *postgres.RunStep) error {
		next.Cursor = string(cursor)
		next.LookedAt += int64(len(page.Customers))
		return r.compare(ctx, tx, *next, page.Customers, at.Began)
	})
	if err == nil {
		*at = to
	}
	return err
}

// beginExport names an export that is to be begun.
func (r *reconciling) beginExport(ctx context.Context, step *postgres.RunStep, at *exportCursor) (err error) {
	next := exportCursor{Name: "lockstep_deep_" + strings.ToLower(rand.Text()[:16]), Tries: at.Tries}
	if next.Began, err = r.store.DatabaseTime(ctx); err != nil {
		return err
	}
	cursor, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := r.beginAnew(ctx, step, string(cursor)); err != nil {
		return err
	}
	*at = next
	return nil
}

// beginAnew forgets whom the walk saw.
func (r *reconciling) beginAnew(ctx context.Context, step *postgres.RunStep, cursor string) error {
	return r.page(ctx, step, func(tx pgx.Tx, next *postgres.RunStep) error {
		next.Cursor, next.LookedAt = cursor, 0
		return r.store.Unsee(ctx, tx, r.run, step.Target)
	})
}

// goesOn reports whether another node goes on with the run after err.
func (r *reconciling) goesOn(ctx context.Context, err error) bool {
	cause := context.Cause(ctx)
	return errors.Is(err, postgres.ErrLost) || errors.Is(cause, postgres.ErrLost) || errors.Is(cause, errStopping)
}

// dropExport leaves no export under way that nobody waits for. If that fails, the
// export ends by itself, or is dropped by the next run.
func (r *reconciling) dropExport(ctx context.Context, target lockstep.Exporter, name string) {
	if name == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := target.CancelExport(ctx, name); err != nil {
		r.log.Warn("an export that nobody waits for was not cancelled", "run", r.run.ID, "export", name, "error", err)
	}
}

// dropAbandoned drops the exports of runs that ended in their middle, such as one
// that was killed and then given up.
func (r *reconciling) dropAbandoned(ctx context.Context, name string, target lockstep.Exporter) error {
	places, err := r.store.Abandoned(ctx, stepCustomers, name)
	for _, place := range places {
		var at exportCursor
		if isExport(place) && json.Unmarshal([]byte(place), &at) == nil {
			r.dropExport(ctx, target, at.Name)
		}
	}
	return err
}
