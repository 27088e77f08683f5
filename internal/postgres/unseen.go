package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// NoteUnseen notes, as a webhook does, that customers may have changed whose rows a
// complete read of the shop did not renew that began at a time by the database's
// clock. It takes the next ones after an id, and returns them in order. What was
// captured since then is left out.
func (s *Store) NoteUnseen(ctx context.Context, tx pgx.Tx, target string, began time.Time, after string, limit int) ([]string, error) {
	rows, err := tx.Query(ctx, `
		insert into lockstep.shopify_changes as c (target, customer_id, changes)
		select $1, shopify_customer_id, 1 from lockstep.shopify_customers
		 where shopify_shop = $2 and shopify_customer_id > $4 and deleted_at is null and captured_at < $3
		 order by shopify_customer_id limit $5
		`+changedAgain+` returning customer_id`, target, shopOf(target), began, after, limit)
	if err != nil {
		return nil, fmt.Errorf("note unseen customers: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("note unseen customers: %w", err)
	}
	slices.Sort(ids)
	return ids, nil
}

// UnseenLeft counts those that NoteUnseen noted and nobody has read yet, but for
// those that are to be read later: their users are being written.
func (s *Store) UnseenLeft(ctx context.Context, target string, began time.Time) (n int, err error) {
	err = s.pool.QueryRow(ctx, `
		select count(*) from lockstep.shopify_changes g
		  join lockstep.shopify_customers c on c.shopify_shop = $2 and c.shopify_customer_id = g.customer_id
		 where g.target = $1 and g.due_at <= now() and c.deleted_at is null and c.captured_at < $3`, target, shopOf(target), began).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count unseen customers: %w", err)
	}
	return n, nil
}
