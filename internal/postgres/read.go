package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
)

// profileColumns read an adopted table too, which may hold null where a fresh
// one cannot. Verified is Clerk's word: in a row that Clerk has said nothing of
// yet, an application, or its users, may have written it.
const profileColumns = `id, coalesce(username, ''), coalesce(avatar_url, ''), coalesce(email, ''),
	coalesce(email_verified and clerk_updated_at > '-infinity', false), coalesce(first_name, ''), coalesce(last_name, ''),
	coalesce(phone, ''), coalesce(phone_verified and clerk_updated_at > '-infinity', false), coalesce(banned, false),
	coalesce(medusa_customer_id, ''), nullif(clerk_updated_at, '-infinity'), deleted_at, created_at, updated_at,
	` + consentOf

func scanProfile(p *lockstep.Profile) []any {
	return []any{&p.ID, &p.Username, &p.AvatarURL, &p.Email, &p.EmailVerified,
		&p.FirstName, &p.LastName, &p.Phone, &p.PhoneVerified, &p.Banned,
		&p.MedusaCustomerID, orZero(&p.ClerkUpdatedAt), orZero(&p.DeletedAt), orZero(&p.CreatedAt), orZero(&p.UpdatedAt), &p.Consent}
}

const linkColumns = `clerk_user_id, target, coalesce(customer_id, ''), coalesce(email, ''), coalesce(refused_phone, ''), status, reason,
	coalesce(blocked_by, ''), applied < desired, updated_at, first_seen_at, last_seen_at, choice, let_go, refused_consent`

func scanLink(l *lockstep.Link) []any {
	return []any{&l.UserID, &l.Target, &l.CustomerID, &l.Email, &l.RefusedPhone, &l.Status, &l.Reason,
		&l.BlockedBy, &l.Pending, &l.Since, orZero(&l.FirstSeen), orZero(&l.LastSeen), &l.Choice, &l.LetGo, orZero(&l.RefusedConsent)}
}

// nullTime scans NULL as the zero time.
type nullTime struct{ t *time.Time }

func orZero(t *time.Time) *nullTime { return &nullTime{t} }

// Scan implements sql.Scanner.
func (n *nullTime) Scan(src any) error {
	t, ok := src.(time.Time)
	if !ok && src != nil {
		return fmt.Errorf("cannot scan %T as a time", src)
	}
	*n.t = t
	return nil
}

// Profile reads a user's profile; ErrNoProfile if there is none.
func (s *Store) Profile(ctx context.Context, userID string) (p lockstep.Profile, err error) {
	err = s.pool.QueryRow(ctx, `select `+profileColumns+` from public.profiles where id = $1`, userID).Scan(scanProfile(&p)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, ErrNoProfile
	}
	if err != nil {
		return p, fmt.Errorf("read profile: %w", err)
	}
	return p, nil
}

// Links reads all links of a user, in the order of the targets' names.
func (s *Store) Links(ctx context.Context, userID string) ([]lockstep.Link, error) {
	rows, err := s.pool.Query(ctx, `select `+linkColumns+` from lockstep.customer_links where clerk_user_id = $1 order by target`, userID)
	if err != nil {
		return nil, fmt.Errorf("read links: %w", err)
	}
	links, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l lockstep.Link, err error) {
		return l, row.Scan(scanLink(&l)...)
	})
	if err != nil {
		return nil, fmt.Errorf("read links: %w", err)
	}
	return links, nil
}

// Entry is one line of a user's timeline.
type Entry struct {
	At     time.Time `json:"at"`
	What   string    `json:"what"`             // "user.updated", or an action: "create", "adopt", …
	Target string    `json:"target,omitempty"` // empty for a delivery
	ID     string    `json:"id,omitempty"`     // of the delivery, or of the customer
	Why    string    `json:"why,omitempty"`
}

// Timeline reads what happened to a user, oldest first, at most the newest
// limit entries.
func (s *Store) Timeline(ctx context.Context, userID string, limit int) ([]Entry, error) {
	rows, err := s.pool.Query(ctx, `
		select at, what, target, id, why from (
		  select received_at as at, kind as what, '' as target, id, 'received from ' || source as why, 0 as step, 0::bigint as n
		    from lockstep.deliveries where clerk_user_id = $1
		  union all
		  select at, action, target, coalesce(customer_id, ''), reason, 1, id from lockstep.history where clerk_user_id = $1
		  order by at desc, step desc, n desc limit $2) newest
		order by at, step, n`, userID, limit)
	if err != nil {
		return nil, fmt.Errorf("read timeline: %w", err)
	}
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Entry])
	if err != nil {
		return nil, fmt.Errorf("read timeline: %w", err)
	}
	return entries, nil
}
