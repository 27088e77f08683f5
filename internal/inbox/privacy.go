package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/riverqueue/river"
)

// privacyArgs says: this request of privacy law is to be done. User is set for
// `forget USER`.
type privacyArgs struct {
	Request int64  `json:"request"`
	User    string `json:"user,omitempty"`
}

func (privacyArgs) Kind() string { return "privacy" }

func (in *Inbox) enqueuePrivacy(ctx context.Context, tx pgx.Tx, requests ...postgres.LostRequest) error {
	for _, r := range requests {
		args := privacyArgs{Request: r.ID, User: r.UserID}
		_, err := in.jobs.InsertTx(ctx, tx, args, &river.InsertOpts{Queue: privacyQueue, MaxAttempts: maxAttempts})
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
	if job.Args.User != "" {
		return postgres.Redact(w.in.forget(ctx, job.Args.Request, job.Args.User)) // done again it does nothing
	}
	r, err := w.in.store.PrivacyRequest(ctx, job.Args.Request)
	if err != nil || r.Done != nil {
		return postgres.Redact(err)
	}
	released := int64(0)
	if lockstep.PrivacyKind(r.Kind) == lockstep.PrivacyEraseCustomer {
		released, err = w.in.releaseForgotten(ctx, r)
		if busy, ok := errors.AsType[*postgres.BusyError](err); ok {
			return river.JobSnooze(busy.Until + 100*time.Millisecond)
		}
		if err != nil {
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
		erased, err = in.eraseCustomer(ctx, tx, r)
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

// eraseCustomer erases what is kept of a customer, and has users look again who
// waited for it.
func (in *Inbox) eraseCustomer(ctx context.Context, tx pgx.Tx, r postgres.PrivacyRequest) (postgres.Erased, error) {
	erased, err := in.store.EraseCustomer(ctx, tx, r.Target, r.CustomerID)
	if err != nil {
		return nil, err
	}
	woken, err := in.store.Unblock(ctx, tx, r.Target, []string{r.CustomerID})
	if err != nil {
		return nil, err
	}
	return erased, in.enqueue(ctx, tx, woken)
}

// releaseForgotten takes the user's mark off the customer in the store, so that
// nothing finds it again. A store that lets us in no more keeps it. It claims the
// link, so that no worker writes the customer meanwhile; what then erases the
// link ends the claim.
func (in *Inbox) releaseForgotten(ctx context.Context, r postgres.PrivacyRequest) (int64, error) {
	link, err := in.store.LinkOf(ctx, r.Target, r.CustomerID)
	target, ok := in.targets[r.Target]
	if err != nil || link == nil || !ok {
		return 0, postgres.Redact(err)
	}
	claim, err := in.store.Claim(ctx, postgres.Key{UserID: link.UserID, Target: r.Target}, leaseTime)
	switch {
	case errors.Is(err, postgres.ErrNoLink):
		return 0, nil
	case err != nil && !errors.Is(err, postgres.ErrNoProfile): // which leaves the link claimed
		return 0, err
	case claim.Link.CustomerID != r.CustomerID:
		return 0, in.store.Unclaim(ctx, claim, claim.Link.Reason)
	}
	done, err := target.Release(ctx, lockstep.Customer{ID: r.CustomerID, UserID: link.UserID}, lockstep.Unmark)
	switch {
	case err == nil && done != "":
		return 1, nil
	case err == nil || lockstep.KindOf(err) == lockstep.ErrRefused:
		return 0, nil
	}
	return 0, errors.Join(err, postgres.Redact(in.store.Unclaim(ctx, claim, err.Error())))
}
