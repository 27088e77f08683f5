package inbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/riverqueue/river"
)

// captureArgs says: customers of this target may have changed.
type captureArgs struct {
	Target string `json:"target"`
}

func (captureArgs) Kind() string { return "capture" }

// captureQueue is a target's queue for reading what changed there, apart from
// the one for its users: neither waits behind the other.
func captureQueue(target string) string { return queueName("capture:" + target) }

// errShutOut is why a target is paused whose store says so itself.
var errShutOut = errors.New("the store took the app away: install it again, set its token, and run `lockstep shopify connect`")

// commitNotices stores stores' notices and enqueues what they cause. A batch
// makes one job per target, however many customers changed.
func (in *Inbox) commitNotices(ctx context.Context, tx pgx.Tx, batch []*request, receipts map[*request]lockstep.Receipt) error {
	if len(batch) == 0 {
		return nil
	}
	notices := make([]lockstep.Notice, len(batch))
	for i, r := range batch {
		notices[i] = *r.notice
	}
	noted, err := in.store.AcceptNotices(ctx, tx, notices)
	if err != nil {
		return err
	}
	changed := map[string]bool{}
	for i, n := range noted {
		notice := notices[i]
		receipts[batch[i]] = noticeReceipt(notice, n.Fresh, n.Disconnected)
		if !n.Fresh {
			continue
		}
		if len(notice.Customers) > 0 && !n.Disconnected {
			changed[notice.Target] = true
		}
		if err := in.follow(ctx, tx, notice, n.Request); err != nil {
			return err
		}
	}
	return in.enqueueCaptures(ctx, tx, slices.Sorted(maps.Keys(changed)))
}

func noticeReceipt(n lockstep.Notice, fresh, disconnected bool) lockstep.Receipt {
	switch {
	case !fresh:
		return lockstep.ReceiptDuplicate
	case disconnected && len(n.Customers) > 0:
		return lockstep.ReceiptIgnored
	}
	return lockstep.ReceiptApplied
}

// follow does what a notice asks for besides reading customers.
func (in *Inbox) follow(ctx context.Context, tx pgx.Tx, n lockstep.Notice, request int64) error {
	if n.ShutOut {
		return in.pauseTx(ctx, tx, n.Target, errShutOut)
	}
	if request != 0 {
		return in.enqueuePrivacy(ctx, tx, postgres.LostRequest{ID: request})
	}
	return nil
}

// enqueueCaptures makes a job for each target for which not enough wait already.
func (in *Inbox) enqueueCaptures(ctx context.Context, tx pgx.Tx, targets []string) error {
	queues := make([]string, len(targets))
	for i, t := range targets {
		queues[i] = captureQueue(t)
	}
	targets, err := in.store.NeedCapture(ctx, tx, targets, queues)
	if err != nil {
		return err
	}
	params := make([]river.InsertManyParams, 0, len(targets))
	for _, t := range targets {
		params = append(params, river.InsertManyParams{
			Args: captureArgs{t}, InsertOpts: &river.InsertOpts{Queue: captureQueue(t), MaxAttempts: maxAttempts},
		})
	}
	if len(params) == 0 {
		return nil
	}
	if _, err := in.jobs.InsertManyTx(ctx, tx, params); err != nil {
		return fmt.Errorf("enqueue capture: %w", err)
	}
	return nil
}
