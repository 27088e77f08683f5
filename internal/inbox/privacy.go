package inbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/riverqueue/river"
)

// privacyArgs says: this request of privacy law is to be done.
type privacyArgs struct {
	Request int64 `json:"request"`
}

func (privacyArgs) Kind() string { return "privacy" }

func (in *Inbox) enqueuePrivacy(ctx context.Context, tx pgx.Tx, requests ...int64) error {
	for _, id := range requests {
		_, err := in.jobs.InsertTx(ctx, tx, privacyArgs{id}, &river.InsertOpts{Queue: privacyQueue, MaxAttempts: maxAttempts})
		if err != nil {
			return fmt.Errorf("enqueue privacy request: %w", err)
		}
	}
	return nil
}

// privacyWorker reports on customers, or forgets them, and writes down what it
// did: ids and counts.
type privacyWorker struct {
	river.WorkerDefaults[privacyArgs]
	in *Inbox
}

func (w *privacyWorker) NextRetry(job *river.Job[privacyArgs]) time.Time {
	return time.Now().Add(retryPause(job.Attempt))
}

func (w *privacyWorker) Work(ctx context.Context, job *river.Job[privacyArgs]) error {
	r, err := w.in.store.PrivacyRequest(ctx, job.Args.Request)
	if err != nil || r.Done != nil {
		return postgres.Redact(err)
	}
	released := int64(0)
	if lockstep.PrivacyKind(r.Kind) == lockstep.PrivacyEraseCustomer {
		if released, err = w.in.releaseForgotten(ctx, r); err != nil {
			return err
		}
	}
	err = w.in.inTx(ctx, func(tx pgx.Tx) error {
		if err := w.in.comply(ctx, tx, r, released); err != nil {
			return err
		}
		return complete(ctx, tx, job)
	})
	if err == nil {
		w.in.log.Info("privacy request done", "request", r.ID, "target", r.Target, "kind", r.Kind)
	}
	return postgres.Redact(err)
}

// comply does what is to be done in the database.
func (in *Inbox) comply(ctx context.Context, tx pgx.Tx, r postgres.PrivacyRequest, released int64) (err error) {
	var erased postgres.Erased
	switch lockstep.PrivacyKind(r.Kind) {
	case lockstep.PrivacyReport:
		return in.store.Report(ctx, tx, r)
	case lockstep.PrivacyEraseCustomer:
		erased, err = in.store.EraseCustomer(ctx, tx, r.Target, r.CustomerID)
	case lockstep.PrivacyEraseStore:
		erased, err = in.store.EraseShop(ctx, tx, r.Target)
	default:
		return fmt.Errorf("a privacy request of kind %q: upgrade lockstep", r.Kind)
	}
	if err != nil {
		return err
	}
	if released > 0 {
		erased["marks"] = released
	}
	return in.store.PrivacyDone(ctx, tx, r.ID, erased)
}

// releaseForgotten takes the user's mark off the customer in the store, so that
// nothing finds it again. A store that lets us in no more keeps it.
func (in *Inbox) releaseForgotten(ctx context.Context, r postgres.PrivacyRequest) (int64, error) {
	link, err := in.store.LinkOf(ctx, r.Target, r.CustomerID)
	target, ok := in.targets[r.Target]
	if err != nil || link == nil || !ok {
		return 0, postgres.Redact(err)
	}
	err = target.Release(ctx, lockstep.Customer{ID: r.CustomerID, UserID: link.UserID})
	switch {
	case err == nil:
		return 1, nil
	case lockstep.KindOf(err) == lockstep.ErrRefused:
		return 0, nil
	}
	return 0, err
}
