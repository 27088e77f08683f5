// Package testdb gives a test a migrated database of its own: what a Supabase
// project with Medusa beside it looks like after `lockstep migrate up`, run as
// Supabase's non-superuser.
package testdb

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep/internal/localpg/pgtest"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
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
	return pgtest.New(t, name, func(ctx context.Context, url string) error {
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
	return pgtest.New(t, name, func(ctx context.Context, url string) error { return standin.Load(ctx, url, o) })
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
