package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// Survey says what the looks of a shallow run may leave out.
type Survey struct {
	Profiles   int
	Everything bool // links were compared with profiles; otherwise what was noted is trusted
	Complete   bool // every profile has a link to every target
	Changed    bool // profiles changed since the last run

	// Among are the only users who may lack a link, or have changed; nil is
	// anybody. Hints are the notes that were heard, for Heard once the run is done.
	Among []string
	Hints []int64
}

// maxAmong is how many users are looked at one by one; more are found sooner
// among all.
const maxAmong = 10_000

// Survey finds out who may lack a link, or have changed since the last run: users
// whose link was deleted (triggers note them), and those whose profile is
// newer. Where that is not to be trusted, it compares everything: the caller
// says so, or somebody else, or a trigger is gone.
func (s *Store) Survey(ctx context.Context, targets []string, since time.Time, everything bool) (v Survey, err error) {
	if !everything {
		if v, everything, err = s.noted(ctx, since); err == nil && !everything {
			return v, nil
		}
	}
	if err == nil {
		v, err = s.compare(ctx, targets, since)
	}
	if err != nil {
		return v, fmt.Errorf("survey: %w", err)
	}
	return v, nil
}

// plainCode keeps PostgreSQL from compiling statements, which takes longer than
// they do, until the transaction ends.
const plainCode = `select set_config('jit', 'off', true)`

// hintTriggers are those of migration 00010. They are silent in a session that
// is a replica's, too, which nobody can see afterwards: hence the caller's word.
const (
	hintTriggers = 4
	hintsSQL     = `select id, clerk_user_id from lockstep.reconcile_hints order by id limit $1`
	listenSQL    = `select count(*) from pg_trigger t where t.tgrelid in ('public.profiles'::regclass, 'lockstep.customer_links'::regclass)
		and starts_with(t.tgname, 'lockstep_hint_') and t.tgenabled in ('O', 'A')`
)

// noted reads profiles once, and no links. Unsure says that this does not do.
func (s *Store) noted(ctx context.Context, since time.Time) (v Survey, unsure bool, err error) {
	var listening, changed int
	var batch pgx.Batch // one transaction; hints first: what they tell of is seen by what follows
	batch.Queue(plainCode)
	batch.Queue(hintsSQL, maxAmong+1)
	batch.Queue(listenSQL)
	batch.Queue(`select count(*), count(*) filter (where updated_at > $1) from public.profiles where `+managed, since)
	results := s.pool.SendBatch(ctx, &batch)
	_, err = results.Exec()
	anybody, hintErr := v.hear(results)
	err = errors.Join(err, hintErr, results.QueryRow().Scan(&listening), results.QueryRow().Scan(&v.Profiles, &changed), results.Close())
	if err != nil || anybody || listening != hintTriggers || len(v.Among)+changed > maxAmong {
		return v, true, err
	}
	if v.Changed = changed > 0; v.Changed {
		rows, err := s.pool.Query(ctx, `select id from public.profiles where updated_at > $1 and `+managed, since)
		if err != nil {
			return v, true, err
		}
		users, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return v, true, err
		}
		v.Among = append(v.Among, users...)
	}
	slices.Sort(v.Among)
	v.Among = slices.Compact(v.Among)
	v.Complete = len(v.Among) == 0
	return v, false, nil
}

// hear takes the hints; anybody says that they name not all.
func (v *Survey) hear(results pgx.BatchResults) (anybody bool, err error) {
	rows, err := results.Query()
	if err != nil {
		return false, err
	}
	var id int64
	var user *string
	v.Among = []string{}
	_, err = pgx.ForEachRow(rows, []any{&id, &user}, func() error {
		v.Hints = append(v.Hints, id)
		if user == nil {
			anybody = true
		} else {
			v.Among = append(v.Among, *user)
		}
		return nil
	})
	return anybody || len(v.Hints) > maxAmong, err
}

// notForgotten leaves out who was forgotten, since they keep a link only where a
// customer was kept.
const notForgotten = `not in (select r.clerk_user_id from lockstep.privacy_requests r
	where r.kind = 'erase user' and r.clerk_user_id is not null and r.done_at is not null)`

// compare compares the profiles with the links as two sets, by their size and
// the sum of their hashes, and looks for profiles that changed since. Every
// user has one link to a target at most, so sets of one size with nothing
// missing are the same; the hashes catch as many strays as there are holes.
func (s *Store) compare(ctx context.Context, targets []string, since time.Time) (v Survey, err error) {
	var known, links, profileSum, linkSum int64
	var batch pgx.Batch // one transaction
	batch.Queue(plainCode)
	batch.Queue(hintsSQL, maxAmong+1)
	batch.Queue(`select count(*), count(*) filter (where id `+notForgotten+`), coalesce(sum(hashtext(id)) filter (where id `+notForgotten+`), 0),
		  count(*) filter (where updated_at > $1) > 0
		from public.profiles where `+managed, since)
	batch.Queue(`select count(*), coalesce(sum(hashtext(clerk_user_id)), 0) from lockstep.customer_links
		where target = any($1::text[]) and clerk_user_id `+notForgotten, targets)
	results := s.pool.SendBatch(ctx, &batch)
	_, err = results.Exec()
	_, hintErr := v.hear(results)
	err = errors.Join(err, hintErr, results.QueryRow().Scan(&v.Profiles, &known, &profileSum, &v.Changed), results.QueryRow().Scan(&links, &linkSum), results.Close())
	n := int64(len(targets))
	v.Complete = links == n*known && linkSum == n*profileSum
	v.Everything, v.Among = true, nil
	return v, err
}

// Heard drops the hints of a survey, whose users were looked at.
func (s *Store) Heard(ctx context.Context, tx pgx.Tx, v Survey) error {
	if len(v.Hints) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, `delete from lockstep.reconcile_hints where id = any($1::bigint[])`, v.Hints); err != nil {
		return fmt.Errorf("drop hints: %w", err)
	}
	return nil
}
