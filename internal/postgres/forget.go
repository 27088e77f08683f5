package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
)

// Erasure is what `forget USER` did, and when: the proof. It holds ids and counts.
type Erasure struct {
	ID        int64             `json:"id"`
	UserID    string            `json:"user"`
	Customers lockstep.OnDelete `json:"customers,omitempty"` // what was asked for; empty: each target's own policy
	Began     time.Time         `json:"began_at"`
	Done      *time.Time        `json:"done_at,omitempty"`
	Erased    Erased            `json:"erased"`  // rows, by table
	Targets   map[string]Erased `json:"targets"` // customers by what was done: "release", "anonymise", "delete"; "left" where it could not be
}

const erasureColumns = `id, clerk_user_id, coalesce(customers, ''), received_at, done_at,
	coalesce(outcome -> 'erased', '{}'), coalesce(outcome -> 'targets', '{}')`

// ErrNotForgotten is a user of whom no erasure is known.
var ErrNotForgotten = errors.New("nobody asked to forget this user")

// Erasure reads the erasure of a user; ErrNotForgotten if there is none.
func (s *Store) Erasure(ctx context.Context, userID string) (Erasure, error) {
	all, err := s.erasures(ctx, `clerk_user_id = $1 limit $2`, userID, 1)
	if err == nil && len(all) == 0 {
		return Erasure{}, ErrNotForgotten
	}
	if err != nil {
		return Erasure{}, err
	}
	return all[0], nil
}

// Erasures lists at most limit erasures with a lower number than before, the
// newest first; zero begins at the newest.
func (s *Store) Erasures(ctx context.Context, before int64, limit int) ([]Erasure, error) {
	return s.erasures(ctx, `($1::bigint = 0 or id < $1) order by id desc limit $2`, before, limit)
}

func (s *Store) erasures(ctx context.Context, where string, args ...any) ([]Erasure, error) {
	rows, err := s.pool.Query(ctx, `select `+erasureColumns+` from lockstep.privacy_requests where kind = 'erase user' and `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read erasures: %w", Redact(err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Erasure])
	if err != nil {
		return nil, fmt.Errorf("read erasures: %w", Redact(err))
	}
	return list, nil
}

// OtherUsers are at most limit users who live, as far as is known, and are not
// this one.
func (s *Store) OtherUsers(ctx context.Context, userID string, limit int) ([]string, error) {
	rows, err := s.pool.Query(ctx, `select id from public.profiles where `+managed+` and deleted_at is null and id <> $1 limit $2`, userID, limit)
	if err != nil {
		return nil, fmt.Errorf("read users: %w", Redact(err))
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read users: %w", Redact(err))
	}
	return ids, nil
}

// BeginErasure makes a user's profile a tombstone, for ever, and erases what is
// personal in Lockstep's own tables. What the links say of ids stays, for the
// targets, until FinishErasure. Begun again, it goes on, unless it is done; given a
// policy, it starts anew. ErrNoProfile: nothing is known of such a user.
func (s *Store) BeginErasure(ctx context.Context, tx pgx.Tx, userID string, customers lockstep.OnDelete) (id int64, done bool, err error) {
	err = tx.QueryRow(ctx, `
		insert into lockstep.privacy_requests as r (target, kind, clerk_user_id, customers, delivery_id, requested_at)
		select '', 'erase user', $1, nullif($2, ''), 'forget', now()
		 where exists (select from public.profiles where id = $1) or exists (select from lockstep.customer_links where clerk_user_id = $1)
		on conflict (clerk_user_id) where kind = 'erase user' do update set
		  done_at = case when $2 = '' then r.done_at end, customers = coalesce(excluded.customers, r.customers)
		returning id, done_at is not null`, userID, customers).Scan(&id, &done)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, false, ErrNoProfile
	}
	if err != nil {
		return 0, false, fmt.Errorf("note the erasure: %w", err)
	}
	erased, err := s.eraseUser(ctx, tx, userID)
	if err != nil {
		return 0, false, err
	}
	return id, done, s.addOutcome(ctx, tx, id, erased, nil)
}

// usersCustomers are those that are a user's, or were, and nobody else's by now.
const usersCustomers = `
	select distinct c.target, c.id from (
	  select target, customer_id as id from lockstep.customer_links where clerk_user_id = $1
	  union all select target, unnest(let_go) from lockstep.customer_links where clerk_user_id = $1
	  union all select 'shopify:' || shopify_shop, shopify_customer_id from lockstep.shopify_customers where clerk_user_id = $1) c
	 where c.id is not null
	   and not exists (select from lockstep.customer_links o where o.target = c.target and o.customer_id = c.id and o.clerk_user_id <> $1)
	   and not exists (select from lockstep.shopify_customers o where o.shopify_shop = substr(c.target, length('shopify:') + 1)
	                      and o.shopify_customer_id = c.id and o.clerk_user_id <> $1)`

