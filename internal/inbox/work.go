package inbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

func (in *Inbox) workerConfig(c Config) *river.Config {
	workers := river.NewWorkers()
	river.AddWorker(workers, &dispatchWorker{in: in})
	river.AddWorker(workers, &syncWorker{in: in})
	river.AddWorker(workers, &captureWorker{in: in})
	river.AddWorker(workers, &inspectWorker{in: in})
	river.AddWorker(workers, &privacyWorker{in: in})
	river.AddWorker(workers, &upkeepWorker{in: in})
	river.AddWorker(workers, &retainWorker{in: in})
	perTarget := cmp.Or(c.Workers, workersFor(len(in.names)))
	queues := map[string]river.QueueConfig{
		dispatchQueue: {MaxWorkers: 2}, bulkQueue: {MaxWorkers: 1}, upkeepQueue: {MaxWorkers: 1}, retainQueue: {MaxWorkers: 1}, inspectQueue: {MaxWorkers: 4}, privacyQueue: {MaxWorkers: 1},
	}
	for _, name := range in.names {
		queues[queueName(name)] = river.QueueConfig{MaxWorkers: perTarget}
		if _, ok := lockstep.As[lockstep.Capturer](in.targets[name]); ok {
			queues[captureQueue(name)] = river.QueueConfig{MaxWorkers: 1} // its reads are batches
		}
	}
	poll := 500 * time.Millisecond // without LISTEN's help, and for jobs that come due
	if c.PollOnly {
		poll = 100 * time.Millisecond
	}
	config := &river.Config{
		Schema: postgres.Schema, Logger: c.Log, Workers: workers, Queues: queues, Middleware: c.Middleware,
		FetchCooldown: fetchCooldown, FetchPollInterval: poll, PollOnly: c.PollOnly,
		JobTimeout: jobTimeout, RescueStuckJobsAfter: rescueAfter, ReindexerSchedule: &in.reindex,
		PeriodicJobs: append(in.inspections(c), river.NewPeriodicJob(
			river.PeriodicInterval(sweepInterval),
			func() (river.JobArgs, *river.InsertOpts) {
				return upkeepArgs{}, &river.InsertOpts{Queue: upkeepQueue, MaxAttempts: 1}
			},
			&river.PeriodicJobOpts{RunOnStart: true}), in.retainPeriodically()),
	}
	in.schedule(config, c.Reconcile)
	return config
}

// workersFor is how many jobs of each target a process works on at once. Beside
// many targets it is fewer: all share the database's connections, and where hundreds
// wait for one, jobs end before they could remember what they did, and do it again.
func workersFor(targets int) int {
	const all, least, most = 256, 8, 32
	return min(most, max(least, all/max(targets, 1)))
}

// dispatchWorker turns "these users may have changed" into one job per user
// and target, unless one is live already.
type dispatchWorker struct {
	river.WorkerDefaults[dispatchArgs]
	in *Inbox
}

func (w *dispatchWorker) NextRetry(job *river.Job[dispatchArgs]) time.Time {
	return time.Now().Add(retryPause(job.Attempt))
}

func (w *dispatchWorker) Work(ctx context.Context, job *river.Job[dispatchArgs]) error {
	targets, err := w.in.connected(ctx)
	if err != nil {
		return postgres.Redact(err)
	}
	err = w.in.inTx(ctx, func(tx pgx.Tx) error {
		if job.Args.Bulk {
			if _, err := w.in.queueBulk(ctx, tx, job.Args.Users, targets); err != nil {
				return err
			}
			return complete(ctx, tx, job)
		}
		keys, err := w.in.store.BumpSince(ctx, tx, job.Args.Users, targets, job.CreatedAt)
		if err != nil {
			return err
		}
		if err := w.in.enqueue(ctx, tx, keys); err != nil {
			return err
		}
		return complete(ctx, tx, job)
	})
	return postgres.Redact(err) // River keeps and logs what a job returns
}

// syncWorker brings one target in step for one user.
type syncWorker struct {
	river.WorkerDefaults[syncArgs]
	in *Inbox
}

func (w *syncWorker) NextRetry(job *river.Job[syncArgs]) time.Time {
	return time.Now().Add(retryPause(job.Attempt))
}

func (w *syncWorker) Work(ctx context.Context, job *river.Job[syncArgs]) error {
	key := postgres.Key{UserID: job.Args.User, Target: job.Args.Target}
	target, ok := w.in.targets[key.Target]
	if !ok {
		return river.JobCancel(fmt.Errorf("target %s is no longer in the settings", key.Target))
	}
	if job.Priority > livePriority {
		ctx = AsBulk(ctx)
		if due, err := w.in.store.Due(ctx, key); err != nil || !due { // done by other means while it waited
			return postgres.Redact(err)
		}
	}
	for range maxRounds {
		more, err := w.in.round(ctx, target, key, func(tx pgx.Tx) error { return complete(ctx, tx, job) })
		if err != nil {
			return w.after(ctx, job, err)
		}
		if !more {
			return nil
		}
	}
	return river.JobSnooze(0) // the user keeps changing: to the back of the queue
}

