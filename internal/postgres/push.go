package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
)

// Unlinked is a living user for whom nothing was found or made in a target yet,
// and nobody is busy with it now.
type Unlinked struct {
	Profile lockstep.Profile
	Link    lockstep.Link
	Seen    int64 // desired, which LinkMade confirms; zero without a link
}

// Unlinked reads such users in the order of their ids, beginning after one; or
// those of the given users alone, if any are given. What is read of a profile is
// never older than the version that LinkMade confirms: a change that comes later
// moves desired later, too.
func (s *Store) Unlinked(ctx context.Context, target, after string, limit int, users ...string) ([]Unlinked, error) {
	rows, err := s.pool.Query(ctx, `
		select `+profileColumns+`,
		       coalesce((select l.refused_phone from lockstep.customer_links l where l.clerk_user_id = id and l.target = $1), ''),
		       coalesce((select l.desired from lockstep.customer_links l where l.clerk_user_id = id and l.target = $1), 0)
		  from public.profiles
		 where `+managed+` and deleted_at is null and id > $2 and (cardinality($4::text[]) = 0 or id = any($4::text[]))
		   and not exists (select from lockstep.customer_links l where l.clerk_user_id = id and l.target = $1
		         and (l.status <> 'pending' or l.customer_id is not null or l.choice is not null or coalesce(l.lease_until > now(), false)))
		 order by id limit $3`, target, after, limit, textArray(users))
	if err != nil {
		return nil, fmt.Errorf("read users without a customer: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (u Unlinked, err error) {
		err = row.Scan(append(scanProfile(&u.Profile), &u.Link.RefusedPhone, &u.Seen)...)
		u.Link.UserID, u.Link.Target, u.Link.Status = u.Profile.ID, target, lockstep.StatusPending
		return u, err
	})
	if err != nil {
		return nil, fmt.Errorf("read users without a customer: %w", err)
	}
	return all, nil
}

// Made is a user whose customer bulk work made, as it should be.
type Made struct {
	UserID     string
	CustomerID string
	Email      string
	Seen       int64 // of Unlinked
}

// LinkMade links users to the customers that bulk work made, and returns who was
// linked. Who changed since, or is being worked on, is left to the live way:
// there the change is, or will be, applied. Woken links need a job now.
func (s *Store) LinkMade(ctx context.Context, tx pgx.Tx, target, action, reason string, all []Made) (linked []string, woken []Key, err error) {
	var users, customers, emails []string
	var seen []int64
	for _, a := range all {
		users, customers, emails, seen = append(users, a.UserID), append(customers, a.CustomerID), append(emails, a.Email), append(seen, a.Seen)
	}
	rows, err := tx.Query(ctx, `
		with given as (select * from unnest($2::text[], $3::text[], $4::text[], $5::bigint[]) g(u, c, e, seen)),
		settled as (
		  insert into lockstep.customer_links as l (clerk_user_id, target, customer_id, email, status, reason, desired, applied, first_seen_at, last_seen_at)
		  select u, $1, c, nullif(e, ''), 'linked', $7, greatest(seen, 1), greatest(seen, 1), now(), now()
		    from given where exists (select from public.profiles p where p.id = u and p.deleted_at is null) order by u
		  on conflict (clerk_user_id, target) do update set
		    customer_id = excluded.customer_id, email = excluded.email, status = 'linked', reason = excluded.reason, applied = l.desired, queued_at = null, queued_bulk = false,
		    first_seen_at = coalesce(l.first_seen_at, now()), last_seen_at = now(), updated_at = now()
		   where l.desired = (select g.seen from given g where g.u = l.clerk_user_id)
		     and l.status = 'pending' and l.customer_id is null and (l.lease_until is null or l.lease_until < now())
		  returning l.clerk_user_id, l.customer_id
		)
		insert into lockstep.history (clerk_user_id, target, customer_id, action, reason)
		select clerk_user_id, $1, customer_id, $6, $7 from settled order by clerk_user_id
		returning clerk_user_id`, target, users, customers, emails, seen, action, reason)
	if err != nil {
		return nil, nil, fmt.Errorf("link users: %w", err)
	}
	if linked, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return nil, nil, fmt.Errorf("link users: %w", err)
	}
	if err := inherit(ctx, tx, target, customers); err != nil {
		return nil, nil, err
	}
	woken, err = s.wake(ctx, tx, Key{Target: target}, customers)
	return linked, woken, err
}

// Due reports whether a link has a change that is not applied.
func (s *Store) Due(ctx context.Context, k Key) (due bool, err error) {
	err = s.pool.QueryRow(ctx, `select coalesce((select applied < desired from lockstep.customer_links where clerk_user_id = $1 and target = $2), false)`,
		k.UserID, k.Target).Scan(&due)
	if err != nil {
		return false, fmt.Errorf("read link: %w", err)
	}
	return due, nil
}

// LinkedAs returns those of the users who are linked for a reason, with nothing
// outstanding.
func (s *Store) LinkedAs(ctx context.Context, target, reason string, users []string) ([]string, error) {
	rows, err := s.pool.Query(ctx, `select clerk_user_id from lockstep.customer_links
		where target = $1 and clerk_user_id = any($3::text[]) and status = 'linked' and reason = $2 and applied = desired`, target, reason, textArray(users))
	if err != nil {
		return nil, fmt.Errorf("read links: %w", err)
	}
	linked, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read links: %w", err)
	}
	return linked, nil
}
