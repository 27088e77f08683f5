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

// PrivacyRequest is what privacy law asked for, and what was done.
type PrivacyRequest struct {
	ID         int64            `json:"id"`
	Target     string           `json:"target"`
	Kind       string           `json:"kind"`
	CustomerID string           `json:"customer_id,omitempty"`
	Reference  string           `json:"reference,omitempty"` // the shop's number of the request
	Requested  *time.Time       `json:"requested_at,omitempty"`
	Received   time.Time        `json:"received_at"`
	Due        time.Time        `json:"due_at"`
	Done       *time.Time       `json:"done_at,omitempty"`
	Outcome    map[string]int64 `json:"outcome,omitempty"` // rows told of or erased, by table
	Report     json.RawMessage  `json:"report,omitempty"`  // what is held of the customer; gone once that is erased
}

const privacyColumns = `id, target, kind, coalesce(customer_id, ''), coalesce(reference, ''), requested_at, received_at, due_at, done_at, outcome, report`

// ErrNoRequest is a number that no privacy request has.
var ErrNoRequest = errors.New("there is no such privacy request")

// PrivacyRequest reads one of a store; ErrNoRequest if there is none.
func (s *Store) PrivacyRequest(ctx context.Context, id int64) (PrivacyRequest, error) {
	rows, err := s.pool.Query(ctx, `select `+privacyColumns+` from lockstep.privacy_requests where id = $1 and kind <> 'erase user'`, id)
	if err != nil {
		return PrivacyRequest{}, fmt.Errorf("read privacy request: %w", Redact(err))
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[PrivacyRequest])
	if errors.Is(err, pgx.ErrNoRows) {
		return r, ErrNoRequest
	}
	if err != nil {
		return r, fmt.Errorf("read privacy request: %w", Redact(err))
	}
	return r, nil
}

