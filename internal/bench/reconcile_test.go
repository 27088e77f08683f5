package bench_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/inbox"
)

// sizeOf reads a size from the environment.
func sizeOf(b *testing.B, name string, usual int) int {
	b.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	must(b, err)
	return n
}

// BenchmarkShallow measures shallow reconcile runs of a million profiles and two
// targets, each beside counting the profiles: with nothing to do, with a thousand
// links deleted, and with a thousand deleted behind the triggers' back, which the
// run of each hour finds. LOCKSTEP_BENCH_PROFILES takes another number.
func BenchmarkShallow(b *testing.B) {
	w := newWorld(b)
	const holes, rounds, holeRounds = 1000, 7, 3
	n := sizeOf(b, "LOCKSTEP_BENCH_PROFILES", 1_000_000)
	db := w.migrated(b, "shallow")
	unheard := connect(b, w.pg.URL("", "shallow")) // a superuser's
	targets := []lockstep.Target{newShop("shopify:one.myshopify.com"), newShop("shopify:two.myshopify.com")}
	fillLinks(b, db, n)
	in, err := inbox.New(inbox.Config{Pool: db, JobPool: db, Targets: targets, Log: slog.New(slog.DiscardHandler)})
	must(b, err)
	rows := []string{"|ms|count ms|ratio|aim"}
	run := func(what, aim string, rounds, holes int, prepare func()) (ratio float64) {
		var took, counting []time.Duration
		var shares []float64
		for range rounds {
			prepare()
			w.checkpoint(b)
			counted, ran := timeCount(b, db, n), timeRun(b, in, holes)
			took, counting, shares = append(took, ran), append(counting, counted), append(shares, float64(ran)/float64(counted))
		}
		rows = append(rows, fmt.Sprintf("%s|%.0f|%.0f|%.1f|%s", what, ms(median(took)), ms(median(counting)), median(shares), aim))
		return median(shares)
	}
	compare := func() { // as when the last comparison was an hour ago
		_, err := db.Exec(b.Context(), `update lockstep.checkpoints set value = jsonb_set(value::jsonb, '{compared}', '"2000-01-01T00:00:00Z"')::text where name = 'reconcile_shallow'`)
		must(b, err)
	}
	run("the first run of all", "", 1, 0, func() {})
	ratio := run("nothing to do", "3.0", rounds, 0, func() {})
	run(fmt.Sprintf("%d links deleted, found and queued", holes), "", holeRounds, holes, func() { deleteLinks(b, db, holes, "select") })
	run("nothing to do, everything compared", "", holeRounds, 0, compare)
	run(fmt.Sprintf("%d links deleted unheard, everything compared", holes), "", holeRounds, holes, func() {
		deleteLinks(b, unheard, holes, "set local session_replication_role = replica")
		compare()
	})
	table(fmt.Sprintf("Shallow reconcile, %d profiles × %d targets, beside select count(*) (medians of %d and %d rounds)", n, len(targets), rounds, holeRounds), rows...)
	b.ReportMetric(ratio, "ratio")
}

func timeCount(b *testing.B, db *pgxpool.Pool, want int) time.Duration {
	b.Helper()
	began := time.Now()
	if got := count(b, db, `select count(*) from public.profiles`); got != want {
		b.Fatalf("%d profiles, want %d", got, want)
	}
	return time.Since(began)
}

// deleteLinks deletes links here and there, after a statement.
func deleteLinks(b *testing.B, db *pgxpool.Pool, n int, after string) {
	b.Helper()
	_, err := db.Exec(b.Context(), fmt.Sprintf(`begin; %s;
		delete from lockstep.customer_links where (clerk_user_id, target) in (
		  select clerk_user_id, target from lockstep.customer_links where status = 'linked' order by md5(clerk_user_id || target || clock_timestamp()::text) limit %d); commit`, after, n))
	must(b, err)
}

// timeRun makes a shallow run that must find so many links missing.
func timeRun(b *testing.B, in *inbox.Inbox, want int) time.Duration {
	b.Helper()
	began := time.Now()
	r, err := in.Reconcile(context.WithoutCancel(b.Context()), nil, inbox.ReconcileOptions{NoWait: true})
	took := time.Since(began)
	must(b, err)
	found := 0
	for _, d := range r.Drift {
		if d.Kind != lockstep.DriftLinkMissing {
			b.Fatalf("found %+v", d)
		}
		found += d.Found
	}
	if found != want {
		b.Fatalf("found %d links missing, want %d", found, want)
	}
	return took
}

// fillLinks makes users in step for two days.
func fillLinks(b *testing.B, db *pgxpool.Pool, n int) {
	b.Helper()
	for _, sql := range []string{
		`insert into public.profiles (id, username, avatar_url, email, email_verified, first_name, last_name, phone, medusa_customer_id, clerk_updated_at, created_at, updated_at)
		 select 'user_' || substr(md5(i::text), 1, 27), 'user' || i, 'https://img.clerk.com/' || md5(i::text) || md5((-i)::text), 'user.' || i || '@example.test', true,
		        'Ada', 'Lovelace', '+1202555' || i, 'cus_' || md5(i::text), now() - interval '3 days', now() - interval '3 days', now() - interval '2 days'
		   from generate_series(1, ` + strconv.Itoa(n) + `) i`,
		`insert into lockstep.customer_links (clerk_user_id, target, customer_id, email, status, desired, applied, first_seen_at, last_seen_at, updated_at)
		 select id, t, 'gid://shopify/Customer/' || row_number() over (), email, 'linked', 1, 1, now() - interval '1 day', now() - interval '1 day', now() - interval '1 day'
		   from public.profiles, unnest(array['shopify:one.myshopify.com', 'shopify:two.myshopify.com']) t`,
		`vacuum analyze public.profiles`, `vacuum analyze lockstep.customer_links`,
	} {
		_, err := db.Exec(b.Context(), sql)
		must(b, err)
	}
}
