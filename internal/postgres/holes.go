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
	var batch pgx.Batch
	batch.Queue(`select count(*), coalesce(sum(hashtext(id)), 0), count(*) filter (where updated_at > $1) > 0
		from public.profiles where `+managed, since)
	batch.Queue(`select count(*), coalesce(sum(hashtext(clerk_user_id)), 0) from lockstep.customer_links where target = any($1::text[])`, targets)
	results := s.pool.SendBatch(ctx, &batch)
	err = errors.Join(results.QueryRow().Scan(&v.Profiles, &profileSum, &v.Changed), results.QueryRow().Scan(&v.Links, &linkSum), results.Close())
	if err != nil {
		return v, fmt.Errorf("survey: %w", err)
	}
	n := len(targets)
	v.Complete = v.Links == n*v.Profiles && linkSum == int64(n)*profileSum
	return v, nil
}

// pendingTooLong is when a change that waits counts as drift.
const pendingTooLong = "15 minutes"

// holesSQL finds the users of one kind of drift, after a user and in the order
// of the ids. $1 target, $2 after, $3 limit, $4 a time that some of them need.
func holesSQL(kind lockstep.Drift) (sql string, timed bool) {
	const (
		users = `select p.id, '' from public.profiles p `
		links = `select l.clerk_user_id, coalesce(l.customer_id, '') from lockstep.customer_links l `
		alive = `join public.profiles p on p.id = l.clerk_user_id and p.deleted_at is null `
		where = `where l.target = $1 and l.clerk_user_id > $2 and `
		rest  = ` order by l.clerk_user_id limit $3`
	)
	switch kind {
	case lockstep.DriftLinkMissing:
		return users + `where p.id > $2 and p.deleted_at is null and p.` + managed + `
			and not exists (select from lockstep.customer_links l where l.clerk_user_id = p.id and l.target = $1)
			order by p.id limit $3`, false
	case lockstep.DriftLinkStale:
		return links + alive + where + `l.applied = l.desired and (
			l.status = 'linked' and p.updated_at > coalesce(l.last_seen_at, '-infinity') and p.updated_at > $4
			or l.status in ('pending', 'released'))` + rest, true
	case lockstep.DriftLinkFailed:
		return links + alive + where + `l.status = 'failed' and l.updated_at < $4` + rest, true
	case lockstep.DriftLinkPending:
		return links + where + `l.applied < l.desired and l.status <> 'failed'
			and coalesce(l.queued_at, l.updated_at) < now() - interval '` + pendingTooLong + `'` + rest, false
	case lockstep.DriftLinkUnreleased:
		return links + `join public.profiles p on p.id = l.clerk_user_id and p.deleted_at is not null ` + where + `
			l.applied = l.desired and l.status <> 'released'` + rest, false
	case lockstep.DriftConflict:
		return links + alive + where + `l.applied = l.desired and l.status = 'conflict'` + rest, false
	}
	return "", false
}

// Hole is a user who is not in step, as far as the tables tell.
type Hole struct{ UserID, CustomerID string }

// Holes returns at most limit users with a kind of drift to a target, those
// whose id is greater than after, in order. Since is for DriftLinkStale:
// profiles unchanged since then are left out; DriftLinkFailed takes it for the
// time before which a link must have failed.
func (s *Store) Holes(ctx context.Context, tx pgx.Tx, kind lockstep.Drift, target, after string, limit int, since time.Time) ([]Hole, error) {
	sql, timed := holesSQL(kind)
	args := []any{target, after, limit}
	if timed {
		args = append(args, since)
	}
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", kind, err)
	}
	holes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Hole])
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", kind, err)
	}
	return holes, nil
}
