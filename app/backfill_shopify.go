package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/inbox"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/shopify"
)

const (
	bulkAttempts = 3    // exports that fail at Shopify, before pages are read instead
	mergeChunk   = 5000 // customers in one transaction; at most three chunks are in memory
)

// ShopBackfilled is what a backfill of a shop did.
type ShopBackfilled struct {
	Shop    string        `json:"shop"`
	Resumed bool          `json:"resumed"`
	Pages   bool          `json:"pages"`   // read page by page, since bulk operations do not work there
	Read    int           `json:"read"`    // customers, earlier attempts included
	Changed int           `json:"changed"` // rows that were new or older
	Asked   int           `json:"asked"`   // rows of customers that it did not show, and that were asked for by id
	InShop  int           `json:"in_shop"` // Shopify's count at the end
	AtLeast bool          `json:"at_least"`
	Held    int           `json:"held"` // live rows of the shop's at the end
	Took    time.Duration `json:"-"`
}

// Exact reports whether there are as many rows as the shop has customers.
func (b ShopBackfilled) Exact() bool { return b.Held == b.InShop && !b.AtLeast }

// shopState is the checkpoint of a backfill.
type shopState struct {
	Run       string    `json:"run"`   // names the export at Shopify
	Began     time.Time `json:"began"` // by the database's clock, before anything was read
	Operation string    `json:"operation,omitempty"`
	Failures  int       `json:"failures,omitempty"` // exports that failed
	Pages     bool      `json:"pages,omitempty"`
	After     string    `json:"after,omitempty"`  // the last customer, for pages
	Offset    int64     `json:"offset,omitempty"` // in the export's result
	Read      int       `json:"read"`
	Changed   int       `json:"changed"`
}

// shopBackfill is a backfill of one shop that runs.
type shopBackfill struct {
	*App
	target   *shopify.Target
	shop     string
	state    shopState
	held     string // the checkpoint as it is stored
	progress func(Progress)
	total    int
}

// errPaused is a shop that refuses everything, or was disconnected.
var errPaused = errors.New("is paused: `lockstep status` says why")

// running fails for a shop that is paused or disconnected.
func (a *App) running(ctx context.Context, t lockstep.Target) error {
	paused, err := a.store.Paused(ctx)
	if err != nil {
		return err
	}
	away, err := a.store.Disconnected(ctx)
	if err == nil && slices.Contains(append(paused, away...), t.Name()) {
		err = errPaused
	}
	return err
}

// BackfillShopify captures the customers of a shop, or of all shops where none is
// named, from where the last call was stopped unless anew is set. A shop that
// fails keeps no other from its turn; the errors are joined.
func (a *App) BackfillShopify(ctx context.Context, shop string, anew bool, progress func(Progress)) (done []ShopBackfilled, err error) {
	if err := a.store.Ping(ctx); err != nil {
		return nil, err
	}
	shops, err := a.shops(shop)
	if err != nil {
		return nil, err
	}
	for _, s := range shops {
		b := &shopBackfill{App: a, target: s.Target, shop: s.config.Shop, progress: progress}
		result, shopErr := b.run(inbox.AsBulk(ctx), anew)
		if shopErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", b.shop, postgres.Redact(shopErr)))
			continue
		}
		done = append(done, result)
	}
	return done, err
}

func (b *shopBackfill) run(ctx context.Context, anew bool) (r ShopBackfilled, err error) {
	began := time.Now()
	if err := b.running(ctx, b.target); err != nil {
		return r, err
	}
	if r.Resumed, err = b.load(ctx, anew); err != nil {
		return r, err
	}
	if !b.state.Pages {
		if err := b.copyExport(ctx); err != nil {
			return r, err
		}
	}
	if b.state.Pages { // from the beginning or on, since bulk does not work
		if err := b.copyPages(ctx); err != nil {
			return r, err
		}
	}
	if r.Asked, err = b.settle(ctx); err != nil {
		return r, err
	}
	r.Shop, r.Pages, r.Read, r.Changed = b.shop, b.state.Pages, b.state.Read, b.state.Changed
	if err := b.count(ctx, &r); err != nil {
		return r, err
	}
	r.Took = time.Since(began)
	return r, b.save(ctx, nil)
}

