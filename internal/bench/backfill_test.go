package bench_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
)

// backfillRole makes the test binary a `lockstep backfill clerk`. What it prints
// is its own peak memory: what the parent is told of a child that has ended
// counts the parent's, from before the exec.
const backfillRole = "backfill"

func backfillChild() error {
	config, err := app.LoadConfig(os.Getenv, app.NeedClerk)
	if err != nil {
		return err
	}
	var shops []lockstep.Target
	for i := range os.Getenv(shopsVariable) {
		shops = append(shops, newShop(fmt.Sprintf("shopify:shop%d.myshopify.com", i)))
	}
	a, err := app.Open(config, slog.New(slog.NewTextHandler(os.Stderr, nil)), app.WithExtraTargets(shops...))
	if err != nil {
		return err
	}
	defer a.Close()
	if _, err := a.BackfillClerk(context.Background(), false, func(app.Progress) {}); err != nil {
		return err
	}
	fmt.Println(readPeak(os.Getpid()))
	return nil
}

// BenchmarkBackfill measures bringing in Clerk's users beside a bare COPY of the
// same rows, for 100,000 users and for a tenth, then the same with three kills.
// LOCKSTEP_BENCH_USERS takes another number.
func BenchmarkBackfill(b *testing.B) {
	w := newWorld(b)
	most := sizeOf(b, "LOCKSTEP_BENCH_USERS", 100_000)
	clerk, err := emulator.NewClerk(emulator.ClerkOptions{Seed: 1, SecretKey: "sk_live_bench", RateLimit: emulator.ProductionRateLimit})
	must(b, err)
	defer clerk.Close()
	api := httptest.NewServer(clerk)
	defer api.Close()
	clerk.SetBaseURL(api.URL)
	var rows []string
	for _, n := range []int{most / 10, most} {
		fillClerk(b, clerk, n)
		rows = append(rows, w.benchBackfill(b, clerk, n, 0, ""), w.benchBackfill(b, clerk, n, 0, "ab"))
	}
	rows = append(rows, w.benchBackfill(b, clerk, most, 3, "ab"))
	table("backfill clerk, with a serving Clerk on the same processors", append([]string{
		"users|targets|kills|users/s|bare COPY rows/s|share|Clerk calls|fewest|peak memory"}, append(rows, "aim|||||0.30|||120 MB")...)...)
}

func fillClerk(b *testing.B, clerk *emulator.Clerk, n int) {
	b.Helper()
	base := time.Now().Add(-24 * time.Hour)
	for i := clerk.UserCount(); i < n; i++ {
		_, err := clerk.CreateUser(emulator.UserSpec{FirstName: "Ada", LastName: "Lovelace", Email: fmt.Sprintf("ada.%d@example.test", i), Verified: true,
			Phone: fmt.Sprintf("+1202%07d", i), CreatedAt: base.Add(time.Duration(i) * time.Millisecond)})
		must(b, err)
	}
}

// benchBackfill runs a backfill in a process of its own, which it kills so many
// times on the way, and checks that every user is there once, and is to be handed
// to the targets once.
func (w *world) benchBackfill(b *testing.B, clerk *emulator.Clerk, n, kills int, shops string) string {
	b.Helper()
	name := fmt.Sprintf("backfill_%d_%d%s", n, kills, shops)
	db := w.migrated(b, name)
	w.checkpoint(b)
	calls := clerk.Faults.Total("GET /v1/users")
	for i := range kills {
		child, _ := w.startBackfill(b, clerk, name, shops)
		awaitProfiles(b, db, n*(i+1)/(kills+1))
		must(b, child.Process.Kill())
		_ = child.Wait() // it was killed
	}
	began := time.Now()
	child, out := w.startBackfill(b, clerk, name, shops)
	must(b, child.Wait())
	took := time.Since(began)
	peak, err := strconv.ParseFloat(strings.TrimSpace(out.String()), 64)
	must(b, err)
	calls = clerk.Faults.Total("GET /v1/users") - calls
	const want = `select case when (select count(*) from public.profiles) = %[1]d and (select count(*) from lockstep.checkpoints where name = 'backfill_clerk') = 0
		and (select array[count(*), count(distinct u)] from lockstep.river_job, jsonb_array_elements_text(args -> 'users') u where kind = 'dispatch' and queue = 'dispatch_bulk') = array[%[1]d, %[1]d]::bigint[]
		then 1 else 0 end`
	if count(b, db, fmt.Sprintf(want, n)) != 1 {
		b.Fatalf("not every one of %d users is there once", n)
	}
	speed, bare, share := "", "", ""
	if kills == 0 {
		copied := bareCopy(b, db, n)
		speed, bare = fmt.Sprintf("%.0f", float64(n)/took.Seconds()), fmt.Sprintf("%.0f", float64(n)/copied.Seconds())
		share = fmt.Sprintf("%.2f", copied.Seconds()/took.Seconds())
	}
	fewest := n/500 + 1 // the last page tells that it is the last
	return fmt.Sprintf("%d|%d|%d|%s|%s|%s|%d|%d|%s", n, len(shops), kills, speed, bare, share, calls, fewest, megabytes(peak))
}

// startBackfill has a target for each letter of shops.
func (w *world) startBackfill(b *testing.B, clerk *emulator.Clerk, name, shops string) (child *exec.Cmd, out *strings.Builder) {
	b.Helper()
	child, out = exec.Command(os.Args[0], "-test.run=^$"), &strings.Builder{}
	child.Stdout = out
	child.Env = append(os.Environ(), shopsVariable+"="+shops, roleVariable+"="+backfillRole, "DATABASE_URL="+w.pg.URL("postgres", name), "MEDUSA_MODE=off")
	for _, s := range clerk.Settings() {
		child.Env = append(child.Env, s.Name+"="+s.Value)
	}
	child.Stderr = os.Stderr
	must(b, child.Start())
	return child, out
}

func awaitProfiles(b *testing.B, db *pgxpool.Pool, n int) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for count(b, db, `select count(*) from public.profiles`) < n {
		select {
		case <-ctx.Done():
			b.Fatalf("there are never %d profiles", n)
		case <-tick.C:
		}
	}
}

// bareCopy is how long it takes to copy the same rows into a table like the
// profiles, with its indexes.
func bareCopy(b *testing.B, db *pgxpool.Pool, n int) time.Duration {
	b.Helper()
	columns := []string{"id", "username", "avatar_url", "email", "email_verified", "first_name", "last_name", "phone", "phone_verified", "banned", "clerk_updated_at", "created_at"}
	rows, err := db.Query(b.Context(), `select id, username, avatar_url, email, email_verified, first_name, last_name, phone, phone_verified, banned, clerk_updated_at, created_at from public.profiles order by created_at`)
	must(b, err)
	data, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
	must(b, err)
	_, err = db.Exec(b.Context(), `create table bare (like public.profiles including all)`)
	must(b, err)
	began := time.Now()
	copied, err := db.CopyFrom(b.Context(), pgx.Identifier{"bare"}, columns, pgx.CopyFromRows(data))
	must(b, err)
	if copied != int64(n) {
		b.Fatalf("copied %d rows of %d", copied, n)
	}
	return time.Since(began)
}