// after says what becomes of a job whose round failed.
func (w *syncWorker) after(ctx context.Context, job *river.Job[syncArgs], err error) error {
	if errors.Is(err, postgres.ErrNoLink) { // forgotten meanwhile
		return river.JobCancel(err)
	}
	failed, isRound := errors.AsType[*roundError](err)
	if busy, ok := errors.AsType[*postgres.BusyError](err); ok {
		return river.JobSnooze(busy.Until + 100*time.Millisecond)
	}
	if !isRound {
		return postgres.Redact(err) // our own database: nothing is claimed, or the lease will end
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	kind := lockstep.KindOf(err)
	if kind == lockstep.ErrInvalid || errors.Is(err, postgres.ErrNoProfile) || job.Attempt >= job.MaxAttempts {
		return river.JobCancel(errors.Join(err, postgres.Redact(w.in.store.Fail(ctx, failed.claim, err.Error()))))
	}
	if unclaimErr := w.in.store.Unclaim(ctx, failed.claim, err.Error()); unclaimErr != nil {
		w.in.log.Warn("the link stays leased until its time is up", "error", postgres.Redact(unclaimErr))
	}
	switch kind {
	case lockstep.ErrThrottled:
		te, _ := targetError(err)
		return w.in.putOff(te.After)
	case lockstep.ErrRefused:
		return errors.Join(w.in.pause(ctx, job.Args.Target, err), river.JobSnooze(spread(sweepInterval)))
	}
	return err
}

// putOff is what becomes of a job that a target's limit keeps waiting. Its place
// among the target's workers stays taken for a moment: else all who wait would
// ask in turn, as fast as the database can, for what is not there. Short enough
// for a live change, which needs such a place.
func (in *Inbox) putOff(wait time.Duration) error {
	const most = 500 * time.Millisecond
	wait = spread(max(wait, 50*time.Millisecond))
	held := min(wait, most)
	select {
	case <-time.After(held):
	case <-in.stopping:
	}
	return river.JobSnooze(wait - held)
}

func targetError(err error) (*lockstep.TargetError, bool) {
	return errors.AsType[*lockstep.TargetError](err)
}

// roundError is a failure of the target, after the link was claimed.
type roundError struct {
	claim postgres.Claim
	err   error
}

func (e *roundError) Error() string { return e.err.Error() }
func (e *roundError) Unwrap() error { return e.err }

// round does the work for one link once, whoever asks for it. No connection is
// held while the target is asked; done runs in the transaction that confirms
// the work, unless there is more.
// It ends before the lease does, so that who lost the lease has stopped writing.
func (in *Inbox) round(ctx context.Context, t lockstep.Target, k postgres.Key, done func(pgx.Tx) error) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	claim, err := in.store.Claim(ctx, k, leaseTime)
	if errors.Is(err, postgres.ErrNoProfile) {
		return false, &roundError{claim, err}
	}
	if err != nil {
		return false, err
	}
	res, err := syncSafely(ctx, t, claim, in.store.Owners, in.policy(k.Target, claim.Customers))
	if err != nil {
		return false, &roundError{claim, err}
	}
	err = in.inTx(ctx, func(tx pgx.Tx) error {
		var woken []postgres.Key
		if more, woken, err = in.store.Finish(ctx, tx, claim, outcome(claim, res)); err != nil {
			return err
		}
		if err := in.enqueue(ctx, tx, woken); err != nil || more {
			return err
		}
		return done(tx)
	})
	if err != nil {
		return false, &roundError{claim, fmt.Errorf("remember the result: %w", postgres.Redact(err))}
	}
	if lag, due := claim.Lag(); due && !more && res.Decision.Status == lockstep.StatusLinked {
		in.linked(k.Target, lag)
	}
	return more, nil
}

// syncSafely turns a target's panic into an error, so that it takes the same
// way as any other failure. The value may quote anything, so it is not logged.
func syncSafely(ctx context.Context, t lockstep.Target, c postgres.Claim, owners engine.Owners, how lockstep.OnDelete) (res engine.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("target %s panicked with a %T", c.Target, p)
		}
	}()
	return engine.Sync(ctx, t, c.Profile, c.Link, owners, how)
}

