package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
)

// Vitals is how the whole installation is, whichever process asks. Everything
// is read through indexes: it may be asked every few seconds. Ages are by the
// database's clock.
type Vitals struct {
	At          time.Time     // when they were read, by this process's clock
	Installed   time.Duration // since Lockstep's tables were made
	Leader      bool          // a worker process is elected: schedules and sweeps run
	DispatchAge time.Duration // of the oldest accepted change that no target's queue holds yet
	Discarded   int           // jobs that the engine gave up, and nothing starts again
	Jobs        []JobCount
	Sources     []SourceVitals
	Targets     []TargetVitals
	Buckets     []BucketLevel
	Reconciled  time.Duration // since everything was compared as a whole, or, if it never was, since Installed
	Held        int           // deletions that the newest deep reconcile run held back
	Drift       []DriftVitals
}

// DriftVitals counts what the newest deep reconcile run found of one kind in one
// target, and what of it is not repaired. Target is empty for profiles.
type DriftVitals struct {
	Target string
	Kind   string
	Found  int
	Left   int
}

// JobCount counts the jobs of one kind in one state of River's.
type JobCount struct {
	State string
	Kind  string
	Count int
}

// SourceVitals is the last sign of life of a source of deliveries.
type SourceVitals struct {
	Source string
	Age    time.Duration // of the newest delivery
}

// TargetVitals is what needs an eye on a target. A target that nothing is
// known of is not listed. What was disconnected on purpose is neither paused nor
// behind.
type TargetVitals struct {
	Target     string
	PendingAge time.Duration // of the oldest change not yet applied; zero for none
	Waiting    int
	Conflicts  int
	Failed     int
	Paused     bool
	PausedFor  time.Duration
}

// BucketLevel is what may be asked of a target now.
type BucketLevel struct {
	Target   string
	Tokens   float64
	Capacity float64
}

const (
	// Sources are few and deliveries many: jump from one to the next.
	sourcesSQL = `
		with recursive s as (
		  (select source from lockstep.deliveries order by source limit 1)
		  union all
		  select (select d.source from lockstep.deliveries d where d.source > s.source order by d.source limit 1) from s where s.source is not null)
		select source, now() - (select max(d.received_at) from lockstep.deliveries d where d.source = s.source)
		  from s where source is not null`

	targetsSQL = `
		select target, coalesce(now() - min(since), interval '0'),
		       coalesce(sum(n) filter (where status = 'waiting'), 0)::int,
		       coalesce(sum(n) filter (where status = 'conflict'), 0)::int,
		       coalesce(sum(n) filter (where status = 'failed'), 0)::int,
		       coalesce(bool_or(paused), false), coalesce(now() - min(paused_at), interval '0')
		  from (select target, min(coalesce(queued_at, updated_at)) as since, null as status, 0::bigint as n, false as paused, null::timestamptz as paused_at
		          from lockstep.customer_links where applied < desired and status <> 'failed'
		           and target not in (select t.target from lockstep.targets t where t.disconnected_at is not null) group by target
		        union all
		        select target, null, status, count(*), false, null
		          from lockstep.customer_links where status in ('conflict', 'waiting') group by target, status
		        union all
		        select target, null, status, count(*), false, null
		          from lockstep.customer_links where status = 'failed' group by target, status
		        union all
		        select target, null, null, 0, paused_at is not null, paused_at from lockstep.targets where disconnected_at is null) x
		 group by target order by target`

	jobsSQL = `select state::text, kind, count(*)::int from lockstep.river_job
		where state in ('available', 'cancelled', 'discarded', 'pending', 'retryable', 'running', 'scheduled')
		group by state, kind order by 1, 2`

	// A dry run compares as well; one of a single target does not speak for all.
	reconciledSQL = `select coalesce(now() - coalesce(
		  (select max(r.finished_at) from lockstep.reconcile_runs r where r.deep and r.state = 'done'
		      and exists (select from lockstep.reconcile_steps s where s.run_id = r.id and s.name = 'users')),
		  (select updated_at from lockstep.checkpoints where name = 'installed')), interval '0')`

	newestRun = `(select max(id) from lockstep.reconcile_runs r where r.deep and not r.dry_run and r.state = 'done'
		and exists (select from lockstep.reconcile_steps s where s.run_id = r.id and s.name = 'users'))`

	driftSQL = `select target, kind, count(*)::int, (count(*) filter (where outcome <> 'repaired'))::int
		from lockstep.reconcile_findings where run_id = ` + newestRun + ` group by target, kind order by target, kind`

	bucketsSQL = `select b.target, ` + filled + `, b.capacity from lockstep.buckets b order by b.target`

	restSQL = `
		select coalesce(now() - (select updated_at from lockstep.checkpoints where name = 'installed'), interval '0'),
		       exists (select from lockstep.river_leader where expires_at > now()),
		       coalesce(now() - (select min(created_at) from lockstep.river_job
		         where queue = $1 and state in ('available', 'retryable', 'running', 'scheduled')), interval '0'),
		       (select count(*) from lockstep.river_job where state = 'discarded' and kind <> all($2::text[]))`
)

// Vitals reads how things are. Dispatch is the queue of accepted changes; again
// are the kinds of jobs that are started anew without anybody's help.
func (s *Store) Vitals(ctx context.Context, dispatch string, again []string) (v Vitals, err error) {
	var batch pgx.Batch
	batch.Queue(restSQL, dispatch, again).QueryRow(func(row pgx.Row) error {
		return row.Scan(&v.Installed, &v.Leader, &v.DispatchAge, &v.Discarded)
	})
	collect(&batch, sourcesSQL, &v.Sources)
	collect(&batch, targetsSQL, &v.Targets)
	collect(&batch, jobsSQL, &v.Jobs)
	collect(&batch, bucketsSQL, &v.Buckets)
	collect(&batch, driftSQL, &v.Drift)
	batch.Queue(reconciledSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&v.Reconciled) })
	if err := s.pool.SendBatch(ctx, &batch).Close(); err != nil {
		return Vitals{}, fmt.Errorf("read vitals: %w", Redact(err))
	}
	for _, d := range v.Drift {
		if d.Kind == string(lockstep.DriftUserDeleted) {
			v.Held = d.Left // a run carries out all of them, or none
		}
	}
	v.At = time.Now()
	return v, nil
}

// collect adds a query whose rows have the fields of T, in their order.
func collect[T any](batch *pgx.Batch, sql string, into *[]T) {
	batch.Queue(sql).Query(func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectRows(rows, pgx.RowToStructByPos[T])
		return err
	})
}
