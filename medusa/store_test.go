package medusa_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lockstephq/lockstep/internal/localpg/pgtest"
	"github.com/lockstephq/lockstep/internal/standin"
)

// store is a Supabase database with Medusa's tables and Lockstep's functions.
type store struct {
	db     pgtest.DB
	schema string        // quoted
	super  *pgxpool.Pool // sees and may do everything
	owner  *pgxpool.Pool // as Lockstep connects
}

// stores are the kinds of database that users bring.
func stores() map[string]standin.Options {
	return map[string]standin.Options{
		"today's grants": {MedusaSchema: "medusa"},
		"older grants":   {MedusaSchema: "medusa", AutoGrants: true},
	}
}

func openStore(t *testing.T, o standin.Options) store {
	t.Helper()
	name := fmt.Sprintf("medusa_%v_%s", o.AutoGrants, o.MedusaSchema)
	s := store{schema: pgx.Identifier{o.MedusaSchema}.Sanitize()}
	s.db = pgtest.New(t, name, func(ctx context.Context, url string) error {
		if err := standin.Load(ctx, url, o); err != nil {
			return err
		}
		return runAs(ctx, url, standin.Owner, "create schema lockstep", functions(t, o.MedusaSchema), "select lockstep.medusa_indexes()")
	})
	s.super, s.owner = s.pool(t, ""), s.pool(t, standin.Owner)
	return s
}

func openDefault(t *testing.T) store {
	t.Helper()
	return openStore(t, standin.Options{MedusaSchema: "medusa"})
}

// functions are those for a schema, as `lockstep migrate up` makes them.
func functions(t *testing.T, schema string) string {
	t.Helper()
	files, err := filepath.Glob("../internal/postgres/medusa/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no functions: %v", err)
	}
	var sql strings.Builder
	for _, file := range files { // in the order of their names
		parsed, err := template.New(filepath.Base(file)).Option("missingkey=error").ParseFiles(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := parsed.Execute(&sql, map[string]string{"Medusa": pgx.Identifier{schema}.Sanitize()}); err != nil {
			t.Fatal(err)
		}
	}
	return sql.String()
}

// seedFunctions are the functions of the plan Lockstep grew from, in schema
// seed.
func seedFunctions(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/seed_functions.sql")
	if err != nil {
		t.Fatal(err)
	}
	return "create schema seed; grant usage on schema seed to anon, service_role; " +
		strings.ReplaceAll(string(text), "public.", "seed.")
}

// runAs runs texts of several statements, each in one transaction, as a role.
func runAs(ctx context.Context, url, role string, texts ...string) error {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return err
	}
	config.User = role
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, text := range texts {
		if _, err := conn.Exec(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

// pool connects to the store until the test ends; change adjusts the settings.
func (s store) pool(t *testing.T, role string, change ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(s.db.URL(role))
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 16
	for _, f := range change {
		f(config)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func execMode(mode pgx.QueryExecMode) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = mode }
}

// execer is a pool, a connection or a transaction.
type execer interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// try runs one statement and returns its first column.
func try[T any](t *testing.T, db execer, sql string, args ...any) ([]T, error) {
	t.Helper()
	rows, err := db.Query(t.Context(), sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[T])
}

// one runs a statement that answers with one value.
func one[T any](t *testing.T, db execer, sql string, args ...any) T {
	t.Helper()
	all, err := try[T](t, db, sql, args...)
	if err != nil || len(all) != 1 {
		t.Fatalf("%s: %d rows, %v", sql, len(all), err)
	}
	return all[0]
}

func exec(t *testing.T, db execer, sql string, args ...any) {
	t.Helper()
	rows, err := db.Query(t.Context(), sql, args...)
	if err == nil {
		rows.Close()
		err = rows.Err()
	}
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// open connects to a URL, or to what will turn out not to be there.
func open(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}
