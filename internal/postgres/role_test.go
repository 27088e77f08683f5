package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/internal/watch"
)

// refused runs sql and wants the code of a missing privilege.
func refused(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	_, err := pool.Exec(t.Context(), sql)
	if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != denied {
		t.Errorf("%s: %v, want %s", sql, err, denied)
	}
}

func TestRoleMayNothingElse(t *testing.T) {
	t.Parallel()
	for _, grants := range []bool{false, true} {
		t.Run(fmt.Sprintf("automatic grants %v", grants), func(t *testing.T) {
			t.Parallel()
			db := testdb.Migrated(t, standin.Options{AutoGrants: grants, MedusaSchema: testdb.MedusaSchema})
			super, role := testdb.Pool(t, db, ""), testdb.Pool(t, db, testdb.Role)
			exec(t, super, `alter table public.profiles add column of_the_application text;
				create table public.orders (id int primary key); alter table public.orders owner to postgres;
				create schema other; create table other.things (id int); create type lockstep.word as enum ('a')`)
			for _, sql := range []string{
				// what is others'
				`select * from medusa.customer`, `insert into medusa.customer (id) values ('x')`, `update medusa.customer set email = 'x'`,
				`delete from medusa.customer`, `select * from auth.users`, `select * from other.things`, `select * from public.orders`,
				`insert into public.orders values (1)`, `select rolpassword from pg_authid`, `select auth.uid()`,
				// the application's column, and rows for ever
				`select of_the_application from public.profiles`, `update public.profiles set of_the_application = 'x'`,
				`delete from public.profiles`, `truncate public.profiles`,
				// structure
				`create table public.mine (id int)`, `create table lockstep.mine (id int)`, `create schema mine`,
				`create function lockstep.mine() returns int language sql as 'select 1'`,
				`create index on public.profiles (username)`, `comment on table public.profiles is 'x'`,
				`alter table public.profiles disable row level security`, `drop table public.profiles`,
				`drop policy profiles_read_own on public.profiles`, `create policy mine on public.profiles using (true)`,
				`create trigger mine before insert on public.profiles for each row execute function suppress_redundant_updates_trigger()`,
				`drop schema lockstep cascade`, `drop type lockstep.word`, `reindex table lockstep.river_job`,
				`grant select on public.profiles to anon`, `create publication mine for table public.profiles`,
				// others' functions
				`select public.create_medusa_customer('a@example.test')`, `select public.update_medusa_customer('x', 'a@example.test')`,
				`select lockstep.medusa_write('x', null, null, null, null, null)`, `select lockstep.medusa_indexes()`,
				`select lockstep.ulid()`, `select pg_read_file('/etc/passwd')`,
				// other roles
				`set role postgres`, `set role service_role`, `set role anon`, `set session authorization postgres`,
				`create role mine`, `alter role lockstep bypassrls`, `alter role lockstep createrole`, `alter role postgres password 'x'`,
				`copy public.profiles (id) to program 'true'`, `alter system set log_statement = 'all'`,
			} {
				refused(t, role, sql)
			}
			for _, table := range list(t, super, `select relname from pg_class where relnamespace = 'lockstep'::regnamespace and relkind = 'r'`) {
				refused(t, role, `truncate lockstep.`+table)
				refused(t, role, `drop table lockstep.`+table)
				refused(t, role, `alter table lockstep.`+table+` add column mine text`)
				refused(t, role, `alter table lockstep.`+table+` disable row level security`)
			}
			for _, table := range []string{"adopted", "buckets", "migrations", "privacy_requests", "river_migration", "targets"} {
				refused(t, role, `delete from lockstep.`+table)
			}
			refused(t, role, `update lockstep.deliveries set kind = 'x'`)
			refused(t, role, `update lockstep.history set action = 'x'`)
			refused(t, role, `insert into lockstep.migrations (version_id, is_applied) values (99, true)`)
			if owned := list(t, super, `select c.oid::regclass::text from pg_class c where c.relowner = 'lockstep'::regrole`); len(owned) > 0 {
				t.Errorf("the role owns %v", owned)
			}
		})
	}
}