// eraseUserSteps erase what is personal. The links come before the profile, as for
// a worker that finishes: two who lock in another order wait in a circle. From
// then on the customers are not captured again, see MayCapture.
func eraseUserSteps() []struct{ table, sql string } {
	return []struct{ table, sql string }{
		{"customer_links", `update lockstep.customer_links set email = null, refused_phone = null, refused_consent = null, choice = choice - 'email', choices = null
			where clerk_user_id = $1 and (email is not null or refused_phone is not null or refused_consent is not null or choice ? 'email' or choices is not null)`},
		{"profiles", `insert into public.profiles as p (id, username, deleted_at) values ($1, 'user_' || substr($1, 6, 8), now())
			on conflict (id) do update set username = excluded.username, avatar_url = null, email = null, email_verified = false, first_name = null,
			  last_name = null, phone = null, phone_verified = false, deleted_at = coalesce(p.deleted_at, now()), updated_at = now()
			where p.deleted_at is null or p.username <> excluded.username or coalesce(p.avatar_url, p.email, p.first_name, p.last_name, p.phone) is not null`},
		{"", `insert into lockstep.privacy_requests (target, kind, customer_id, delivery_id, done_at)
			select c.target, 'erase customer', c.id, 'forget', now() from (` + usersCustomers + `) c
			where c.target like 'shopify:%' and not exists (select from lockstep.privacy_requests r where r.target = c.target and r.customer_id = c.id
			  and r.kind = 'erase customer')`},
		{"reports", `update lockstep.privacy_requests r set report = null from (` + usersCustomers + `) c
			where r.target = c.target and r.customer_id = c.id and r.report is not null`},
		{"shopify_changes", `delete from lockstep.shopify_changes x using (` + usersCustomers + `) c where x.target = c.target and x.customer_id = c.id`},
		{"shopify_customers", `delete from lockstep.shopify_customers x using (` + usersCustomers + `) c
			where x.shopify_shop = substr(c.target, length('shopify:') + 1) and x.shopify_customer_id = c.id`},
		{"consents", `delete from lockstep.consents where clerk_user_id = $1`},
		{"reconcile_findings", `delete from lockstep.reconcile_findings where clerk_user_id = $1`},
		{"deliveries", `update lockstep.deliveries set clerk_user_id = null where clerk_user_id = $1`},
	}
}

func (s *Store) eraseUser(ctx context.Context, tx pgx.Tx, userID string) (Erased, error) {
	rows, err := tx.Query(ctx, `select distinct target from (`+usersCustomers+`) c where target like 'shopify:%' order by 1`, userID)
	if err != nil {
		return nil, fmt.Errorf("read the user's shops: %w", err)
	}
	shops, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read the user's shops: %w", err)
	}
	for _, shop := range shops {
		if err := s.stopCapture(ctx, tx, shop); err != nil {
			return nil, err
		}
	}
	erased := Erased{}
	for _, step := range eraseUserSteps() {
		tag, err := tx.Exec(ctx, step.sql, userID)
		if err != nil {
			return nil, fmt.Errorf("erase %s: %w", step.table, err)
		}
		if step.table != "" {
			erased[step.table] = tag.RowsAffected()
		}
	}
	return erased, nil
}

// ErrNotLetGo says that a target still has to let go of the user.
var ErrNotLetGo = errors.New("a store has yet to let go of the user")

// FinishErasure erases what has come since BeginErasure, the user's history, and
// the links, but for the ids of customers that were kept; and writes the proof.
// All of the targets must have let go (else ErrNotLetGo); what others hold is left
// there. It returns links that waited for one of the customers and need a job. An
// erasure that is done stays as it is.
func (s *Store) FinishErasure(ctx context.Context, tx pgx.Tx, id int64, userID string, targets []string) ([]Key, error) {
	var done, todo bool
	err := tx.QueryRow(ctx, `select done_at is not null, exists (select from lockstep.customer_links
		  where clerk_user_id = $2 and target = any($3::text[]) and (applied < desired or status <> 'released'))
		from lockstep.privacy_requests where id = $1 for update`, id, userID, targets).Scan(&done, &todo)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read erasure: %w", err)
	case done:
		return nil, nil
	case todo:
		return nil, ErrNotLetGo
	}
	parted, err := s.partings(ctx, tx, userID, targets)
	if err != nil {
		return nil, err
	}
	woken, err := s.unblockAll(ctx, tx, userID)
	if err != nil {
		return nil, err
	}
	erased, err := s.eraseUser(ctx, tx, userID)
	if err != nil {
		return nil, err
	}
	if err := s.eraseTraces(ctx, tx, userID, erased); err != nil {
		return nil, err
	}
	if err := s.addOutcome(ctx, tx, id, erased, parted); err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, `update lockstep.privacy_requests set done_at = now() where id = $1`, id)
	if err != nil {
		return nil, fmt.Errorf("note the erasure: %w", err)
	}
	return woken, nil
}

