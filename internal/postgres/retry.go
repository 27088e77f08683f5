package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Retry makes at most limit links due again that were given up before a time by
// the database's clock, oldest first, and returns their keys; each needs a job now. Each counts as one more change,
// so nothing that was done for an earlier one can pass for it. A link whose
// customer was to be forgotten stays as it is.
func (s *Store) Retry(ctx context.Context, tx pgx.Tx, target string, before time.Time, limit int) ([]Key, error) {
	rows, err := tx.Query(ctx, `
		update lockstep.customer_links u set desired = u.desired + 1, queued_at = now(), queued_bulk = false, status = 'pending', updated_at = now()
		  from (select clerk_user_id, target from lockstep.customer_links
		         where target = $1 and status = 'failed' and reason <> '`+forgotten+`' and updated_at < $3
		         order by updated_at limit $2 for update skip locked) failed
		 where u.clerk_user_id = failed.clerk_user_id and u.target = failed.target
		returning u.clerk_user_id, u.target, true`, target, limit, before)
	if err != nil {
		return nil, fmt.Errorf("retry links: %w", err)
	}
	return needJob(rows)
}

// RetryUsers does the same for the links of the users to the targets that were
// given up or wait for their next attempt, however long that would take.
func (s *Store) RetryUsers(ctx context.Context, tx pgx.Tx, users, targets []string) ([]Key, error) {
	rows, err := tx.Query(ctx, `
		update lockstep.customer_links u set desired = u.desired + 1, queued_at = coalesce(u.queued_at, now()), queued_bulk = false,
		  status = case when u.status = 'failed' then 'pending' else u.status end, updated_at = now()
		  from (select clerk_user_id, target from lockstep.customer_links
		         where clerk_user_id = any($1::text[]) and target = any($2::text[]) and (status = 'failed' or applied < desired)
		         order by clerk_user_id, target for update) due
		 where u.clerk_user_id = due.clerk_user_id and u.target = due.target
		returning u.clerk_user_id, u.target, true`, users, targets)
	if err != nil {
		return nil, fmt.Errorf("retry links: %w", err)
	}
	return needJob(rows)
}