// The test above can fail: what is granted works, as the role.
func TestRoleMayWhatItNeeds(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	exec(t, testdb.Pool(t, db, ""), `insert into public.profiles (id, username) values ('user_ada', 'ada')`)
	role := testdb.Pool(t, db, testdb.Role)
	must(t, postgres.NewStore(role).Ping(t.Context()))
	if n := testdb.Query[int](t, role, `select count(*) from public.profiles`); n != 1 {
		t.Errorf("the role sees %d profiles of 1", n)
	}
	exec(t, role, `select lockstep.medusa_check()`)
	exec(t, role, `update public.profiles set username = 'ada2' where id = 'user_ada'`)
	exec(t, role, `delete from lockstep.river_job`)
}

// Each new table and function is a decision, not an oversight.
func TestEachObjectIsDecidedUpon(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	super := testdb.Pool(t, db, "")
	none := list(t, super, `select c.relname from pg_class c where c.relnamespace = 'lockstep'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
		and not has_table_privilege('lockstep', c.oid, 'select') order by 1`)
	if len(none) > 0 {
		t.Errorf("tables that Lockstep's role may not read: add %v to relationGrants", none)
	}
	inner := list(t, super, `select p.proname from pg_proc p where p.pronamespace = 'lockstep'::regnamespace
		and not has_function_privilege('lockstep', p.oid, 'execute')
		and p.proname not like 'adopt\_%' -- these are for migrations alone, as are adoption's steps
		and p.proname <> all(array['fix_profiles_clerk', 'change_profiles_id_to_text', 'add_medusa_customer_id']) order by 1`)
	want := []string{"hint_anybody", "hint_links_deleted", "hint_profile", "medusa_alone", "medusa_begin", "medusa_claim", "medusa_email",
		"medusa_holder", "medusa_indexes", "medusa_marked", "medusa_owner", "medusa_sign_in", "medusa_sign_out", "medusa_signed_in",
		"medusa_unmarked", "medusa_write", "ulid"}
	if diff := cmp.Diff(want, inner); diff != "" {
		t.Errorf("functions that Lockstep's role may not call; add them to functionGrants, or here:\n%s", diff)
	}
	closed := list(t, super, `select a.attname from pg_attribute a where a.attrelid = 'public.profiles'::regclass and a.attnum > 0 and not a.attisdropped
		and not has_column_privilege('lockstep', a.attrelid, a.attnum, 'select')`)
	if len(closed) > 0 {
		t.Errorf("columns of profiles that Lockstep's role may not read: add %v to profileGrants", closed)
	}
}

// ownRole is a migrator on a database of its own with a role of its own: roles
// belong to the whole server.
func ownRole(t *testing.T, name string) (*postgres.Migrator, *pgxpool.Pool) {
	t.Helper()
	db := testdb.Bare(t, standin.Options{MedusaSchema: testdb.MedusaSchema})
	m, super := migrator(t, db), testdb.Pool(t, db, "")
	m.Role.Name = name
	t.Cleanup(func() { // a given server outlives the test
		sql := fmt.Sprintf(`do $$ begin if to_regrole('%[1]s') is not null then drop owned by %[1]s; drop role %[1]s; end if; end $$`, name)
		if _, err := super.Exec(context.WithoutCancel(t.Context()), sql); err != nil {
			t.Errorf("drop role %s: %v", name, err)
		}
	})
	return m, super
}

