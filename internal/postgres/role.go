package postgres

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Role is the login role that serves: it may do what Lockstep does in its own
// tables and in public.profiles, and no more. It owns nothing, and row-level
// security holds for it, by policies of its own.
type Role struct {
	Name     string // empty: the role that was made before, if any, is kept up to date
	Password string // empty: the role's password stays as it is
}

// Why a role was refused.
var (
	ErrRoleName     = errors.New("is no name for Lockstep's role: use one of its own, of a to z, 0 to 9 and _, such as lockstep")
	ErrRoleUnsafe   = errors.New("exists and may more than Lockstep needs: give --role a name that is not taken")
	ErrRoleDenied   = errors.New("you may not make a role: run this as a role with CREATEROLE, such as Supabase's postgres, or have an administrator type `create role NAME login noinherit` and run it again")
	ErrRolePassword = errors.New("must be 16 to 128 characters of printable ASCII: make one with `openssl rand -hex 24`")
)

// servicePolicy is the policy on each table that lets the owner and the role
// see its rows. Only the owner can change it, so it is also where the role's
// name is remembered: a table could be written by the role itself.
const servicePolicy = "lockstep_service"

// relationGrants are the privileges on tables and views of schema lockstep; no
// entry is none. Where "delete" is missing, no code deletes.
func relationGrants(relation string) string {
	switch relation {
	case "targets", "buckets", "privacy_requests":
		return "select, insert, update"
	case "history":
		return "select, insert, delete" // it goes when its time is over
	case "deliveries":
		return "select, insert, update (clerk_user_id), delete" // so does it; and who is forgotten is named no more
	case "reconcile_hints":
		return "select, delete" // triggers insert, as their owner
	case "customer_links", "consents", "checkpoints", "shopify_customers", "shopify_changes",
		"reconcile_runs", "reconcile_steps", "reconcile_findings", "reconcile_seen":
		return "select, insert, update, delete"
	case "adopted", "migrations", "river_migration", "shopify_customer_links":
		return "select"
	}
	if strings.HasPrefix(relation, "river_") {
		return "select, insert, update, delete" // the job engine's own, whatever it adds
	}
	return ""
}

// profileGrants are the columns the role may read and write: Lockstep's. Those that the
// application adds are none of its business.
const profileGrants = `id, username, avatar_url, email, email_verified, first_name, last_name, phone, phone_verified,
	banned, medusa_customer_id, clerk_updated_at, deleted_at, created_at, updated_at`

// functionGrants are the functions that Lockstep calls. The others run inside
// these, as their owner.
func functionGrants(name string) bool {
	return strings.HasPrefix(name, "river_") || slices.Contains([]string{
		"medusa_check", "medusa_check_accounts", "medusa_check_delete", "medusa_resolve", "medusa_list", "medusa_create", "medusa_adopt", "medusa_update", "medusa_release",
	}, name)
}

// access gives each table its policy, and the role its grants, anew: what the
// schema has gained since is included, what was granted beyond is taken back.
func (m *Migrator) access(ctx context.Context, s session) error {
	tx := s.tx
	had, err := serviceRole(ctx, tx)
	if err != nil {
		return err
	}
	role := cmp.Or(m.Role.Name, had)
	if m.Role.Name != "" {
		if err := m.makeRole(ctx, tx); err != nil {
			return err
		}
	}
	if had != "" && had != role {
		if err := withdraw(ctx, tx, had); err != nil {
			return err
		}
		m.Log.Warn("the former role has lost its grants", "role", had)
	}
	if err := policies(ctx, tx, role); err != nil || role == "" {
		return err
	}
	return grant(ctx, tx, role)
}

// fixPaths has every function of ours look names up in pg_catalog first, and in
// the caller's temporary schema last. An empty search_path, as folder medusa and
// Supabase's lint 0011 have it, leaves that schema first for types: whoever may
// call the function and make a temporary domain "text" has its check run with the
// owner's rights (postgresql.org, "Writing SECURITY DEFINER Functions Safely").
const fixPaths = `
do $$
declare
  f regprocedure;
begin
  for f in select p.oid from pg_proc p where p.prokind = 'f' and (p.pronamespace = 'lockstep'::regnamespace
             or p.oid = 'public.create_medusa_customer(text, text, text)'::regprocedure
             or p.oid = 'public.update_medusa_customer(text, text, text, text)'::regprocedure) loop
    execute format('alter function %s set search_path = pg_catalog, pg_temp', f);
  end loop;
end
$$;
`

