package postgres_test

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/localpg/pgtest"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
)

//go:embed testdata/adopt
var fixtures embed.FS

// adoptee is the SQL of a database that is wrong in a way of its own.
func adoptee(t testing.TB, name string) string {
	t.Helper()
	read := func(file string) string {
		data, err := fixtures.ReadFile("testdata/adopt/" + file)
		must(t, err)
		return string(data)
	}
	sql := read(name + ".sql")
	if strings.HasPrefix(sql, "-- base\n") {
		sql = read("base.inc") + sql
	}
	return sql
}

func fixtureNames(t *testing.T) (names []string) {
	t.Helper()
	files, err := fs.Glob(fixtures, "testdata/adopt/*.sql")
	must(t, err)
	for _, f := range files {
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(f, "testdata/adopt/"), ".sql"))
	}
	return names
}

// foreign makes a database and has sql run in it as Supabase's postgres.
func foreign(t *testing.T, grants bool, sql string) pgtest.DB {
	t.Helper()
	db := testdb.Bare(t, standin.Options{AutoGrants: grants, MedusaSchema: testdb.MedusaSchema})
	exec(t, testdb.Pool(t, db, standin.Owner), sql)
	return db
}

// rows reads all of the application's tables as text: uuid or text, an id reads
// the same. Columns and tables that are not in like are left out.
func rows(t *testing.T, pool *pgxpool.Pool, like map[string]string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range list(t, pool, `select c.oid::regclass::text from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'm') and c.relispopulated`) {
		columns := like[name]
		if like == nil {
			columns = testdb.Query[string](t, pool, `select string_agg(quote_ident(attname), ', ' order by attname) from pg_attribute
				where attrelid = $1::text::regclass and attnum > 0 and not attisdropped`, name)
		}
		if columns == "" {
			continue
		}
		out[name] = columns
		out[name+" rows"] = testdb.Query[string](t, pool, fmt.Sprintf(
			`select count(*) || ' ' || coalesce(string_agg(to_jsonb(r)::text, E'\n' order by to_jsonb(r)::text), '') from (select %s from %s) r`, columns, name))
	}
	return out
}

func eachFixture(t *testing.T, f func(t *testing.T, db pgtest.DB, name string)) {
	for _, name := range fixtureNames(t) {
		for _, grants := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/automatic grants %v", name, grants), func(t *testing.T) {
				t.Parallel()
				f(t, foreign(t, grants, adoptee(t, name)), name)
			})
		}
	}
}

// stays is what down cannot give back, per database.
var stays = map[string]string{
	"half_key": "+constraint profiles_pkey on profiles PRIMARY KEY (id) comment=\n" +
		"+index CREATE UNIQUE INDEX profiles_pkey ON public.profiles USING btree (id) clustered=f comment=",
}

func TestAdopt(t *testing.T) {
	t.Parallel()
	eachFixture(t, func(t *testing.T, db pgtest.DB, name string) {
		pool := testdb.Pool(t, db, "")
		m := migrator(t, db)
		var notes []string
		m.Progress = func(note string) { notes = append(notes, note) }
		before, data := dump(t, db), rows(t, pool, nil)

		must(t, m.Up(t.Context()))
		up := dump(t, db)
		if diff := cmp.Diff(data, rows(t, pool, data)); diff != "" {
			t.Errorf("rows changed:\n%s", diff)
		}
		verify(t, pool)
		must(t, m.Up(t.Context()))
		if diff := cmp.Diff(up, dump(t, db)); diff != "" {
			t.Errorf("up again changed something:\n%s", diff)
		}

		notes = nil
		must(t, m.Down(t.Context()))
		left := slices.DeleteFunc(notes, func(n string) bool { return !strings.HasPrefix(n, "not given back: ") })
		if diff := lineDiff(before, dump(t, db)); diff != stays[name] || (diff != "") != (len(left) > 0) {
			t.Errorf("down says %q, and leaves:\n%s", left, diff)
		}
		if diff := cmp.Diff(data, rows(t, pool, data)); diff != "" {
			t.Errorf("down changed rows:\n%s", diff)
		}
		must(t, m.Up(t.Context()))
		if diff := lineDiff(up, dump(t, db)); diff != "" {
			t.Errorf("up after down differs:\n%s", diff)
		}
	})
}

// lineDiff lists the lines that only one side has.
func lineDiff(a, b string) string {
	var out []string
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for _, side := range []struct {
		sign       string
		own, other []string
	}{{"-", as, bs}, {"+", bs, as}} {
		has := map[string]bool{}
		for _, line := range side.other {
			has[line] = true
		}
		for _, line := range side.own {
			if !has[line] {
				out = append(out, side.sign+line)
			}
		}
	}
	return strings.Join(out, "\n")
}