// PrivacyRequests lists at most limit requests of stores with a lower number than
// before, the newest first, without their reports; zero begins at the newest.
func (s *Store) PrivacyRequests(ctx context.Context, before int64, limit int) ([]PrivacyRequest, error) {
	rows, err := s.pool.Query(ctx, `select id, target, kind, coalesce(customer_id, ''), coalesce(reference, ''), requested_at, received_at, due_at,
		done_at, outcome, null::jsonb from lockstep.privacy_requests
		where kind <> 'erase user' and ($1::bigint = 0 or id < $1) order by id desc limit $2`, before, limit)
	if err != nil {
		return nil, fmt.Errorf("read privacy requests: %w", Redact(err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[PrivacyRequest])
	if err != nil {
		return nil, fmt.Errorf("read privacy requests: %w", Redact(err))
	}
	return list, nil
}

// reportSQL gathers all that is held of one customer of a shop.
const reportSQL = `
select jsonb_build_object(
  'shop', $2::text, 'customer_id', $3::text, 'at', now(),
  'captured', coalesce((select jsonb_agg(to_jsonb(c)) from lockstep.shopify_customers c where c.shopify_shop = $2 and c.shopify_customer_id = $3), '[]'),
  'links', coalesce((select jsonb_agg(jsonb_build_object('clerk_user_id', l.clerk_user_id, 'email', l.email, 'refused_phone', l.refused_phone,
      'status', l.status, 'first_seen_at', l.first_seen_at, 'last_seen_at', l.last_seen_at,
      'consent', (select to_jsonb(c) from lockstep.consents c where c.clerk_user_id = l.clerk_user_id), 'refused_consent', l.refused_consent))
    from lockstep.customer_links l where l.target = $1 and l.customer_id = $3), '[]'),
  'history', coalesce((select jsonb_agg(jsonb_build_object('at', h.at, 'clerk_user_id', h.clerk_user_id, 'action', h.action, 'reason', h.reason) order by h.id)
    from lockstep.history h where h.target = $1 and h.customer_id = $3), '[]'))`

// Report writes down what is held of the customer that a request is about.
func (s *Store) Report(ctx context.Context, tx pgx.Tx, r PrivacyRequest) error {
	_, err := tx.Exec(ctx, `
		with report as (`+reportSQL+` as r)
		update lockstep.privacy_requests set report = r, done_at = now(), outcome = jsonb_build_object(
		  'shopify_customers', jsonb_array_length(r -> 'captured'), 'customer_links', jsonb_array_length(r -> 'links'), 'history', jsonb_array_length(r -> 'history'))
		  from report where id = $4`, r.Target, shopOf(r.Target), r.CustomerID, r.ID)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// LinkOf reads the link to a customer; nil if there is none.
func (s *Store) LinkOf(ctx context.Context, target, customerID string) (*lockstep.Link, error) {
	var l lockstep.Link
	err := s.pool.QueryRow(ctx, `select `+linkColumns+` from lockstep.customer_links where target = $1 and customer_id = $2`,
		target, customerID).Scan(scanLink(&l)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read link: %w", err)
	}
	return &l, nil
}

// forgotten is the reason of a link whose customer was erased. Nothing but a
// change of the user, or a person who names the user, takes such a link up again.
const forgotten = `the shop was asked to forget this customer: run lockstep sync to make one again`

// eraseCustomer is all that is kept of one customer. The link's user goes on
// without a customer, until the user changes or a person runs `sync`: to make
// one at once would bring back what was to be forgotten.
func eraseCustomer() []struct{ table, sql string } {
	return []struct{ table, sql string }{
		{"shopify_customers", `delete from lockstep.shopify_customers where shopify_shop = substr($1, length('shopify:') + 1) and shopify_customer_id = $2`},
		{"shopify_changes", `delete from lockstep.shopify_changes where target = $1 and customer_id = $2`},
		{"history", `delete from lockstep.history where target = $1 and customer_id = $2`},
		{"reconcile_findings", `delete from lockstep.reconcile_findings where target = $1 and customer_id = $2`},
		{"customer_links", `update lockstep.customer_links set customer_id = null, email = null, refused_phone = null, refused_consent = null, first_seen_at = null, last_seen_at = null,
			choice = null, choices = null, held_by = null, status = 'failed', reason = '` + forgotten + `',
			applied = desired, queued_at = null, lease = lease + 1, lease_until = null, updated_at = now() where target = $1 and customer_id = $2`},
		{"reports", `update lockstep.privacy_requests set report = null where target = $1 and customer_id = $2 and report is not null`},
	}
}

// EraseCustomer erases what is kept of one customer of a shop.
func (s *Store) EraseCustomer(ctx context.Context, tx pgx.Tx, target, customerID string) (Erased, error) {
	if err := s.stopCapture(ctx, tx, target); err != nil {
		return nil, err
	}
	erased := Erased{}
	for _, step := range eraseCustomer() {
		tag, err := tx.Exec(ctx, step.sql, target, customerID)
		if err != nil {
			return nil, fmt.Errorf("erase %s: %w", step.table, err)
		}
		erased[step.table] = tag.RowsAffected()
	}
	return erased, nil
}

// PrivacyDone notes what was erased for a request. A request that was done
// before keeps what it says.
func (s *Store) PrivacyDone(ctx context.Context, tx pgx.Tx, id int64, erased Erased) error {
	outcome, err := json.Marshal(erased)
	if err != nil {
		return fmt.Errorf("encode what was erased: %w", err)
	}
	_, err = tx.Exec(ctx, `update lockstep.privacy_requests set done_at = now(), outcome = $2::jsonb where id = $1 and done_at is null`, id, string(outcome))
	if err != nil {
		return fmt.Errorf("note what was erased: %w", err)
	}
	return nil
}

// LostRequest is a privacy request that waits for a job.
type LostRequest struct {
	ID     int64
	UserID string // of `forget USER`
}

// LostRequests are privacy requests that are not done while no job is there to.
func (s *Store) LostRequests(ctx context.Context, tx pgx.Tx) ([]LostRequest, error) {
	rows, err := tx.Query(ctx, `
		select r.id, coalesce(r.clerk_user_id, '') from lockstep.privacy_requests r where r.done_at is null and r.received_at < now() - interval '5 seconds'
		   and not exists (select 1 from lockstep.river_job j
		        where j.kind = 'privacy' and j.state in ('available', 'pending', 'retryable', 'scheduled', 'running')
		          and j.args @> jsonb_build_object('request', r.id))
		 order by 1 limit 100`)
	if err != nil {
		return nil, fmt.Errorf("find lost requests: %w", err)
	}
	lost, err := pgx.CollectRows(rows, pgx.RowToStructByPos[LostRequest])
	if err != nil {
		return nil, fmt.Errorf("find lost requests: %w", err)
	}
	return lost, nil
}
