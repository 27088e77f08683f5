package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep/internal/inbox"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/shopify"
)

const (
	pushBlock = 20_000 // users in one import: some megabytes, of Shopify's hundred
	pushPage  = 500    // users in one transaction
)

// madeInBulk is the reason of a link whose customer an import made.
const madeInBulk = "made in bulk: no customer was the user's"

// ShopPushed is what a push into a shop did.
type ShopPushed struct {
	Shop    string        `json:"shop"`
	Users   int           `json:"users"`   // who had no customer
	Created int           `json:"created"` // customers made in bulk, and linked
	Adopted int           `json:"adopted"` // guests marked in bulk, and linked
	Left    int           `json:"left"`    // to the workers: who needs more than bulk can do
	Took    time.Duration `json:"-"`
}

// pushState is the checkpoint of a push: the import whose result is not taken in.
type pushState struct {
	Import string `json:"import"` // its name
}

// shopPush is a push into one shop that runs.
type shopPush struct {
	*App
	in       *inbox.Inbox
	target   *shopify.Target
	shop     string
	held     string // the checkpoint as it is stored
	progress func(Progress)
	done     ShopPushed
}

// PushShopify makes a customer for each user who has none, in one shop or in all
// where none is named, by bulk operations: an export says who is there, the
// engine's table decides, and an import makes who is missing. Live changes go on
// beside it. Who cannot be done in bulk, or changes meanwhile, is left to the
// workers. It may be stopped at any point and called again.
func (a *App) PushShopify(ctx context.Context, shop string, progress func(Progress)) (done []ShopPushed, err error) {
	in, err := a.syncer(ctx)
	if err != nil {
		return nil, err
	}
	shops, err := a.shops(shop)
	if err != nil {
		return nil, err
	}
	for _, s := range shops {
		p := &shopPush{App: a, in: in, target: s.Target, shop: s.config.Shop, progress: progress}
		if shopErr := p.run(inbox.AsBulk(ctx)); shopErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", p.shop, postgres.Redact(shopErr)))
			continue
		}
		done = append(done, p.done)
	}
	return done, err
}

func (p *shopPush) run(ctx context.Context) (err error) {
	began := time.Now()
	p.done.Shop = p.shop
	if err := p.running(ctx, p.target); err != nil {
		return err
	}
	if p.held, err = p.store.Checkpoint(ctx, p.checkpoint()); err != nil {
		return err
	}
	if err := p.takeUp(ctx); err != nil {
		return err
	}
	for after := ""; ; {
		users, err := p.unlinked(ctx, after)
		if err != nil || len(users) == 0 {
			p.done.Took = time.Since(began)
			return err
		}
		after = users[len(users)-1].Profile.ID
		if err := p.block(ctx, users); err != nil {
			return err
		}
	}
}

// unlinked reads a block of users without a customer.
func (p *shopPush) unlinked(ctx context.Context, after string) (all []postgres.Unlinked, err error) {
	for len(all) < pushBlock {
		page, err := p.store.Unlinked(ctx, p.target.Name(), after, pushPage)
		if err != nil || len(page) == 0 {
			return all, err
		}
		all = append(all, page...)
		after = page[len(page)-1].Profile.ID
	}
	return all, nil
}

// block does one import's worth of users.
func (p *shopPush) block(ctx context.Context, users []postgres.Unlinked) error {
	p.done.Users += len(users)
	if err := inbox.Patiently(ctx, func() error { return p.target.Check(ctx) }); err != nil {
		return err
	}
	shop, err := p.lookAround(ctx, users)
	if errors.Is(err, shopify.ErrBulkRefused) {
		return p.leave(ctx, ids(users))
	}
	if err != nil {
		return err
	}
	plan, err := p.plan(ctx, shop, users)
	if err != nil {
		return err
	}
	if err := p.adopt(ctx, shop, plan.adoptions); err != nil {
		return err
	}
	if err := p.create(ctx, shop, plan); err != nil {
		return err
	}
	return p.leave(ctx, plan.left)
}

// lookAround has the shop export its customers, and keeps those that the users
// may be.
func (p *shopPush) lookAround(ctx context.Context, users []postgres.Unlinked) (*shopify.Exported, error) {
	op, err := p.export(ctx)
	if err != nil {
		return nil, err
	}
	shop := p.target.Exported()
	for _, u := range users {
		shop.Want(query(p.target, u))
	}
	for r, err := range p.target.Records(ctx, op, 0) {
		if err != nil {
			return nil, err
		}
		shop.Add(r)
	}
	return shop, nil
}

