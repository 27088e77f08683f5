package inbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// inspectArgs is the periodic look at one target.
type inspectArgs struct {
	Target string `json:"target"`
}

func (inspectArgs) Kind() string { return "inspect" }

const (
	defaultInspectEvery = 5 * time.Minute
	inspectTimeout      = time.Minute
)

// inspections are the periodic jobs that look at each target.
func (in *Inbox) inspections(c Config) (jobs []*river.PeriodicJob) {
	if c.Inspect == nil {
		return nil
	}
	for _, name := range in.names {
		jobs = append(jobs, river.NewPeriodicJob(
			river.PeriodicInterval(cmp.Or(c.InspectEvery, defaultInspectEvery)),
			func() (river.JobArgs, *river.InsertOpts) {
				return inspectArgs{name}, &river.InsertOpts{Queue: inspectQueue, MaxAttempts: 1, UniqueOpts: unlessWaiting()}
			},
			&river.PeriodicJobOpts{RunOnStart: true}))
	}
	return jobs
}

// unlessWaiting has a job left out while one like it waits or runs: shops that
// answer slowly would otherwise make them pile up.
func unlessWaiting() river.UniqueOpts {
	return river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{rivertype.JobStateAvailable, rivertype.JobStatePending,
		rivertype.JobStateRunning, rivertype.JobStateRetryable, rivertype.JobStateScheduled}}
}

// inspectWorker finds what no webhook and no write would show in time: a token
// that was revoked, a scope that was taken away, subscriptions that are gone.
type inspectWorker struct {
	river.WorkerDefaults[inspectArgs]
	in *Inbox
}

// Timeout is longer than that of other jobs: to subscribe anew takes a dozen calls.
func (w *inspectWorker) Timeout(*river.Job[inspectArgs]) time.Duration { return inspectTimeout }

func (w *inspectWorker) Work(ctx context.Context, job *river.Job[inspectArgs]) error {
	target, ok := w.in.targets[job.Args.Target]
	if !ok || w.in.inspect == nil {
		return river.JobCancel(fmt.Errorf("target %s is no longer in the settings", job.Args.Target))
	}
	away, err := w.in.store.Disconnected(ctx)
	if err != nil || slices.Contains(away, target.Name()) {
		return postgres.Redact(err)
	}
	problems, stops := w.in.inspect(ctx, target)
	if stops != nil {
		err = w.in.pause(ctx, target.Name(), stops)
	}
	return errors.Join(err, postgres.Redact(w.in.store.Inspected(ctx, target.Name(), problems)))
}

// Connect notes that a target's webhooks go to endpoint, and has its queues
// worked again. Who changed while it was disconnected is looked at.
func (in *Inbox) Connect(ctx context.Context, target, endpoint string) error {
	var away time.Time
	err := in.inTx(ctx, func(tx pgx.Tx) (err error) {
		if away, err = in.store.Connect(ctx, tx, target, endpoint); err != nil {
			return err
		}
		return in.eachQueue(target, func(queue string) error { return in.jobs.QueueResumeTx(ctx, tx, queue, nil) })
	})
	if err != nil || away.IsZero() {
		return postgres.Redact(err)
	}
	if err := in.catchUp(ctx, target, away); err != nil {
		return fmt.Errorf("it is connected, but who changed meanwhile is not looked at: run `lockstep reconcile --deep --target %s`: %w", target, err)
	}
	return nil
}

// catchUp hands the workers who changed since a target was disconnected. It does
// so after the connection, from when on changes are dispatched there again.
func (in *Inbox) catchUp(ctx context.Context, target string, away time.Time) error {
	const begun = time.Minute // a change is dated when its transaction began
	for after := ""; ; {
		users, err := in.store.ChangedSince(ctx, away.Add(-begun), after, bulkPage)
		if err != nil || len(users) == 0 {
			return postgres.Redact(err)
		}
		if err := in.Leave(ctx, target, users); err != nil {
			return err
		}
		after = users[len(users)-1]
	}
}

// Disconnect pauses a target until it is connected again. With drop it erases
// what is kept of the target's customers, and says how much that was.
func (in *Inbox) Disconnect(ctx context.Context, target, reason string, drop bool) (erased postgres.Erased, err error) {
	err = in.inTx(ctx, func(tx pgx.Tx) error {
		if err := in.store.Disconnect(ctx, tx, target, reason); err != nil {
			return err
		}
		if drop {
			if erased, err = in.store.EraseShop(ctx, tx, target); err != nil {
				return err
			}
		}
		return in.eachQueue(target, func(queue string) error { return in.jobs.QueuePauseTx(ctx, tx, queue, nil) })
	})
	return erased, postgres.Redact(err)
}

// connected are the targets but for those that were disconnected, which are left
// alone.
func (in *Inbox) connected(ctx context.Context) ([]string, error) {
	away, err := in.store.Disconnected(ctx)
	return slices.DeleteFunc(append([]string{}, in.names...), func(name string) bool { return slices.Contains(away, name) }), err
}

// holdDisconnected keeps the queues of disconnected targets paused: one that
// nobody worked at for a day is made anew, and then runs.
func (in *Inbox) holdDisconnected(ctx context.Context) error {
	away, err := in.store.Disconnected(ctx)
	for _, target := range away {
		if _, ours := in.targets[target]; !ours {
			continue
		}
		err = errors.Join(err, in.eachQueue(target, func(name string) error {
			queue, err := in.jobs.QueueGet(ctx, name)
			if err != nil || queue.PausedAt != nil {
				return err
			}
			return in.jobs.QueuePause(ctx, name, nil)
		}))
	}
	return err
}
