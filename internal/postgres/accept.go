package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
)

// Accepted is what became of one delivery of a batch.
type Accepted struct {
	Receipt lockstep.Receipt
	Changed bool // the profile now differs in a way that targets may care about
}

// incoming is a delivery in the form that the statement below reads.
type incoming struct {
	Ord           int        `json:"ord"`
	Source        string     `json:"source"`
	ID            string     `json:"id"`
	Kind          string     `json:"kind"`
	UserID        string     `json:"user_id"`
	Deleted       bool       `json:"deleted"`
	Username      string     `json:"username"`
	AvatarURL     string     `json:"avatar_url"`
	Email         string     `json:"email"`
	EmailVerified bool       `json:"email_verified"`
	FirstName     string     `json:"first_name"`
	LastName      string     `json:"last_name"`
	Phone         string     `json:"phone"`
	PhoneVerified bool       `json:"phone_verified"`
	Banned        bool       `json:"banned"`
	CreatedAt     *time.Time `json:"created_at"`
	UpdatedAt     *time.Time `json:"updated_at"`
	Place         string     `json:"place"`
	Subscribed    *bool      `json:"subscribed"`
}

func newIncoming(ord int, d lockstep.Delivery) incoming {
	u := d.User
	in := incoming{
		Ord: ord, Source: d.Source, ID: d.ID, Kind: d.Kind,
		UserID: u.ID, Deleted: u.Deleted, Username: u.ProfileName(), AvatarURL: u.AvatarURL,
		Email: u.Email, EmailVerified: u.EmailVerified, FirstName: u.FirstName, LastName: u.LastName,
		Phone: u.Phone, PhoneVerified: u.PhoneVerified, Banned: u.Barred(),
		Place: u.Consent.Place, Subscribed: subscribed(u.Consent),
	}
	if !u.Deleted {
		in.CreatedAt, in.UpdatedAt = &u.CreatedAt, &u.UpdatedAt
	}
	return in
}

// upsertProfiles moves each profile of the relation "upserts" to that version,
// unless it has a newer one or is deleted. It is the only statement that writes
// what a user of Clerk looks like. Changed is what reads otherwise now: see
// profileColumns for why that is more than what the columns hold.
const upsertProfiles = `
  insert into public.profiles as p (id, username, avatar_url, email, email_verified, first_name, last_name,
         phone, phone_verified, banned, clerk_updated_at, created_at, updated_at)
  select user_id, username, nullif(avatar_url, ''), nullif(email, ''), email_verified, nullif(first_name, ''),
         nullif(last_name, ''), nullif(phone, ''), phone_verified, banned, updated_at, created_at, now()
    from upserts order by user_id
  on conflict (id) do update set
    username = excluded.username, avatar_url = excluded.avatar_url, email = excluded.email,
    email_verified = excluded.email_verified, first_name = excluded.first_name, last_name = excluded.last_name,
    phone = excluded.phone, phone_verified = excluded.phone_verified, banned = excluded.banned,
    clerk_updated_at = excluded.clerk_updated_at,
    updated_at = case when (p.username, p.avatar_url, p.email, coalesce(p.email_verified and p.clerk_updated_at > '-infinity', false),
        p.first_name, p.last_name, p.phone, coalesce(p.phone_verified and p.clerk_updated_at > '-infinity', false), p.banned)
      is distinct from (excluded.username, excluded.avatar_url, excluded.email, excluded.email_verified, excluded.first_name,
        excluded.last_name, excluded.phone, excluded.phone_verified, excluded.banned) then now() else p.updated_at end
   where p.deleted_at is null and coalesce(p.clerk_updated_at, '-infinity') <= excluded.clerk_updated_at
  returning p.id, p.updated_at = now() as changed`

// acceptSQL stores what is new of a batch and moves each profile to its newest
// version. Of several deliveries for one user the newest counts, a deletion
// most of all, so that no row is touched twice. Rows are locked in the order
// of their ids: two batches never wait for each other in a circle.
//
// A row that changed has updated_at = now(): "on conflict" sees the row as it
// is under lock, where comparing with a row read before would not.
const acceptSQL = `
with batch as (
  select * from jsonb_to_recordset($1::jsonb) as b(
    ord int, source text, id text, kind text, user_id text, deleted boolean, username text, avatar_url text,
    email text, email_verified boolean, first_name text, last_name text, phone text, phone_verified boolean,
    banned boolean, created_at timestamptz, updated_at timestamptz, place text, subscribed boolean)
), fresh as (
  insert into lockstep.deliveries (source, id, kind, clerk_user_id, clerk_updated_at)
  select source, id, kind, user_id, updated_at from batch order by source, id
  on conflict do nothing
  returning source, id
), newest as (
  select distinct on (b.user_id) b.* from batch b join fresh using (source, id)
   order by b.user_id, b.deleted desc, b.updated_at desc, b.ord desc
), upserts as (
  select * from newest where not deleted
), written as (` + upsertProfiles + `
), worded as (` + upsertConsents + `
), deleted as (
  insert into public.profiles as p (id, username, deleted_at)
  select user_id, username, now() from newest where deleted order by user_id
  on conflict (id) do update set deleted_at = now(), updated_at = now()
   where p.deleted_at is null
  returning p.id, true as changed
)
select b.ord, f.id is not null, w.id is not null, coalesce(w.changed or w.id in (select clerk_user_id from worded where changed), false)
  from batch b
  left join fresh f using (source, id)
  left join newest n on n.ord = b.ord
  left join (select * from written union all select * from deleted) w on w.id = n.user_id`

// Accept stores deliveries and applies them to the profiles, newer over older
// and deletions for ever. It answers in the order of the batch. Running it
// again with the same deliveries changes nothing.
func (s *Store) Accept(ctx context.Context, tx pgx.Tx, batch []lockstep.Delivery) ([]Accepted, error) {
	rows := make([]incoming, len(batch))
	for i, d := range batch {
		rows[i] = newIncoming(i, d)
	}
	data, err := json.Marshal(rows)
	if err != nil {
		return nil, fmt.Errorf("encode deliveries: %w", err)
	}
	out := make([]Accepted, len(batch))
	var ord int
	var fresh, applied, changed bool
	result, err := tx.Query(ctx, acceptSQL, string(data))
	if err != nil {
		return nil, fmt.Errorf("accept deliveries: %w", err)
	}
	_, err = pgx.ForEachRow(result, []any{&ord, &fresh, &applied, &changed}, func() error {
		out[ord] = Accepted{receipt(fresh, applied), changed}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("accept deliveries: %w", err)
	}
	return out, nil
}

func receipt(fresh, applied bool) lockstep.Receipt {
	switch {
	case !fresh:
		return lockstep.ReceiptDuplicate
	case applied:
		return lockstep.ReceiptApplied
	default:
		return lockstep.ReceiptStale
	}
}

// PinInstance remembers the first Clerk instance that sent a signed event and
// returns it; every later call returns the same one.
func (s *Store) PinInstance(ctx context.Context, instance string) (pinned string, err error) {
	err = s.pool.QueryRow(ctx, `
		insert into lockstep.checkpoints as c (name, value) values ('clerk_instance', $1)
		on conflict (name) do update set value = c.value returning value`, instance).Scan(&pinned)
	if err != nil {
		return "", fmt.Errorf("pin Clerk instance: %w", err)
	}
	return pinned, nil
}