// verify asks the recipe's own questions, and compares Lockstep's part with a
// fresh installation's.
func verify(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	for sql, want := range map[string]int{
		`select count(*) from information_schema.table_constraints where table_name = 'profiles' and constraint_name = 'profiles_id_fkey'`:                                0,
		`select count(*) from information_schema.triggers where trigger_name = 'on_auth_user_created'`:                                                                    0,
		`select count(*) from information_schema.routines where routine_name = 'handle_new_user'`:                                                                         0,
		`select count(*) from information_schema.columns where table_schema = 'public' and table_name = 'profiles' and column_name = 'id' and data_type = 'text'`:         1,
		`select count(*) from information_schema.columns where table_schema = 'public' and table_name = 'profiles' and column_name = 'medusa_customer_id'`:                1,
		`select count(*) from pg_indexes where tablename = 'profiles' and indexname = 'idx_profiles_medusa_customer_id'`:                                                  1,
		`select count(*) from pg_constraint where conrelid = 'public.profiles'::regclass and contype = 'p' and pg_get_constraintdef(oid) = 'PRIMARY KEY (id)'`:            1,
		`select count(*) from pg_policies where (qual ~ 'auth\.uid\(\)' or with_check ~ 'auth\.uid\(\)') and tablename not in ('sessions')`:                               0,
		`select count(*) from pg_policies where tablename = 'profiles' and permissive = 'PERMISSIVE' and policyname <> 'profiles_read_own' and roles <> '{service_role}'`: 0,
		`select count(*) from pg_policies where tablename = 'profiles' and policyname = 'profiles_read_own' and roles = '{authenticated}' and cmd = 'SELECT'
		  and qual = '(((( SELECT auth.jwt() AS jwt) ->> ''sub''::text) = id) AND (deleted_at IS NULL))'`: 1,
		`select count(*) from information_schema.role_table_grants where table_schema = 'public' and table_name = 'profiles' and grantee = 'anon'`:                                         0,
		`select count(*) from information_schema.role_column_grants where table_schema = 'public' and table_name = 'profiles' and grantee = 'anon'`:                                        0,
		`select count(*) from information_schema.role_table_grants where table_schema = 'public' and table_name = 'profiles' and grantee = 'authenticated' and privilege_type <> 'SELECT'`: 0,
		`select count(*) from pg_attribute where attrelid = 'public.profiles'::regclass and attname = any('{username,avatar_url,email,email_verified,first_name,last_name,phone,phone_verified,
		  banned,medusa_customer_id,clerk_updated_at,deleted_at,created_at,updated_at}')`: 14,
	} {
		if n := testdb.Query[int](t, pool, sql); n != want {
			t.Errorf("%d, want %d: %s", n, want, sql)
		}
	}
}

func TestAdoptInParallel(t *testing.T) {
	t.Parallel()
	db := foreign(t, false, adoptee(t, "references"))
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := migrator(t, db).Up(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	once := foreign(t, false, adoptee(t, "references"))
	must(t, migrator(t, once).Up(t.Context()))
	if diff := lineDiff(dump(t, once), dump(t, db)); diff != "" {
		t.Errorf("two runs at once differ from one:\n%s", diff)
	}
}

// A migration that is killed has either not happened or happened: it is killed
// at each of its phases in turn.
func TestAdoptKilled(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"references", "views"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := foreign(t, false, adoptee(t, name))
			must(t, migrator(t, whole).Up(t.Context()))
			after := dump(t, whole)
			db := foreign(t, false, adoptee(t, name))
			pool, before := testdb.Pool(t, db, ""), dump(t, db)
			killed := 0
			for at := 1; ; at++ {
				m, seen := migrator(t, db), 0
				m.Progress = func(string) {
					if seen++; seen == at {
						exec(t, pool, `select pg_terminate_backend(pid, 10000) from pg_stat_activity
							where datname = current_database() and usename = 'postgres' and state <> 'idle'`)
					}
				}
				err := m.Up(t.Context())
				if err == nil {
					break
				}
				killed++
				if now := dump(t, db); now != before && now != after {
					t.Errorf("killed at phase %d, it is in between:\n%s", at, lineDiff(before, now))
				}
			}
			if diff := lineDiff(after, dump(t, db)); diff != "" || killed < 5 {
				t.Errorf("killed %d times, at last:\n%s", killed, diff)
			}
		})
	}
}