// makeRole makes the role, or looks whether the one that is there will do.
func (m *Migrator) makeRole(ctx context.Context, tx pgx.Tx) error {
	name := m.Role.Name
	if !usableRoleName(name) {
		return fmt.Errorf("role %q %w", name, ErrRoleName)
	}
	var exists, login, unsafe bool
	err := tx.QueryRow(ctx, `
		select count(*) > 0, coalesce(bool_or(r.rolcanlogin), false), coalesce(bool_or(
		  r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolcreatedb or r.rolreplication or r.rolname = current_user
		  or r.oid in (select relowner from pg_class where oid in (to_regclass('public.profiles'), to_regclass('lockstep.customer_links')))
		  or exists (select from pg_auth_members m where m.member = r.oid)), false)
		from pg_roles r where r.rolname = $1`, name).Scan(&exists, &login, &unsafe)
	if err != nil {
		return fmt.Errorf("look at role %s: %w", name, Redact(err))
	}
	if unsafe {
		return fmt.Errorf("role %s %w", name, ErrRoleUnsafe)
	}
	change, quoted := []string{}, pgx.Identifier{name}.Sanitize()
	switch {
	case !exists:
		change = append(change, `create role `+quoted+` login noinherit`)
	case !login:
		change = append(change, `alter role `+quoted+` login`)
	}
	if m.Role.Password != "" {
		verifier, err := scramVerifier(m.Role.Password)
		if err != nil {
			return err
		}
		change = append(change, `alter role `+quoted+` password '`+verifier+`'`)
	}
	_, err = tx.Exec(ctx, strings.Join(change, "; "))
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "42501" {
		return ErrRoleDenied
	}
	if err != nil {
		return fmt.Errorf("make role %s: %w", name, Redact(err))
	}
	return nil
}

