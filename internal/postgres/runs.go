package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
)

// Run is one reconcile run, as whoever holds its lease knows it.
type Run struct {
	ID       int64
	Spec     RunSpec
	Started  time.Time
	Resumed  bool // taken over from a node that was stopped
	lease    int64
	leaseFor time.Duration
}

// RunSpec is what a run was asked to do.
type RunSpec struct {
	Deep     bool
	DryRun   bool
	Full     bool // all of Clerk's users, not only those that changed
	Targets  []string
	Settings json.RawMessage // of the run, the caller's
	Steps    []StepSpec
}

// StepSpec names a part of a run.
type StepSpec struct{ Name, Target string }

// RunStep is a part of a run and how far it has come.
type RunStep struct {
	No       int
	Name     string
	Target   string
	Cursor   string
	LookedAt int64
	State    StepState
	Reason   string    // why it was not walked
	Began    time.Time // zero until it has
}

// StepState is how far a step has come.
type StepState string

// The states of a step.
const (
	StepTodo      StepState = "todo"
	StepDone      StepState = "done"
	StepNotWalked StepState = "not_walked" // could not be looked at: not the same as fine
)

// RunningError says that a run of the kind is under way elsewhere.
type RunningError struct {
	ID     int64
	Holder string        // host and process id
	Until  time.Duration // when its lease ends, unless it is renewed
}

func (e *RunningError) Error() string {
	return fmt.Sprintf("reconcile run %d is under way in process %s: wait for it", e.ID, e.Holder)
}

// OpenRun begins a run under a lease, or takes over one that was left behind
// and was asked the same; one that was asked something else is cancelled. A
// *RunningError says that another node is at it.
func (s *Store) OpenRun(ctx context.Context, spec RunSpec, lease time.Duration) (r Run, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		// One opener at a time; the lock ends with the transaction.
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended('lockstep.reconcile', 0))`); err != nil {
			return fmt.Errorf("open run: %w", err)
		}
		old, err := s.leftBehind(ctx, tx, spec.Deep)
		if err != nil {
			return err
		}
		if old != nil && old.Spec.same(spec) {
			r = *old
			return s.takeOver(ctx, tx, &r, lease)
		}
		if old != nil {
			if _, err := tx.Exec(ctx, `update lockstep.reconcile_runs set state = 'cancelled', reason = 'given up for another run', finished_at = now()
				where id = $1`, old.ID); err != nil {
				return fmt.Errorf("cancel run: %w", err)
			}
		}
		r, err = s.begin(ctx, tx, spec, lease)
		return err
	})
	return r, err
}

// ResumeRun takes over a deep run that was left behind; ErrNoRun if there is none.
func (s *Store) ResumeRun(ctx context.Context, lease time.Duration) (r Run, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended('lockstep.reconcile', 0))`); err != nil {
			return fmt.Errorf("resume run: %w", err)
		}
		old, err := s.leftBehind(ctx, tx, true)
		if err != nil {
			return err
		}
		if old == nil {
			return ErrNoRun
		}
		r = *old
		return s.takeOver(ctx, tx, &r, lease)
	})
	return r, err
}

// ErrNoRun says that no run is there.
var ErrNoRun = errors.New("no reconcile run is there")

func (a RunSpec) same(b RunSpec) bool {
	key := func(s RunSpec) string { return fmt.Sprint(s.Deep, s.DryRun, s.Full, s.Targets, string(s.Settings)) }
	return key(a) == key(b)
}

// leftBehind reads the run that is not finished and that nobody works on.
func (s *Store) leftBehind(ctx context.Context, tx pgx.Tx, deep bool) (*Run, error) {
	r := Run{Resumed: true}
	var left time.Duration
	var holder string
	err := tx.QueryRow(ctx, `select holder, id, deep, dry_run, full_walk, targets, settings::text, started_at, lease,
		greatest(coalesce(lease_until - now(), interval '0'), interval '0')
		from lockstep.reconcile_runs where state = 'running' and deep = $1`, deep).Scan(
		&holder, &r.ID, &r.Spec.Deep, &r.Spec.DryRun, &r.Spec.Full, &r.Spec.Targets, &r.Spec.Settings, &r.Started, &r.lease, &left)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read run: %w", err)
	case left > 0:
		return nil, &RunningError{r.ID, holder, left}
	}
	return &r, nil
}

// holder names this process, for people.
func holder() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s:%d", host, os.Getpid())
}

func (s *Store) takeOver(ctx context.Context, tx pgx.Tx, r *Run, lease time.Duration) error {
	r.leaseFor = lease
	err := tx.QueryRow(ctx, `update lockstep.reconcile_runs set lease = lease + 1, lease_until = now() + $2::interval, holder = $3 where id = $1 returning lease`,
		r.ID, lease, holder()).Scan(&r.lease)
	if err != nil {
		return fmt.Errorf("take over run: %w", err)
	}
	return nil
}

