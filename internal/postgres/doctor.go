package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
)

// Examine looks at the database for `lockstep doctor`: how it is reached and as
// whom, the schema, and what Supabase's advisor would say. It writes nothing.
// Without an answer, the rest is not checked. The caller sets Area.
func Examine(ctx context.Context, pool *pgxpool.Pool) []lockstep.Finding {
	connection := examineConnection(ctx, pool)
	findings := []lockstep.Finding{connection}
	if connection.State == lockstep.FindingFailed {
		for _, name := range []string{"role", "schema", "advisor"} {
			findings = append(findings, lockstep.Finding{Name: name, State: lockstep.FindingNotChecked, Detail: "the database cannot be used as it is"})
		}
		return findings
	}
	findings = append(findings, examineRole(ctx, pool))
	for _, c := range schemaChecks {
		findings = append(findings, c.examine(ctx, pool))
	}
	return append(findings, examineAdvice(ctx, pool)...)
}

const typeExecMode = "add default_query_exec_mode=exec to DATABASE_URL, behind a ? or &"

// examineConnection says which way leads to the database. A direct connection
// and a pooler in session mode look the same from here, and work the same.
func examineConnection(ctx context.Context, pool *pgxpool.Pool) lockstep.Finding {
	f := lockstep.Finding{Name: "connection", State: lockstep.FindingOK}
	if err := pool.Ping(ctx); err != nil {
		f.State, f.Detail, f.Fix = lockstep.FindingFailed, "the database does not answer: "+Redact(err).Error(), "mend DATABASE_URL, or start the server"
		return f
	}
	config, shared := pool.Config().ConnConfig, false
	if !TransactionPooler(config) {
		var err error
		if shared, err = sharesBackends(ctx, pool); err != nil {
			return notRead(f, err)
		}
	}
	supabase := strings.HasSuffix(config.Host, ".pooler.supabase.com")
	switch {
	case TransactionPooler(config):
		f.Detail = "a pooler in transaction mode: fine for serve; migrate needs a direct or session-mode connection"
		if supabase {
			f.Detail = "Supabase's pooler in transaction mode: fine for serve; migrate needs port 5432 instead"
		}
	case shared:
		f.State, f.Fix = lockstep.FindingFailed, typeExecMode
		f.Detail = "a pooler in transaction mode on a port that does not tell"
	case supabase:
		f.Detail = "Supabase's pooler in session mode: fine for migrate; for serve prefer port 6543, since here each connection takes one of the pool's"
	case strings.HasSuffix(config.Host, ".supabase.co"):
		f.Detail = "direct to Supabase: fine for everything"
	default:
		f.Detail = "direct, or a pooler in session mode: fine for everything"
	}
	return f
}

// sharesBackends reports that two connections of ours were served by one
// process of the server: then a pooler hands it from transaction to
// transaction. It tries a few times, since the pooler may have others idle.
func sharesBackends(ctx context.Context, pool *pgxpool.Pool) (shared bool, err error) {
	const tries = 5
	for range tries {
		if shared, err = shareBackend(ctx, pool); err != nil || shared {
			break
		}
	}
	return shared, err
}

func shareBackend(ctx context.Context, pool *pgxpool.Pool) (shared bool, err error) {
	backend := func(q querier) (pid int, err error) {
		err = q.QueryRow(ctx, `select pg_backend_pid()`, pgx.QueryExecModeExec).Scan(&pid)
		return pid, err
	}
	a, err := pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer a.Release()
	b, err := pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer b.Release()
	first, err := backend(a)
	if err != nil {
		return false, err
	}
	second, err := backend(b)
	return err == nil && first == second, err
}

// examineRole says as whom Lockstep comes, and what that role may beyond its needs.
func examineRole(ctx context.Context, pool *pgxpool.Pool) lockstep.Finding {
	f := lockstep.Finding{Name: "role", State: lockstep.FindingOK}
	var role string
	var super, bypass, creates, owner, makes bool
	err := pool.QueryRow(ctx, `select r.rolname, r.rolsuper, r.rolbypassrls, r.rolcreaterole or r.rolcreatedb or r.rolreplication,
		coalesce((select pg_has_role(n.nspowner, 'usage') from pg_namespace n where n.nspname = 'lockstep'), false),
		has_schema_privilege('public', 'create')
		from pg_roles r where r.rolname = current_user`).Scan(&role, &super, &bypass, &creates, &owner, &makes)
	if err != nil {
		return notRead(f, err)
	}
	f.Detail = role + " may do what Lockstep does, and no more"
	beyond := ""
	switch {
	case super:
		beyond = "is a superuser"
	case bypass:
		beyond = "bypasses row-level security"
	case creates:
		beyond = "may make roles, databases or replicas"
	case owner:
		beyond = "owns Lockstep's tables"
	case makes:
		beyond = "may make tables in schema public"
	default:
		return f
	}
	f.State, f.Detail = lockstep.FindingWarning, role+" "+beyond+": right for migrate, more than serve needs"
	f.Fix = "lockstep migrate up --role lockstep, and name that role in the DATABASE_URL of serve"
	return f
}

