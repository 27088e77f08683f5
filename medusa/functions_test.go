package medusa_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/medusa"
)

// asRole runs do the way PostgREST serves a request, and rolls it back.
func asRole(t *testing.T, s store, role string, do func(tx execer)) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), s.super, func(tx pgx.Tx) error {
		exec(t, tx, `set local role `+role)
		do(tx)
		return errRollback
	})
	if err != errRollback {
		t.Fatal(err)
	}
}

var errRollback = fmt.Errorf("rolled back")

// functionCalls are all our functions, each called with nulls.
func functionCalls(t *testing.T, s store) map[string]string {
	t.Helper()
	all, err := try[string](t, s.super, `
		select p.oid::regprocedure || ' select * from ' || p.oid::regproc || '('
			|| coalesce((select string_agg('null::' || format_type(a, null), ', ') from unnest(p.proargtypes) a), '') || ')'
		from pg_proc p where p.pronamespace = 'lockstep'::regnamespace
			or p.pronamespace = 'public'::regnamespace and p.proname like '%medusa%'`)
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]string{}
	for _, line := range all {
		i := strings.Index(line, " select ")
		calls[line[:i]] = line[i+1:]
	}
	return calls
}

func TestPrivileges(t *testing.T) {
	t.Parallel()
	for name, options := range stores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, options)
			calls := functionCalls(t, s)
			if len(calls) < 16 {
				t.Fatalf("only %d functions: %v", len(calls), calls)
			}
			for _, role := range []string{"anon", "authenticated", "service_role"} {
				for function, call := range calls {
					checkPrivilege(t, s, role, function, call)
				}
			}
		})
	}
}

func checkPrivilege(t *testing.T, s store, role, function, call string) {
	t.Helper()
	may := role == "service_role" && !strings.HasPrefix(function, "lockstep.")
	if got := one[bool](t, s.super, `select has_function_privilege($1::text, $2::text, 'execute')`, role, function); got != may {
		t.Errorf("%s may execute %s: %t", role, function, got)
	}
	asRole(t, s, role, func(tx execer) {
		rows, err := tx.Query(t.Context(), call)
		if err == nil {
			rows.Close()
			err = rows.Err()
		}
		want := "42501"
		if may {
			want = "22023" // a null e-mail
		}
		refusedWith(t, err, want)
	})
}

func TestServiceRoleWorks(t *testing.T) {
	t.Parallel()
	for name, options := range stores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, options)
			asRole(t, s, "service_role", func(tx execer) {
				id := one[string](t, tx, ourCreate, "ada@example.test")
				exec(t, tx, ourUpdate, id, "grace@example.test", "Grace", nil)
				if got := one[string](t, tx, ourCreate, "grace@example.test"); got != id {
					t.Errorf("made %s beside %s", got, id)
				}
			})
		})
	}
}

// TestApplied applies the file over what other versions and the seed left.
func TestApplied(t *testing.T) {
	t.Parallel()
	older := `
		drop function public.create_medusa_customer(text, text, text);
		create function public.create_medusa_customer(email text, f text default null, l text default null) returns uuid
			language sql as 'select null::uuid';
		grant execute on function public.create_medusa_customer to anon;
		create or replace function public.update_medusa_customer(p_customer_id text, p_email text default null, p_first_name text default null,
			p_last_name text default null) returns void language sql as '';
		grant execute on function public.update_medusa_customer to anon, authenticated;
		create function lockstep.medusa_create(p_user text) returns text language sql as $$ select 'old' $$;
		drop function lockstep.medusa_resolve;
		create function lockstep.medusa_resolve(p_user text, p_customer text, p_email text)
			returns table (id text) language sql as $$ select 'old' $$`
	for name, options := range stores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, options)
			signatures := func() string {
				return one[string](t, s.super, `select string_agg(p.oid::regprocedure || ' ' || pg_get_function_result(p.oid)
					|| ' ' || p.proacl::text || ' ' || p.proconfig::text || ' ' || p.prosecdef, E'\n' order by p.oid::regprocedure::text)
					from pg_proc p where pronamespace = 'lockstep'::regnamespace or proname like '%medusa%'`)
			}
			want := signatures()
			for _, left := range []string{"", older} {
				if err := runAs(t.Context(), s.db.URL(""), standin.Owner, left, functions(t, "medusa")); err != nil {
					t.Fatal(err)
				}
				if got := signatures(); got != want {
					t.Errorf("now:\n%s\nbefore:\n%s", got, want)
				}
			}
		})
	}
}

