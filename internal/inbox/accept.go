package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
)

// A batch is whatever waits when the last one has committed, without a timer:
// alone, a delivery goes at once; in a storm, they share a commit. A second
// flusher halves the batches, and costs more than it gains.
const (
	maxBatch     = 256
	flushTimeout = 8 * time.Second // Svix gives up after 15 s
)

// Why a delivery was not accepted.
var (
	ErrInstance    = errors.New("the event is of another Clerk instance: check CLERK_WEBHOOK_SECRET, or set CLERK_INSTANCE_ID")
	ErrUnavailable = errors.New("the database is away")
	ErrStopping    = errors.New("shutting down")
)

// request is a delivery of Clerk's or a store's notice.
type request struct {
	delivery lockstep.Delivery
	notice   *lockstep.Notice // not nil for a notice
	answer   chan answer      // buffered: a flusher never waits for a caller who left
}

type answer struct {
	receipt lockstep.Receipt
	err     error
}

// Accept puts a verified delivery on disk, together with the profile's change
// and the job it causes, and returns once they are committed. Errors mean that
// the sender must try again: ErrInstance, ErrUnavailable and ErrStopping.
func (in *Inbox) Accept(ctx context.Context, d lockstep.Delivery) (lockstep.Receipt, error) {
	if err := in.checkInstance(ctx, d.Instance); err != nil {
		return "", err
	}
	return in.wait(ctx, &request{delivery: d, answer: make(chan answer, 1)})
}

// AcceptNotice is Accept for a store's notice: the delivery, which customers
// changed, and the job that reads them.
func (in *Inbox) AcceptNotice(ctx context.Context, n lockstep.Notice) (lockstep.Receipt, error) {
	return in.wait(ctx, &request{notice: &n, answer: make(chan answer, 1)})
}

// wait hands a request to the flusher and returns its answer.
func (in *Inbox) wait(ctx context.Context, r *request) (lockstep.Receipt, error) {
	select {
	case in.queue <- r:
	case <-in.stopped:
		return "", ErrStopping
	case <-ctx.Done():
		return "", fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	select {
	case a := <-r.answer:
		return a.receipt, a.err
	case <-ctx.Done():
		return "", fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

// checkInstance pins the first instance that is heard of, and refuses others:
// a development instance's secret set in production is a common mistake.
func (in *Inbox) checkInstance(ctx context.Context, instance string) error {
	if instance == "" {
		return nil // older events do not say
	}
	pinned := in.instance.Load()
	if pinned == nil {
		name, err := postgres.NewStore(in.front).PinInstance(ctx, instance)
		if err != nil {
			return unavailable(err)
		}
		pinned = &name
		in.instance.Store(pinned)
	}
	if *pinned != instance {
		return ErrInstance
	}
	return nil
}

func (in *Inbox) flushLoop(ctx context.Context) {
	for {
		select {
		case r := <-in.queue:
			in.flush(ctx, in.gather(r))
		case <-ctx.Done():
			in.refuseRest()
			return
		}
	}
}

// gather takes what else is waiting, and waits for nothing.
func (in *Inbox) gather(first *request) []*request {
	batch := []*request{first}
	for len(batch) < maxBatch {
		select {
		case r := <-in.queue:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// refuseRest answers those who came too late for the last batch.
func (in *Inbox) refuseRest() {
	for {
		select {
		case r := <-in.queue:
			r.answer <- answer{err: ErrStopping}
		default:
			return
		}
	}
}

// flush commits a batch. A stop does not interrupt it: its callers wait.
func (in *Inbox) flush(ctx context.Context, batch []*request) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	receipts, err := in.commit(ctx, batch)
	if err != nil && len(batch) > 1 && !postgres.Unavailable(err) {
		for _, r := range batch { // one of them is at fault: the others must not suffer
			in.flush(ctx, []*request{r})
		}
		return
	}
	for _, r := range batch {
		if err != nil {
			r.answer <- answer{err: unavailable(err)}
		} else {
			r.answer <- answer{receipt: receipts[r]}
		}
	}
}

func (in *Inbox) commit(ctx context.Context, batch []*request) (map[*request]lockstep.Receipt, error) {
	var deliveries, notices []*request
	for _, r := range batch {
		if r.notice == nil {
			deliveries = append(deliveries, r)
		} else {
			notices = append(notices, r)
		}
	}
	receipts := make(map[*request]lockstep.Receipt, len(batch))
	err := pgx.BeginFunc(ctx, in.front, func(tx pgx.Tx) error {
		if err := in.commitDeliveries(ctx, tx, deliveries, receipts); err != nil {
			return err
		}
		return in.commitNotices(ctx, tx, notices, receipts)
	})
	return receipts, err
}

func (in *Inbox) commitDeliveries(ctx context.Context, tx pgx.Tx, batch []*request, receipts map[*request]lockstep.Receipt) error {
	if len(batch) == 0 {
		return nil
	}
	deliveries := make([]lockstep.Delivery, len(batch))
	for i, r := range batch {
		deliveries[i] = r.delivery
	}
	accepted, err := in.store.Accept(ctx, tx, deliveries)
	if err != nil {
		return err
	}
	var users []string
	for i, a := range accepted {
		receipts[batch[i]] = a.Receipt
		if a.Changed {
			users = append(users, deliveries[i].User.ID)
		}
	}
	return in.dispatch(ctx, tx, users)
}

func unavailable(err error) error {
	return fmt.Errorf("%w: %w", ErrUnavailable, postgres.Redact(err))
}
