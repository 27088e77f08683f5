package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
)

// Changed are customers that one worker reads now.
type Changed struct {
	Target string
	IDs    []string  // in order
	Began  time.Time // by the database's clock, before anything is read
	seen   []int64   // how many changes of each are covered by the read
}

// ClaimChanges leases customers that may have changed and that nobody reads
// now, those that wait longest first. No IDs: there are none.
func (s *Store) ClaimChanges(ctx context.Context, target string, limit int, lease time.Duration) (Changed, error) {
	c := Changed{Target: target}
	rows, err := s.pool.Query(ctx, `
		update lockstep.shopify_changes c set lease_until = now() + $3::interval
		  from (select target, customer_id from lockstep.shopify_changes
		         where target = $1 and due_at <= now() and (lease_until is null or lease_until < now())
		         order by due_at limit $2 for update skip locked) due
		 where c.target = due.target and c.customer_id = due.customer_id
		returning c.customer_id, c.changes, now()`, target, limit, lease)
	if err != nil {
		return c, fmt.Errorf("claim changes: %w", err)
	}
	var id string
	var changes int64
	_, err = pgx.ForEachRow(rows, []any{&id, &changes, &c.Began}, func() error {
		c.IDs, c.seen = append(c.IDs, id), append(c.seen, changes)
		return nil
	})
	if err != nil {
		return c, fmt.Errorf("claim changes: %w", err)
	}
	return c, nil
}

// UnclaimChanges gives them back, unread.
func (s *Store) UnclaimChanges(ctx context.Context, c Changed) error {
	_, err := s.pool.Exec(ctx, `update lockstep.shopify_changes set lease_until = null where target = $1 and customer_id = any($2::text[])`, c.Target, c.IDs)
	if err != nil {
		return fmt.Errorf("unclaim changes: %w", err)
	}
	return nil
}

// FinishChanges takes off what was read. Those that changed again meanwhile stay
// due, and so do the deferred ones, each after its pause.
func (s *Store) FinishChanges(ctx context.Context, tx pgx.Tx, c Changed, deferred map[string]time.Duration) error {
	pauses := make([]float64, len(c.IDs)) // in seconds; below zero: not deferred
	for i, id := range c.IDs {
		pauses[i] = -1
		if pause, is := deferred[id]; is {
			pauses[i] = pause.Seconds()
		}
	}
	_, err := tx.Exec(ctx, `
		with read as (
		  select id, n, pause, pause >= 0 as again from unnest($2::text[], $3::bigint[], $4::float8[]) r(id, n, pause)
		),
		done as (
		  delete from lockstep.shopify_changes c using read
		   where c.target = $1 and c.customer_id = read.id and c.changes = read.n and not read.again
		  returning c.customer_id
		)
		update lockstep.shopify_changes c set lease_until = null,
		       due_at = case when read.again then now() + make_interval(secs => read.pause) else c.due_at end
		  from read where c.target = $1 and c.customer_id = read.id and read.id not in (select customer_id from done)`,
		c.Target, c.IDs, c.seen, pauses)
	if err != nil {
		return fmt.Errorf("finish changes: %w", err)
	}
	return nil
}

// NeedCapture returns those of the targets in whose queue of jobs that read
// changes fewer than two wait to begin: one that begins after tx ends reads what
// tx stores. A job that is about to begin while tx runs may miss it, hence the
// second; were it to begin as early, the sweep makes another.
func (s *Store) NeedCapture(ctx context.Context, tx pgx.Tx, targets, queues []string) ([]string, error) {
	if len(targets) == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, `
		select t.target from unnest($1::text[], $2::text[]) t(target, queue)
		 where (select count(*) from (select 1 from lockstep.river_job j where j.state = 'available' and j.queue = t.queue limit 2) waiting) < 2`, targets, queues)
	if err != nil {
		return nil, fmt.Errorf("find waiting jobs: %w", err)
	}
	need, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("find waiting jobs: %w", err)
	}
	return need, nil
}

