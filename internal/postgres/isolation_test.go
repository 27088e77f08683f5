package postgres_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// attempts are all ways in that a catalogue can list: each must be refused to
// anon and authenticated.
func attempts(t *testing.T, pool *pgxpool.Pool) (all []string) {
	t.Helper()
	for _, sql := range []string{
		// every column of profiles, written in each way
		`select format(s, quote_ident(a.attname)) from pg_attribute a cross join unnest(array[
		  'update public.profiles set %1$s = %1$s where id = ''user_ada''', 'update public.profiles set %1$s = default',
		  'insert into public.profiles (%1$s) values (default)',
		  'insert into public.profiles (id, username) values (''user_ada'', ''x'') on conflict (id) do update set %1$s = excluded.%1$s']) s
		  where a.attrelid = 'public.profiles'::regclass and a.attnum > 0 and not a.attisdropped`,
		// every function of ours, with nothing but nulls
		`select format('select %s(%s)', p.oid::regproc, (select string_agg('null::' || format_type(a, null), ', ') from unnest(p.proargtypes) a))
		  from pg_proc p where p.pronamespace = 'lockstep'::regnamespace
		   or p.oid in ('public.create_medusa_customer(text,text,text)'::regprocedure, 'public.update_medusa_customer(text,text,text,text)'::regprocedure)`,
		// every table, view and sequence of schema lockstep
		`select format(s, c.oid::regclass) from pg_class c cross join unnest(array[
		  'select from %s', 'delete from %s', 'insert into %s default values', 'lock table %s in access share mode']) s
		  where c.relnamespace = 'lockstep'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')`,
		`select format('truncate %s', c.oid::regclass) from pg_class c where c.relnamespace = 'lockstep'::regnamespace and c.relkind = 'r'`,
		`select format(s, c.oid::regclass) from pg_class c cross join unnest(array['select from %s', 'select nextval(''%s'')', 'select setval(''%s'', 1)']) s
		  where c.relnamespace = 'lockstep'::regnamespace and c.relkind = 'S'`,
	} {
		all = append(all, list(t, pool, sql)...)
	}
	return append(all, `delete from public.profiles where id = 'user_ada'`, `truncate public.profiles`,
		`create trigger t before update on public.profiles for each row execute function suppress_redundant_updates_trigger()`,
		`create table lockstep.mine (id int)`, `create policy mine on public.profiles using (true)`, `drop policy profiles_read_own on public.profiles`,
		`alter table public.profiles disable row level security`, `create or replace view public.mine as select 1`)
}

func TestEveryAttemptIsRefused(t *testing.T) {
	t.Parallel()
	inBothGrantModes(t, func(t *testing.T, pool *pgxpool.Pool) {
		all := attempts(t, pool)
		if len(all) < 150 {
			t.Fatalf("only %d attempts", len(all))
		}
		before := snapshot(t, pool)
		for _, role := range []string{"anon", "authenticated"} {
			for _, sql := range all {
				if rows, state := as(t, pool, role, "user_eve", sql); state != denied {
					t.Errorf("%s: %s: %d rows, %q, want %s", role, sql, rows, state, denied)
				}
			}
		}
		if after := snapshot(t, pool); after != before {
			t.Errorf("something was written: %s, then %s", before, after)
		}
	})
}

// Nobody learns anything of another's profile, whatever the claims say.
func TestNoClaimShowsAnothersProfile(t *testing.T) {
	t.Parallel()
	inBothGrantModes(t, func(t *testing.T, pool *pgxpool.Pool) {
		for _, sub := range []string{"user_eve", "", "null", "%", "user_%", "user_ada' or true --", "USER_ADA", " user_ada", "user_ada ", "user_gone"} {
			for _, sql := range []string{
				`select 1 from public.profiles where id = 'user_ada'`,
				`select 1 from public.profiles p where p.email like 'ada%'`,
				`select 1 from (select count(*) as n from public.profiles where id in ('user_ada', 'user_gone')) x where n > 0`,
				`select 1 from public.profiles p where exists (select from public.profiles o where o.id = 'user_ada')`,
			} {
				if rows, state := as(t, pool, "authenticated", sub, sql); rows != 0 || state != "" {
					t.Errorf("sub %q: %s: %d rows, %q", sub, sql, rows, state)
				}
			}
		}
	})
}

// With the definitions of the plan that Lockstep grew from, the same attempts
// succeed: the tests above can fail.
func TestTheSeedsDefinitionsAreOpen(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t, testdb.New(t), "")
	profiles, err := os.ReadFile("testdata/seed_profiles.sql")
	must(t, err)
	functions, err := os.ReadFile("../../medusa/testdata/seed_functions.sql")
	must(t, err)
	exec(t, pool, string(profiles)+strings.ReplaceAll(string(functions), "public.", "seed."))
	const rows = `insert into seed.profiles (id, username) values ('user_ada', 'ada'), ('user_eve', 'eve') on conflict do nothing`
	for _, role := range []string{"anon", "authenticated"} {
		exec(t, pool, rows)
		for _, sql := range []string{
			`select * from seed.profiles where id = 'user_ada'`,
			fmt.Sprintf(`select seed.create_medusa_customer('%s@example.test')`, role),
			fmt.Sprintf(`select seed.update_medusa_customer(id, '%[1]s@evil.test') from (select seed.create_medusa_customer('%[1]s@example.test') as id) x`, role),
			`truncate seed.profiles`,
		} {
			if n, state := as(t, pool, role, "user_eve", sql); state != "" || n != 1 && !strings.HasPrefix(sql, "truncate") {
				t.Errorf("%s: %s: %d rows, %q, want it to succeed", role, sql, n, state)
			}
		}
	}
	// And what it means to allow fails: Clerk's ids are no uuids.
	exec(t, pool, rows)
	if _, state := as(t, pool, "authenticated", "user_ada", `update seed.profiles set username = 'x' where id = 'user_ada'`); state != "22P02" {
		t.Errorf("update of the own row: %q, want 22P02", state)
	}
}

// snapshot tells whether anything was written.
func snapshot(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	return testdb.Query[string](t, pool, `select md5(string_agg(p::text, ',' order by id)) || (select count(*) from medusa.customer)
		|| (select count(*) from lockstep.deliveries) from public.profiles p`)
}
