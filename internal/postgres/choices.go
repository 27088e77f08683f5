package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
)

// ConflictLink is a link that only a person may decide.
type ConflictLink struct {
	User       string
	Target     string
	Reason     string
	CustomerID string            // the user's own, if there is one
	BlockedBy  string            // the customer that stands in the way
	HeldBy     string            // the user who is linked to that one, or whose mark it carries
	Deleted    bool              // HeldBy is deleted, and has no link to it
	Choices    []lockstep.Choice // what the decision table would carry out
	Since      time.Time
}

// Conflicts lists the conflicts in the targets, oldest first, at most limit.
// The history tells news only, so a link's last entry is when it became what it is.
func (s *Store) Conflicts(ctx context.Context, targets []string, limit int) ([]ConflictLink, error) {
	rows, err := s.pool.Query(ctx, `
		select l.clerk_user_id, l.target, l.reason, coalesce(l.customer_id, ''), coalesce(l.blocked_by, ''), coalesce(o.clerk_user_id, l.held_by, ''),
		       o.clerk_user_id is null and exists (select from public.profiles p where p.id = l.held_by and p.deleted_at is not null), coalesce(l.choices, '[]'),
		       coalesce((select max(h.at) from lockstep.history h where h.clerk_user_id = l.clerk_user_id and h.target = l.target), l.updated_at) as since
		  from lockstep.customer_links l
		  left join lockstep.customer_links o on o.target = l.target and o.customer_id = l.blocked_by and o.clerk_user_id <> l.clerk_user_id
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

// ErrChosen says that another choice was made since the link was read.
var ErrChosen = errors.New("somebody chose for this user meanwhile: type `lockstep show USER`, then choose again if it is not what you want")

// Choose stores what a person chose after having seen the link as it was, and
// notes it in the history. The link then needs a job. ErrChosen if another choice
// came between.
func (s *Store) Choose(ctx context.Context, tx pgx.Tx, was lockstep.Link, c lockstep.Choice, reason string) (Key, error) {
	k := Key{UserID: was.UserID, Target: was.Target}
	if _, err := s.Bump(ctx, tx, []string{k.UserID}, []string{k.Target}); err != nil { // makes the link, and locks it
		return k, err
	}
	var seen int64
	if was.Choice != nil {
		seen = was.Choice.Version
	}
	tag, err := tx.Exec(ctx, `update lockstep.customer_links set choice = $3::jsonb || jsonb_build_object('version', desired), choices = null
		where clerk_user_id = $1 and target = $2 and coalesce((choice ->> 'version')::bigint, 0) = $4`, k.UserID, k.Target, asJSON(c), seen)
	if err != nil {
		return k, fmt.Errorf("store choice: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return k, ErrChosen
	}
	return k, s.noteChoice(ctx, tx, []Key{k}, c.Customer, reason)
}

// LetHave takes back choices that the user has no customer in the targets: a
// person says that there may be one again.
func (s *Store) LetHave(ctx context.Context, tx pgx.Tx, userID string, targets []string, reason string) error {
	rows, err := tx.Query(ctx, `update lockstep.customer_links set choice = null, updated_at = now()
		where clerk_user_id = $1 and target = any($2::text[]) and choice ->> 'kind' = $3
		returning clerk_user_id, target, true`, userID, targets, lockstep.ChoiceUnlink)
	if err != nil {
		return fmt.Errorf("take choice back: %w", err)
	}
	keys, err := needJob(rows)
	if err != nil {
		return err
	}
	return s.noteChoice(ctx, tx, keys, "", reason)
}

func (s *Store) noteChoice(ctx context.Context, tx pgx.Tx, keys []Key, customerID, reason string) error {
	for _, k := range keys {
		_, err := tx.Exec(ctx, `insert into lockstep.history (clerk_user_id, target, customer_id, action, reason) values ($1, $2, nullif($3, ''), 'choose', $4)`,
			k.UserID, k.Target, customerID, reason)
		if err != nil {
			return fmt.Errorf("note choice: %w", err)
		}
	}
	return nil
}

// Tombstone reports whether a user is known to be deleted.
func (s *Store) Tombstone(ctx context.Context, userID string) (deleted bool, err error) {
	err = s.pool.QueryRow(ctx, `select exists (select from public.profiles where id = $1 and deleted_at is not null)`, userID).Scan(&deleted)
	if err != nil {
		return false, fmt.Errorf("ask whether a user is deleted: %w", Redact(err))
	}
	return deleted, nil
}

// asJSON is a value as a parameter that works in every query mode; empty for an
// empty list.
func asJSON[T lockstep.Choice | []lockstep.Choice](v T) string {
	if list, ok := any(v).([]lockstep.Choice); ok && len(list) == 0 {
		return ""
	}
	text, _ := json.Marshal(v) // strings, numbers and booleans cannot fail
	return string(text)
}