func TestRoleIsKeptReplacedAndDropped(t *testing.T) {
	t.Parallel()
	m, super := ownRole(t, "lockstep_kept")
	ctx := t.Context()
	may := func(role string) bool {
		return testdb.Query[bool](t, super, `select coalesce((select has_table_privilege(oid, 'lockstep.river_job', 'select')
			and exists (select from pg_policy p where p.polrelid = 'lockstep.river_job'::regclass and r.oid = any(p.polroles))
			from pg_roles r where rolname = $1), false)`, role)
	}
	must(t, m.Up(ctx))
	policies := `select string_agg(oid::text, ' ' order by oid) from pg_policy`
	before := testdb.Query[string](t, super, policies)
	must(t, m.Up(ctx))
	if after := testdb.Query[string](t, super, policies); after != before {
		t.Error("up again made policies anew, and locked tables that are in use")
	}
	exec(t, super, `create table lockstep.river_news (id int)`) // as a later version of River would
	exec(t, super, `alter table lockstep.river_news owner to postgres; revoke all on lockstep.river_job from lockstep_kept;
		alter policy lockstep_service on lockstep.river_queue to public; alter policy lockstep_service on lockstep.river_leader using (false)`)
	m.Role.Name = ""
	must(t, m.Up(ctx))
	if !may("lockstep_kept") || !testdb.Query[bool](t, super, `select has_table_privilege('lockstep_kept', 'lockstep.river_news', 'delete') and relrowsecurity
		and exists (select from pg_policy where polrelid = c.oid) from pg_class c where oid = 'lockstep.river_news'::regclass`) {
		t.Error("a later migration forgot the role")
	}
	if n := testdb.Query[int](t, super, `select count(*) from pg_policy where polname = 'lockstep_service' and polrelid::regclass::text like 'lockstep.%'
		and (0::oid = any(polroles) or pg_get_expr(polqual, polrelid) <> 'true')`); n != 0 {
		t.Errorf("%d policies were left as somebody had changed them", n)
	}
	// A superuser may migrate what another role owns, and is not taken for the role.
	must(t, (&postgres.Migrator{Pool: super, MedusaSchema: testdb.MedusaSchema, Log: m.Log}).Up(ctx))
	if n := testdb.Query[int](t, super, `select cardinality(polroles) from pg_policy where polrelid = 'lockstep.river_job'::regclass`); n != 2 || !may("lockstep_kept") {
		t.Errorf("the policy is for %d roles", n)
	}
	m.Role.Name = "lockstep_next"
	must(t, m.Up(ctx))
	if may("lockstep_kept") || !may("lockstep_next") {
		t.Error("the role was not replaced")
	}
	exec(t, super, `drop role lockstep_kept`) // nothing depends on it any more
	must(t, m.Down(ctx))
	if n := testdb.Query[int](t, super, `select count(*) from pg_roles where rolname = 'lockstep_next'`); n != 0 {
		t.Error("down left the role")
	}
}

func TestDownKeepsARoleThatOwns(t *testing.T) {
	t.Parallel()
	m, super := ownRole(t, "lockstep_owns")
	must(t, m.Up(t.Context()))
	exec(t, super, `create table public.of_the_role (id int); alter table public.of_the_role owner to lockstep_owns;
		insert into public.profiles (id, username) values ('user_ada', 'ada')`)
	must(t, m.Down(t.Context()))
	if !testdb.Query[bool](t, super, `select not has_any_column_privilege('lockstep_owns', 'public.profiles', 'select, insert, update')
		and not exists (select from pg_policy where polname = 'lockstep_service') and to_regclass('public.of_the_role') is not null`) {
		t.Error("the role kept grants, or lost its table")
	}
}