func notRead(f lockstep.Finding, err error) lockstep.Finding {
	f.State, f.Detail, f.Fix = lockstep.FindingFailed, "cannot be read: "+Redact(err).Error(), "lockstep migrate up"
	return f
}

// schemaCheck is a query for what is wrong; no rows are well.
type schemaCheck struct{ name, fix, sql string }

const typeMigrate = "lockstep migrate up"

// schemaChecks are the verification queries of the plan that Lockstep grew
// from, and those on what must stay closed. They ask the catalogue, where
// information_schema would hide what is not ours.
var schemaChecks = []schemaCheck{
	{"profiles: table", typeMigrate,
		`select 'there is no public.profiles' where to_regclass('public.profiles') is null`},
	{"profiles: id is text", typeMigrate, `
		select 'id is ' || coalesce((select format_type(atttypid, atttypmod) from pg_attribute
		  where attrelid = to_regclass('public.profiles') and attname = 'id' and not attisdropped), 'missing')
		where not exists (select from pg_attribute where attrelid = to_regclass('public.profiles') and attname = 'id' and atttypid = 'text'::regtype)`},
	{"profiles: id is the primary key", typeMigrate, `
		select 'it is not' where not exists (select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
		  where i.indrelid = to_regclass('public.profiles') and i.indisprimary and i.indnatts = 1 and a.attname = 'id')`},
	{"profiles: no reference to auth.users", "alter table public.profiles drop constraint profiles_id_fkey", `
		select k.conname from pg_constraint k join pg_class c on c.oid = k.confrelid
		 where k.contype = 'f' and k.conrelid = to_regclass('public.profiles') and c.relnamespace = to_regnamespace('auth')
		    or k.conname = 'profiles_id_fkey' and k.conrelid = to_regclass('public.profiles')`},
	{"no trigger on auth.users makes profiles", "drop function public.handle_new_user() cascade", `
		select t.tgname || ' on ' || t.tgrelid::regclass from pg_trigger t join pg_proc p on p.oid = t.tgfoid join pg_class c on c.oid = t.tgrelid
		 where not t.tgisinternal and c.relnamespace = to_regnamespace('auth') and (t.tgname = 'on_auth_user_created' or p.proname = 'handle_new_user')`},
	{"no function handle_new_user", "drop function public.handle_new_user() cascade", `
		select p.oid::regprocedure::text from pg_proc p where p.pronamespace = to_regnamespace('public') and p.proname = 'handle_new_user'`},
	{"profiles: medusa_customer_id", typeMigrate, `
		select 'the column is missing, or not text' where not exists (select from pg_attribute
		  where attrelid = to_regclass('public.profiles') and attname = 'medusa_customer_id' and atttypid = 'text'::regtype and not attisdropped)`},
	{"profiles: index on medusa_customer_id", typeMigrate, `
		select 'idx_profiles_medusa_customer_id is missing, or not valid' where not exists (select from pg_index
		  where indexrelid = to_regclass('public.idx_profiles_medusa_customer_id') and indrelid = to_regclass('public.profiles') and indisvalid)`},
	{"functions: create_, update_medusa_customer", typeMigrate, `
		select f || ' is missing, or not as Lockstep makes it'
		  from unnest(array['create_medusa_customer(text,text,text)', 'update_medusa_customer(text,text,text,text)']) f
		 where not exists (select from pg_proc where oid = to_regprocedure('public.' || f) and prosecdef and 'search_path=pg_catalog, pg_temp' = any(proconfig))`},
	{"functions: for service_role alone", typeMigrate, `
		select f || case when g then ' may be called by ' else ' may not be called by ' end || r.rolname
		  from unnest(array['create_medusa_customer(text,text,text)', 'update_medusa_customer(text,text,text,text)']) f
		 cross join pg_roles r cross join has_function_privilege(r.oid, to_regprocedure('public.' || f), 'execute') g
		 where r.rolname in ('anon', 'authenticated', 'service_role') and g <> (r.rolname = 'service_role')`},
	{"profiles: row-level security", "alter table public.profiles enable row level security", `
		select 'it is off' from pg_class where oid = to_regclass('public.profiles') and not relrowsecurity`},
	{"profiles: users read their own row", typeMigrate, `
		select 'no policy lets authenticated read the row of their Clerk id'
		 where to_regrole('authenticated') is not null and exists (select from pg_proc where pronamespace = to_regnamespace('auth') and proname = 'jwt') and not exists (select from pg_policy p
		  where p.polrelid = to_regclass('public.profiles') and p.polcmd in ('r', '*') and to_regrole('authenticated')::oid = any(p.polroles)
		    and pg_get_expr(p.polqual, p.polrelid) ~ 'jwt\(\).*sub.*\mid\M')`},
	{"profiles: no policy casts Clerk's id to uuid", "drop the policy; Clerk's ids are no uuids, and auth.uid() fails on them", `
		select polname::text from pg_policy where polrelid = to_regclass('public.profiles')
		   and concat_ws(' ', pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) ~ '\muid\(\)'`},
	{"profiles: users write nothing", "revoke all on public.profiles from anon, authenticated; grant select on public.profiles to authenticated", `
		select format('%s may %s', r.rolname, v) from pg_roles r cross join unnest(array['insert', 'update', 'delete', 'truncate', 'references', 'trigger']) v
		 where r.rolname in ('anon', 'authenticated') and (has_table_privilege(r.oid, to_regclass('public.profiles'), v)
		    or v in ('insert', 'update', 'references') and has_any_column_privilege(r.oid, to_regclass('public.profiles'), v))
		 union all
		select 'anon may select' from pg_roles r where r.rolname = 'anon' and has_any_column_privilege(r.oid, to_regclass('public.profiles'), 'select')`},
	{"profiles: service_role reads and writes", "grant select, insert, update, delete on public.profiles to service_role", `
		select 'service_role may not ' || v from pg_roles r cross join unnest(array['select', 'insert', 'update', 'delete']) v
		 where r.rolname = 'service_role' and not has_table_privilege(r.oid, to_regclass('public.profiles'), v)`},
	{"schema lockstep is closed", typeMigrate + ", and take lockstep out of the API's exposed schemas", `
		select r.rolname || ' may use it' from pg_roles r
		 where r.rolname in ('anon', 'authenticated', 'service_role', 'authenticator') and has_schema_privilege(r.oid, to_regnamespace('lockstep'), 'usage')
		 union all
		select 'the API serves it' from pg_db_role_setting s cross join unnest(s.setconfig) c
		 where c ~ '^pgrst\.db_schemas=.*\mlockstep\M'`},
	{"schema lockstep: row-level security", typeMigrate, `
		select c.oid::regclass::text from pg_class c where c.relnamespace = to_regnamespace('lockstep') and c.relkind in ('r', 'p')
		   and (not c.relrowsecurity or not exists (select from pg_policy p where p.polrelid = c.oid))`},
}

