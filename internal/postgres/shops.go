package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ShopState is what is stored of the life of one target that is a shop.
type ShopState struct {
	Target         string
	Endpoint       string // where its webhooks go, since it was connected
	PausedAt       *time.Time
	PausedReason   string
	DisconnectedAt *time.Time
	Problems       []string // of the last inspection
	InspectedAt    *time.Time
	Points         float64 // in the bucket now; zero before the first request
	Capacity       float64
	Rate           float64 // points per second
	LastWebhook    *time.Time
	Customers      int // captured, and not deleted
}

// ShopStates reads the states of targets, in the order given.
func (s *Store) ShopStates(ctx context.Context, targets []string) ([]ShopState, error) {
	rows, err := s.pool.Query(ctx, `
		select n.target, coalesce(t.endpoint, ''), t.paused_at, coalesce(t.reason, ''), t.disconnected_at, coalesce(t.problems, '{}'), t.inspected_at,
		       coalesce(`+filled+`, 0), coalesce(b.capacity, 0), coalesce(b.rate, 0),
		       (select max(d.received_at) from lockstep.deliveries d where d.target = n.target),
		       (select count(*) from lockstep.shopify_customers c where c.shopify_shop = substr(n.target, length('shopify:') + 1) and c.deleted_at is null)
		  from unnest($1::text[]) with ordinality n(target, i)
		  left join lockstep.targets t on t.target = n.target
		  left join lockstep.buckets b on b.target = n.target
		 order by n.i`, targets)
	if err != nil {
		return nil, fmt.Errorf("read shops: %w", Redact(err))
	}
	states, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ShopState])
	if err != nil {
		return nil, fmt.Errorf("read shops: %w", Redact(err))
	}
	return states, nil
}

// Endpoint is where a target's webhooks go; empty before it was connected, and
// after it was disconnected.
func (s *Store) Endpoint(ctx context.Context, target string) (endpoint string, err error) {
	err = s.pool.QueryRow(ctx, `select coalesce(endpoint, '') from lockstep.targets where target = $1`, target).Scan(&endpoint)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read endpoint: %w", err)
	}
	return endpoint, nil
}

// Connect notes where a target's webhooks go, and ends a pause and a
// disconnection; away is when that began, or zero.
func (s *Store) Connect(ctx context.Context, tx pgx.Tx, target, endpoint string) (away time.Time, err error) {
	err = tx.QueryRow(ctx, `select disconnected_at from lockstep.targets where target = $1 and disconnected_at is not null for update`, target).Scan(&away)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return away, fmt.Errorf("connect target: %w", err)
	}
	_, err = tx.Exec(ctx, `
		insert into lockstep.targets (target, endpoint) values ($1, $2)
		on conflict (target) do update set endpoint = excluded.endpoint, disconnected_at = null, paused_at = null, reason = '', problems = '{}'`, target, endpoint)
	if err != nil {
		return away, fmt.Errorf("connect target: %w", err)
	}
	return away, nil
}

// ChangedSince lists users who changed since a time, by id, those after one.
func (s *Store) ChangedSince(ctx context.Context, since time.Time, after string, limit int) ([]string, error) {
	rows, err := s.pool.Query(ctx, `select id from public.profiles where updated_at >= $1 and id > $2 order by id limit $3`, since, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list who changed: %w", err)
	}
	users, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list who changed: %w", err)
	}
	return users, nil
}

// Disconnect pauses a target until it is connected again.
func (s *Store) Disconnect(ctx context.Context, tx pgx.Tx, target, reason string) error {
	_, err := tx.Exec(ctx, `
		insert into lockstep.targets as t (target, disconnected_at, paused_at, reason) values ($1, now(), now(), $2)
		on conflict (target) do update set disconnected_at = now(), paused_at = coalesce(t.paused_at, now()), reason = excluded.reason,
		  endpoint = null, problems = '{}'`, target, reason)
	if err != nil {
		return fmt.Errorf("disconnect target: %w", err)
	}
	return nil
}

// ErrDisconnected is a shop of which nothing may be kept until it is connected again.
var ErrDisconnected = errors.New("the shop was disconnected: run `lockstep shopify connect` to bring it back")

// Disconnected lists the targets that were disconnected.
func (s *Store) Disconnected(ctx context.Context) ([]string, error) {
	return s.targetNames(ctx, `select target from lockstep.targets where disconnected_at is not null order by target`)
}

// Inspected notes what an inspection found.
func (s *Store) Inspected(ctx context.Context, target string, problems []string) error {
	_, err := s.pool.Exec(ctx, `
		insert into lockstep.targets (target, problems, inspected_at) values ($1, coalesce($2::text[], '{}'), now())
		on conflict (target) do update set problems = excluded.problems, inspected_at = now()`, target, problems)
	if err != nil {
		return fmt.Errorf("note inspection: %w", err)
	}
	return nil
}

// Problems reads what the last inspections found, by target.
func (s *Store) Problems(ctx context.Context) (map[string][]string, error) {
	rows, err := s.pool.Query(ctx, `select target, problems from lockstep.targets where problems <> '{}'`)
	if err != nil {
		return nil, fmt.Errorf("read problems: %w", err)
	}
	found := map[string][]string{}
	var target string
	var problems []string
	_, err = pgx.ForEachRow(rows, []any{&target, &problems}, func() error {
		found[target] = problems
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read problems: %w", err)
	}
	return found, nil
}

// Erased counts what was erased, by table.
type Erased map[string]int64

// eraseShop is all that is kept of the people of a shop.
func eraseShop() []struct{ table, sql string } {
	return []struct{ table, sql string }{
		{"shopify_customers", `delete from lockstep.shopify_customers where shopify_shop = substr($1, length('shopify:') + 1)`},
		{"shopify_changes", `delete from lockstep.shopify_changes where target = $1`},
		{"customer_links", `delete from lockstep.customer_links where target = $1`},
		{"history", `delete from lockstep.history where target = $1`},
		{"reconcile_findings", `delete from lockstep.reconcile_findings where target = $1`},
		{"reports", `update lockstep.privacy_requests set report = null where target = $1 and report is not null`},
	}
}

// EraseShop erases the captured customers of a shop, the links to them, and what
// was written down of both.
func (s *Store) EraseShop(ctx context.Context, tx pgx.Tx, target string) (Erased, error) {
	if err := s.stopCapture(ctx, tx, target); err != nil {
		return nil, err
	}
	erased := Erased{}
	for _, step := range eraseShop() {
		tag, err := tx.Exec(ctx, step.sql, target)
		if err != nil {
			return nil, fmt.Errorf("erase %s: %w", step.table, err)
		}
		erased[step.table] = tag.RowsAffected()
	}
	return erased, nil
}

// stopCapture waits for captures of a target that are being stored, and makes
// others wait until tx ends.
func (s *Store) stopCapture(ctx context.Context, tx pgx.Tx, target string) error {
	_, err := tx.Exec(ctx, `insert into lockstep.targets as t (target) values ($1) on conflict (target) do update set target = t.target`, target)
	if err != nil {
		return fmt.Errorf("lock target: %w", err)
	}
	return nil
}