func (b *shopBackfill) checkpoint() string { return "backfill_" + b.target.Name() }

// load reads the checkpoint, or makes one.
func (b *shopBackfill) load(ctx context.Context, anew bool) (resumed bool, err error) {
	if b.held, err = b.store.Checkpoint(ctx, b.checkpoint()); err != nil {
		return false, err
	}
	if b.held != "" && !anew {
		if json.Unmarshal([]byte(b.held), &b.state) == nil {
			return true, nil
		}
	}
	return false, b.begin(ctx, shopState{})
}

// begin starts over, keeping what next says.
func (b *shopBackfill) begin(ctx context.Context, next shopState) (err error) {
	next.Run = runName("export")
	if next.Began, err = b.store.DatabaseTime(ctx); err != nil {
		return err
	}
	b.state = next
	return b.save(ctx, &next)
}

// save stores the state before anything is done that it speaks of; nil removes it.
func (b *shopBackfill) save(ctx context.Context, state *shopState) error {
	return pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error { return b.advance(ctx, tx, state) })
}

func (b *shopBackfill) advance(ctx context.Context, tx pgx.Tx, state *shopState) error {
	next := ""
	if state != nil {
		data, err := json.Marshal(state)
		if err != nil {
			return err
		}
		next = string(data)
	}
	if next == b.held {
		return nil
	}
	if err := b.store.Advance(ctx, tx, b.checkpoint(), b.held, next); err != nil {
		return err
	}
	b.held = next
	return nil
}

// copyExport has Shopify export all customers, and takes the result in. It sets
// Pages instead where that does not work.
func (b *shopBackfill) copyExport(ctx context.Context) error {
	for {
		op, err := b.export(ctx)
		switch {
		case errors.Is(err, shopify.ErrBulkRefused) || op.Code == "ACCESS_DENIED":
			return b.begin(ctx, shopState{Pages: true})
		case lockstep.KindOf(err) == lockstep.ErrGone && err != nil: // begun too long ago
			err = b.begin(ctx, shopState{Failures: b.state.Failures})
		case err == nil && op.Completed():
			b.total = int(op.Objects)
			if err = b.merge(ctx, b.exported(ctx, op)); !errors.Is(err, shopify.ErrExpired) {
				return err
			}
			err = b.begin(ctx, shopState{Failures: b.state.Failures})
		case err == nil && b.state.Failures+1 < bulkAttempts:
			b.log.Warn("the export failed at Shopify: again", "shop", b.shop, "status", op.Status, "code", op.Code)
			err = b.begin(ctx, shopState{Failures: b.state.Failures + 1})
		case err == nil:
			return b.begin(ctx, shopState{Pages: true})
		}
		if err != nil {
			return err
		}
	}
}

// export starts the export, or finds the one that was started, and waits for it.
func (b *shopBackfill) export(ctx context.Context) (op shopify.BulkOperation, err error) {
	if b.state.Operation == "" {
		err = inbox.Patiently(ctx, func() error { op, err = b.target.StartExport(ctx, b.state.Run); return err })
		if err != nil {
			return op, err
		}
		b.state.Operation = op.ID
		if err := b.save(ctx, &b.state); err != nil {
			return op, err
		}
	}
	return b.target.AwaitBulk(ctx, b.state.Operation, func(op shopify.BulkOperation) {
		b.progress(Progress{What: b.shop + ": Shopify exports", Done: int(op.Objects)})
	})
}

// settle has those rows looked at that the whole read did not show: the webhook of
// a deletion was lost, or the customer hid from the read.
func (b *shopBackfill) settle(ctx context.Context) (asked int, err error) {
	in, err := inbox.New(b.inboxConfig())
	if err != nil {
		return 0, err
	}
	return in.SettleUnseen(ctx, b.target.Name(), b.state.Began)
}

// count compares with the shop.
func (b *shopBackfill) count(ctx context.Context, r *ShopBackfilled) error {
	err := inbox.Patiently(ctx, func() error {
		n, exact, err := b.target.Count(ctx)
		r.InShop, r.AtLeast = int(n), !exact
		return err
	})
	if err == nil {
		r.Held, err = b.store.CountShopCustomers(ctx, b.shop)
	}
	return err
}
