package bench_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep/app"
)

const (
	stocked  = 10_000                // customers that the store has already
	pace     = 10 * time.Millisecond // 100 events a second
	paceTime = 20 * time.Second
)

// benchCustomer measures from the moment the sender has read the 2xx to the
// moment the customer is committed. Nothing asks for it meanwhile. The link's
// first_seen_at is the start of the transaction that follows the customer's
// commit, so it is a little late, never early; the customer's own created_at
// is when its insert began, a little early. All clocks are this machine's.
func (w *world) benchCustomer(b *testing.B) {
	db := w.migrated(b, "customer")
	_, err := db.Exec(b.Context(), `insert into medusa.customer (id, email, has_account, metadata)
		select 'cus_' || i, 'old.' || i || '@example.test', i % 2 = 0, '{}' from generate_series(1, $1) i`, stocked)
	must(b, err)
	server := w.serve(b, "customer", app.RoleAll, 0)
	warm := w.events.make(warmUp / 10)
	openLoop(b, server.addr, warm, pace)
	_, err = db.Exec(b.Context(), "analyze") // as autovacuum has done anywhere but in the first minute
	must(b, err)
	w.checkpoint(b)
	events := w.events.make(int(paceTime / pace))
	cpu, pgCPU := server.usedCPU(), w.postgresCPU(b)
	times := openLoop(b, server.addr, events, pace)
	awaitCustomers(b, db, len(warm)+len(events))
	cpu, pgCPU = (server.usedCPU()-cpu)/time.Duration(len(events)), (w.postgresCPU(b)-pgCPU)/time.Duration(len(events))
	var accept, seen, created []time.Duration
	for user, at := range present(b, db) {
		t, ok := times[user]
		if !ok {
			continue // of the warm-up
		}
		accept = append(accept, t.accepted.Sub(t.due))
		seen, created = append(seen, at.seen.Sub(t.accepted)), append(created, at.created.Sub(t.accepted))
	}
	if len(seen) != len(events) {
		b.Fatalf("%d webhooks were acknowledged, %d users have a customer", len(events), len(seen))
	}
	peak := server.peakMB(b)
	server.end(b)
	line := func(what string, d []time.Duration) string {
		return fmt.Sprintf("%s|%.1f|%.1f|%.1f", what, ms(quantile(d, 0.5)), ms(quantile(d, 0.99)), ms(quantile(d, 1)))
	}
	table(fmt.Sprintf("From accepted to customer present in Medusa's table, %d webhooks, one every %v, serve --role all,\nin a store of %d customers", len(events), pace, stocked),
		"|p50 ms|p99 ms|most ms",
		line("sent to 2xx", accept),
		line("2xx to customer present (link's first_seen_at)", seen),
		line("2xx to customer's created_at (before its commit)", created),
		"aim|15.0|60.0|")
	fmt.Printf("  serve: peak memory %s; CPU per webhook, to the customer: serve %s, PostgreSQL %s\n", megabytes(peak), micros(cpu), micros(pgCPU))
	b.ReportMetric(ms(quantile(seen, 0.5)), "p50-ms")
	b.ReportMetric(ms(quantile(seen, 0.99)), "p99-ms")
}

// awaitCustomers waits, after the last event, until every user has one.
func awaitCustomers(b *testing.B, db *pgxpool.Pool, want int) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		n := count(b, db, `select count(*) from public.profiles p join lockstep.customer_links l on l.clerk_user_id = p.id
			join medusa.customer c on c.id = l.customer_id and c.id = p.medusa_customer_id
			where l.status = 'linked' and l.applied = l.desired and c.email = p.email and c.deleted_at is null`)
		if n == want {
			return
		}
		select {
		case <-ctx.Done():
			b.Fatalf("%d webhooks were acknowledged, %d users have their customer after a minute", want, n)
		case <-tick.C:
		}
	}
}

type presence struct{ seen, created time.Time }

func present(b *testing.B, db *pgxpool.Pool) map[string]presence {
	b.Helper()
	rows, err := db.Query(b.Context(), `select l.clerk_user_id, l.first_seen_at, c.created_at
		from lockstep.customer_links l join medusa.customer c on c.id = l.customer_id`)
	must(b, err)
	all := map[string]presence{}
	var user string
	var p presence
	_, err = pgx.ForEachRow(rows, []any{&user, &p.seen, &p.created}, func() error {
		all[user] = p
		return nil
	})
	must(b, err)
	return all
}