// LostChanges names targets of which customers wait to be read while no job is
// there to do it.
func (s *Store) LostChanges(ctx context.Context, tx pgx.Tx) ([]string, error) {
	rows, err := tx.Query(ctx, `
		select c.target from (select distinct target from lockstep.shopify_changes
		         where due_at < now() - interval '5 seconds' and (lease_until is null or lease_until < now())) c
		 where not exists (select 1 from lockstep.river_job j
		        where j.kind = 'capture' and j.state in ('available', 'pending', 'retryable', 'scheduled', 'running')
		          and j.args @> jsonb_build_object('target', c.target))
		 order by 1`)
	if err != nil {
		return nil, fmt.Errorf("find lost changes: %w", err)
	}
	targets, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("find lost changes: %w", err)
	}
	return targets, nil
}

// Known is a customer as it was captured before.
type Known struct {
	ID, UserID, Email, Phone, FirstName, LastName, State string
	Verified                                             bool
	Tags                                                 []string
	Deleted                                              bool
}

// Known reads what was captured of customers before.
func (s *Store) Known(ctx context.Context, target string, ids []string) (map[string]Known, error) {
	rows, err := s.pool.Query(ctx, `
		select shopify_customer_id, coalesce(clerk_user_id, ''), coalesce(email, ''), coalesce(phone, ''), coalesce(first_name, ''), coalesce(last_name, ''),
		       coalesce(state, ''), coalesce(verified_email, false), tags, deleted_at is not null
		  from lockstep.shopify_customers where shopify_shop = $1 and shopify_customer_id = any($2::text[])`, shopOf(target), ids)
	if err != nil {
		return nil, fmt.Errorf("read captured customers: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Known])
	if err != nil {
		return nil, fmt.Errorf("read captured customers: %w", err)
	}
	known := make(map[string]Known, len(list))
	for _, k := range list {
		known[k.ID] = k
	}
	return known, nil
}

// shopOf is the shop of a target's name.
func shopOf(target string) string { return strings.TrimPrefix(target, "shopify:") }

// stillForgotten is false of a customer of a forgotten user whom somebody else has
// by now: a guest that was kept, say, and whose owner signed up again.
const stillForgotten = `(r.delivery_id <> 'forget' or not exists (select from lockstep.customer_links l where l.target = r.target and l.customer_id = r.customer_id))`

// MayCapture holds off the erasure of a target's customers until tx ends, and
// tells what of the customers must not be kept: all of them if the target was
// disconnected, else those who are to be forgotten.
func (s *Store) MayCapture(ctx context.Context, tx pgx.Tx, c Changed) (forgotten []string, disconnected bool, err error) {
	err = tx.QueryRow(ctx, `select disconnected_at is not null from lockstep.targets where target = $1 for share`, c.Target).Scan(&disconnected)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, false, fmt.Errorf("read target: %w", err)
	}
	rows, err := tx.Query(ctx, `select distinct r.customer_id from lockstep.privacy_requests r
		where r.target = $1 and r.kind = 'erase customer' and r.customer_id = any($2::text[]) and `+stillForgotten, c.Target, c.IDs)
	if err != nil {
		return nil, false, fmt.Errorf("read who is to be forgotten: %w", err)
	}
	forgotten, err = pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, false, fmt.Errorf("read who is to be forgotten: %w", err)
	}
	return forgotten, disconnected, nil
}

// Held is a link that captured customers concern.
type Held struct {
	Link    lockstep.Link
	Profile lockstep.Profile
	Busy    bool // a worker is writing for the user now

	Rewrites int           // how often the customer was put right within an hour
	Since    time.Duration // the last of them
}

