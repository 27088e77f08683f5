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

// ConflictLink is a link that only a person may decide.
type ConflictLink struct {
	User       string    `json:"user"`
	Target     string    `json:"target"`
	Reason     string    `json:"reason"`
	CustomerID *string   `json:"customer_id"` // the user's own, if there is one
	BlockedBy  *string   `json:"blocked_by"`  // the customer that stands in the way
	HeldBy     *string   `json:"held_by"`     // the user who is linked to that one
	Since      time.Time `json:"since"`
}

// Conflicts lists the conflicts in the targets, oldest first, at most limit.
// The history tells news only, so a link's last entry is when it became what it is.
func (s *Store) Conflicts(ctx context.Context, targets []string, limit int) ([]ConflictLink, error) {
	rows, err := s.pool.Query(ctx, `
		select l.clerk_user_id, l.target, l.reason, l.customer_id, l.blocked_by,
		       (select o.clerk_user_id from lockstep.customer_links o where o.target = l.target and o.customer_id = l.blocked_by
		           and o.clerk_user_id <> l.clerk_user_id),
		       coalesce((select max(h.at) from lockstep.history h where h.clerk_user_id = l.clerk_user_id and h.target = l.target), l.updated_at) as since
		  from lockstep.customer_links l
		 where l.status = 'conflict' and l.target = any($1::text[])
		 order by since, l.clerk_user_id, l.target limit $2`, targets, limit)
	if err != nil {
		return nil, fmt.Errorf("read conflicts: %w", Redact(err))
	}
	conflicts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ConflictLink])
	if err != nil {
		return nil, fmt.Errorf("read conflicts: %w", Redact(err))
	}
	return conflicts, nil
}
