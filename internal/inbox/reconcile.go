package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep/internal/postgres"
)

// ReconcileOptions say what to compare, and what to do about it.
type ReconcileOptions struct {
	Deep     bool            // ask Clerk and the targets, not only our own tables
	DryRun   bool            // find and report, change nothing
	Full     bool            // all of Clerk's users, not only those that changed
	Target   string          // this one alone, and not Clerk; empty for everything
	NoWait   bool            // do not wait for the repairs that were queued
	Allow    int             // deletions that the run may carry out; 0 for the default
	Resume   bool            // only go on with a deep run that was left behind
	Progress func(Progress)  // may be nil
	Patience time.Duration   // how long repairs may make no progress; 0 for two minutes
	stop     <-chan struct{} // leave the run to another node
}

// Why there was nothing to reconcile.
var (
	ErrNoRun    = postgres.ErrNoRun
	errStopping = errors.New("this node stops: another goes on with the run")
)

const (
	runLease      = 30 * time.Second // renewed three times in that time
	keepRuns      = 60               // of a kind, in the report's tables
	patience      = 2 * time.Minute
	failedLongAgo = 6 * time.Hour // shallow runs leave the rest alone: what was given up will fail again
	bulkPage      = 500           // users in one transaction
	namedFindings = 200           // that a report names
)

// The steps of a run.
const (
	stepUsers     = "users"     // Clerk's users against the profiles
	stepAbsent    = "absent"    // profiles whose user the walk did not see
	stepLinks     = "links"     // profiles against the links, without asking anybody
	stepCustomers = "customers" // a target's customers against the links
	stepGone      = "gone"      // links whose customer the walk did not see
)

// reconciling is one run under way.
type reconciling struct {
	*Inbox
	run     postgres.Run
	options ReconcileOptions
	users   Directory

	survey   *postgres.Survey // of a shallow run
	since    time.Time        // profiles unchanged since then were looked at before
	compared time.Time        // when a shallow run last compared everything
}

// Reconcile compares what should be with what is, queues the repair of what
// differs, and reports. One run of a kind is under way at a time, on whichever
// node: others get a *postgres.RunningError. A node that is killed is followed
// by another, which goes on where it was.
func (in *Inbox) Reconcile(ctx context.Context, users Directory, o ReconcileOptions) (Report, error) {
	r, err := in.openRun(ctx, users, o)
	if err != nil {
		return Report{}, postgres.Redact(err)
	}
	if r.run.Resumed {
		in.log.Info("goes on with a reconcile run", "run", r.run.ID)
	}
	err = r.underLease(ctx, r.walkAll)
	if err := r.close(ctx, err); err != nil {
		return Report{}, err
	}
	return in.Report(context.WithoutCancel(ctx), r.run.ID)
}

func (in *Inbox) openRun(ctx context.Context, users Directory, o ReconcileOptions) (r *reconciling, err error) {
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	r = &reconciling{Inbox: in, options: o, users: users}
	if o.Resume {
		if r.run, err = in.store.ResumeRun(ctx, runLease); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(r.run.Spec.Settings, &r.options.Allow); err != nil {
			return nil, fmt.Errorf("reconcile run %d: its settings are damaged", r.run.ID)
		}
		r.options.Deep, r.options.DryRun, r.options.Full = true, r.run.Spec.DryRun, r.run.Spec.Full
		return r, nil
	}
	spec, err := in.spec(ctx, o)
	if err != nil {
		return nil, err
	}
	r.run, err = in.store.OpenRun(ctx, spec, runLease)
	r.options.Full = spec.Full
	return r, err
}

// spec lays out the steps of a run.
func (in *Inbox) spec(ctx context.Context, o ReconcileOptions) (s postgres.RunSpec, err error) {
	s = postgres.RunSpec{Deep: o.Deep, DryRun: o.DryRun, Full: o.Full}
	if s.Targets, err = in.connected(ctx); err != nil {
		return s, err
	}
	if s.Settings, err = json.Marshal(o.Allow); err != nil {
		return s, err
	}
	if o.Target != "" {
		if _, ok := in.targets[o.Target]; !ok {
			return s, fmt.Errorf("no target %q is in the settings: `lockstep status` lists them", o.Target)
		}
		if !slices.Contains(s.Targets, o.Target) {
			return s, fmt.Errorf("%s: %w", o.Target, postgres.ErrDisconnected)
		}
		s.Targets = []string{o.Target}
	}
	if o.Deep && o.Target == "" {
		if s.Full = o.Full; !s.Full {
			s.Full, err = in.fullWalkDue(ctx)
		}
		s.Steps = append(s.Steps, postgres.StepSpec{Name: stepUsers}, postgres.StepSpec{Name: stepAbsent})
	}
	for _, name := range s.Targets {
		s.Steps = append(s.Steps, postgres.StepSpec{Name: stepLinks, Target: name})
		if o.Deep {
			s.Steps = append(s.Steps, postgres.StepSpec{Name: stepCustomers, Target: name}, postgres.StepSpec{Name: stepGone, Target: name})
		}
	}
	return s, err
}

