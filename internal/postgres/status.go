package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// TargetStatus is how far one target is in step. Every living user counts in
// exactly one of Linked, Pending, Waiting, Conflicts and Failed.
type TargetStatus struct {
	Target       string     `json:"target"`
	Users        int        `json:"users"`  // living users
	Linked       int        `json:"linked"` // has the right customer, nothing outstanding
	Pending      int        `json:"pending"`
	Waiting      int        `json:"waiting"` // held back until the e-mail is verified
	Conflicts    int        `json:"conflicts"`
	Failed       int        `json:"failed"`
	Released     int        `json:"released"`    // deleted users, not part of Users
	LagSeconds   float64    `json:"lag_seconds"` // age of the oldest change not yet applied
	Oldest       *time.Time `json:"oldest_pending"`
	Paused       bool       `json:"paused"`
	PausedAt     *time.Time `json:"paused_at,omitempty"`
	PausedReason string     `json:"paused_reason,omitempty"`
	Reconciled   *time.Time `json:"last_reconcile"`                // when the target was last compared as a whole
	Disconnected bool       `json:"disconnected,omitempty" db:"-"` // paused until a person connects it
	Problems     []string   `json:"problems,omitempty" db:"-"`     // what is wrong but stops nothing
}

// Status reports on the targets, in the order given.
func (s *Store) Status(ctx context.Context, targets []string) ([]TargetStatus, error) {
	rows, err := s.pool.Query(ctx, `
		select t.target, coalesce(n.users, 0), coalesce(n.linked, 0), coalesce(n.pending, 0), coalesce(n.waiting, 0), coalesce(n.conflicts, 0),
		       coalesce(n.failed, 0), coalesce(n.released, 0), coalesce(extract(epoch from now() - n.oldest)::float8, 0),
		       n.oldest, p.paused_at is not null, p.paused_at, coalesce(p.reason, ''),
		       (select max(r.finished_at) from lockstep.reconcile_runs r join lockstep.reconcile_steps s on s.run_id = r.id
		         where r.deep and r.state = 'done' and s.name = 'customers' and s.target = t.target and s.state = 'done')
		  from unnest($1::text[]) with ordinality t(target, n_)
		  left join lateral (
		    select count(*) filter (where alive) as users,
		           count(*) filter (where alive and state = 'linked') as linked,
		           count(*) filter (where alive and state = 'pending') as pending,
		           count(*) filter (where alive and state = 'waiting') as waiting,
		           count(*) filter (where alive and state = 'conflict') as conflicts,
		           count(*) filter (where alive and state = 'failed') as failed,
		           count(*) filter (where not alive and state = 'released') as released,
		           min(since) as oldest
		      from (select p.deleted_at is null as alive,
		                   case when l.status in ('failed', 'conflict', 'waiting') then l.status
		                        when l.status is null or l.applied < l.desired or l.status = 'released' and p.deleted_at is null then 'pending'
		                        else l.status end as state,
		                   case when l.applied < l.desired and l.status <> 'failed' then coalesce(l.queued_at, l.updated_at) end as since
		              from public.profiles p
		              left join lockstep.customer_links l on l.clerk_user_id = p.id and l.target = t.target) u
		  ) n on true
		  left join lockstep.targets p on p.target = t.target
		 order by t.n_`, targets)
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[TargetStatus])
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	problems, err := s.Problems(ctx)
	if err != nil {
		return nil, err
	}
	away, err := s.Disconnected(ctx)
	for i := range out {
		out[i].Problems, out[i].Disconnected = problems[out[i].Target], slices.Contains(away, out[i].Target)
	}
	return out, err
}

// Pause notes that a target refuses everything; it reports whether it was
// running until now.
func (s *Store) Pause(ctx context.Context, tx pgx.Tx, target, reason string) (was bool, err error) {
	tag, err := tx.Exec(ctx, `
		insert into lockstep.targets as t (target, paused_at, reason) values ($1, now(), $2)
		on conflict (target) do update set paused_at = now(), reason = excluded.reason where t.paused_at is null`, target, reason)
	if err != nil {
		return false, fmt.Errorf("pause target: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}

// Resume takes a pause back; it reports whether there was one. A disconnected
// target stays paused.
func (s *Store) Resume(ctx context.Context, tx pgx.Tx, target string) (was bool, err error) {
	tag, err := tx.Exec(ctx, `update lockstep.targets set paused_at = null, reason = ''
		where target = $1 and paused_at is not null and disconnected_at is null`, target)
	if err != nil {
		return false, fmt.Errorf("resume target: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}

// Paused lists the paused targets, but for disconnected ones.
func (s *Store) Paused(ctx context.Context) ([]string, error) {
	return s.targetNames(ctx, `select target from lockstep.targets where paused_at is not null and disconnected_at is null order by target`)
}

func (s *Store) targetNames(ctx context.Context, sql string) ([]string, error) {
	rows, err := s.pool.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	return names, nil
}
