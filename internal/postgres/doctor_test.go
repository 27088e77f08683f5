package postgres_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
)

func examine(t *testing.T, pool *pgxpool.Pool) map[string]lockstep.Finding {
	t.Helper()
	byName := map[string]lockstep.Finding{}
	for _, f := range postgres.Examine(t.Context(), pool) {
		if _, twice := byName[f.Name]; twice && !strings.HasPrefix(f.Name, "advisor") {
			t.Errorf("two checks are called %q", f.Name)
		}
		byName[f.Name] = f
	}
	return byName
}

func TestDoctorIsContentWithOurDatabase(t *testing.T) {
	t.Parallel()
	for _, grants := range []bool{false, true} {
		db := testdb.Migrated(t, standin.Options{AutoGrants: grants, MedusaSchema: testdb.MedusaSchema})
		for name, f := range examine(t, testdb.Pool(t, db, testdb.Role)) {
			if f.State != lockstep.FindingOK {
				t.Errorf("automatic grants %v: %s: %+v", grants, name, f)
			}
		}
	}
}

// Each check fails on what it is for: the test above can fail.
func TestDoctorFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	const handle = `create function public.handle_new_user() returns trigger language plpgsql as 'begin return new; end'; `
	wrong := map[string]struct{ sql, detail string }{
		"profiles: table":      {`drop table public.profiles cascade`, "no public.profiles"},
		"profiles: id is text": {`drop policy profiles_read_own on public.profiles; alter table public.profiles alter id type varchar(99)`, "character varying(99)"},
		"profiles: id is the primary key": {
			`alter table public.profiles drop constraint profiles_pkey; alter table public.profiles add unique (id)`, "not"},
		"profiles: no reference to auth.users": {
			`alter table public.profiles add column u uuid, add constraint profiles_user foreign key (u) references auth.users`, "profiles_user"},
		"no trigger on auth.users makes profiles": {handle + `create trigger on_auth_user_created after insert on auth.users for each row
			execute function public.handle_new_user()`, "on_auth_user_created on auth.users"},
		"no function handle_new_user":           {handle, "handle_new_user()"},
		"profiles: medusa_customer_id":          {`alter table public.profiles drop column medusa_customer_id`, "missing"},
		"profiles: index on medusa_customer_id": {`drop index public.idx_profiles_medusa_customer_id`, "missing"},
		"functions: create_, update_medusa_customer": {`alter function public.create_medusa_customer(text, text, text) security invoker`,
			"create_medusa_customer"},
		"functions: for service_role alone": {`grant execute on function public.update_medusa_customer(text, text, text, text) to public`,
			"may be called by anon"},
		"profiles: row-level security":                 {`alter table public.profiles disable row level security`, "off"},
		"profiles: users read their own row":           {`drop policy profiles_read_own on public.profiles`, "no policy"},
		"profiles: no policy casts Clerk's id to uuid": {`create policy old on public.profiles for update using (auth.uid()::text = id)`, "old"},
		"profiles: users write nothing":                {`grant update (email) on public.profiles to authenticated`, "authenticated may update"},
		"profiles: service_role reads and writes":      {`revoke update on public.profiles from service_role`, "may not update"},
		"schema lockstep is closed":                    {`grant usage on schema lockstep to anon`, "anon may use it"},
		"schema lockstep: row-level security":          {`alter table lockstep.river_job disable row level security`, "river_job"},
	}
	db := testdb.New(t)
	for name := range examine(t, testdb.Pool(t, db, testdb.Role)) {
		if name == "connection" || name == "role" || strings.HasPrefix(name, "advisor") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := testdb.New(t)
			exec(t, testdb.Pool(t, db, ""), wrong[name].sql)
			f := examine(t, testdb.Pool(t, db, testdb.Role))[name]
			if f.State != lockstep.FindingFailed || !strings.Contains(f.Detail, wrong[name].detail) || f.Fix == "" {
				t.Errorf("%+v, want a failure about %q", f, wrong[name].detail)
			}
		})
	}
}

func TestDoctorKnowsTheRole(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	for role, want := range map[string]string{"": "is a superuser", standin.Owner: "bypasses row-level security", testdb.Role: "and no more"} {
		f := examine(t, testdb.Pool(t, db, role))["role"]
		if (f.State == lockstep.FindingOK) != (role == testdb.Role) || !strings.Contains(f.Detail, want) {
			t.Errorf("%q: %+v, want %s", role, f, want)
		}
	}
}

// TestDoctorKnowsTheWay goes to one database by every way, some of them under
// the names that Supabase gives.
func TestDoctorKnowsTheWay(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	transaction := testdb.Pooler(t, db, testdb.PoolerOptions{})(testdb.Role)
	session := testdb.Pooler(t, db, testdb.PoolerOptions{Session: true})(testdb.Role)
	hidden := testdb.Pooler(t, db, testdb.PoolerOptions{Port: "7654"})(testdb.Role)
	for _, tt := range []struct {
		name, url, host string
		state           lockstep.FindingState
		detail          string
	}{
		{"direct", db.URL(testdb.Role), "", lockstep.FindingOK, "direct, or"},
		{"session", session, "", lockstep.FindingOK, "direct, or"},
		{"transaction", transaction, "", lockstep.FindingOK, "a pooler in transaction mode"},
		{"hidden transaction", hidden, "", lockstep.FindingFailed, "does not tell"},
		{"hidden transaction, told", hidden + "&default_query_exec_mode=exec", "", lockstep.FindingOK, "a pooler in transaction mode"},
		{"Supabase's transaction", transaction, "aws-0-eu-north-1.pooler.supabase.com", lockstep.FindingOK, "Supabase's pooler in transaction mode"},
		{"Supabase's session", session, "aws-0-eu-north-1.pooler.supabase.com", lockstep.FindingOK, "Supabase's pooler in session mode"},
		{"Supabase, direct", session, "db.abcdefghijklmnopqrst.supabase.co", lockstep.FindingOK, "direct to Supabase"},
		{"nobody there", "postgres://x@127.0.0.1:1/x", "", lockstep.FindingFailed, "does not answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			config, err := postgres.ParseURL(tt.url)
			must(t, err)
			if tt.host != "" {
				host := config.ConnConfig.Host
				config.ConnConfig.Host = tt.host
				config.ConnConfig.LookupFunc = func(context.Context, string) ([]string, error) { return []string{host}, nil }
			}
			pool, err := pgxpool.NewWithConfig(t.Context(), config)
			must(t, err)
			t.Cleanup(pool.Close)
			found := examine(t, pool)
			if f := found["connection"]; f.State != tt.state || !strings.Contains(f.Detail, tt.detail) || (f.Fix == "") != (f.State == lockstep.FindingOK) {
				t.Errorf("%+v, want %s: %s", f, tt.state, tt.detail)
			}
			if f := found["schema"]; tt.state == lockstep.FindingFailed && f.State != lockstep.FindingNotChecked {
				t.Errorf("the schema is %+v", f)
			}
		})
	}
}