func (c schemaCheck) examine(ctx context.Context, pool *pgxpool.Pool) lockstep.Finding {
	f := lockstep.Finding{Name: c.name, State: lockstep.FindingOK}
	rows, err := pool.Query(ctx, c.sql)
	if err != nil {
		return notRead(f, err)
	}
	wrong, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return notRead(f, err)
	}
	if len(wrong) > 0 {
		f.State, f.Detail, f.Fix = lockstep.FindingFailed, strings.Join(wrong, ", "), c.fix
	}
	return f
}

// examineAdvice is one finding per rule that is kept, and one per object that
// breaks one.
func examineAdvice(ctx context.Context, pool *pgxpool.Pool) (findings []lockstep.Finding) {
	rules, err := Advise(ctx, pool)
	if err != nil {
		return []lockstep.Finding{notRead(lockstep.Finding{Name: "advisor"}, err)}
	}
	for _, r := range rules {
		number, name, _ := strings.Cut(r.Name, "_")
		f := lockstep.Finding{Name: "advisor " + number, State: lockstep.FindingOK, Detail: name}
		if len(r.Findings) == 0 {
			findings = append(findings, f)
		}
		f.State = lockstep.FindingFailed
		if r.Level == "info" {
			f.State = lockstep.FindingWarning
		}
		for _, x := range r.Findings {
			f.Detail, f.Fix = fmt.Sprintf("%s: %s", x.Object, r.About), x.Fix
			findings = append(findings, f)
		}
	}
	return findings
}

// ClerkRecord is what the database knows of Clerk.
type ClerkRecord struct {
	Instance   string // pinned; empty if no signed event has come yet
	Deliveries int
}

// ClerkRecord reads what is known of Clerk.
func (s *Store) ClerkRecord(ctx context.Context) (r ClerkRecord, err error) {
	err = s.pool.QueryRow(ctx, `select coalesce((select value from lockstep.checkpoints where name = 'clerk_instance'), ''),
		(select count(*) from lockstep.deliveries where source = 'clerk')`).Scan(&r.Instance, &r.Deliveries)
	if err != nil {
		return r, fmt.Errorf("read what is known of Clerk: %w", Redact(err))
	}
	return r, nil
}
