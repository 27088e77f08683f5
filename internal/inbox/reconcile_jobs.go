package inbox

import (
	"context"
	"errors"
	"time"

	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/riverqueue/river"
)

// ReconcileConfig says when a worker reconciles by itself.
type ReconcileConfig struct {
	Users        Directory              // Clerk; nil leaves deep runs to other nodes
	Shallow      time.Duration          // between two shallow runs; 0 for none
	Deep         river.PeriodicSchedule // of deep runs; nil for none
	MaxDeletions int                    // that one run may carry out; 0 for the default
}

// reconcileQueue has one worker in a process: runs wait for each other.
const (
	reconcileQueue = "reconcile"
	deepQueue      = "reconcile_deep" // of nodes that may ask Clerk

	runTimeout = 12 * time.Hour // then another node goes on
	staleJob   = time.Hour      // a run that nobody could make in time is made at the next
)

// reconcileArgs asks for a run, or for going on with a deep one.
type reconcileArgs struct {
	Deep   bool `json:"deep"`
	Resume bool `json:"resume"`
}

func (reconcileArgs) Kind() string { return "reconcile" }

func (a reconcileArgs) insertOpts() *river.InsertOpts {
	queue := reconcileQueue
	if a.Deep {
		queue = deepQueue
	}
	return &river.InsertOpts{Queue: queue, MaxAttempts: 1}
}

// reconcileWorker runs reconcile runs. One that is stopped or killed is taken
// over by the upkeep of whatever node is left, not by River's rescue.
type reconcileWorker struct {
	river.WorkerDefaults[reconcileArgs]
	in    *Inbox
	users Directory
}

func (w *reconcileWorker) Timeout(*river.Job[reconcileArgs]) time.Duration { return runTimeout }

func (w *reconcileWorker) Work(ctx context.Context, job *river.Job[reconcileArgs]) error {
	if !job.Args.Resume && time.Since(job.CreatedAt) > staleJob {
		return nil
	}
	o := ReconcileOptions{Deep: job.Args.Deep, Resume: job.Args.Resume, NoWait: !job.Args.Deep, stop: w.in.stopping}
	report, err := w.in.Reconcile(ctx, w.users, o)
	if _, busy := errors.AsType[*postgres.RunningError](err); busy || errors.Is(err, ErrNoRun) || errors.Is(err, errStopping) {
		return nil // another node is at it, or will be
	}
	if err != nil {
		w.in.log.Error("reconcile run failed", "deep", o.Deep, "error", err)
		return river.JobCancel(err)
	}
	w.in.logReport(report)
	return nil
}

func (in *Inbox) logReport(r Report) {
	if r.Clean() && len(r.Drift) == 0 {
		in.log.Debug("reconciled: nothing found", "run", r.ID, "deep", r.Deep)
		return
	}
	for _, d := range r.Drift {
		in.log.Info("reconciled", "run", r.ID, "deep", r.Deep, "target", d.Target, "kind", string(d.Kind),
			"found", d.Found, "repaired", d.Repaired, "queued", d.Queued, "left", d.Left)
	}
	for _, s := range r.Steps {
		if !s.Walked {
			in.log.Warn("reconciled only in part", "run", r.ID, "target", s.Target, "step", s.Name, "reason", s.Reason)
		}
	}
}

// schedule adds the reconcile runs to a worker's configuration.
func (in *Inbox) schedule(c *river.Config, r ReconcileConfig) {
	river.AddWorker(c.Workers, &reconcileWorker{in: in, users: r.Users})
	periodic := func(when river.PeriodicSchedule, args reconcileArgs, atOnce bool) {
		c.PeriodicJobs = append(c.PeriodicJobs, river.NewPeriodicJob(when,
			func() (river.JobArgs, *river.InsertOpts) { return args, args.insertOpts() },
			&river.PeriodicJobOpts{RunOnStart: atOnce}))
	}
	if r.Shallow > 0 {
		c.Queues[reconcileQueue] = river.QueueConfig{MaxWorkers: 1}
		periodic(river.PeriodicInterval(r.Shallow), reconcileArgs{}, true)
	}
	if r.Users != nil {
		c.Queues[deepQueue] = river.QueueConfig{MaxWorkers: 1}
	}
	if r.Deep != nil {
		periodic(r.Deep, reconcileArgs{Deep: true}, false)
	}
}

// followUp has a deep run go on that a node left behind.
func (in *Inbox) followUp(ctx context.Context) error {
	left, err := in.store.LeftBehind(ctx)
	if err != nil || !left {
		return err
	}
	args := reconcileArgs{Deep: true, Resume: true}
	_, err = in.jobs.Insert(ctx, args, args.insertOpts())
	return err
}
