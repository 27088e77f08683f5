package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
)

// ErrOvertaken says that somebody else has gone on from the same checkpoint.
var ErrOvertaken = errors.New("another process is at the same work: let it finish, or stop it")

// Search says which links to look for.
type Search struct {
	Kind   lockstep.Drift
	Target string
	After  string // the user to begin after, in the order of the ids
	Limit  int

	// Since narrows DriftLinkStale to profiles that changed since; Unchanged says
	// that none did. DriftLinkFailed takes Since for when a link must have failed
	// before.
	Since     time.Time
	Unchanged bool

	// Among narrows DriftLinkMissing and DriftLinkStale, but for links that nobody
	// tried, to these users; nil is anybody.
	Among []string
}

// Hole is a user who is not in step, as far as the tables tell.
type Hole struct{ UserID, CustomerID string }

// underWay are users whose change is accepted and not handed to the targets yet.
const underWay = `(select jsonb_array_elements_text(j.args -> 'users') from lockstep.river_job j
	where j.kind = 'dispatch' and j.state in ('available', 'pending', 'retryable', 'running', 'scheduled'))`

// Parts of the statements below: $1 target, $2 after, $3 limit, $4 since.
const (
	holeLinks = `select l.clerk_user_id, coalesce(l.customer_id, '') from lockstep.customer_links l `
	holeAlive = `join public.profiles p on p.id = l.clerk_user_id and p.deleted_at is null `
	holeWhere = `where l.target = $1 and l.clerk_user_id > $2 and `
	holeOrder = ` order by l.clerk_user_id limit $3`
	untried   = holeLinks + holeAlive + holeWhere + `l.status = 'pending' and l.applied = l.desired and l.clerk_user_id not in ` + underWay
)

// sql is the statement that finds a kind, and its arguments.
func (s Search) sql() (sql string, args []any) {
	args = []any{s.Target, s.After, s.Limit}
	switch s.Kind {
	case lockstep.DriftLinkMissing:
		return s.missing()
	case lockstep.DriftLinkStale:
		return s.stale()
	case lockstep.DriftLinkFailed:
		return holeLinks + holeAlive + holeWhere + `l.status = 'failed' and l.updated_at < $4 and l.reason <> '` + forgotten + `'` + holeOrder, append(args, s.Since)
	case lockstep.DriftLinkPending:
		// Materialized, or the planner takes a third of all links for pending, and
		// reads them all in the order of the ids.
		return `with l as materialized (
			  select l.clerk_user_id, l.customer_id from lockstep.customer_links l
			   where l.target = $1 and l.applied < l.desired and l.status <> 'failed' and l.clerk_user_id > $2
			     and not exists (select from lockstep.targets t where t.target = $1 and t.paused_at is not null)
			     and coalesce(l.queued_at, l.updated_at) < now() - case when l.queued_bulk then interval '1 day' else interval '15 minutes' end)
			select l.clerk_user_id, coalesce(l.customer_id, '') from l` + holeOrder, args
	case lockstep.DriftLinkUnreleased:
		return `select p.id, l.customer_id from public.profiles p cross join lateral (
			  select coalesce(l.customer_id, '') as customer_id from lockstep.customer_links l
			   where l.clerk_user_id = p.id and l.target = $1 and l.applied = l.desired and l.status <> 'released' offset 0) l
			where p.deleted_at is not null and p.id > $2 order by p.id limit $3`, args
	case lockstep.DriftConflict:
		return holeLinks + holeAlive + holeWhere + `l.applied = l.desired and l.status = 'conflict'` + holeOrder, args
	}
	return "", nil
}

// missing walks the two primary keys, and needs no more of them: a profile is
// read only for a user without a link. The planner, which expects many, must be
// kept from reading all profiles in the order of their ids: hence the lateral.
func (s Search) missing() (string, []any) {
	from, args := `public.profiles q`, []any{s.Target, s.After, s.Limit}
	if s.Among != nil {
		from, args = `unnest($4::text[]) q(id)`, append(args, s.Among)
	}
	return `select q.id, '' from (
		  select q.id from ` + from + ` where q.id > $2 and q.` + managed + `
		     and not exists (select from lockstep.customer_links l where l.clerk_user_id = q.id and l.target = $1)
		   order by q.id offset 0) q
		cross join lateral (select from public.profiles p where p.id = q.id and p.deleted_at is null offset 0) p
		where q.id not in ` + underWay + ` order by q.id limit $3`, args
}

func (s Search) stale() (string, []any) {
	args := []any{s.Target, s.After, s.Limit}
	if s.Unchanged {
		return untried + holeOrder, args
	}
	from, args := holeLinks+holeAlive, append(args, s.Since)
	if s.Among != nil {
		from, args = from+`join unnest($5::text[]) u(id) on u.id = l.clerk_user_id `, append(args, s.Among)
	}
	return `select * from (` + untried + ` union all ` + from + holeWhere + `l.applied = l.desired and p.updated_at > $4
		and (l.status = 'linked' and p.updated_at > coalesce(l.last_seen_at, '-infinity') or l.status = 'released')
		and l.clerk_user_id not in ` + underWay + `) l order by 1 limit $3`, args
}

// plainPlans keeps PostgreSQL, until the transaction ends, from compiling the
// statement and starting workers for it, which takes longer than it does.
const plainPlans = `select set_config('jit', 'off', true), set_config('max_parallel_workers_per_gather', '0', true)`

// Holes returns at most Limit users with a kind of drift, in the order of their
// ids.
func (s *Store) Holes(ctx context.Context, tx pgx.Tx, search Search) ([]Hole, error) {
	sql, args := search.sql()
	if _, err := tx.Exec(ctx, plainPlans); err != nil {
		return nil, fmt.Errorf("find %s: %w", search.Kind, err)
	}
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", search.Kind, err)
	}
	holes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Hole])
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", search.Kind, err)
	}
	return holes, nil
}
