// Package bench measures Lockstep as `make bench` prints it, on one private
// PostgreSQL with fsync on:
//
//   - webhooks accepted per second over loopback HTTP, as a share of the rows
//     that pgbench inserts in the same server, for one target and for twenty;
//   - the time from a webhook's 2xx to the customer in Medusa's table;
//   - `migrate up` on a million profiles of another making, beside the bare
//     change of their key's type (LOCKSTEP_BENCH_PROFILES sets how many);
//   - backfilling Clerk's users, as a share of a bare COPY of the same rows;
//   - a shallow reconcile run, as a multiple of counting the profiles.
//
// The server is a process of its own, as `lockstep serve` is, so that its
// memory and processor time are its own. Client, server and database share the
// machine: ratios are firmer than absolutes. Nothing is asserted about time;
// what fails the run is a webhook that was not accepted, or a profile, a job
// or a customer that is missing when the clock has stopped.
//
// LOCKSTEP_BENCH_PROFILE names a directory for processor and heap profiles of
// the server processes.
package bench_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep/internal/localpg"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
)

const medusaSchema = "medusa"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		child := func() error { return serveChild(role) }
		if role == backfillRole {
			child = backfillChild
		}
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// BenchmarkLockstep runs once, whatever -benchtime says: a round has a length
// of its own.
func BenchmarkLockstep(b *testing.B) {
	w := newWorld(b)
	_ = b.Run("accept", w.benchAccept) && b.Run("customer", w.benchCustomer) && b.Run("work", w.benchWork)
}

// world is what all measurements share.
type world struct {
	pg     *localpg.Cluster
	admin  *pgxpool.Pool // a superuser's
	events *factory
}

func newWorld(b *testing.B) *world {
	b.Helper()
	pg, err := localpg.Start(b.Context(), localpg.Options{Fsync: true})
	must(b, err)
	b.Cleanup(func() { must(b, pg.Close()) })
	var version string
	admin := connect(b, pg.URL("", ""))
	must(b, admin.QueryRow(b.Context(), `select split_part(version(), ' ', 2)`).Scan(&version))
	fmt.Printf("\nPostgreSQL %s, fsync on; %d processors shared by client, server and database\n", version, runtime.NumCPU())
	return &world{pg: pg, admin: admin, events: newFactory(b)}
}

// database makes a database as a user brings it, so that no measurement finds
// the rows of another, and returns a pool of the role that Lockstep has there.
func (w *world) database(b *testing.B, name string) *pgxpool.Pool {
	b.Helper()
	_, err := w.admin.Exec(b.Context(), `create database `+name)
	must(b, err)
	must(b, standin.Load(b.Context(), w.pg.URL("", name), standin.Options{MedusaSchema: medusaSchema}))
	return connect(b, w.pg.URL(standin.Owner, name))
}

// migrated makes a database that Lockstep can use.
func (w *world) migrated(b *testing.B, name string) *pgxpool.Pool {
	b.Helper()
	pool := w.database(b, name)
	must(b, (&postgres.Migrator{Pool: pool, MedusaSchema: medusaSchema, Log: slog.New(slog.DiscardHandler)}).Up(b.Context()))
	return pool
}

// checkpoint has every round begin alike; otherwise one of them pays for the
// writes of all before it.
func (w *world) checkpoint(b *testing.B) {
	b.Helper()
	_, err := w.admin.Exec(b.Context(), "checkpoint")
	must(b, err)
}

func connect(b *testing.B, url string) *pgxpool.Pool {
	b.Helper()
	pool, err := pgxpool.New(b.Context(), url)
	must(b, err)
	b.Cleanup(pool.Close)
	return pool
}

// count reads a number.
func count(b *testing.B, pool *pgxpool.Pool, sql string) (n int) {
	b.Helper()
	must(b, pool.QueryRow(context.WithoutCancel(b.Context()), sql).Scan(&n))
	return n
}

// table prints rows of cells that are separated by "|".
func table(title string, rows ...string) {
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range rows {
		fmt.Fprintln(t, "  "+strings.ReplaceAll(row, "|", "\t")+"\t")
	}
	_ = t.Flush() // to memory
	fmt.Printf("\n%s\n%s", title, text.String())
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
