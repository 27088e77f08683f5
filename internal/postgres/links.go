package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
)

// Key names one link: at most one worker is busy with it at a time.
type Key struct {
	UserID string
	Target string
}

// Bump notes that the users may have changed, for each of the targets, and
// returns the links that need a job: those that had none, or one that waits
// behind live changes. The row is locked before its queued_at is looked at; a
// snapshot would miss a worker that is just finishing, and the change with it.
func (s *Store) Bump(ctx context.Context, tx pgx.Tx, users, targets []string) ([]Key, error) {
	return s.bump(ctx, tx, users, targets, time.Time{}, false)
}

// BumpSince is Bump for a change that was accepted at a time in the past, from
// which the lag of the targets is counted; zero means now.
func (s *Store) BumpSince(ctx context.Context, tx pgx.Tx, users, targets []string, since time.Time) ([]Key, error) {
	return s.bump(ctx, tx, users, targets, since, false)
}

// BumpBulk is Bump for backfill and reconciling, whose jobs wait behind live
// changes: a live Bump makes another, that does not.
func (s *Store) BumpBulk(ctx context.Context, tx pgx.Tx, users, targets []string) ([]Key, error) {
	return s.bump(ctx, tx, users, targets, time.Time{}, true)
}

func (s *Store) bump(ctx context.Context, tx pgx.Tx, users, targets []string, since time.Time, bulk bool) ([]Key, error) {
	var at *time.Time
	if !since.IsZero() {
		at = &since
	}
	rows, err := tx.Query(ctx, `
		insert into lockstep.customer_links as l (clerk_user_id, target, desired, queued_at, queued_bulk)
		select u, t, 1, coalesce($4::timestamptz, now()), $3::boolean from unnest($1::text[]) u cross join unnest($2::text[]) t
		 group by u, t order by u, t
		on conflict (clerk_user_id, target) do update set
		  desired = l.desired + 1,
		  queued_at = case when l.queued_at is null or l.queued_bulk and not $3::boolean then excluded.queued_at else l.queued_at end,
		  queued_bulk = $3::boolean and (l.queued_at is null or l.queued_bulk),
		  status = case when l.status = 'failed' then 'pending' else l.status end, updated_at = now()
		returning clerk_user_id, target, queued_at = coalesce($4::timestamptz, now())`, users, targets, bulk, at)
	if err != nil {
		return nil, fmt.Errorf("bump links: %w", err)
	}
	return needJob(rows)
}

// needJob collects the keys of rows whose third column is true.
func needJob(rows pgx.Rows) (keys []Key, err error) {
	var k Key
	var need bool
	_, err = pgx.ForEachRow(rows, []any{&k.UserID, &k.Target, &need}, func() error {
		if need {
			keys = append(keys, k)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read links: %w", err)
	}
	return keys, nil
}

// Claim is the right to work on one link until the lease ends.
type Claim struct {
	Key
	Link    lockstep.Link
	Profile lockstep.Profile

	// Customers is the policy that `forget USER` gave for the user's customers;
	// empty: the target's own.
	Customers lockstep.OnDelete

	seen  int64 // desired, before the profile was read
	lease int64

	queued  bool          // a change was waiting
	waited  time.Duration // since it was accepted until it was claimed, by the database's clock
	claimed time.Time     // by this process's
}

// Lag is how long the oldest change that the claim is about has been waiting by
// now. Due is false for a look that no change asked for.
func (c Claim) Lag() (lag time.Duration, due bool) {
	return c.waited + time.Since(c.claimed), c.queued
}

// BusyError says that another worker holds the link.
type BusyError struct{ Until time.Duration }

func (e *BusyError) Error() string { return "another worker is busy with this user and target" }

// Why there is nothing to claim.
var (
	ErrNoLink    = errors.New("the user has no link to this target: run `lockstep sync USER`")
	ErrNoProfile = errors.New("the user has no profile: Lockstep has not heard of this user")
)

// Claim leases a link and then reads the user's profile; in this order, so
// that what is read is never older than the version that Finish will confirm.
// A *BusyError says how long another worker's lease still runs.
func (s *Store) Claim(ctx context.Context, k Key, lease time.Duration) (Claim, error) {
	c := Claim{Key: k}
	var batch pgx.Batch
	batch.Queue(`
		update lockstep.customer_links set lease = lease + 1, lease_until = now() + $3::interval
		 where clerk_user_id = $1 and target = $2 and (lease_until is null or lease_until < now())
		returning lease, desired, queued_at is not null, greatest(coalesce(now() - queued_at, interval '0'), interval '0'),
		  coalesce((select r.customers from lockstep.privacy_requests r where r.clerk_user_id = $1 and r.kind = 'erase user'), ''), `+linkColumns,
		k.UserID, k.Target, lease)
	batch.Queue(`select `+profileColumns+` from public.profiles where id = $1`, k.UserID)
	results := s.pool.SendBatch(ctx, &batch)
	claimErr := results.QueryRow().Scan(append([]any{&c.lease, &c.seen, &c.queued, &c.waited, &c.Customers}, scanLink(&c.Link)...)...)
	c.claimed = time.Now()
	profileErr := results.QueryRow().Scan(scanProfile(&c.Profile)...)
	if err := results.Close(); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return Claim{}, fmt.Errorf("claim link: %w", err)
	}
	switch {
	case errors.Is(claimErr, pgx.ErrNoRows):
		return Claim{}, s.whyNotClaimed(ctx, k)
	case claimErr != nil:
		return Claim{}, fmt.Errorf("claim link: %w", claimErr)
	case errors.Is(profileErr, pgx.ErrNoRows):
		return c, ErrNoProfile
	case profileErr != nil:
		return c, fmt.Errorf("read profile: %w", profileErr)
	}
	return c, nil
}

func (s *Store) whyNotClaimed(ctx context.Context, k Key) error {
	var left time.Duration
	err := s.pool.QueryRow(ctx, `select greatest(coalesce(lease_until - now(), interval '0'), interval '0')
		from lockstep.customer_links where clerk_user_id = $1 and target = $2`, k.UserID, k.Target).Scan(&left)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return ErrNoLink
	case err != nil:
		return fmt.Errorf("read lease: %w", err)
	}
	return &BusyError{left}
}