// underLease runs f while the lease is renewed. What f was about to store when
// the lease was lost is refused by the store.
func (r *reconciling) underLease(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var renewing sync.WaitGroup
	done := make(chan struct{})
	renewing.Go(func() {
		tick := time.NewTicker(runLease / 3)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-r.options.stop:
				cancel(errStopping)
				return
			case <-tick.C:
				if err := r.store.Renew(ctx, r.run); errors.Is(err, postgres.ErrLost) {
					cancel(err)
				}
			}
		}
	})
	err := f(ctx)
	close(done)
	renewing.Wait()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// close ends the run, or leaves it to another node.
func (r *reconciling) close(ctx context.Context, err error) error {
	ended, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	switch {
	case err == nil:
		return r.end(ended, "done", "")
	case errors.Is(err, errStopping):
		return errors.Join(err, postgres.Redact(r.store.LeaveRun(ended, r.run)))
	case errors.Is(err, postgres.ErrLost):
		return err
	case errors.Is(err, context.Canceled):
		return errors.Join(err, r.end(ended, "cancelled", "stopped by a person"))
	}
	return errors.Join(err, r.end(ended, "failed", err.Error()))
}

// end closes the run, and drops the reports of old ones, however it ended: runs
// that fail every few minutes fill tables too.
func (r *reconciling) end(ctx context.Context, state, reason string) error {
	return errors.Join(postgres.Redact(r.store.CloseRun(ctx, r.run, state, reason)), postgres.Redact(r.store.PruneRuns(ctx, r.run.Spec.Deep, keepRuns)))
}

// walkAll takes the steps that are left, and waits for the repairs.
func (r *reconciling) walkAll(ctx context.Context) error {
	steps, err := r.store.Steps(ctx, r.run.ID)
	if err != nil {
		return postgres.Redact(err)
	}
	for _, step := range steps {
		if step.State != postgres.StepTodo {
			continue
		}
		err := r.take(ctx, &step)
		if failed, ok := errors.AsType[*directoryError](err); ok {
			err = r.unlessStopped(ctx, &step, failed.error)
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", step.Name, step.Target, postgres.Redact(err))
		}
	}
	if err := r.remember(ctx, steps); err != nil || r.options.DryRun {
		return postgres.Redact(err)
	}
	if r.options.NoWait {
		_, err := r.store.Settle(ctx, r.run, false)
		return postgres.Redact(err)
	}
	return r.await(ctx)
}

// take walks one step from its place to its end.
func (r *reconciling) take(ctx context.Context, step *postgres.RunStep) (err error) {
	if step.Began.IsZero() {
		if step.Began, err = r.store.DatabaseTime(ctx); err != nil {
			return err
		}
	}
	connected, err := r.connected(ctx)
	if err != nil {
		return err
	}
	if step.Target != "" && !slices.Contains(connected, step.Target) { // since the run began
		return r.skip(ctx, step, "not walked: "+postgres.ErrDisconnected.Error())
	}
	ctx = AsBulk(ctx)
	switch step.Name {
	case stepUsers:
		return r.walkUsers(ctx, step)
	case stepAbsent:
		return r.walkAbsent(ctx, step)
	case stepLinks:
		return r.walkLinks(ctx, step)
	case stepCustomers:
		return r.walkCustomers(ctx, step)
	case stepGone:
		return r.walkGone(ctx, step)
	}
	return fmt.Errorf("no step %q: the run is of a newer version of lockstep", step.Name)
}

// page is one transaction of a step: what do finds and repairs, and the place to
// go on from.
func (r *reconciling) page(ctx context.Context, step *postgres.RunStep, do func(pgx.Tx, *postgres.RunStep) error) error {
	next := *step
	err := r.inTx(ctx, func(tx pgx.Tx) error {
		if err := do(tx, &next); err != nil {
			return err
		}
		return r.store.SaveStep(ctx, tx, r.run, next)
	})
	if err != nil {
		return err
	}
	*step = next
	r.options.Progress(Progress{What: stepTitle(next), Done: int(next.LookedAt)})
	return nil
}