// usableRoleName refuses what would need quoting, and the names of others:
// PostgreSQL's and Supabase's.
func usableRoleName(name string) bool {
	taken := []string{"anon", "authenticated", "authenticator", "service_role", "postgres", "dashboard_user", "pgbouncer", "public", "none"}
	return regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`).MatchString(name) && !slices.Contains(taken, name) &&
		!strings.HasPrefix(name, "pg_") && !strings.HasPrefix(name, "supabase_")
}

// serviceRole is the role that Up made before; empty if there is none.
func serviceRole(ctx context.Context, q querier) (name string, err error) {
	err = q.QueryRow(ctx, `
		select coalesce(max(r.rolname), '') from pg_policy p
		  join pg_class c on c.oid = p.polrelid join pg_roles r on r.oid = any(p.polroles) and r.oid <> c.relowner
		 where p.polname = $1 and c.oid = to_regclass('lockstep.customer_links')`, servicePolicy).Scan(&name)
	if err != nil {
		return "", fmt.Errorf("look for Lockstep's role: %w", Redact(err))
	}
	return name, nil
}

// OwnsJobs reports whether the connection's role owns the job engine's tables:
// PostgreSQL lets nobody else rebuild their indexes.
func (s *Store) OwnsJobs(ctx context.Context) (owns bool, err error) {
	err = s.pool.QueryRow(ctx, `select pg_has_role(relowner, 'usage') from pg_class where oid = 'lockstep.river_job'::regclass`).Scan(&owns)
	if err != nil {
		return false, fmt.Errorf("ask who owns the jobs: %w", Redact(err))
	}
	return owns, nil
}

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// policies closes every table of schema lockstep to all but the owner and the
// role. The owner is named too, whom no policy binds: a table without a policy
// would look forgotten (Supabase's lint 0008). A policy that is right is left
// alone: to make one, PostgreSQL locks the table against everybody.
func policies(ctx context.Context, tx pgx.Tx, role string) error {
	statements, err := names(ctx, tx, `
		with due (name, roles) as (
		  select c.oid::regclass, array_remove(array[c.relowner, to_regrole(quote_ident($2::text))], null) from pg_class c
		   where c.relnamespace = 'lockstep'::regnamespace and c.relkind in ('r', 'p')
		  union all
		  select 'public.profiles', array[to_regrole(quote_ident($2::text))::oid] where $2::text <> ''
		)
		select format('drop policy if exists %1$I on %2$s; create policy %1$I on %2$s to %3$s using (true) with check (true);',
		  $1::text, d.name, (select string_agg(quote_ident(r.rolname), ', ') from pg_roles r where r.oid = any(d.roles)))
		  from due d where not exists (select from pg_policy p where p.polrelid = d.name and p.polname = $1::text and p.polpermissive and p.polcmd = '*'
		    and p.polroles @> d.roles and p.polroles <@ d.roles
		    and pg_get_expr(p.polqual, p.polrelid) = 'true' and pg_get_expr(p.polwithcheck, p.polrelid) = 'true')`, servicePolicy, role)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, strings.Join(statements, "\n")); err != nil {
		return fmt.Errorf("make policies: %w", Redact(err))
	}
	return nil
}

// revokeSQL takes back all that a role was ever granted where Lockstep is.
const revokeSQL = `
	revoke all on all tables in schema lockstep from %[1]s;
	revoke all on all sequences in schema lockstep from %[1]s;
	revoke all on all functions in schema lockstep from %[1]s;
	revoke all on schema lockstep from %[1]s;
	revoke all on public.profiles from %[1]s;
`

func grant(ctx context.Context, tx pgx.Tx, role string) error {
	relations, err := names(ctx, tx, `select relname from pg_class
		where relnamespace = 'lockstep'::regnamespace and relkind in ('r', 'p', 'v') order by 1`)
	if err != nil {
		return err
	}
	functions, err := names(ctx, tx, `select oid::regprocedure::text from pg_proc where pronamespace = 'lockstep'::regnamespace order by 1`)
	if err != nil {
		return err
	}
	sequences, err := names(ctx, tx, `select oid::regclass::text from pg_class
		where relnamespace = 'lockstep'::regnamespace and relkind = 'S' and starts_with(relname, 'river_') order by 1`)
	if err != nil {
		return err
	}
	role = pgx.Identifier{role}.Sanitize()
	var sql strings.Builder
	fmt.Fprintf(&sql, revokeSQL+`
		grant usage on schema lockstep, public to %[1]s;
		grant select (%[2]s), insert (%[2]s), update (%[2]s) on public.profiles to %[1]s;
		do $$ begin execute format('grant connect on database %%I to %[1]s', current_database()); end $$;
	`, role, profileGrants)
	for _, r := range relations {
		if privileges := relationGrants(r); privileges != "" {
			fmt.Fprintf(&sql, "grant %s on lockstep.%s to %s;\n", privileges, pgx.Identifier{r}.Sanitize(), role)
		}
	}
	for _, s := range sequences {
		fmt.Fprintf(&sql, "grant usage on sequence %s to %s;\n", s, role)
	}
	for _, f := range functions {
		if name, _, _ := strings.Cut(strings.TrimPrefix(f, "lockstep."), "("); functionGrants(name) {
			fmt.Fprintf(&sql, "grant execute on function %s to %s;\n", f, role)
		}
	}
	if _, err := tx.Exec(ctx, sql.String()); err != nil {
		return fmt.Errorf("grant to role %s: %w", role, Redact(err))
	}
	return nil
}

// closeAccess takes the role's grants back, and drops it.
func (m *Migrator) closeAccess(ctx context.Context, tx pgx.Tx) error {
	role, err := serviceRole(ctx, tx)
	if err != nil || role == "" {
		return err
	}
	if err := policies(ctx, tx, ""); err != nil {
		return err
	}
	if err := withdraw(ctx, tx, role); err != nil {
		return err
	}
	return m.dropRole(ctx, tx, role)
}

// withdraw takes from a role all that grant gave, while schema lockstep is there.
func withdraw(ctx context.Context, tx pgx.Tx, role string) error {
	_, err := tx.Exec(ctx, fmt.Sprintf(revokeSQL+`
		drop policy if exists `+servicePolicy+` on public.profiles;
		revoke usage on schema public from %[1]s;
		do $$ begin execute format('revoke connect on database %%I from %[1]s', current_database()); end $$;
	`, pgx.Identifier{role}.Sanitize()))
	if err != nil {
		return fmt.Errorf("take the grants of role %s back: %w", role, Redact(err))
	}
	return nil
}

// dropRole drops a role without grants, unless it has a part in something else,
// in this database or another of the server.
func (m *Migrator) dropRole(ctx context.Context, tx pgx.Tx, role string) error {
	err := pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
		_, err := savepoint.Exec(ctx, `drop role `+pgx.Identifier{role}.Sanitize())
		return err
	})
	pg, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil:
		return nil
	case ok && (pg.Code == "2BP01" || pg.Code == "42501"): // dependent_objects_still_exist, insufficient_privilege
		m.Log.Warn("the role stays: it owns or may something else, or is not yours to drop", "role", role, "code", pg.Code)
		return nil
	}
	return fmt.Errorf("drop role %s: %w", role, Redact(err))
}

func names(ctx context.Context, tx pgx.Tx, sql string, args ...any) ([]string, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read schema %s: %w", Schema, Redact(err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read schema %s: %w", Schema, Redact(err))
	}
	return list, nil
}

// scramVerifier is what the server keeps instead of a password (RFC 5803, as
// PostgreSQL stores it). It is computed here, as psql's \password does, so that
// the password is in no statement, and in no log of the server's.
func scramVerifier(password string) (string, error) {
	const iterations, saltBytes = 4096, 16                         // PostgreSQL's own
	printable := func(r rune) bool { return r >= ' ' && r <= '~' } // the same before and after SASLprep
	if len(password) < 16 || len(password) > 128 || strings.ContainsFunc(password, func(r rune) bool { return !printable(r) }) {
		return "", ErrRolePassword
	}
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive the password's key: %w", err)
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored, encode := sha256.Sum256(mac("Client Key")), base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, encode(salt), encode(stored[:]), encode(mac("Server Key"))), nil
}