func (s *Store) begin(ctx context.Context, tx pgx.Tx, spec RunSpec, lease time.Duration) (Run, error) {
	r := Run{Spec: spec, leaseFor: lease, lease: 1}
	if spec.Settings == nil {
		r.Spec.Settings = json.RawMessage("{}")
	}
	err := tx.QueryRow(ctx, `insert into lockstep.reconcile_runs (deep, dry_run, full_walk, targets, settings, lease, lease_until, holder)
		values ($1, $2, $3, $4, $5::jsonb, 1, now() + $6::interval, $7) returning id, started_at`,
		spec.Deep, spec.DryRun, spec.Full, spec.Targets, string(r.Spec.Settings), lease, holder()).Scan(&r.ID, &r.Started)
	if err != nil {
		return r, fmt.Errorf("begin run: %w", err)
	}
	names, targets := make([]string, len(spec.Steps)), make([]string, len(spec.Steps))
	for i, step := range spec.Steps {
		names[i], targets[i] = step.Name, step.Target
	}
	_, err = tx.Exec(ctx, `insert into lockstep.reconcile_steps (run_id, step, name, target)
		select $1, n, name, target from unnest($2::text[], $3::text[]) with ordinality s(name, target, n)`, r.ID, names, targets)
	if err != nil {
		return r, fmt.Errorf("begin run: %w", err)
	}
	return r, nil
}

// Renew keeps the lease; ErrLost if somebody else has the run.
func (s *Store) Renew(ctx context.Context, r Run) error {
	return s.owned(ctx, r, `update lockstep.reconcile_runs set lease_until = now() + $3::interval where id = $1 and lease = $2 and state = 'running'`, r.leaseFor)
}

// LeaveRun gives the lease back, so that another node goes on at once.
func (s *Store) LeaveRun(ctx context.Context, r Run) error {
	return s.owned(ctx, r, `update lockstep.reconcile_runs set lease_until = null where id = $1 and lease = $2 and state = 'running'`)
}

// CloseRun ends a run, with a reason unless it is done, and drops its scratch, and
// that of older runs but for one of the other kind that is under way.
func (s *Store) CloseRun(ctx context.Context, r Run, state, reason string) error {
	if err := s.owned(ctx, r, `update lockstep.reconcile_runs set state = $3, reason = $4, finished_at = now(), lease_until = null
		where id = $1 and lease = $2 and state = 'running'`, state, reason); err != nil {
		return err
	}
	if _, err := s.pool.Exec(ctx, `delete from lockstep.reconcile_seen where run_id <= $1
		and run_id not in (select id from lockstep.reconcile_runs where state = 'running')`, r.ID); err != nil {
		return fmt.Errorf("close run: %w", err)
	}
	return nil
}

func (s *Store) owned(ctx context.Context, r Run, sql string, more ...any) error {
	tag, err := s.pool.Exec(ctx, sql, append([]any{r.ID, r.lease}, more...)...)
	if err != nil {
		return fmt.Errorf("keep run: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrLost
	}
	return nil
}

// Steps reads the steps of a run in their order.
func (s *Store) Steps(ctx context.Context, runID int64) ([]RunStep, error) {
	rows, err := s.pool.Query(ctx, `select step, name, target, cursor, looked_at, state, reason, began_at
		from lockstep.reconcile_steps where run_id = $1 order by step`, runID)
	if err != nil {
		return nil, fmt.Errorf("read steps: %w", err)
	}
	steps, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t RunStep, err error) {
		return t, row.Scan(&t.No, &t.Name, &t.Target, &t.Cursor, &t.LookedAt, &t.State, &t.Reason, orZero(&t.Began))
	})
	if err != nil {
		return nil, fmt.Errorf("read steps: %w", err)
	}
	return steps, nil
}

// Abandoned takes the places of a target's steps that ended runs left in their
// middle: each is given out once.
func (s *Store) Abandoned(ctx context.Context, name, target string) ([]string, error) {
	rows, err := s.pool.Query(ctx, `update lockstep.reconcile_steps u set cursor = '' from lockstep.reconcile_steps t, lockstep.reconcile_runs run
		where t.run_id = u.run_id and t.step = u.step and run.id = u.run_id and run.state <> 'running'
		  and u.name = $1 and u.target = $2 and u.state = 'todo' and u.cursor <> ''
		returning t.cursor`, name, target)
	if err != nil {
		return nil, fmt.Errorf("read abandoned steps: %w", err)
	}
	places, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read abandoned steps: %w", err)
	}
	return places, nil
}

// SaveStep moves a step on, in the transaction of what it did; ErrLost if
// somebody else has the run.
func (s *Store) SaveStep(ctx context.Context, tx pgx.Tx, r Run, t RunStep) error {
	tag, err := tx.Exec(ctx, `update lockstep.reconcile_steps u set cursor = $4, looked_at = $5, state = $6, reason = $7, began_at = nullif($8, '0001-01-01 00:00:00+00'::timestamptz)
		from (select id from lockstep.reconcile_runs where id = $1 and lease = $2 and state = 'running' for share) run
		where u.run_id = run.id and u.step = $3`, r.ID, r.lease, t.No, t.Cursor, t.LookedAt, t.State, t.Reason, t.Began)
	if err != nil {
		return fmt.Errorf("save step: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrLost
	}
	return nil
}

// ReadRun reads what a run was asked and what became of it; ErrNoRun if it is
// not there.
func (s *Store) ReadRun(ctx context.Context, id int64, deep, dryRun *bool, state, reason *string, started, finished *time.Time) error {
	err := s.pool.QueryRow(ctx, `select deep, dry_run, state, reason, started_at, finished_at from lockstep.reconcile_runs where id = $1`, id).
		Scan(deep, dryRun, state, reason, started, orZero(finished))
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNoRun
	}
	if err != nil {
		return fmt.Errorf("read run: %w", err)
	}
	return nil
}

// DatabaseTime is the clock that all rows are stamped by.
func (s *Store) DatabaseTime(ctx context.Context) (t time.Time, err error) {
	if err = s.pool.QueryRow(ctx, `select clock_timestamp()`).Scan(&t); err != nil {
		return t, fmt.Errorf("read time: %w", err)
	}
	return t, nil
}