// Outcome is what a worker found and did, to be remembered.
type Outcome struct {
	CustomerID string
	Email      string
	Refused    string    // the phone number that the target does not take
	Unheard    time.Time // of the consent that it does not take
	Status     lockstep.Status
	Reason     string
	BlockedBy  string
	HeldBy     string            // the user whose customer BlockedBy is, if anybody's
	MarkOnly   bool              // a mark says so, and no link: HeldBy cannot have let go of it
	Void       bool              // the choice that Claim saw does not stand any more
	Choices    []lockstep.Choice // what a person may choose
	Action     string            // the last action, for the history
	Touched    string            // the customer it was about, if any
	Released   []string          // customers that were let go
	Wrote      []string          // the acknowledged writes, in order
	LetGo      []string          // customers that stay as they are, of a user who was deleted
}

// ErrLost says that the lease ended before the work did: somebody else has the
// link now, and decides.
var ErrLost = errors.New("the lease on the link ended before the work did")

// Finish remembers an outcome and confirms the version that Claim saw. More
// says that a newer one has come meanwhile, or that the customer in the way is
// no longer its holder's: the link stays queued, and the caller goes round
// again. Woken links wait for the customer that was written, and need a job now.
func (s *Store) Finish(ctx context.Context, tx pgx.Tx, c Claim, o Outcome) (more bool, woken []Key, err error) {
	changed := o.Void || len(o.Wrote) > 0 || o.Status != c.Link.Status || o.CustomerID != c.Link.CustomerID
	touched := append([]string{o.CustomerID, o.Touched, c.Link.CustomerID}, o.Released...)
	if changed || o.BlockedBy != "" {
		if err := inTurn(ctx, tx, c.Target, append(touched, o.BlockedBy)); err != nil {
			return false, nil, err
		}
	}
	err = tx.QueryRow(ctx, finishSQL, c.UserID, c.Target, c.lease, c.seen, o.CustomerID, o.Email, o.Status, o.Reason,
		o.BlockedBy, o.Refused, o.HeldBy, heldWindow, asJSON(o.Choices), o.Void, o.MarkOnly, o.LetGo, orNull(o.Unheard)).Scan(&more)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil, ErrLost
	}
	if err != nil {
		return false, nil, fmt.Errorf("finish link: %w", err)
	}
	if !changed {
		return more, nil, nil
	}
	if o.CustomerID != c.Link.CustomerID {
		if err := inherit(ctx, tx, c.Target, []string{o.CustomerID}); err != nil {
			return false, nil, err
		}
	}
	if err := s.remember(ctx, tx, c, o); err != nil {
		return false, nil, err
	}
	woken, err = s.wake(ctx, tx, c.Key, touched)
	return more, woken, err
}