func stepTitle(s postgres.RunStep) string {
	if s.Target == "" {
		return s.Name
	}
	return s.Target + " " + s.Name
}

// skip ends a step that cannot be walked: the report must not call it fine.
func (r *reconciling) skip(ctx context.Context, step *postgres.RunStep, why string) error {
	return r.page(ctx, step, func(_ pgx.Tx, next *postgres.RunStep) error {
		next.State, next.Reason = postgres.StepNotWalked, why
		return nil
	})
}

// repair notes what was found of users in a target and queues the work, behind
// live changes: the one path decides what to do, and does it.
func (r *reconciling) repair(ctx context.Context, tx pgx.Tx, step postgres.RunStep, found []postgres.Finding) error {
	var users []string
	for i := range found {
		f := &found[i]
		switch {
		case f.Fate != "":
		case r.options.DryRun:
			f.Fate, f.Reason = postgres.FateLeft, dryReason
		default:
			f.Fate = postgres.FateQueued
			users = append(users, f.UserID)
		}
	}
	if err := r.store.Note(ctx, tx, r.run, step.No, found); err != nil {
		return err
	}
	_, err := r.queueBulk(ctx, tx, users, []string{step.Target})
	return err
}

// await waits until every repair that was queued is done or has failed. Where
// nothing moves for a while, as in a target that is paused, the rest is left.
func (r *reconciling) await(ctx context.Context) error {
	const pause = 200 * time.Millisecond
	limit := r.options.Patience
	if limit == 0 {
		limit = patience
	}
	least, moved, total := -1, time.Now(), 0
	for {
		waiting, err := r.store.Settle(ctx, r.run, least >= 0 && time.Since(moved) > limit)
		if err != nil {
			return postgres.Redact(err)
		}
		total = max(total, waiting)
		r.options.Progress(Progress{"repairs", total - waiting, total})
		if waiting == 0 {
			return nil
		}
		if least < 0 || waiting < least {
			least, moved = waiting, time.Now()
		}
		if err := pauseFor(ctx, pause); err != nil {
			return err
		}
	}
}

// usersCheckpoint is from where the next walk through Clerk's users looks for
// changes.
const usersCheckpoint = "reconcile_clerk"

// usersState is the checkpoint's value.
type usersState struct {
	Watermark time.Time `json:"watermark"` // all changes before it are in the profiles
	Full      time.Time `json:"full"`      // when the last full walk began
}

const (
	fullWalkEvery    = 7*24*time.Hour - time.Hour // weekly, also where the nightly run is a little early
	watermarkOverlap = time.Hour
)

func (in *Inbox) usersState(ctx context.Context) (s usersState, held string, err error) {
	held, err = in.store.Checkpoint(ctx, usersCheckpoint)
	if err == nil && held != "" && json.Unmarshal([]byte(held), &s) != nil {
		s = usersState{} // walk everything again
	}
	return s, held, err
}

func (in *Inbox) fullWalkDue(ctx context.Context) (bool, error) {
	s, _, err := in.usersState(ctx)
	return time.Since(s.Full) > fullWalkEvery, err
}

// remember moves the watermark once all users were walked and stored.
func (r *reconciling) remember(ctx context.Context, steps []postgres.RunStep) error {
	if r.options.DryRun || len(steps) == 0 || steps[0].Name != stepUsers {
		return r.rememberShallow(ctx)
	}
	all, err := r.store.Steps(ctx, r.run.ID)
	if err != nil || all[0].State != postgres.StepDone {
		return err
	}
	var at usersCursor
	if err := json.Unmarshal([]byte(all[0].Cursor), &at); err != nil {
		return fmt.Errorf("reconcile run %d: its place is damaged", r.run.ID)
	}
	s, held, err := r.usersState(ctx)
	if err != nil {
		return err
	}
	if s.Watermark = at.Newest; at.Full {
		s.Full = all[0].Began
	}
	data, err := json.Marshal(s)
	if err != nil || string(data) == held {
		return err
	}
	return r.inTx(ctx, func(tx pgx.Tx) error { return r.store.Advance(ctx, tx, usersCheckpoint, held, string(data)) })
}
