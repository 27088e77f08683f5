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

// Survey is a look at everything that costs little more than counting.
type Survey struct {
	Profiles int
	Links    int
	Complete bool // every profile has a link to every target
	Changed  bool // profiles changed since the last survey
}

// Survey compares the profiles with the links as two sets, by their size and
// the sum of their hashes, and looks for profiles that changed since. Every
// user has one link to a target at most, so sets of one size with nothing
// missing are the same; the hashes catch as many strays as there are holes.
func (s *Store) Survey(ctx context.Context, targets []string, since time.Time) (v Survey, err error) {
	var profileSum, linkSum int64
	var batch pgx.Batch // one transaction
	batch.Queue(`select set_config('jit', 'off', true)`)
	batch.Queue(`select count(*), coalesce(sum(hashtext(id)), 0), count(*) filter (where updated_at > $1) > 0
		from public.profiles where `+managed, since)
	batch.Queue(`select count(*), coalesce(sum(hashtext(clerk_user_id)), 0) from lockstep.customer_links where target = any($1::text[])`, targets)
	results := s.pool.SendBatch(ctx, &batch)
	_, err = results.Exec()
	err = errors.Join(err, results.QueryRow().Scan(&v.Profiles, &profileSum, &v.Changed), results.QueryRow().Scan(&v.Links, &linkSum), results.Close())
	if err != nil {
		return v, fmt.Errorf("survey: %w", err)
	}
	n := len(targets)
	v.Complete = v.Links == n*v.Profiles && linkSum == int64(n)*profileSum
	return v, nil
}

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

// sql is the statement that finds a kind, and whether it asks for Since.
func (s Search) sql() (sql string, timed bool) {
	switch s.Kind {
	case lockstep.DriftLinkMissing:
		// The inner one needs no more than the two primary keys.
		return `select p.id, '' from (
			  select q.id from public.profiles q where q.id > $2 and q.` + managed + `
			     and not exists (select from lockstep.customer_links l where l.clerk_user_id = q.id and l.target = $1)
			   order by q.id offset 0) q
			join public.profiles p on p.id = q.id and p.deleted_at is null
			where p.id not in ` + underWay + ` order by q.id limit $3`, false
	case lockstep.DriftLinkStale:
		if s.Unchanged {
			return untried + holeOrder, false
		}
		return `select * from (` + untried + ` union all ` + holeLinks + holeAlive + holeWhere + `l.applied = l.desired and p.updated_at > $4
			and (l.status = 'linked' and p.updated_at > coalesce(l.last_seen_at, '-infinity') or l.status = 'released')
			and l.clerk_user_id not in ` + underWay + `) l order by 1 limit $3`, true
	case lockstep.DriftLinkFailed:
		return holeLinks + holeAlive + holeWhere + `l.status = 'failed' and l.updated_at < $4 and l.reason <> '` + forgotten + `'` + holeOrder, true
	case lockstep.DriftLinkPending:
		// Materialized, or the planner takes a third of all links for pending, and
		// reads them all in the order of the ids.
		return `with l as materialized (
			  select l.clerk_user_id, l.customer_id from lockstep.customer_links l
			   where l.target = $1 and l.applied < l.desired and l.status <> 'failed' and l.clerk_user_id > $2
			     and not exists (select from lockstep.targets t where t.target = $1 and t.paused_at is not null)
			     and coalesce(l.queued_at, l.updated_at) < now() - case when l.queued_bulk then interval '1 day' else interval '15 minutes' end)
			select l.clerk_user_id, coalesce(l.customer_id, '') from l` + holeOrder, false
	case lockstep.DriftLinkUnreleased:
		return `select p.id, l.customer_id from public.profiles p cross join lateral (
			  select coalesce(l.customer_id, '') as customer_id from lockstep.customer_links l
			   where l.clerk_user_id = p.id and l.target = $1 and l.applied = l.desired and l.status <> 'released' offset 0) l
			where p.deleted_at is not null and p.id > $2 order by p.id limit $3`, false
	case lockstep.DriftConflict:
		return holeLinks + holeAlive + holeWhere + `l.applied = l.desired and l.status = 'conflict'` + holeOrder, false
	}
	return "", false
}

// plainPlans keeps PostgreSQL, until the transaction ends, from compiling the
// statement and starting workers for it, which takes longer than it does.
const plainPlans = `select set_config('jit', 'off', true), set_config('max_parallel_workers_per_gather', '0', true)`

// Holes returns at most Limit users with a kind of drift, in the order of their
// ids.
func (s *Store) Holes(ctx context.Context, tx pgx.Tx, search Search) ([]Hole, error) {
	sql, timed := search.sql()
	args := []any{search.Target, search.After, search.Limit}
	if timed {
		args = append(args, search.Since)
	}
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