// HeldBy reads the links of customers and of users to a target.
func (s *Store) HeldBy(ctx context.Context, tx pgx.Tx, target string, ids, users []string) ([]Held, error) {
	rows, err := tx.Query(ctx, `
		select `+profileColumns+`, profiles.id, $1::text, coalesce(l_customer, ''), coalesce(l_refused, ''), l_unheard, coalesce(l_status, 'pending'),
		       l_choice, coalesce(l_blocked, ''), coalesce(l_pending, false), coalesce(l_busy, false), w.n, coalesce(w.since, interval '0')
		  from public.profiles left join (
		    select clerk_user_id as l_user, customer_id as l_customer, refused_phone as l_refused, refused_consent as l_unheard, status as l_status,
		           choice as l_choice, blocked_by as l_blocked,
		           applied < desired as l_pending, lease_until > now() as l_busy
		      from lockstep.customer_links where target = $1) l on l_user = id
		  cross join lateral (
		    select count(*) as n, now() - max(h.at) as since from lockstep.history h
		     where h.clerk_user_id = profiles.id and h.target = $1 and h.action = 'update' and h.at > now() - interval '1 hour') w
		 where l_customer = any($2::text[]) or id = any($3::text[])`, target, ids, users)
	if err != nil {
		return nil, fmt.Errorf("read links of customers: %w", err)
	}
	held, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (h Held, err error) {
		l := &h.Link
		return h, row.Scan(append(scanProfile(&h.Profile), &l.UserID, &l.Target, &l.CustomerID, &l.RefusedPhone, orZero(&l.RefusedConsent), &l.Status,
			&l.Choice, &l.BlockedBy, &l.Pending, &h.Busy, &h.Rewrites, &h.Since)...)
	})
	if err != nil {
		return nil, fmt.Errorf("read links of customers: %w", err)
	}
	return held, nil
}

// captureRow is a captured customer in the form that the statement below reads.
type captureRow struct {
	ID        string     `json:"id"`
	UserID    string     `json:"user_id"`
	Email     string     `json:"email"`
	Phone     string     `json:"phone"`
	FirstName string     `json:"first_name"`
	LastName  string     `json:"last_name"`
	State     string     `json:"state"`
	Verified  bool       `json:"verified"`
	Locale    string     `json:"locale"`
	Tags      []string   `json:"tags"`
	EmailYes  string     `json:"email_consent"`
	EmailAt   *time.Time `json:"email_consent_at"`
	SMSYes    string     `json:"sms_consent"`
	SMSAt     *time.Time `json:"sms_consent_at"`
	Unproven  []string   `json:"unproven"`
	Created   *time.Time `json:"created_at"`
	Updated   *time.Time `json:"updated_at"`
}

// Capture is a customer to be stored, with the names of fields that may only
// seem to be empty.
type Capture struct {
	lockstep.Snapshot
	Unproven []string // of "email", "phone", "name"
}

func newCaptureRow(c Capture) captureRow {
	return captureRow{
		ID: c.ID, UserID: c.UserID, Email: c.Email, Phone: c.Phone, FirstName: c.FirstName, LastName: c.LastName, State: c.State,
		Verified: c.VerifiedEmail, Locale: c.Locale, Tags: textArray(c.Tags), EmailYes: c.EmailConsent.State, EmailAt: orNull(c.EmailConsent.At),
		SMSYes: c.SMSConsent.State, SMSAt: orNull(c.SMSConsent.At), Unproven: textArray(c.Unproven), Created: orNull(c.CreatedAt), Updated: orNull(c.UpdatedAt),
	}
}

