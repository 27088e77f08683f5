package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
)

// Noted is what became of one notice of a batch.
type Noted struct {
	Fresh        bool  // it was not received before
	Disconnected bool  // its target is not served any more: no change of a customer was kept
	Request      int64 // the number that a request of privacy law got; zero for none
}

// note is a notice in the form that the statement below reads.
type note struct {
	Ord        int        `json:"ord"`
	Source     string     `json:"source"`
	ID         string     `json:"id"`
	Kind       string     `json:"kind"`
	Target     string     `json:"target"`
	Operation  string     `json:"operation"`
	Triggered  *time.Time `json:"triggered_at"`
	Customers  []string   `json:"customers"`
	Privacy    string     `json:"privacy"`
	CustomerID string     `json:"customer_id"`
	Reference  string     `json:"reference"`
}

func newNote(ord int, n lockstep.Notice) note {
	row := note{Ord: ord, Source: n.Source, ID: n.ID, Kind: n.Kind, Target: n.Target, Operation: n.Operation, Customers: n.Customers}
	if !n.Triggered.IsZero() {
		row.Triggered = &n.Triggered
	}
	if p := n.Privacy; p != nil {
		row.Privacy, row.CustomerID, row.Reference = string(p.Kind), p.CustomerID, p.Reference
	}
	return row
}

// changedAgain ends a statement that inserts changes of customers as c.
const changedAgain = `on conflict (target, customer_id) do update
  set changes = c.changes + excluded.changes, due_at = least(c.due_at, now()), changed_at = now()`

// noteSQL stores what is new of a batch: each delivery, one row for each
// customer that may have changed, and what privacy law asks for. Rows are locked
// in the order of their keys: two batches never wait for each other in a circle.
const noteSQL = `
with batch as (
  select b.*, t.disconnected_at is not null as disconnected
    from jsonb_to_recordset($1::jsonb) as b(
      ord int, source text, id text, kind text, target text, operation text, triggered_at timestamptz, customers jsonb,
      privacy text, customer_id text, reference text)
    left join lockstep.targets t using (target)
), fresh as (
  insert into lockstep.deliveries (source, id, kind, target, operation, triggered_at)
  select source, id, kind, target, nullif(operation, ''), triggered_at from batch order by source, id
  on conflict do nothing
  returning source, id
), first as (
  select distinct on (b.source, b.id) b.* from batch b join fresh using (source, id) order by b.source, b.id, b.ord
), changed as (
  insert into lockstep.shopify_changes as c (target, customer_id, changes)
  select f.target, x.id, count(*)
    from first f cross join lateral jsonb_array_elements_text(case jsonb_typeof(f.customers) when 'array' then f.customers else '[]' end) x(id)
   where not f.disconnected group by f.target, x.id order by f.target, x.id
  ` + changedAgain + `
), asked as (
  insert into lockstep.privacy_requests (target, kind, customer_id, reference, delivery_id, requested_at)
  select target, privacy, nullif(customer_id, ''), nullif(reference, ''), id, triggered_at from first where privacy <> '' order by ord
  returning id, delivery_id
)
select b.ord, f.ord is not null, b.disconnected, coalesce(a.id, 0)
  from batch b left join first f using (ord) left join asked a on a.delivery_id = f.id`

// OperationTold reports whether a webhook told that an operation of a target's
// has ended.
func (s *Store) OperationTold(ctx context.Context, target, operation string) (told bool, err error) {
	err = s.pool.QueryRow(ctx, `select exists (select from lockstep.deliveries where operation = $2 and target = $1)`, target, operation).Scan(&told)
	if err != nil {
		return false, fmt.Errorf("look for a delivery: %w", err)
	}
	return told, nil
}

// AcceptNotices stores notices and what they cause, in the order of the batch. Running it
// again with the same notices changes nothing.
func (s *Store) AcceptNotices(ctx context.Context, tx pgx.Tx, batch []lockstep.Notice) ([]Noted, error) {
	rows := make([]note, len(batch))
	for i, n := range batch {
		rows[i] = newNote(i, n)
	}
	data, err := json.Marshal(rows)
	if err != nil {
		return nil, fmt.Errorf("encode notices: %w", err)
	}
	result, err := tx.Query(ctx, noteSQL, string(data))
	if err != nil {
		return nil, fmt.Errorf("store notices: %w", err)
	}
	out := make([]Noted, len(batch))
	var ord int
	var n Noted
	_, err = pgx.ForEachRow(result, []any{&ord, &n.Fresh, &n.Disconnected, &n.Request}, func() error {
		out[ord] = n
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("store notices: %w", err)
	}
	return out, nil
}