func TestAdoptWaitsNotForEver(t *testing.T) {
	t.Parallel()
	db := foreign(t, false, adoptee(t, "recipe"))
	before := dump(t, db)
	tx, err := testdb.Pool(t, db, "").Begin(t.Context())
	must(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	_, err = tx.Exec(t.Context(), `select 1 from public.profiles limit 1`)
	must(t, err)
	m := migrator(t, db)
	m.LockTimeout = time.Millisecond
	if err := m.Up(t.Context()); !errors.Is(err, postgres.ErrLocked) {
		t.Errorf("Up: %v", err)
	}
	if diff := lineDiff(before, dump(t, db)); diff != "" {
		t.Errorf("it changed something:\n%s", diff)
	}
	must(t, tx.Rollback(t.Context()))
	must(t, m.Up(t.Context()))
}

// What is in the way is named, with what to type; the database stays as it was,
// and the migration works once that is typed.
func TestAdoptRefuses(t *testing.T) {
	t.Parallel()
	const plain = `create table public.profiles (id uuid primary key, username text);`
	for name, tt := range map[string]struct{ sql, want, remedy string }{
		"a view":                 {`create view public.profiles as select 1 as id`, `public\.profiles is a view`, `alter view public.profiles rename to people`},
		"a partitioned table":    {`create table public.profiles (id uuid) partition by hash (id)`, `is a partitioned table`, `alter table public.profiles rename to people`},
		"no id":                  {`create table public.profiles (user_id uuid primary key)`, `no column id; type: alter table public\.profiles rename column`, `alter table public.profiles rename column user_id to id`},
		"a number":               {`create table public.profiles (id bigint primary key)`, `public\.profiles\.id is of type bigint`, `alter table public.profiles alter column id type varchar using id::varchar`},
		"another primary key":    {`create table public.profiles (n int primary key, id uuid)`, `the primary key .* type: alter table public\.profiles drop constraint profiles_pkey`, `alter table public.profiles drop constraint profiles_pkey, alter column n drop not null`},
		"two rows with one id":   {`create table public.profiles (id uuid); insert into public.profiles values (null)`, `rows without an id`, `delete from public.profiles`},
		"another table's owner":  {plain + `; alter table public.profiles owner to supabase_admin`, `belongs to supabase_admin, and you are postgres`, `alter table public.profiles owner to postgres`},
		"a column of its rows":   {plain + `create table public.log (p public.profiles)`, `public\.log\.p holds rows .* type: alter table public\.log drop column p`, `alter table public.log drop column p`},
		"a second reference":     {plain + `create table public.posts (u uuid references public.profiles, foreign key (u) references auth.users)`, `type: alter table public\.posts drop constraint posts_u_fkey`, `alter table public.posts drop constraint posts_u_fkey1`},
		"a partition key":        {plain + `create table public.log (u uuid references public.profiles) partition by hash (u)`, `public\.log\.u is part of the partition key`, `alter table public.log drop constraint log_u_fkey`},
		"a wrong type":           {`create table public.profiles (id uuid primary key, username int, created_at timestamp)`, `username is of type integer, Lockstep needs text; type: alter table public\.profiles alter column username type text`, `alter table public.profiles alter column username type text, alter column created_at type timestamptz using created_at at time zone 'UTC'`},
		"a column that must be":  {plain + `alter table public.profiles add full_name text not null`, `type: alter table public\.profiles alter column full_name drop not null`, `alter table public.profiles alter column full_name drop not null`},
		"names that are unique":  {plain + `alter table public.profiles add unique (username)`, `type: alter table public\.profiles drop constraint profiles_username_key`, `alter table public.profiles drop constraint profiles_username_key`},
		"an index of such":       {plain + `create unique index lower_name on public.profiles (lower(username))`, `type: drop index public\.lower_name`, `drop index public.lower_name`},
		"a generated name":       {`create table public.profiles (id uuid primary key, a text, username text generated always as (a) stored)`, `type: alter table public\.profiles alter column username drop expression`, `alter table public.profiles alter column username drop expression`},
		"a foreign view":         {plain + `create view public.v as select id from public.profiles; alter view public.v owner to supabase_admin`, `view public\.v belongs to supabase_admin`, `alter view public.v owner to postgres`},
		"a default by function":  {plain + `create function public.n() returns bigint language sql begin atomic select count(id) from public.profiles; end; create table public.t (n bigint default public.n())`, `default value for column n of table public\.t hangs on the key`, `alter table public.t alter column n drop default`},
		"a comparison with uuid": {plain + `create table public.t (u uuid); create view public.v as select p.id from public.profiles p join public.t on t.u = p.id`, `view public\.v: operator does not exist: uuid = text; it does not fit`, `drop view public.v`},
		"a policy of that kind":  {plain + `create table public.t (u uuid, p uuid references public.profiles); create policy "Mine" on public.t using (coalesce(u, auth.uid()) = p)`, `policy "?Mine"? on table public\.t: .*uuid.*; it does not fit`, `drop policy "Mine" on public.t`},
		"a check of that kind":   {plain + `alter table public.profiles add check (id <> '00000000-0000-4000-8000-000000000000'::uuid)`, `public\.profiles: operator does not exist: text <> uuid`, `alter table public.profiles drop constraint profiles_id_check`},
		"a trigger elsewhere":    {plain + `create function public.handle_new_user() returns trigger language plpgsql as 'begin return new; end'; create table public.t (); create trigger x before insert on public.t for each row execute function public.handle_new_user()`, `type: drop trigger x on public\.t`, `drop trigger x on public.t`},
		"a foreign function":     {plain + `create function public.handle_new_user() returns trigger language plpgsql as 'begin return new; end'; alter function public.handle_new_user() owner to supabase_admin`, `function public\.handle_new_user\(\) belongs to supabase_admin`, `alter function public.handle_new_user() owner to postgres`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := testdb.Bare(t, standin.Options{MedusaSchema: testdb.MedusaSchema})
			super := testdb.Pool(t, db, "")
			exec(t, super, `set role postgres; `+strings.Replace(tt.sql, "; alter", "; reset role; alter", 1)+`; reset role`)
			before := dump(t, db)
			err := migrator(t, db).Up(t.Context())
			if _, ok := errors.AsType[*postgres.RefusedError](err); !ok || !regexp.MustCompile(tt.want).MatchString(err.Error()) {
				t.Fatalf("Up: %v\nwant %s", err, tt.want)
			}
			if diff := lineDiff(before, dump(t, db)); diff != "" {
				t.Errorf("a refused migration changed something:\n%s", diff)
			}
			exec(t, super, tt.remedy)
			must(t, migrator(t, db).Up(t.Context()))
		})
	}
}