func TestAppliedWithoutSupabase(t *testing.T) {
	t.Parallel()
	s := openStore(t, standin.Options{MedusaSchema: "medusa"})
	// Roles belong to the whole server: they go for one transaction only.
	err := pgx.BeginFunc(t.Context(), s.super, func(tx pgx.Tx) error {
		for _, role := range []string{"anon", "authenticated", "service_role"} {
			exec(t, tx, `alter role `+role+` rename to away_`+role)
		}
		if _, err := tx.Exec(t.Context(), functions(t, "medusa")); err != nil {
			t.Errorf("without Supabase's roles: %v", err)
		}
		return errRollback
	})
	if err != errRollback {
		t.Fatal(err)
	}
}

func TestIndexes(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	indexes := func() string { return one[string](t, s.owner, `select lockstep.medusa_indexes()`) }
	if got := indexes(); got != "done" {
		t.Errorf("a second time: %s", got)
	}
	exec(t, s.owner, `drop index medusa.lockstep_customer_user, medusa.lockstep_customer_email`)
	exec(t, s.super, `alter table medusa.customer owner to supabase_admin`)
	exec(t, s.super, `grant select, insert, update on medusa.customer to postgres`)
	if got := indexes(); !strings.HasPrefix(got, "not done: another role") {
		t.Errorf("another's table: %s", got)
	}
	target := medusa.NewDatabase(s.owner)
	if err := target.Check(t.Context()); err != nil {
		t.Errorf("granted, not owned: %v", err)
	}
	if _, err := target.Create(t.Context(), lockstep.Customer{UserID: "user_1"}); err != nil {
		t.Errorf("granted, not owned: %v", err)
	}
	exec(t, s.super, `drop table medusa.customer cascade`)
	if got := indexes(); !strings.HasPrefix(got, "not done: Medusa") {
		t.Errorf("no table: %s", got)
	}
	exec(t, s.super, `drop schema medusa cascade`)
	if got := indexes(); !strings.HasPrefix(got, "not done: Medusa") {
		t.Errorf("no schema: %s", got)
	}
}

