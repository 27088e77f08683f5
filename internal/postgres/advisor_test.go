package postgres_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/testdb"
)

func advise(t *testing.T, pool *pgxpool.Pool) (fired map[string][]postgres.AdvisorFinding) {
	t.Helper()
	rules, err := postgres.Advise(t.Context(), pool)
	must(t, err)
	fired = map[string][]postgres.AdvisorFinding{}
	for _, r := range rules {
		if !slices.Contains([]string{"error", "warn", "info"}, r.Level) || r.About == "" {
			t.Errorf("%s: level %q, about %q", r.Name, r.Level, r.About)
		}
		fired[r.Name] = r.Findings
	}
	return fired
}

func TestAdvisorIsContentWithOurSchema(t *testing.T) {
	t.Parallel()
	inBothGrantModes(t, func(t *testing.T, pool *pgxpool.Pool) {
		for rule, findings := range advise(t, pool) {
			if len(findings) > 0 {
				t.Errorf("%s: %+v", rule, findings)
			}
		}
	})
}

// Each rule fires on what breaks it: the test above can fail.
func TestAdvisorFiresOnWhatIsWrong(t *testing.T) {
	t.Parallel()
	const orders = `create table public.orders (id int primary key, user_id text references public.profiles, token text); `
	const graphql = `insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
		values (99999, 'pg_graphql', 10, 'extensions'::regnamespace, false, '1'); `
	wrong := map[string]struct{ sql, object string }{
		"0001_unindexed_foreign_keys": {orders, `orders_user_id_fkey`},
		"0003_auth_rls_initplan": {orders + `create policy p on public.orders using (user_id = (select auth.jwt() ->> 'sub'));
			alter table public.orders enable row level security`, `p on public.orders`},
		"0004_no_primary_key":                         {`create table lockstep.things (id int)`, `lockstep.things`},
		"0006_multiple_permissive_policies":           {`create policy p on public.profiles for select to authenticated using (false)`, `profiles`},
		"0007_policy_exists_rls_disabled":             {`alter table public.profiles disable row level security`, `public.profiles`},
		"0008_rls_enabled_no_policy":                  {orders + `alter table public.orders enable row level security`, `public.orders`},
		"0009_duplicate_index":                        {`create index again on public.profiles (medusa_customer_id)`, `again`},
		"0010_security_definer_view":                  {`create view public.people as select * from public.profiles; grant select on public.people to anon`, `public.people`},
		"0011_function_search_path_mutable":           {`alter function lockstep.ulid() reset search_path`, `lockstep.ulid()`},
		"0013_rls_disabled_in_public":                 {orders, `public.orders`},
		"0014_extension_in_public":                    {`create extension citext schema public; alter table public.profiles add column nick public.citext`, `citext`},
		"0015_rls_references_user_metadata":           {`create policy p on public.profiles for update using (((select auth.jwt()) -> 'user_metadata' ->> 'admin') = 'yes')`, `p on`},
		"0016_materialized_view_in_api":               {`create materialized view public.people as select * from public.profiles; grant select on public.people to authenticated`, `public.people`},
		"0021_fkey_to_auth_unique":                    {`alter table public.profiles add constraint p foreign key (phone) references auth.users (phone)`, `p on`},
		"0023_sensitive_columns_exposed":              {orders + `grant select on public.orders to anon`, `public.orders.token`},
		"0024_rls_policy_always_true":                 {`create policy p on public.profiles for insert to anon with check (true)`, `p on`},
		"0026_pg_graphql_anon_table_exposed":          {graphql + `grant select on public.profiles to anon`, `public.profiles`},
		"0027_pg_graphql_authenticated_table_exposed": {graphql, `public.profiles`},
		"0028_anon_security_definer_function_executable": {
			`grant execute on function public.create_medusa_customer(text, text, text) to public`, `public.create_medusa_customer`},
		"0029_authenticated_security_definer_function_executable": {`create function public.touch() returns trigger security definer language plpgsql as 'begin return new; end';
			create trigger touch before update on public.profiles for each row execute function public.touch()`, `public.touch()`},
	}
	for rule := range advise(t, testdb.Pool(t, testdb.New(t), "")) {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			pool := testdb.Pool(t, testdb.New(t), "")
			exec(t, pool, wrong[rule].sql)
			findings := advise(t, pool)[rule]
			if !slices.ContainsFunc(findings, func(f postgres.AdvisorFinding) bool {
				return strings.Contains(f.Object, wrong[rule].object) && f.Fix != ""
			}) {
				t.Errorf("found %+v, want %s", findings, wrong[rule].object)
			}
		})
	}
}

// Everybody may ask the advisor, so doctor works as any role.
func TestAdvisorAsTheRole(t *testing.T) {
	t.Parallel()
	advise(t, testdb.Pool(t, testdb.New(t), testdb.Role))
}
