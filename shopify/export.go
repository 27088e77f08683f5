package shopify

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/lockstephq/lockstep"
)

const (
	exportPage  = 500              // customers in memory
	exportStall = 30 * time.Minute // the hours that Shopify may take are no help to a nightly run
)

var errStalled = errors.New("the export makes no progress")

// exportPlace is a place in an export: after so many customers and bytes of its
// result.
type exportPlace struct {
	id     string
	offset int64
	taken  int64
}

func (p exportPlace) String() string { return fmt.Sprintf("%s %d %d", p.id, p.offset, p.taken) }

// Export implements lockstep.Exporter by a bulk operation, which costs some ten
// points of the shop's. It is the operation of StartExport; of one that did not
// complete nothing is yielded.
func (t *Target) Export(ctx context.Context, e lockstep.Export) iter.Seq2[lockstep.ExportPage, error] {
	return func(yield func(lockstep.ExportPage, error) bool) {
		at, op, err := t.completeExport(ctx, e)
		if err != nil {
			yield(lockstep.ExportPage{}, err)
			return
		}
		err = t.exportPages(ctx, op, at, func(p lockstep.ExportPage) bool { return yield(p, nil) })
		if err != nil && !errors.Is(err, errStopped) {
			yield(lockstep.ExportPage{}, err)
		}
	}
}

// completeExport begins the export, or finds it, and waits until it is complete.
func (t *Target) completeExport(ctx context.Context, e lockstep.Export) (at exportPlace, op BulkOperation, err error) {
	read := t.ops["bulk_read"]
	if e.Place != "" {
		if _, err := fmt.Sscanf(e.Place, "%s %d %d", &at.id, &at.offset, &at.taken); err != nil {
			return at, op, read.failf(lockstep.ErrInvalid, "the place to go on from is none of an export")
		}
	} else {
		if op, err = t.StartExport(ctx, e.Name); err != nil {
			return at, op, noExport(t.ops["bulk_export"], err)
		}
		at.id = op.ID
	}
	op, err = t.awaitExport(ctx, at.id, e.Seen)
	switch {
	case err != nil:
		return at, op, noExport(read, err)
	case op.Completed():
		return at, op, nil
	case op.Code == "ACCESS_DENIED":
		return at, op, noExport(read, ErrBulkRefused)
	}
	return at, op, read.failf(lockstep.ErrGone, "the export ended as %s", codeAndPath(op.Status, nil))
}

// noExport says of an error whether the shop may be listed instead.
func noExport(op operation, err error) error {
	for _, cause := range []error{ErrBulkRefused, errBusy, errStalled} {
		if errors.Is(err, cause) {
			return op.failf(lockstep.ErrInvalid, "%w: %w", lockstep.ErrNoExport, cause)
		}
	}
	return err
}

// awaitExport waits as AwaitBulk does, while customers come.
func (t *Target) awaitExport(ctx context.Context, id string, seen func(int)) (BulkOperation, error) {
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(t.exportStall, func() { cancel(errStalled) })
	defer stall.Stop()
	so := int64(-1)
	op, err := t.AwaitBulk(waiting, id, func(op BulkOperation) {
		if op.Objects > so {
			so = op.Objects
			stall.Reset(t.exportStall)
		}
		if seen != nil {
			seen(int(op.Objects))
		}
	})
	if err != nil && ctx.Err() == nil && waiting.Err() != nil {
		err = errStalled
	}
	return op, err
}

// exportPages reads a result from a place on, and counts at its end.
func (t *Target) exportPages(ctx context.Context, op BulkOperation, at exportPlace, yield func(lockstep.ExportPage) bool) error {
	var page []snapshot
	for r, err := range t.Records(ctx, op, at.offset) {
		if err != nil {
			return t.expired(err)
		}
		page = append(page, r.snapshot)
		at.offset, at.taken = r.End, at.taken+1
		if len(page) == exportPage {
			if err := t.sendPage(page, at, yield); err != nil {
				return err
			}
			page = page[:0]
		}
	}
	if at.taken != op.Roots {
		return t.ops["bulk_read"].failf(lockstep.ErrGone, "the export holds %d of %d customers", at.taken, op.Roots)
	}
	return t.sendPage(page, at, yield)
}

func (t *Target) sendPage(page []snapshot, at exportPlace, yield func(lockstep.ExportPage) bool) error {
	if err := t.hiddenPage("bulk_read", page); err != nil {
		return err
	}
	customers := make([]lockstep.Customer, len(page))
	for i, s := range page {
		customers[i] = t.customer(s, s.owner())
	}
	if len(page) > 0 && !yield(lockstep.ExportPage{Customers: customers, Place: at.String()}) {
		return errStopped
	}
	return nil
}

// expired turns a result that is gone into the kind that says so.
func (t *Target) expired(err error) error {
	if errors.Is(err, ErrExpired) {
		return t.ops["bulk_read"].fail(lockstep.ErrGone, err)
	}
	return err
}

// hiddenPage fails if nobody of a page shows what Shopify wants one of: the app
// is not shown it, and every customer would seem to differ.
func (t *Target) hiddenPage(op string, page []snapshot) error {
	shown := func(s snapshot) bool { return !s.hidden() }
	if len(page) >= fewHidden && !slices.ContainsFunc(page, shown) {
		return t.hiddenData(op, page[0].ID)
	}
	return nil
}

// CancelExport implements lockstep.Exporter.
func (t *Target) CancelExport(ctx context.Context, name string) error {
	var last error
	for range bulkTries {
		found, err := t.FindBulk(ctx, name)
		if errors.Is(err, ErrBulkRefused) {
			return nil
		}
		if err != nil || found.ID == "" || found.Over() || found.Status == "CANCELING" {
			return err
		}
		var got struct {
			Payload struct {
				Errors userErrors `json:"userErrors"`
			} `json:"bulkOperationCancel"`
		}
		op := t.ops["bulk_cancel"]
		if last = t.client.run(ctx, op, map[string]any{"id": found.ID}, &got); last == nil && len(got.Payload.Errors) == 0 {
			return nil
		}
		if len(got.Payload.Errors) > 0 { // it may have come to its end meanwhile
			last = op.failf(lockstep.ErrTransient, "%s", codeAndPath(got.Payload.Errors[0].code(), got.Payload.Errors[0].Field))
		}
		if kind := lockstep.KindOf(last); kind != lockstep.ErrUnknown && kind != lockstep.ErrTransient {
			return last
		}
	}
	return last
}
