package postgres_test

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep/internal/localpg/pgtest"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/internal/watch"
)

func migrator(t *testing.T, db pgtest.DB) *postgres.Migrator {
	return &postgres.Migrator{Pool: testdb.Pool(t, db, standin.Owner), MedusaSchema: "medusa", Log: watch.Logger(t)}
}

//go:embed testdata/dump.sql
var dumpSQL string

// dump describes everything in the schemas that a migration may touch.
func dump(t *testing.T, db pgtest.DB) string {
	t.Helper()
	return testdb.Query[string](t, testdb.Pool(t, db, ""), dumpSQL)
}

func TestUpDownUp(t *testing.T) {
	t.Parallel()
	for _, grants := range []bool{false, true} {
		t.Run(fmt.Sprintf("automatic grants %v", grants), func(t *testing.T) {
			t.Parallel()
			db := testdb.Bare(t, standin.Options{AutoGrants: grants, MedusaSchema: "medusa"})
			m := migrator(t, db)
			before := dump(t, db)
			must(t, m.Up(t.Context()))
			up := dump(t, db)
			must(t, m.Up(t.Context()))
			if diff := cmp.Diff(up, dump(t, db)); diff != "" {
				t.Errorf("up again changed something:\n%s", diff)
			}
			must(t, m.Down(t.Context()))
			if diff := cmp.Diff(before, dump(t, db)); diff != "" {
				t.Errorf("down left something:\n%s", diff)
			}
			must(t, m.Up(t.Context()))
			if diff := cmp.Diff(up, dump(t, db)); diff != "" {
				t.Errorf("up after down differs:\n%s", diff)
			}
		})
	}
}

func TestUpWithoutSupabaseAndMedusa(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, "plain", func(context.Context, string) error { return nil })
	m := &postgres.Migrator{Pool: testdb.Pool(t, db, ""), MedusaSchema: "medusa", Log: watch.Logger(t)}
	must(t, m.Up(t.Context()))
	must(t, postgres.NewStore(m.Pool).Ping(t.Context()))
}

func TestUpInParallel(t *testing.T) {
	t.Parallel()
	db := testdb.Bare(t, standin.Options{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := migrator(t, db).Up(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestDownKeepsProfiles(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	m := migrator(t, db)
	exec(t, m.Pool, `insert into public.profiles (id, username) values ('user_1', 'ada')`)
	must(t, m.Down(t.Context()))
	if n := testdb.Query[int](t, m.Pool, `select count(*) from public.profiles`); n != 1 {
		t.Errorf("%d profiles, want 1", n)
	}
	must(t, m.Up(t.Context()))
}

func TestDownKeepsAdoptedTableWithoutRows(t *testing.T) {
	t.Parallel()
	db := foreign(t, false, `create table public.profiles (id uuid primary key default gen_random_uuid(), username text)`)
	before := dump(t, db)
	must(t, migrator(t, db).Up(t.Context()))
	must(t, migrator(t, db).Down(t.Context()))
	if diff := lineDiff(before, dump(t, db)); diff != "" {
		t.Errorf("down leaves:\n%s", diff)
	}
}

func TestStatusListsSteps(t *testing.T) {
	t.Parallel()
	db := testdb.Bare(t, standin.Options{})
	m := migrator(t, db)
	for _, want := range []bool{false, true} {
		steps, err := m.Status(t.Context())
		must(t, err)
		if len(steps) < 3 {
			t.Fatalf("steps: %+v", steps)
		}
		for _, s := range steps {
			if s.Applied != want {
				t.Errorf("%s: applied=%v, want %v", s.Name, s.Applied, want)
			}
		}
		must(t, m.Up(t.Context()))
	}
}

func TestUpRefusesTransactionPooler(t *testing.T) {
	t.Parallel()
	config, err := postgres.ParseURL("postgres://postgres@db.example.test:6543/postgres")
	must(t, err)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	m := &postgres.Migrator{Pool: pool, MedusaSchema: "medusa", Log: watch.Logger(t)}
	if err := m.Up(t.Context()); !errors.Is(err, postgres.ErrTransactionPooler) {
		t.Errorf("Up: %v", err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func exec(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
