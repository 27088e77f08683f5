package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// as runs sql the way Supabase's API does: one transaction, the caller's role
// and claims. It reports the number of rows and the SQLSTATE of a refusal.
func as(t *testing.T, pool *pgxpool.Pool, role, sub, sql string) (rows int64, state string) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		claims := fmt.Sprintf(`{"sub":%q,"role":%q}`, sub, role)
		if _, err := tx.Exec(t.Context(), `select set_config('request.jwt.claims', $1, true)`, claims); err != nil {
			return err
		}
		if _, err := tx.Exec(t.Context(), `set local role `+role); err != nil {
			return err
		}
		tag, err := tx.Exec(t.Context(), sql)
		rows = tag.RowsAffected()
		return err
	})
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return rows, pg.Code
	}
	if err != nil {
		t.Fatal(err)
	}
	return rows, ""
}

// inBothGrantModes runs f on a migrated database with one profile each for
// user_ada and user_eve, and user_gone, who is deleted.
func inBothGrantModes(t *testing.T, f func(t *testing.T, pool *pgxpool.Pool)) {
	for _, grants := range []bool{false, true} {
		t.Run(fmt.Sprintf("automatic grants %v", grants), func(t *testing.T) {
			t.Parallel()
			db := testdb.Migrated(t, standin.Options{AutoGrants: grants, MedusaSchema: testdb.MedusaSchema})
			pool := testdb.Pool(t, db, "")
			exec(t, pool, `insert into public.profiles (id, username, email, deleted_at) values
				('user_ada', 'ada', 'ada@example.test', null), ('user_eve', 'eve', 'eve@example.test', null),
				('user_gone', 'gone', null, now())`)
			f(t, pool)
		})
	}
}

const denied = "42501"

func TestUsersReadOnlyTheirOwnProfile(t *testing.T) {
	t.Parallel()
	inBothGrantModes(t, func(t *testing.T, pool *pgxpool.Pool) {
		for _, tt := range []struct {
			role, sub string
			rows      int64
			state     string
		}{
			{"authenticated", "user_ada", 1, ""},
			{"authenticated", "user_gone", 0, ""},
			{"authenticated", "user_nobody", 0, ""},
			{"authenticated", "", 0, ""},
			{"anon", "user_ada", 0, denied},
			{"service_role", "", 3, ""},
		} {
			rows, state := as(t, pool, tt.role, tt.sub, `select * from public.profiles`)
			if rows != tt.rows || state != tt.state {
				t.Errorf("%s %q: %d rows, %q; want %d, %q", tt.role, tt.sub, rows, state, tt.rows, tt.state)
			}
		}
		if rows, _ := as(t, pool, "authenticated", "user_ada", `select 1 from public.profiles where id = 'user_eve'`); rows != 0 {
			t.Error("ada reads eve's profile")
		}
	})
}

func TestUsersWriteNothing(t *testing.T) {
	t.Parallel()
	inBothGrantModes(t, func(t *testing.T, pool *pgxpool.Pool) {
		for _, role := range []string{"anon", "authenticated"} {
			for _, sql := range []string{
				`insert into public.profiles (id, username) values ('user_new', 'x')`,
				`update public.profiles set email = 'eve@example.test', email_verified = true`,
				`update public.profiles set email_verified = true where id = 'user_ada'`,
				`delete from public.profiles`,
				`truncate public.profiles`,
			} {
				if _, state := as(t, pool, role, "user_ada", sql); state != denied {
					t.Errorf("%s: %s: %q, want %s", role, sql, state, denied)
				}
			}
		}
		if rows, state := as(t, pool, "service_role", "", `update public.profiles set username = 'ada2' where id = 'user_ada'`); rows != 1 || state != "" {
			t.Errorf("the application's own server may write: %d rows, %q", rows, state)
		}
	})
}

// The tests above can fail: undone, the same attempts succeed.
func TestPrivilegeTestsCanFail(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t, testdb.New(t), "")
	exec(t, pool, `insert into public.profiles (id, username) values ('user_ada', 'ada'), ('user_eve', 'eve')`)
	exec(t, pool, `alter table public.profiles disable row level security; grant all on public.profiles to authenticated`)
	if rows, state := as(t, pool, "authenticated", "user_ada", `select * from public.profiles`); rows != 2 || state != "" {
		t.Errorf("%d rows, %q", rows, state)
	}
	if _, state := as(t, pool, "authenticated", "user_ada", `update public.profiles set email_verified = true`); state != "" {
		t.Errorf("update: %q", state)
	}
}

func TestSchemaLockstepIsClosed(t *testing.T) {
	t.Parallel()
	inBothGrantModes(t, func(t *testing.T, pool *pgxpool.Pool) {
		tables := list(t, pool, `select format('select 1 from %s', c.oid::regclass) from pg_class c
			where c.relnamespace = 'lockstep'::regnamespace and c.relkind in ('r', 'v', 'p', 'm')`)
		if len(tables) < 8 {
			t.Fatalf("only %d tables in schema lockstep", len(tables))
		}
		for _, role := range []string{"anon", "authenticated", "service_role"} {
			for _, sql := range tables {
				if _, state := as(t, pool, role, "user_ada", sql); state != denied {
					t.Errorf("%s: %s: %q, want %s", role, sql, state, denied)
				}
			}
		}
		open := list(t, pool, `select c.oid::regclass::text from pg_class c
			where c.relnamespace = 'lockstep'::regnamespace and c.relkind in ('r', 'p') and not c.relrowsecurity`)
		if len(open) > 0 {
			t.Errorf("row-level security is off on %s", strings.Join(open, ", "))
		}
	})
}

func TestFunctionsAreForTheServerOnly(t *testing.T) {
	t.Parallel()
	inBothGrantModes(t, func(t *testing.T, pool *pgxpool.Pool) {
		public := map[string]bool{"create_medusa_customer": true, "update_medusa_customer": true}
		rows, err := pool.Query(t.Context(), `
			select p.proname, p.prosecdef, coalesce(p.proconfig @> array['search_path=pg_catalog, pg_temp'], false), r.rolname,
			       has_function_privilege(r.oid, p.oid, 'execute') and has_schema_privilege(r.oid, n.oid, 'usage')
			  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
			 cross join (select oid, rolname from pg_roles where rolname in ('anon', 'authenticated', 'service_role')) r
			 where n.nspname = 'lockstep' or n.nspname = 'public' and p.proname like '%medusa%'`)
		must(t, err)
		var name, role string
		var definer, path, may bool
		n := 0
		_, err = pgx.ForEachRow(rows, []any{&name, &definer, &path, &role, &may}, func() error {
			n++
			if want := role == "service_role" && public[name]; may != want {
				t.Errorf("%s may execute %s: %v, want %v", role, name, may, want)
			}
			if !path {
				t.Errorf("%s: search_path is not fixed", name)
			}
			if public[name] && !definer {
				t.Errorf("%s: not security definer", name)
			}
			return nil
		})
		must(t, err)
		if n < 3*len(public) {
			t.Errorf("looked at %d functions and roles only", n)
		}
	})
}

func list(t *testing.T, pool *pgxpool.Pool, sql string) []string {
	t.Helper()
	rows, err := pool.Query(context.Background(), sql)
	must(t, err)
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	return out
}