// TestIndexesBusy holds the table, so that an index cannot be made.
func TestIndexesBusy(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	exec(t, s.owner, `drop index medusa.lockstep_customer_user`)
	exec(t, s.owner, `alter function lockstep.medusa_indexes() set lock_timeout = '1ms'`)
	err := pgx.BeginFunc(t.Context(), s.super, func(tx pgx.Tx) error {
		exec(t, tx, `lock table medusa.customer in row exclusive mode`)
		if got := one[string](t, s.owner, `select lockstep.medusa_indexes()`); !strings.Contains(got, "busy") {
			t.Errorf("got %q", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLookUpsUseIndexes counts what the functions really read of 20,000 rows.
func TestLookUpsUseIndexes(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	exec(t, s.super, `insert into medusa.customer (id, email, metadata)
		select 'cus_' || i, 'Person' || i || '@example.test', jsonb_build_object('clerk_user_id', 'user_' || i, 'n', i)
		from generate_series(1, 20000) i`)
	exec(t, s.super, `insert into medusa.customer (id, email) select 'cus_g' || i, 'guest' || i || '@example.test' from generate_series(1, 10) i`)
	exec(t, s.super, `analyze medusa.customer`)
	for _, mode := range []string{"auto", "force_generic_plan", "force_custom_plan"} {
		for _, call := range []string{
			`select count(*) from lockstep.medusa_resolve('user_5', 'cus_5', 'person5@example.test')`,
			`select lockstep.medusa_create('user_new', 'new@example.test', '', '', '')`,
			`select lockstep.medusa_create('user_6', 'new@example.test', '', '', '')`,
			`select lockstep.medusa_adopt('cus_g7', 'user_guest', 'guest7@example.test', '', '', '')`,
			`select lockstep.medusa_update('cus_8', 'user_8', 'moved@example.test', 'Ada', '', '')`,
			`select lockstep.medusa_release('cus_9', 'user_9')`,
			`select public.create_medusa_customer('other@example.test')`,
			`select public.create_medusa_customer('person10@example.test')`,
			`select public.update_medusa_customer('cus_10', 'moved@example.test')`,
		} {
			if rows := s.rowsRead(t, mode, call); rows > 10 {
				t.Errorf("%s: %s: read %d rows", mode, call, rows)
			}
		}
	}
	exec(t, s.super, `drop index medusa.lockstep_customer_email`)
	if rows := s.rowsRead(t, "auto", `select lockstep.medusa_resolve(null, null, 'person5@example.test')`); rows < 20000 {
		t.Errorf("this test cannot fail: %d rows read without the index", rows)
	}
}

// rowsRead runs a call and rolls it back; the connection's statistics tell how
// many rows its plans touched.
func (s store) rowsRead(t *testing.T, mode, call string) (rows int) {
	t.Helper()
	const read = `select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relid = 'medusa.customer'::regclass`
	asRole(t, s, standin.Owner, func(tx execer) {
		exec(t, tx, `set local plan_cache_mode = `+mode)
		before := one[int](t, tx, read) // what is not yet sent of earlier ones
		exec(t, tx, call)
		rows = one[int](t, tx, read) - before
	})
	return rows
}

// TestCheck breaks one thing at a time.
func TestCheck(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ sql, advice string }{
		"nothing":           {`select`, ""},
		"no functions":      {`drop function lockstep.medusa_check()`, "lockstep migrate up"},
		"no schema":         {`drop schema lockstep cascade`, "lockstep migrate up"},
		"no table":          {`drop table medusa.customer cascade`, "MEDUSA_SCHEMA"},
		"no Medusa":         {`drop schema medusa cascade`, "MEDUSA_SCHEMA"},
		"no column":         {`alter table medusa.customer rename has_account to registered`, "medusa db:migrate"},
		"no unique index":   {`drop index medusa."IDX_customer_email_has_account_unique"`, "medusa db:migrate"},
		"may not read":      {`alter table medusa.customer owner to supabase_admin`, "grant"},
		"may not insert":    {`alter table medusa.customer owner to supabase_admin; grant select, update on medusa.customer to postgres`, "grant"},
		"may not update":    {`alter table medusa.customer owner to supabase_admin; grant select, insert on medusa.customer to postgres`, "grant"},
		"may not call":      {`alter function lockstep.medusa_check() owner to supabase_admin; revoke all on function lockstep.medusa_check() from postgres`, "grant"},
		"row-level":         {`alter table medusa.customer enable row level security, force row level security; alter function lockstep.medusa_check() owner to plain`, "grant"},
		"repeatable read":   {`alter role postgres in database %s set default_transaction_isolation = 'repeatable read'`, "read committed"},
		"serializable also": {`alter role postgres in database %s set default_transaction_isolation = 'serializable'`, "read committed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkAfter(t, tt.sql, tt.advice)
		})
	}
}

func checkAfter(t *testing.T, sql, advice string) {
	s := openDefault(t)
	if strings.Contains(sql, "owner to plain") {
		makePlainRole(t, s)
	}
	if strings.Contains(sql, "%s") {
		sql = fmt.Sprintf(sql, one[string](t, s.super, `select quote_ident(current_database())`))
	}
	if _, err := s.super.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	err := medusa.NewDatabase(s.pool(t, standin.Owner)).Check(t.Context())
	if advice == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	if lockstep.KindOf(err) != lockstep.ErrRefused || !strings.Contains(err.Error(), advice) {
		t.Errorf("got %v, want a refusal that says %q", err, advice)
	}
}

// makePlainRole makes the role "plain", which row-level security binds, and
// lets it work here. Roles belong to the server: it may be there already.
func makePlainRole(t *testing.T, s store) {
	t.Helper()
	exec(t, s.super, `do $$ begin create role plain; exception when duplicate_object then null; end $$`)
	for _, sql := range []string{
		`grant usage on schema medusa to plain`, `grant create, usage on schema lockstep to plain`,
		`grant select, insert, update on medusa.customer to plain`,
		`grant execute on all functions in schema lockstep to plain, postgres`,
	} {
		exec(t, s.super, sql)
	}
	t.Cleanup(func() {
		_, _ = s.super.Exec(context.WithoutCancel(t.Context()), `drop owned by plain cascade`)
	})
}