// Everything that stands in the way is named at once.
func TestAdoptNamesAll(t *testing.T) {
	t.Parallel()
	db := foreign(t, false, `create table public.profiles (id bigint primary key, username text unique, full_name text not null)`)
	err := migrator(t, db).Up(t.Context())
	if refused, ok := errors.AsType[*postgres.RefusedError](err); !ok || len(refused.Obstacles) != 3 {
		t.Errorf("Up: %v", err)
	}
}

// Clerk's ids work in what was made anew.
func TestAdoptedFunctionsTakeClerksIDs(t *testing.T) {
	t.Parallel()
	db := foreign(t, false, adoptee(t, "functions"))
	must(t, migrator(t, db).Up(t.Context()))
	pool := testdb.Pool(t, db, standin.Owner)
	exec(t, pool, `insert into public.profiles (id, username, bio) values ('user_2abc', 'ada', 'x')`)
	exec(t, pool, `insert into public.visits (user_id) values ('user_2abc')`)
	for sql, want := range map[string]string{
		`select public.name_of('user_2abc')`:                                                     "ada",
		`select label from public.labelled where id = 'user_2abc'`:                               "ada x",
		`select public.label(p) from public.profiles p where id = 'user_2abc'`:                   "ada x",
		`select username from public.mine() where id = 'user_2abc'`:                              "ada",
		`select (public.first_profile()).username`:                                               "user 1",
		`select public.visits_of('user_2abc')::text`:                                             "1",
		`select public.is_regular('user_2abc')::text`:                                            "false",
		`select obj_description('public.is_regular(text,int)'::regprocedure)`:                    "Often here.",
		`select has_function_privilege('anon', 'public.is_regular(text,int)', 'execute')::text`:  "false",
		`select public.people_count()::text`:                                                     "51",
		`select obj_description('public.name_of(text)'::regprocedure)`:                           "Of the uuid.",
		`select has_function_privilege('service_role', 'public.name_of(text)', 'execute')::text`: "true",
	} {
		if got := testdb.Query[string](t, pool, sql); got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
	for _, tt := range []struct {
		sub, sql, state string
		rows            int64
	}{
		{"user_2abc", `select 1 from public.visits where user_id = 'user_2abc'`, "", 1},
		{"user_2abc", `insert into public.visits (user_id) values ('user_2abc')`, denied, 0}, // no regular
		{"00000000-0000-4000-8000-000000000013", `insert into public.visits (user_id) values ('00000000-0000-4000-8000-000000000013')`, "", 1},
		{"user_2abc", `select public.am_i_regular()`, "", 1},
	} {
		if n, state := as(t, pool, "authenticated", tt.sub, tt.sql); n != tt.rows || state != tt.state {
			t.Errorf("%s: %s: %d rows, %q", tt.sub, tt.sql, n, state)
		}
	}
}

// An adopted table takes Clerk's users beside its own rows, and those read as
// what is known of them: nobody has verified their addresses.
func TestAdoptedTableTakesUsers(t *testing.T) {
	t.Parallel()
	db := foreign(t, true, adoptee(t, "contents"))
	must(t, migrator(t, db).Up(t.Context()))
	pool := testdb.Pool(t, db, standin.Owner)
	f := fixture{postgres.NewStore(pool), pool}
	for _, id := range list(t, pool, `select id from public.profiles`) {
		if p := f.profile(t, id); p.EmailVerified || p.Email == "" || p.CreatedAt.IsZero() || !p.ClerkUpdatedAt.IsZero() {
			t.Errorf("%+v", p)
		}
	}
	before := testdb.Query[int](t, pool, `select count(*) from public.profiles`)
	f.accept(t, version("m1", 100, "a@x.test"))
	if p := f.profile(t, "user_1"); !p.EmailVerified || p.Email != "a@x.test" {
		t.Errorf("%+v", p)
	}
	f.accept(t, deletion("m2"), lockstep.Delivery{Source: "clerk", ID: "m3", Kind: "user.deleted", User: lockstep.User{ID: "user_2", Deleted: true}})
	if n := testdb.Query[int](t, pool, `select count(*) from public.profiles where deleted_at is null`); n != before {
		t.Errorf("%d living profiles, want %d", n, before)
	}
}

// With Clerk's token a user reads their own row of an adopted table and nothing
// else, and writes none; before, the same attempts succeeded.
func TestAdoptedTableIsClosed(t *testing.T) {
	t.Parallel()
	for _, grants := range []bool{false, true} {
		t.Run(fmt.Sprintf("automatic grants %v", grants), func(t *testing.T) {
			t.Parallel()
			db := foreign(t, grants, adoptee(t, "half_text")+`
				grant select, insert, update on public.profiles to anon, authenticated;
				create policy "Open" on public.profiles for all using (true) with check (true);
				drop policy "Own profile" on public.profiles`)
			pool := testdb.Pool(t, db, "")
			attempts := map[string]struct {
				rows  int64
				state string
			}{
				`select * from public.profiles`:                                     {1, ""},
				`select * from public.profiles where id = 'user_2'`:                 {0, ""},
				`update public.profiles set username = 'x' where id = 'user_1'`:     {0, denied},
				`insert into public.profiles (id, username) values ('user_x', 'x')`: {0, denied},
			}
			for sql := range attempts {
				if n, state := as(t, pool, "authenticated", "user_1", sql); n == 0 || state != "" {
					t.Errorf("before: %s: %d rows, %q", sql, n, state)
				}
			}
			must(t, migrator(t, db).Up(t.Context()))
			for sql, want := range attempts {
				if n, state := as(t, pool, "authenticated", "user_1", sql); n != want.rows || state != want.state {
					t.Errorf("%s: %d rows, %q; want %d, %q", sql, n, state, want.rows, want.state)
				}
				if n, state := as(t, pool, "anon", "user_1", sql); n != 0 || state != denied {
					t.Errorf("anon: %s: %d rows, %q", sql, n, state)
				}
			}
		})
	}
}

// However many columns change or come, a table is written anew once.
func TestAdoptWritesEachTableOnce(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"references", "columns"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := foreign(t, false, adoptee(t, name))
			super := testdb.Pool(t, db, "")
			exec(t, super, `
				create schema counting; grant all on schema counting to public;
				create table counting.rewrites (rel text); grant all on counting.rewrites to public;
				create function counting.count() returns event_trigger language plpgsql as
				  'begin insert into counting.rewrites values (pg_event_trigger_table_rewrite_oid()::regclass::text); end';
				create event trigger count on table_rewrite execute function counting.count()`)
			must(t, migrator(t, db).Up(t.Context()))
			if twice := list(t, super, `select rel from counting.rewrites where rel not like 'lockstep.%' group by rel having count(*) > 1`); len(twice) > 0 {
				t.Errorf("written anew more than once: %v", twice)
			}
			if n := testdb.Query[int](t, super, `select count(*) from counting.rewrites where rel ~ 'profiles$'`); n != 1 {
				t.Errorf("profiles was written anew %d times", n)
			}
		})
	}
}
