package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
)

// Merged is a user of whom a merge found no profile, or another than Clerk has.
type Merged struct {
	UserID string
	Drift  lockstep.Drift // DriftProfileMissing or DriftProfileStale
}

// A page of users goes into a temporary table by COPY, and from there into the
// profiles by one statement. The table lives as long as the transaction: a
// pooler in transaction mode allows that.
const stagingSQL = `create temp table incoming_users (
	user_id text not null, username text not null, avatar_url text, email text, email_verified boolean not null,
	first_name text, last_name text, phone text, phone_verified boolean not null, banned boolean not null,
	created_at timestamptz not null, updated_at timestamptz not null, place text not null, subscribed boolean) on commit drop`

// What a page differs in from the profiles. A profile that is newer, or whose
// user is deleted, does not differ: it is right.
const (
	compareUsers = `
with compared as (
  select n.*, p.id is null as missing,
         coalesce(p.clerk_updated_at, '-infinity') < n.updated_at or ` + otherWord + ` as older,
         (p.username, coalesce(p.avatar_url, ''), coalesce(p.email, ''), coalesce(p.email_verified and p.clerk_updated_at > '-infinity', false),
          coalesce(p.first_name, ''), coalesce(p.last_name, ''), coalesce(p.phone, ''),
          coalesce(p.phone_verified and p.clerk_updated_at > '-infinity', false), p.banned)
         is distinct from (n.username, n.avatar_url, n.email, n.email_verified, n.first_name,
          n.last_name, n.phone, n.phone_verified, n.banned) or ` + otherWord + ` and n.subscribed is not null as differs
    from incoming_users n left join public.profiles p on p.id = n.user_id left join lockstep.consents c on c.clerk_user_id = n.user_id
   where p.id is null or p.deleted_at is null and coalesce(p.clerk_updated_at, '-infinity') <= n.updated_at
)`
	diffUsersSQL = compareUsers + `
select user_id, missing from compared where missing or differs order by user_id`

	mergeUsersSQL = compareUsers + `, upserts as (
  select * from compared where missing or differs or older
), written as (` + upsertProfiles + `
), worded as (` + upsertConsents + `
)
select id, id in (select user_id from compared where missing) from written
 where changed or id in (select clerk_user_id from worded where changed) order by id`
)

// MergeUsers moves the profiles of a page of users to those versions, newer
// over older, deletions for ever, and returns the users whose profile was
// missing or wrong. A page that changes nothing writes nothing.
func (s *Store) MergeUsers(ctx context.Context, tx pgx.Tx, users []lockstep.User) ([]Merged, error) {
	return s.stage(ctx, tx, users, mergeUsersSQL)
}

// DiffUsers returns what MergeUsers would, and writes nothing.
func (s *Store) DiffUsers(ctx context.Context, tx pgx.Tx, users []lockstep.User) ([]Merged, error) {
	return s.stage(ctx, tx, users, diffUsersSQL)
}

func (s *Store) stage(ctx context.Context, tx pgx.Tx, users []lockstep.User, sql string) ([]Merged, error) {
	if len(users) == 0 {
		return nil, nil
	}
	if _, err := tx.Exec(ctx, stagingSQL); err != nil {
		return nil, fmt.Errorf("stage users: %w", err)
	}
	users = newest(users)
	columns := []string{"user_id", "username", "avatar_url", "email", "email_verified", "first_name", "last_name",
		"phone", "phone_verified", "banned", "created_at", "updated_at", "place", "subscribed"}
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"incoming_users"}, columns, pgx.CopyFromSlice(len(users), func(i int) ([]any, error) {
		u := users[i]
		return []any{u.ID, u.ProfileName(), u.AvatarURL, u.Email, u.EmailVerified, u.FirstName, u.LastName,
			u.Phone, u.PhoneVerified, u.Barred(), u.CreatedAt, u.UpdatedAt, u.Consent.Place, subscribed(u.Consent)}, nil
	}))
	if err != nil {
		return nil, fmt.Errorf("copy users: %w", err)
	}
	rows, err := tx.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("merge users: %w", err)
	}
	merged, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m Merged, err error) {
		var missing bool
		err = row.Scan(&m.UserID, &missing)
		m.Drift = lockstep.DriftProfileStale
		if missing {
			m.Drift = lockstep.DriftProfileMissing
		}
		return m, err
	})
	if err != nil {
		return nil, fmt.Errorf("merge users: %w", err)
	}
	if _, err := tx.Exec(ctx, `drop table incoming_users`); err != nil { // a transaction may stage twice
		return nil, fmt.Errorf("unstage users: %w", err)
	}
	return merged, nil
}

// newest leaves one version of each user.
func newest(users []lockstep.User) []lockstep.User {
	at, kept := make(map[string]int, len(users)), make([]lockstep.User, 0, len(users))
	for _, u := range users {
		i, twice := at[u.ID]
		switch {
		case !twice:
			at[u.ID] = len(kept)
			kept = append(kept, u)
		case u.UpdatedAt.After(kept[i].UpdatedAt):
			kept[i] = u
		}
	}
	return kept
}

// BuryUsers makes tombstones of users whom Clerk no longer has, with or without
// a profile, and returns those that were not ones already.
func (s *Store) BuryUsers(ctx context.Context, tx pgx.Tx, users []string) ([]string, error) {
	rows, err := tx.Query(ctx, `
		insert into public.profiles as p (id, username, deleted_at)
		select u, 'user_' || substr(u, 6, 8), now() from unnest($1::text[]) u group by u order by u
		on conflict (id) do update set deleted_at = now(), updated_at = now() where p.deleted_at is null
		returning p.id`, users)
	if err != nil {
		return nil, fmt.Errorf("bury users: %w", err)
	}
	buried, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("bury users: %w", err)
	}
	return buried, nil
}

// managed are the profiles that Lockstep answers for: an adopted table may hold
// rows of an older kind, whose ids are not Clerk's.
const managed = `id like 'user\_%'`

// LiveProfiles counts the profiles of users who are not deleted.
func (s *Store) LiveProfiles(ctx context.Context) (n int, err error) {
	if err = s.pool.QueryRow(ctx, `select count(*) from public.profiles where `+managed+` and deleted_at is null`).Scan(&n); err != nil {
		return 0, fmt.Errorf("count profiles: %w", err)
	}
	return n, nil
}

// Checkpoint reads a place to go on from; empty if there is none.
func (s *Store) Checkpoint(ctx context.Context, name string) (value string, err error) {
	err = s.pool.QueryRow(ctx, `select coalesce((select value from lockstep.checkpoints where name = $1), '')`, name).Scan(&value)
	if err != nil {
		return "", fmt.Errorf("read checkpoint: %w", err)
	}
	return value, nil
}

// Advance moves a checkpoint from one value to another; empty is none. It fails
// with ErrOvertaken if the checkpoint has another value by now.
func (s *Store) Advance(ctx context.Context, tx pgx.Tx, name, from, to string) error {
	sql := `update lockstep.checkpoints set value = $3, updated_at = now() where name = $1 and value = $2`
	args := []any{name, from, to}
	switch {
	case from == "" && to == "":
		return nil
	case from == "":
		sql, args = `insert into lockstep.checkpoints (name, value) values ($1, $2) on conflict (name) do nothing`, []any{name, to}
	case to == "":
		sql, args = `delete from lockstep.checkpoints where name = $1 and value = $2`, []any{name, from}
	}
	tag, err := tx.Exec(ctx, sql, args...)
	if err != nil {
		return fmt.Errorf("move checkpoint: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrOvertaken
	}
	return nil
}
