// Package testdb gives a test a migrated database of its own: what a Supabase
// project with Medusa beside it looks like after `lockstep migrate up`, run as
// Supabase's non-superuser.
package testdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep/internal/localpg/pgtest"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/watch"
)

// MedusaSchema is where Medusa's tables are in a test's database.
const MedusaSchema = "medusa"

// Role is the login role that a migrated database has for Lockstep: tests that
// serve use it, so that they meet what is not granted.
const Role = "lockstep"

// New makes a migrated database with today's grant rules.
func New(t testing.TB) pgtest.DB { return Migrated(t, standin.Options{MedusaSchema: MedusaSchema}) }

// Migrated makes a migrated database of the kind that o describes.
func Migrated(t testing.TB, o standin.Options) pgtest.DB {
	t.Helper()
	name := fmt.Sprintf("migrated_%v_%s", o.AutoGrants, o.MedusaSchema)
	return watched(t, name, func(ctx context.Context, url string) error {
		if err := standin.Load(ctx, url, o); err != nil {
			return err
		}
		return migrateUp(ctx, url, o.MedusaSchema)
	})
}

// Bare makes a database that Lockstep has not touched.
func Bare(t testing.TB, o standin.Options) pgtest.DB {
	t.Helper()
	name := fmt.Sprintf("bare_%v_%s", o.AutoGrants, o.MedusaSchema)
	return watched(t, name, func(ctx context.Context, url string) error { return standin.Load(ctx, url, o) })
}

// watched makes a database; when the test ends, what it holds for people to read
// about the work is searched for what nobody may read.
func watched(t testing.TB, name string, prepare func(ctx context.Context, url string) error) pgtest.DB {
	t.Helper()
	db := pgtest.New(t, name, prepare)
	t.Cleanup(func() {
		pool, err := pgxpool.New(context.WithoutCancel(t.Context()), db.URL(""))
		if err != nil {
			t.Error(err)
			return
		}
		defer pool.Close()
		for table, columns := range notes {
			var text string
			err := pool.QueryRow(context.WithoutCancel(t.Context()), `select coalesce(string_agg(concat_ws(' ', `+columns+`), E'\n'), '') from lockstep.`+table).Scan(&text)
			if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "42P01" {
				continue // no such table: the test did not migrate, or took it away
			}
			if err != nil {
				t.Errorf("read lockstep.%s: %v", table, err)
			}
			watch.Text(t, "lockstep."+table, text)
		}
	})
	return db
}

// notes are the columns that tell people of the work. The others hold what the
// product must hold, such as the e-mail that a link's customer had last.
var notes = map[string]string{
	"river_job":          "kind, queue, args, errors::text, metadata, tags::text",
	"customer_links":     "target, status, reason, blocked_by",
	"history":            "action, reason",
	"targets":            "target, reason, problems::text",
	"deliveries":         "source, id, kind",
	"reconcile_runs":     "reason, holder",
	"reconcile_steps":    "name, cursor, reason",
	"reconcile_findings": "kind, clerk_user_id, customer_id, reason",
	"checkpoints":        "name, value",
}

func migrateUp(ctx context.Context, url, medusa string) error {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return err
	}
	config.ConnConfig.User = standin.Owner
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	m := postgres.Migrator{Pool: pool, MedusaSchema: medusa, Role: postgres.Role{Name: Role}, Log: slog.New(slog.DiscardHandler)}
	return m.Up(ctx)
}

// Pool connects to a test's database as role until the test ends; "" is the
// superuser.
func Pool(t testing.TB, db pgtest.DB, role string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), db.URL(role))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Query reads a single value; it fails the test on an error.
func Query[T any](t testing.TB, db interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}, sql string, args ...any) (v T) {
	t.Helper()
	if err := db.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}
