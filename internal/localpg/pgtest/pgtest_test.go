package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lockstephq/lockstep/internal/localpg"
)

func TestParallelTestsGetTheirOwn(t *testing.T) {
	t.Parallel()
	running(t) // skips without PostgreSQL
	var prepared atomic.Int32
	prepare := func(ctx context.Context, target string) error {
		prepared.Add(1)
		return run(ctx, target, "create table things (n int); insert into things values (1)")
	}
	template := rand.Text() // of this run: -count has the process go on
	t.Run("all", func(t *testing.T) {
		for _, name := range []string{"a", "b", "c", "d"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				db := New(t, template, prepare)
				exec(t, db.Superuser(), "insert into things values (2)")
				if got := ask(t, db.Superuser(), "select count(*)::text from things"); got != "2" {
					t.Errorf("%s rows, want the template's one and our own", got)
				}
			})
		}
	})
	if got := prepared.Load(); got != 1 {
		t.Errorf("prepared %d times, want once", got)
	}
}

func TestOwnerAndRole(t *testing.T) {
	t.Parallel()
	db := New(t, "owned", func(ctx context.Context, target string) error {
		return run(ctx, target, `
			do $$ begin
				if not exists (select from pg_roles where rolname = 'pgtest_role') then
					create role pgtest_role login;
				end if;
				execute format('alter database %I owner to pgtest_role', current_database());
			end $$`)
	})
	const sql = "select pg_get_userbyid(datdba) || ' ' || current_user from pg_database where datname = current_database()"
	if got := ask(t, db.URL("pgtest_role"), sql); got != "pgtest_role pgtest_role" {
		t.Errorf("owner and user: %s", got)
	}
}

func TestLeftConnectionsDoNotMatter(t *testing.T) {
	t.Parallel()
	var left *pgx.Conn
	template := rand.Text()
	db := New(t, template, func(ctx context.Context, target string) (err error) {
		left, err = pgx.Connect(context.WithoutCancel(ctx), target)
		return err
	})
	t.Cleanup(func() { _ = left.Close(context.Background()) })
	var gone string
	t.Run("test", func(t *testing.T) {
		inner := New(t, template, nil)
		conn, err := pgx.Connect(t.Context(), inner.Superuser())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		gone = inner.name
	})
	if got := count(t, db.Superuser(), gone); got != "0" {
		t.Error("the ended test's database is still there")
	}
}

func TestFailedPreparationIsRunOnce(t *testing.T) {
	t.Parallel()
	s := running(t)
	runs := 0
	failure := errors.New("no")
	prepare := func(context.Context, string) error { runs++; return failure }
	template := rand.Text()
	for range 2 {
		if _, err := s.template(t.Context(), template, prepare); !errors.Is(err, failure) {
			t.Errorf("got %v, want the preparation's error", err)
		}
	}
	if runs != 1 {
		t.Errorf("ran %d times, want once", runs)
	}
}

// TestGivenServer plays three test binaries on one given server.
func TestGivenServer(t *testing.T) {
	t.Parallel()
	if _, err := localpg.FindBinaries(); err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	cluster, err := localpg.Start(t.Context(), localpg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	given := cluster.URL("", "")
	dead, living := binary(t, given), binary(t, given)
	if err := dead.s.keeper.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The server may take a moment to see that the dead one's keeper is gone.
	poll(t, "the sweep", func() bool {
		next, err := open(t.Context(), given)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = next.keeper.Close(t.Context()) }()
		return count(t, given, dead.template) == "0"
	})
	if got := count(t, given, living.template); got != "1" {
		t.Error("swept a living process's template")
	}
}

type binaryOnServer struct {
	s        *server
	template string
}

func binary(t *testing.T, given string) binaryOnServer {
	t.Helper()
	s, err := open(t.Context(), given)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.keeper.Close(context.Background()) })
	template, err := s.template(t.Context(), "t", func(context.Context, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return binaryOnServer{s: s, template: template}
}

func TestURL(t *testing.T) {
	t.Parallel()
	base, err := url.Parse("postgres://admin:secret@db.example:5433/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	db := DB{base: *base, name: "mine"}
	const super = "postgres://admin:secret@db.example:5433/mine?sslmode=disable"
	if got := db.Superuser(); got != super {
		t.Errorf("superuser: %s", got)
	}
	if got := db.URL("app"); got != "postgres://app@db.example:5433/mine?sslmode=disable" {
		t.Errorf("app: %s", got)
	}
}

func TestGivenMustBeURL(t *testing.T) {
	t.Parallel()
	_, err := open(t.Context(), "host=x password=secret%zz")
	if err == nil || !strings.Contains(err.Error(), variable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v, want what to write and no password", err)
	}
}

func run(ctx context.Context, target, sql string) error {
	conn, err := pgx.Connect(ctx, target)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, sql)
	return err
}

func exec(t *testing.T, target, sql string) {
	t.Helper()
	if err := run(t.Context(), target, sql); err != nil {
		t.Fatal(err)
	}
}

func ask(t *testing.T, target, sql string, args ...any) (text string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

// count tells how many databases have the name.
func count(t *testing.T, target, database string) string {
	t.Helper()
	return ask(t, target, "select count(*)::text from pg_database where datname = $1", database)
}

// poll waits until done, and fails the test after a generous while.
func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
