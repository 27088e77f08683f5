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

// BenchmarkShallow measures a shallow reconcile run of a million profiles and
// two targets with nothing to do, beside counting the profiles, and with a
// thousand links missing. LOCKSTEP_BENCH_PROFILES takes another number.
func BenchmarkShallow(b *testing.B) {
	w := newWorld(b)
	const holes, rounds = 1000, 7
	n := sizeOf(b, "LOCKSTEP_BENCH_PROFILES", 1_000_000)
	db := w.migrated(b, "shallow")
	targets := []lockstep.Target{newShop("shopify:one.myshopify.com"), newShop("shopify:two.myshopify.com")}
	fillLinks(b, db, n)
	in, err := inbox.New(inbox.Config{Pool: db, JobPool: db, Targets: targets, Log: slog.New(slog.DiscardHandler)})
	must(b, err)
	first, _ := timeRun(b, in, 0)
	w.checkpoint(b)
	var counting, nothing []time.Duration
	for range rounds {
		began := time.Now()
		if got := count(b, db, `select count(*) from public.profiles`); got != n {
			b.Fatalf("%d profiles, want %d", got, n)
		}
		counting = append(counting, time.Since(began))
		took, _ := timeRun(b, in, 0)
		nothing = append(nothing, took)
	}
	_, err = db.Exec(b.Context(), `delete from lockstep.customer_links where (clerk_user_id, target) in (select clerk_user_id, target from lockstep.customer_links order by md5(clerk_user_id || target) limit $1)`, holes)
	must(b, err)
	found, report := timeRun(b, in, holes)
	ratio := float64(median(nothing)) / float64(median(counting))
	table(fmt.Sprintf("Shallow reconcile, %d profiles × %d targets", n, len(targets)), "|ms|ratio|aim",
		fmt.Sprintf("select count(*) from profiles|%.0f|1.0|", ms(median(counting))),
		fmt.Sprintf("nothing to do|%.0f|%.1f|3.0", ms(median(nothing)), ratio),
		fmt.Sprintf("the first run of all|%.0f|%.1f|", ms(first), float64(first)/float64(median(counting))),
		fmt.Sprintf("%d links missing, found and queued|%.0f|%.1f|", holes, ms(found), float64(found)/float64(median(counting))))
	fmt.Printf("  found: %+v\n", report.Drift)
	b.ReportMetric(ratio, "ratio")
}

// timeRun makes a shallow run that must find so many links missing.
func timeRun(b *testing.B, in *inbox.Inbox, want int) (time.Duration, inbox.Report) {
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
	return took, r
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
