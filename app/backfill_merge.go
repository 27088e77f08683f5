package app

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep/internal/inbox"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/shopify"
)

// chunk is what one transaction takes in, and where the next one begins.
type chunk struct {
	customers []postgres.ShopCustomer
	offset    int64  // in the export's result
	after     string // the last customer, of pages
	err       error
}

// exported reads an export's result in chunks, from the checkpoint on.
func (b *shopBackfill) exported(ctx context.Context, op shopify.BulkOperation) iter.Seq[chunk] {
	from := b.state.Offset
	return func(yield func(chunk) bool) {
		var c chunk
		for r, err := range b.target.Records(ctx, op, from) {
			if err != nil {
				yield(chunk{err: err})
				return
			}
			c.customers, c.offset = append(c.customers, shopCustomer(r)), r.End
			if len(c.customers) == mergeChunk {
				if !yield(c) {
					return
				}
				c = chunk{customers: make([]postgres.ShopCustomer, 0, mergeChunk)}
			}
		}
		if len(c.customers) > 0 {
			yield(c)
		}
	}
}

// copyPages reads the shop page by page, within its limit.
func (b *shopBackfill) copyPages(ctx context.Context) error {
	if err := inbox.Patiently(ctx, func() error {
		n, _, err := b.target.Count(ctx)
		b.total = int(n)
		return err
	}); err != nil {
		return err
	}
	after := b.state.After
	return b.merge(ctx, func(yield func(chunk) bool) {
		for last := false; !last; {
			var page []*shopify.Record
			err := inbox.Patiently(ctx, func() (err error) { page, err = b.target.Page(ctx, after); return err })
			c := chunk{err: err}
			for _, r := range page {
				c.customers, after = append(c.customers, shopCustomer(r)), r.ID
			}
			c.after, last = after, len(page) < shopify.PageSize
			if !yield(c) || err != nil {
				return
			}
		}
	})
}

// merge takes chunks in, while the next one is read: the rows of one and the place
// to go on commit together, and no transaction waits for Shopify.
func (b *shopBackfill) merge(ctx context.Context, chunks iter.Seq[chunk]) error {
	asked := ctx
	ctx, cancel := context.WithCancel(ctx)
	ready := make(chan chunk)
	defer func() {
		cancel()
		for range ready { // the reader has ended when it is closed
		}
	}()
	go func() {
		defer close(ready)
		for c := range chunks {
			select {
			case ready <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	for c := range ready {
		if c.err != nil {
			return cmp.Or(asked.Err(), c.err) // a stop breaks the read off, too
		}
		if err := b.mergeChunk(ctx, c); err != nil {
			return err
		}
		b.progress(Progress{What: b.shop, Done: b.state.Read, Total: max(b.total, b.state.Read)})
	}
	return asked.Err()
}

func (b *shopBackfill) mergeChunk(ctx context.Context, c chunk) error {
	markUnproven(c.customers)
	next, held := b.state, b.held
	err := pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error {
		changed, err := b.store.MergeShopCustomers(ctx, tx, b.shop, b.state.Began, c.customers)
		if err != nil {
			return err
		}
		next.Read, next.Changed = next.Read+len(c.customers), next.Changed+changed
		next.Offset, next.After = c.offset, c.after
		return b.advance(ctx, tx, &next)
	})
	if err != nil {
		b.held = held
		return err
	}
	b.state = next
	return nil
}

// shopCustomer is a record in the words of the table.
func shopCustomer(r *shopify.Record) postgres.ShopCustomer {
	c := postgres.ShopCustomer{
		ID: r.ID, UserID: r.Mark(), FirstName: r.FirstName, LastName: r.LastName, State: r.State, Locale: r.Locale,
		Verified: r.Verified, Tags: r.Tags, CreatedAt: r.Created, UpdatedAt: r.Updated,
	}
	if r.Email != nil {
		c.Email, c.EmailConsent, c.EmailConsentAt = r.Email.Address, r.Email.Consent, r.Email.ConsentAt
	}
	if r.Phone == nil {
		return c
	}
	if r.Masked() {
		c.Unproven = append(c.Unproven, "phone")
	} else {
		c.Phone = r.Phone.Number
	}
	if sms := r.Phone.Consent; sms != nil {
		c.SMSConsent, c.SMSConsentAt = sms.State, sms.At
	}
	return c
}

// markUnproven names the fields that no customer of a chunk shows: they may be
// hidden from the app, and then mean nothing.
func markUnproven(customers []postgres.ShopCustomer) {
	var email, phone, name bool
	for _, c := range customers {
		email, phone, name = email || c.Email != "", phone || c.Phone != "", name || c.FirstName+c.LastName != ""
	}
	for i := range customers {
		c := &customers[i]
		if !email {
			c.Unproven = append(c.Unproven, "email")
		}
		if !phone && !slices.Contains(c.Unproven, "phone") { // a masked one is named already
			c.Unproven = append(c.Unproven, "phone")
		}
		if !name {
			c.Unproven = append(c.Unproven, "name")
		}
	}
}