func TestRoleIsRefused(t *testing.T) {
	t.Parallel()
	db := testdb.Bare(t, standin.Options{})
	super := testdb.Pool(t, db, "")
	for name, want := range map[string]error{
		"anon": postgres.ErrRoleName, "service_role": postgres.ErrRoleName, "pg_mine": postgres.ErrRoleName,
		`x"; drop table y`: postgres.ErrRoleName, "Lockstep": postgres.ErrRoleName, "postgres": postgres.ErrRoleName,
		"lockstep_bypass": postgres.ErrRoleUnsafe, "lockstep_member": postgres.ErrRoleUnsafe,
	} {
		switch name {
		case "lockstep_bypass":
			exec(t, super, `create role lockstep_bypass login bypassrls`)
		case "lockstep_member":
			exec(t, super, `create role lockstep_member login; grant service_role to lockstep_member`)
		}
		m := migrator(t, db)
		m.Role.Name = name
		if err := m.Up(t.Context()); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	exec(t, super, `drop role lockstep_bypass, lockstep_member; create role lockstep_owner login;
		create table if not exists public.profiles (id text primary key, clerk_updated_at timestamptz); alter table public.profiles owner to lockstep_owner`)
	owner := postgres.Migrator{Pool: super, MedusaSchema: testdb.MedusaSchema, Log: watch.Logger(t), Role: postgres.Role{Name: "lockstep_owner"}}
	if err := owner.Up(t.Context()); !errors.Is(err, postgres.ErrRoleUnsafe) {
		t.Errorf("the owner of profiles: %v", err)
	}
	exec(t, super, `alter table public.profiles owner to postgres; drop role lockstep_owner`)
	m := migrator(t, db)
	m.Role = postgres.Role{Name: "lockstep_short", Password: "canary"}
	if err := m.Up(t.Context()); !errors.Is(err, postgres.ErrRolePassword) || strings.Contains(err.Error(), "canary") {
		t.Errorf("short password: %v", err)
	}
	if n := testdb.Query[int](t, super, `select count(*) from pg_roles where rolname = 'lockstep_short'`); n != 0 {
		t.Error("a refused migration made the role")
	}
}

// The verifier that was computed here lets the password in, and no other: asked
// of pgbouncer, which knows nothing but the verifier.
func TestRolePassword(t *testing.T) {
	t.Parallel()
	const password = "correct horse ~!@#$%^&*()'\"\\ battery"
	m, super := ownRole(t, "lockstep_password")
	m.Role.Password = password
	must(t, m.Up(t.Context()))
	verifier := testdb.Query[string](t, super, `select rolpassword from pg_authid where rolname = 'lockstep_password'`)
	if strings.Contains(verifier, "horse") || !strings.HasPrefix(verifier, "SCRAM-SHA-256$4096:") {
		t.Errorf("stored %q", verifier)
	}
	m.Role.Password = "" // which leaves it as it is
	must(t, m.Up(t.Context()))
	if again := testdb.Query[string](t, super, `select rolpassword from pg_authid where rolname = 'lockstep_password'`); again != verifier {
		t.Error("the password was changed")
	}
	pooled := testdb.Pooler(t, testdb.New(t), testdb.PoolerOptions{Session: true, Secrets: map[string]string{"lockstep_password": verifier}})
	for guess, want := range map[string]bool{password: true, password + "r": false} {
		config, err := postgres.ParseURL(pooled("lockstep_password"))
		must(t, err)
		config.ConnConfig.Password = guess
		conn, err := pgx.ConnectConfig(t.Context(), config.ConnConfig)
		if got := err == nil; got != want {
			t.Errorf("logged in: %v, want %v (%v)", got, want, err)
		}
		if err == nil {
			must(t, conn.Close(t.Context()))
		}
	}
}

// Anybody may make temporary types. One called "text" must not get into our
// functions, which work with the owner's rights.
func TestTemporaryTypesStayOutside(t *testing.T) {
	t.Parallel()
	const trap = `
		create temporary table loot (who varchar);
		grant insert on loot to public;
		create function pg_temp.trap(v pg_catalog.text) returns boolean language plpgsql as
			$$ begin insert into pg_temp.loot values (current_user); return true; end $$;
		create domain pg_temp.text as pg_catalog.text check (pg_temp.trap(value))`
	for _, safe := range []bool{true, false} {
		db := testdb.New(t)
		if !safe { // the test can fail
			exec(t, testdb.Pool(t, db, ""), `alter function lockstep.medusa_create(text, text, text, text, text, boolean) set search_path = ''`)
		}
		conn, err := pgx.Connect(t.Context(), db.URL(testdb.Role))
		must(t, err)
		defer func() { must(t, conn.Close(context.WithoutCancel(t.Context()))) }()
		_, err = conn.Exec(t.Context(), trap)
		must(t, err)
		_, err = conn.Exec(t.Context(), `select lockstep.medusa_check(); select lockstep.medusa_create('user_a', 'a@example.test', 'a', 'a', '1');
			select lockstep.medusa_update(id, 'user_a', 'b@example.test', 'b', 'b', '2'), lockstep.medusa_adopt(id, 'user_a', 'b@example.test', 'b', 'b', '2'),
			       lockstep.medusa_release(id, 'user_a') from lockstep.medusa_resolve('user_a', null, null)`)
		must(t, err)
		if caught := testdb.Query[int](t, conn, `select count(*) from loot`); (caught == 0) != safe {
			t.Errorf("safe %v: the trap ran %d times", safe, caught)
		}
	}
}