// eraseTraces takes away what was needed until the targets had let go.
func (s *Store) eraseTraces(ctx context.Context, tx pgx.Tx, userID string, erased Erased) error {
	for _, step := range []struct{ table, sql string }{
		{"customer_links", `delete from lockstep.customer_links where clerk_user_id = $1 and let_go = '{}'`},
		{"", `update lockstep.customer_links set customer_id = null, blocked_by = null, first_seen_at = null, last_seen_at = null, queued_at = null,
			choice = null, choices = null, held_by = null
			where clerk_user_id = $1`},
		{"history", `delete from lockstep.history where clerk_user_id = $1`},
		{"", `delete from lockstep.reconcile_hints where clerk_user_id = $1`}, // which deleting the links left
	} {
		tag, err := tx.Exec(ctx, step.sql, userID)
		if err != nil {
			return fmt.Errorf("erase %s: %w", step.table, err)
		}
		if step.table != "" {
			erased[step.table] += tag.RowsAffected()
		}
	}
	return nil
}

// partings counts what became of the user's customers, by target.
func (s *Store) partings(ctx context.Context, tx pgx.Tx, userID string, targets []string) (map[string]Erased, error) {
	rows, err := tx.Query(ctx, `
		select target, action, count(*) from lockstep.history where clerk_user_id = $1 and action in ('anonymise', 'delete') group by 1, 2
		union all
		select target, case when target = any($2::text[]) then 'release' else 'left' end, cardinality(let_go) + (customer_id is not null)::int
		  from lockstep.customer_links where clerk_user_id = $1`, userID, targets)
	if err != nil {
		return nil, fmt.Errorf("count customers: %w", err)
	}
	parted := map[string]Erased{}
	var target, what string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&target, &what, &n}, func() error {
		if parted[target] == nil {
			parted[target] = Erased{}
		}
		parted[target][what] = n
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count customers: %w", err)
	}
	return parted, nil
}

// addOutcome adds to the proof. Who was let go at first and anonymised later is no
// longer counted as the former.
func (s *Store) addOutcome(ctx context.Context, tx pgx.Tx, id int64, erased Erased, parted map[string]Erased) error {
	var had struct {
		Erased  Erased            `json:"erased"`
		Targets map[string]Erased `json:"targets"`
	}
	err := tx.QueryRow(ctx, `select coalesce(outcome, '{}') from lockstep.privacy_requests where id = $1 for update`, id).Scan(&had)
	if err != nil {
		return fmt.Errorf("read erasure: %w", err)
	}
	sum := Erased{}
	maps.Copy(sum, had.Erased)
	for table, n := range erased {
		sum[table] += n
	}
	for target, counts := range parted {
		for what, n := range had.Targets[target] {
			if what != "release" && what != "left" {
				counts[what] += n
			}
		}
		maps.DeleteFunc(counts, func(_ string, n int64) bool { return n == 0 })
	}
	had.Erased, had.Targets = sum, merged(had.Targets, parted)
	outcome, err := json.Marshal(had)
	if err != nil {
		return fmt.Errorf("encode what was erased: %w", err)
	}
	if _, err = tx.Exec(ctx, `update lockstep.privacy_requests set outcome = $2::jsonb where id = $1`, id, string(outcome)); err != nil {
		return fmt.Errorf("note what was erased: %w", err)
	}
	return nil
}

func merged(a, b map[string]Erased) map[string]Erased {
	all := map[string]Erased{}
	maps.Copy(all, a)
	maps.Copy(all, b)
	return all
}

func (s *Store) unblockAll(ctx context.Context, tx pgx.Tx, userID string) (woken []Key, err error) {
	rows, err := tx.Query(ctx, `select target, array_agg(id) from (`+usersCustomers+`) c group by 1 order by 1`, userID)
	if err != nil {
		return nil, fmt.Errorf("read the user's customers: %w", err)
	}
	customers := map[string][]string{}
	var target string
	var ids []string
	if _, err = pgx.ForEachRow(rows, []any{&target, &ids}, func() error { customers[target] = ids; return nil }); err != nil {
		return nil, fmt.Errorf("read the user's customers: %w", err)
	}
	for target, ids := range customers {
		keys, err := s.Unblock(ctx, tx, target, ids)
		if err != nil {
			return nil, err
		}
		woken = append(woken, keys...)
	}
	return woken, nil
}

// Unblock has links forget the customers that they wait for, and returns those
// that need a job, as Bump does, to look again.
func (s *Store) Unblock(ctx context.Context, tx pgx.Tx, target string, customers []string) ([]Key, error) {
	rows, err := tx.Query(ctx, `
		update lockstep.customer_links set blocked_by = null, reason = 'the customer in the way was forgotten: looking again',
		  desired = desired + 1, updated_at = now(),
		  queued_at = case when queued_at is null or queued_bulk then now() else queued_at end, queued_bulk = false
		 where target = $1 and blocked_by = any($2::text[])
		returning clerk_user_id, target, queued_at = now()`, target, customers)
	if err != nil {
		return nil, fmt.Errorf("wake links: %w", err)
	}
	return needJob(rows)
}