// export is complete, or is not to be had.
func (p *shopPush) export(ctx context.Context) (op shopify.BulkOperation, err error) {
	for range bulkAttempts {
		name := runName("export")
		if err = inbox.Patiently(ctx, func() error { op, err = p.target.StartExport(ctx, name); return err }); err != nil {
			return op, err
		}
		op, err = p.target.AwaitBulk(ctx, op.ID, func(op shopify.BulkOperation) {
			p.progress(Progress{What: p.shop + ": Shopify exports", Done: int(op.Objects)})
		})
		if err != nil || op.Completed() {
			return op, err
		}
		p.log.Warn("the export failed at Shopify", "shop", p.shop, "status", op.Status, "code", op.Code)
	}
	return op, fmt.Errorf("%w: its exports end as %s", shopify.ErrBulkRefused, op.Status)
}

// create imports the customers that are missing, and takes the result in.
func (p *shopPush) create(ctx context.Context, shop *shopify.Exported, plan pushPlan) error {
	if len(plan.creates) == 0 {
		return nil
	}
	state := pushState{Import: runName("import")}
	if err := p.save(ctx, &state); err != nil {
		return err
	}
	var op shopify.BulkOperation
	err := inbox.Patiently(ctx, func() (err error) { op, err = p.target.StartImport(ctx, state.Import, plan.lines); return err })
	if errors.Is(err, shopify.ErrBulkRefused) {
		return errors.Join(p.leave(ctx, plan.creates), p.save(ctx, nil))
	}
	if err != nil {
		return err
	}
	return p.takeIn(ctx, shop, op, plan.creates)
}

// takeUp takes in the import that an earlier call began and did not finish. Who
// was in it without success is still without a customer, and planned anew.
func (p *shopPush) takeUp(ctx context.Context) error {
	var state pushState
	if p.held == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(p.held), &state); err != nil {
		return p.save(ctx, nil)
	}
	op, err := p.target.FindBulk(ctx, state.Import)
	if err != nil {
		return err
	}
	if op.ID == "" { // it was not begun
		return p.save(ctx, nil)
	}
	return p.takeIn(ctx, p.target.Exported(), op, nil)
}

// takeIn waits for an import and links what it made; the rest of its users is left
// to the workers, who look first: a line may have come after a live change.
func (p *shopPush) takeIn(ctx context.Context, shop *shopify.Exported, op shopify.BulkOperation, users []string) error {
	op, err := p.target.AwaitBulk(ctx, op.ID, func(op shopify.BulkOperation) {
		p.progress(Progress{What: p.shop + ": Shopify imports", Done: int(op.Objects), Total: len(users)})
	})
	if err != nil {
		return err
	}
	if !op.Completed() {
		p.log.Warn("the import ended early: the workers do the rest", "shop", p.shop, "status", op.Status, "code", op.Code)
	}
	rest := map[string]bool{}
	for _, user := range users {
		rest[user] = true
	}
	var made []string
	for line, err := range shop.Imported(ctx, op, 0) {
		switch {
		case errors.Is(err, shopify.ErrExpired): // what it made is found by its marks
		case err != nil:
			return err
		case line.UserID != "":
			made = append(made, line.UserID)
			rest[line.UserID] = true
		}
	}
	linked, err := p.settle(ctx, shop, "create", madeInBulk, made)
	if err != nil {
		return err
	}
	p.done.Created += len(linked)
	before, err := p.store.LinkedAs(ctx, p.target.Name(), madeInBulk, made) // by a call that was stopped, too
	if err != nil {
		return err
	}
	for _, user := range slices.Concat(linked, before) {
		delete(rest, user)
	}
	if err := p.leave(ctx, keys(rest)); err != nil {
		return err
	}
	return p.save(ctx, nil)
}

func (p *shopPush) checkpoint() string { return "push_" + p.target.Name() }

// save stores the state before what it speaks of begins; nil removes it.
func (p *shopPush) save(ctx context.Context, state *pushState) error {
	next := ""
	if state != nil {
		data, err := json.Marshal(state)
		if err != nil {
			return err
		}
		next = string(data)
	}
	err := pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error { return p.store.Advance(ctx, tx, p.checkpoint(), p.held, next) })
	if err == nil {
		p.held = next
	}
	return err
}

// runName names a bulk operation.
func runName(kind string) string {
	return "lockstep_" + kind + "_" + strings.ToLower(rand.Text()[:16])
}