// orNull is null for an empty text or a zero time.
func orNull[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

// renewSQL ends a statement that inserts customers as c: the newest version wins, by
// Shopify's updated_at, which may be as coarse as a second, and then by when the
// read began. A field that may only seem empty keeps what was known. A deletion
// stands, unless a read that began after it shows the customer again.
const renewSQL = `
on conflict (shopify_shop, shopify_customer_id) do update set
  clerk_user_id = excluded.clerk_user_id,
  email = case when 'email' = any(excluded.unproven) then c.email else excluded.email end,
  email_consent = case when 'email' = any(excluded.unproven) then c.email_consent else excluded.email_consent end,
  email_consent_at = case when 'email' = any(excluded.unproven) then c.email_consent_at else excluded.email_consent_at end,
  phone = case when 'phone' = any(excluded.unproven) then c.phone else excluded.phone end,
  sms_consent = case when 'phone' = any(excluded.unproven) then c.sms_consent else excluded.sms_consent end,
  sms_consent_at = case when 'phone' = any(excluded.unproven) then c.sms_consent_at else excluded.sms_consent_at end,
  first_name = case when 'name' = any(excluded.unproven) then c.first_name else excluded.first_name end,
  last_name = case when 'name' = any(excluded.unproven) then c.last_name else excluded.last_name end,
  state = excluded.state, locale = excluded.locale, verified_email = excluded.verified_email, tags = excluded.tags,
  unproven = excluded.unproven, created_at = excluded.created_at, updated_at = excluded.updated_at,
  deleted_at = null, captured_at = excluded.captured_at
 where (c.deleted_at is null or c.deleted_at < excluded.captured_at)
   and (coalesce(c.updated_at, '-infinity'), c.captured_at) < (coalesce(excluded.updated_at, '-infinity'), excluded.captured_at)`

const captureSQL = `
insert into lockstep.shopify_customers as c (shopify_shop, shopify_customer_id, clerk_user_id, email, phone, first_name, last_name,
       state, verified_email, locale, tags, email_consent, email_consent_at, sms_consent, sms_consent_at, unproven, created_at, updated_at, captured_at)
select $1, id, nullif(user_id, ''), nullif(email, ''), nullif(phone, ''), nullif(first_name, ''), nullif(last_name, ''),
       nullif(state, ''), verified, nullif(locale, ''), tags, nullif(email_consent, ''), email_consent_at, nullif(sms_consent, ''), sms_consent_at,
       unproven, created_at, updated_at, $3
  from jsonb_to_recordset($2::jsonb) as b(id text, user_id text, email text, phone text, first_name text, last_name text, state text, verified boolean,
       locale text, tags text[], email_consent text, email_consent_at timestamptz, sms_consent text, sms_consent_at timestamptz,
       unproven text[], created_at timestamptz, updated_at timestamptz)
 order by id` + renewSQL

// Capture stores customers that a read showed, and marks those as deleted that
// it no longer found.
func (s *Store) Capture(ctx context.Context, tx pgx.Tx, c Changed, seen []Capture, gone []string) error {
	rows := make([]captureRow, len(seen))
	for i, customer := range seen {
		rows[i] = newCaptureRow(customer)
	}
	data, err := json.Marshal(rows)
	if err != nil {
		return fmt.Errorf("encode customers: %w", err)
	}
	if _, err := tx.Exec(ctx, captureSQL, shopOf(c.Target), string(data), c.Began); err != nil {
		return fmt.Errorf("capture customers: %w", err)
	}
	_, err = tx.Exec(ctx, `
		insert into lockstep.shopify_customers as c (shopify_shop, shopify_customer_id, deleted_at, captured_at)
		select $1, id, now(), $3 from unnest($2::text[]) g(id) order by id
		on conflict (shopify_shop, shopify_customer_id) do update set
		  clerk_user_id = null, email = null, phone = null, first_name = null, last_name = null, state = null, verified_email = null,
		  locale = null, tags = '{}', email_consent = null, email_consent_at = null, sms_consent = null, sms_consent_at = null,
		  unproven = '{}', deleted_at = now(), captured_at = excluded.captured_at
		 where c.deleted_at is null and c.captured_at <= excluded.captured_at`, shopOf(c.Target), gone, c.Began)
	if err != nil {
		return fmt.Errorf("capture deletions: %w", err)
	}
	return nil
}

// Unlink drops the links to customers that are gone, and returns those that need
// a job, as Bump does: their users are to be put right again.
func (s *Store) Unlink(ctx context.Context, tx pgx.Tx, target string, gone []string) ([]Key, error) {
	rows, err := tx.Query(ctx, `
		with dropped as (
		  select clerk_user_id, customer_id from lockstep.customer_links where target = $1 and customer_id = any($2::text[])
		   order by clerk_user_id for update
		), told as (
		  insert into lockstep.history (clerk_user_id, target, customer_id, action, reason)
		  select clerk_user_id, $1, customer_id, 'gone', 'the customer was deleted in the store, or merged into another' from dropped
		)
		update lockstep.customer_links l set customer_id = null, email = null, status = 'pending', reason = 'the customer is gone',
		       desired = l.desired + 1, updated_at = now(),
		       queued_at = case when l.queued_at is null or l.queued_bulk then now() else l.queued_at end, queued_bulk = false
		  from dropped d where l.clerk_user_id = d.clerk_user_id and l.target = $1
		returning l.clerk_user_id, l.target, l.queued_at = now()`, target, gone)
	if err != nil {
		return nil, fmt.Errorf("drop links: %w", err)
	}
	return needJob(rows)
}

// Wake bumps the links that wait because of one of the customers.
func (s *Store) Wake(ctx context.Context, tx pgx.Tx, target string, customers []string) ([]Key, error) {
	return s.wake(ctx, tx, Key{Target: target}, customers)
}