func outcome(c postgres.Claim, res engine.Result) postgres.Outcome {
	d := res.Decision
	o := postgres.Outcome{
		CustomerID: res.Customer.ID, Email: res.Customer.Email, Refused: res.Refused, Unheard: res.Unheard, Status: d.Status, Reason: d.Reason,
		BlockedBy: d.BlockedBy, HeldBy: d.HeldBy, MarkOnly: res.MarkOnly, Void: d.Void != "", Choices: res.Choices,
		Action: string(d.Action), Touched: d.Now.ID, Released: res.Released, LetGo: res.LetGo,
	}
	if d.Action == engine.Nothing {
		o.Action = "found " + string(d.Status) // the history tells news only
	}
	for _, action := range res.Wrote {
		o.Wrote = append(o.Wrote, string(action))
	}
	if d.Status == lockstep.StatusConflict && o.CustomerID == "" {
		o.CustomerID, o.Email = c.Link.CustomerID, c.Link.Email // a person may still need it
	}
	return o
}

// pause stops a target that refuses everything. Its jobs wait.
func (in *Inbox) pause(ctx context.Context, target string, cause error) error {
	err := in.inTx(ctx, func(tx pgx.Tx) error { return in.pauseTx(ctx, tx, target, cause) })
	if err != nil {
		return fmt.Errorf("pause %s: %w", target, postgres.Redact(err))
	}
	return nil
}

func (in *Inbox) pauseTx(ctx context.Context, tx pgx.Tx, target string, cause error) error {
	was, err := in.store.Pause(ctx, tx, target, cause.Error())
	if err != nil || !was {
		return err
	}
	in.log.Error("target paused", "target", target, "error", cause)
	return in.eachQueue(target, func(queue string) error { return in.jobs.QueuePauseTx(ctx, tx, queue, nil) })
}

// eachQueue does something to all queues of a target; one that no process has
// worked at yet is none.
func (in *Inbox) eachQueue(target string, do func(queue string) error) error {
	for _, queue := range []string{queueName(target), captureQueue(target)} {
		if err := do(queue); err != nil && !errors.Is(err, river.ErrNotFound) {
			return fmt.Errorf("queue %s: %w", queue, err)
		}
	}
	return nil
}

// upkeepWorker finds work whose job or node was lost, and targets that work again.
type upkeepWorker struct {
	river.WorkerDefaults[upkeepArgs]
	in *Inbox
}

func (w *upkeepWorker) Work(ctx context.Context, _ *river.Job[upkeepArgs]) error {
	var failed []error
	for _, do := range []func(context.Context) error{w.in.probe, w.in.sweep, w.in.followUp, w.in.holdDisconnected} {
		failed = append(failed, postgres.Redact(do(ctx)))
	}
	return errors.Join(failed...)
}

func (in *Inbox) sweep(ctx context.Context) error {
	const limit = 1000
	return in.inTx(ctx, func(tx pgx.Tx) error {
		keys, err := in.store.Overdue(ctx, tx, limit)
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			in.log.Info("took over lost jobs", "count", len(keys))
		}
		held, err := in.store.Recheck(ctx, tx, limit)
		if err != nil {
			return err
		}
		lost, err := in.store.LostChanges(ctx, tx)
		if err != nil {
			return err
		}
		requests, err := in.store.LostRequests(ctx, tx)
		if err != nil {
			return err
		}
		return errors.Join(in.enqueuePrivacy(ctx, tx, requests...), in.enqueueCaptures(ctx, tx, lost), in.enqueue(ctx, tx, append(keys, held...)))
	})
}

func (in *Inbox) probe(ctx context.Context) error {
	paused, err := in.store.Paused(ctx)
	for _, name := range paused {
		if t, ok := in.targets[name]; ok && works(ctx, t) {
			err = errors.Join(err, in.resume(ctx, name))
		}
	}
	return err
}

// works asks a paused target; `status` says why it was paused. One that hangs
// must not keep the others paused.
func works(ctx context.Context, t lockstep.Target) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return t.Check(ctx) == nil
}

func (in *Inbox) resume(ctx context.Context, target string) error {
	return in.inTx(ctx, func(tx pgx.Tx) error {
		if was, err := in.store.Resume(ctx, tx, target); err != nil || !was {
			return err
		}
		in.log.Info("target resumed", "target", target)
		return in.eachQueue(target, func(queue string) error { return in.jobs.QueueResumeTx(ctx, tx, queue, nil) })
	})
}

// complete ends the job in the transaction that remembers its result.
func complete[T river.JobArgs](ctx context.Context, tx pgx.Tx, job *river.Job[T]) error {
	_, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, tx, job)
	return err
}

func (in *Inbox) inTx(ctx context.Context, f func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, in.pool, f)
}