// inherit strikes customers who have a user again off what deleted users left: no
// policy for those is to find them any more, whatever becomes of them.
func inherit(ctx context.Context, tx pgx.Tx, target string, customerIDs []string) error {
	_, err := tx.Exec(ctx, `
		update lockstep.customer_links set let_go = (select coalesce(array_agg(id), '{}') from unnest(let_go) id where id <> all($2::text[]))
		 where target = $1 and let_go <> '{}' and let_go && $2::text[]`, target, customerIDs)
	if err != nil {
		return fmt.Errorf("strike off what was left: %w", err)
	}
	return nil
}

// heldWindow is how long ago a holder may have let go for Finish to look again:
// longer than any claim is worked on.
const heldWindow = time.Minute

// A customer that was its holder's when it was looked at, and is not now, was let
// go between the look and this statement, and nobody will wake the link.
const finishSQL = `
	with freed as (
	  select from lockstep.customer_links h where h.clerk_user_id = $11 and h.target = $2 and h.clerk_user_id <> $1
	     and h.customer_id is distinct from nullif($9, '') and h.updated_at > now() - $12::interval and not $15::boolean
	)
	update lockstep.customer_links l set
	  desired = l.desired + (select count(*) from freed),
	  applied = $4, queued_at = case when l.desired > $4 or exists (select from freed) then coalesce(l.queued_at, now()) end, lease_until = null,
	  customer_id = nullif($5, ''), email = nullif($6, ''), status = $7, reason = $8, blocked_by = nullif($9, ''), refused_phone = nullif($10, ''),
	  held_by = nullif($11, ''), choices = nullif($13, '')::jsonb, choice = case when $14::boolean and (l.choice ->> 'version')::bigint <= $4 then null else l.choice end,
	  let_go = coalesce($16::text[], '{}'), refused_consent = $17,
	  first_seen_at = case when $5 <> '' then coalesce(l.first_seen_at, now()) else l.first_seen_at end,
	  last_seen_at = case when $5 <> '' then now() else l.last_seen_at end, updated_at = now()
	 where l.clerk_user_id = $1 and l.target = $2 and l.lease = $3
	returning l.desired > $4`

// inTurn lets transactions that touch a customer, or wait for one, go one after
// the other: who waits then sees that it was let go, or is seen and woken.
func inTurn(ctx context.Context, tx pgx.Tx, target string, customers []string) error {
	_, err := tx.Exec(ctx, `
		select pg_advisory_xact_lock(k) from (
		  select distinct hashtextextended('lockstep.customer:' || $1 || ':' || c, 0) as k
		    from unnest($2::text[]) c where c <> '' order by k) ordered`, target, customers)
	if err != nil {
		return fmt.Errorf("wait for others at the customer: %w", err)
	}
	return nil
}

// remember writes the history and the column that the application reads.
func (s *Store) remember(ctx context.Context, tx pgx.Tx, c Claim, o Outcome) error {
	actions := o.Wrote
	if len(actions) == 0 {
		actions = []string{o.Action}
	}
	letGo := ""
	if o.Status == lockstep.StatusReleased {
		letGo = o.Touched // the link may have named it no more
	}
	_, err := tx.Exec(ctx, `
		with profile as (
		  update public.profiles set medusa_customer_id = nullif($3, '')
		   where id = $1 and $2 = 'medusa' and medusa_customer_id is distinct from nullif($3, '')
		)
		insert into lockstep.history (clerk_user_id, target, customer_id, action, reason)
		select $1, $2, coalesce(nullif($3, ''), nullif($4, ''), nullif($7, '')), a, $5 from unnest($6::text[]) with ordinality u(a, n) order by n`,
		c.UserID, c.Target, o.CustomerID, c.Link.CustomerID, o.Reason, actions, letGo)
	if err != nil {
		return fmt.Errorf("remember: %w", err)
	}
	return nil
}

// wake bumps the links that wait because of one of the customers.
func (s *Store) wake(ctx context.Context, tx pgx.Tx, by Key, customers []string) ([]Key, error) {
	rows, err := tx.Query(ctx, `
		update lockstep.customer_links set desired = desired + 1, updated_at = now(),
		  queued_at = case when queued_at is null or queued_bulk then now() else queued_at end, queued_bulk = false
		 where target = $1 and blocked_by = any($2::text[]) and clerk_user_id <> $3
		returning clerk_user_id, target, queued_at = now()`, by.Target, customers, by.UserID)
	if err != nil {
		return nil, fmt.Errorf("wake links: %w", err)
	}
	return needJob(rows)
}

