package inbox

import (
	"context"
	"time"

	"github.com/riverqueue/river"
)

// Keep is how long what happened is remembered; zero is for ever. The job
// engine forgets its own: jobs that were completed or cancelled after a day,
// those given up after a week.
//
// A delivery that is forgotten would be taken for new if its sender repeated
// it. That is harmless: what is older than the profile changes nothing.
type Keep struct {
	Deliveries time.Duration
	History    time.Duration
}

const (
	retainInterval = 10 * time.Minute
	retainBatch    = 5000             // rows per transaction: no lock is held for long
	retainTime     = 10 * time.Second // what is left then waits for the next time; well below rescueAfter
)

// retainArgs is the periodic forgetting.
type retainArgs struct{}

func (retainArgs) Kind() string { return "retain" }

func (in *Inbox) retainPeriodically() *river.PeriodicJob {
	return river.NewPeriodicJob(river.PeriodicInterval(retainInterval),
		func() (river.JobArgs, *river.InsertOpts) {
			return retainArgs{}, &river.InsertOpts{Queue: retainQueue, MaxAttempts: 1}
		},
		&river.PeriodicJobOpts{RunOnStart: true})
}

type retainWorker struct {
	river.WorkerDefaults[retainArgs]
	in *Inbox
}

func (w *retainWorker) Work(ctx context.Context, _ *river.Job[retainArgs]) error {
	until := time.Now().Add(retainTime)
	deliveries, err := forget(ctx, until, w.in.retains.Deliveries, w.in.store.ForgetDeliveries)
	if err != nil {
		return err
	}
	history, err := forget(ctx, until, w.in.retains.History, w.in.store.ForgetHistory)
	if deliveries+history > 0 {
		w.in.log.Info("forgot what is old", "deliveries", deliveries, "history", history)
	}
	return err
}

// forget deletes in batches until nothing is left that is old enough, or the
// time is up.
func forget(ctx context.Context, until time.Time, age time.Duration, batch func(context.Context, time.Duration, int) (int64, error)) (total int64, err error) {
	for age > 0 && time.Now().Before(until) {
		n, err := batch(ctx, age, retainBatch)
		total += n
		if err != nil || n == 0 {
			return total, err
		}
	}
	return total, nil
}