// Unclaim gives a link back after a failure that will be tried again; the
// reason shows in `show` meanwhile.
func (s *Store) Unclaim(ctx context.Context, c Claim, reason string) error {
	_, err := s.pool.Exec(ctx, `update lockstep.customer_links set lease_until = null, reason = $4, updated_at = now()
		where clerk_user_id = $1 and target = $2 and lease = $3`, c.UserID, c.Target, c.lease, reason)
	if err != nil {
		return fmt.Errorf("unclaim link: %w", err)
	}
	return nil
}

// Fail marks a link as given up, until the user changes or a person retries. A
// user who has changed since Claim is tried again by the sweep.
func (s *Store) Fail(ctx context.Context, c Claim, reason string) error {
	_, err := s.pool.Exec(ctx, `
		with failed as (
		  update lockstep.customer_links set lease_until = null, queued_at = null, reason = $4, updated_at = now(),
		    status = case when desired > $5 then 'pending' else 'failed' end
		   where clerk_user_id = $1 and target = $2 and lease = $3 returning customer_id
		)
		insert into lockstep.history (clerk_user_id, target, customer_id, action, reason)
		select $1, $2, customer_id, 'fail', $4 from failed`, c.UserID, c.Target, c.lease, reason, c.seen)
	if err != nil {
		return fmt.Errorf("fail link: %w", err)
	}
	return nil
}

// Recheck bumps links that are held up, or leave an e-mail to another customer, and were last looked at a while ago:
// whoever merges two customers in a store's admin tells nobody.
func (s *Store) Recheck(ctx context.Context, tx pgx.Tx, limit int) ([]Key, error) {
	rows, err := tx.Query(ctx, `
		update lockstep.customer_links u set desired = u.desired + 1, queued_at = now(), queued_bulk = false, updated_at = now()
		  from (select clerk_user_id, target from lockstep.customer_links
		         where (status in ('conflict', 'waiting') or status = 'linked' and blocked_by is not null) and applied = desired and queued_at is null
		           and updated_at < now() - interval '10 minutes'
		         order by updated_at limit $1 for update skip locked) held
		 where u.clerk_user_id = held.clerk_user_id and u.target = held.target
		returning u.clerk_user_id, u.target, true`, limit)
	if err != nil {
		return nil, fmt.Errorf("recheck links: %w", err)
	}
	return needJob(rows)
}

// Overdue returns, and takes over, links with an unconfirmed change whose job
// is lost: none is waiting, and no worker's lease runs. Those of paused targets
// can wait, and may be many. The jobs are hashed, not looked up link by link: a
// backfill leaves a job for every user, for hours.
func (s *Store) Overdue(ctx context.Context, tx pgx.Tx, limit int) ([]Key, error) {
	rows, err := tx.Query(ctx, `
		update lockstep.customer_links u set queued_at = coalesce(u.queued_at, now()), queued_bulk = false, updated_at = now()
		  from (select clerk_user_id, target from lockstep.customer_links l
		         where applied < desired and status <> 'failed'
		           and target not in (select p.target from lockstep.targets p where p.paused_at is not null)
		           and (lease_until is null or lease_until < now())
		           and (queued_at is null or queued_at < now() - interval '5 seconds')
		           and not exists (select 1 from lockstep.river_job j
		                where j.kind = 'sync' and j.state in ('available', 'pending', 'retryable', 'scheduled')
		                  and j.args ->> 'user' = l.clerk_user_id and j.args ->> 'target' = l.target)
		         order by updated_at limit $1 for update skip locked) lost
		 where u.clerk_user_id = lost.clerk_user_id and u.target = lost.target
		returning u.clerk_user_id, u.target, true`, limit)
	if err != nil {
		return nil, fmt.Errorf("find overdue links: %w", err)
	}
	return needJob(rows)
}

// Owners tells which user each customer is linked to.
func (s *Store) Owners(ctx context.Context, target string, customerIDs []string) (map[string]string, error) {
	rows, err := s.pool.Query(ctx, `select customer_id, clerk_user_id from lockstep.customer_links
		where target = $1 and customer_id = any($2::text[])`, target, customerIDs)
	if err != nil {
		return nil, fmt.Errorf("read owners: %w", Redact(err))
	}
	owners := map[string]string{}
	var customer, user string
	_, err = pgx.ForEachRow(rows, []any{&customer, &user}, func() error {
		owners[customer] = user
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read owners: %w", Redact(err))
	}
	return owners, nil
}
