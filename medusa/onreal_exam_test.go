package medusa_test

import (
	"bytes"
	"context"
	"fmt"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lockstephq/lockstep/internal/localpg"
	"github.com/lockstephq/lockstep/internal/localpg/pgtest"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/targettest"
)

// TestDatabaseOnRealMedusa runs the exam on tables that Medusa itself made: each
// check gets a database with a copy of them.
func TestDatabaseOnRealMedusa(t *testing.T) {
	w := openWorld(t)
	dump := w.dump(t)
	openCopy := func(t *testing.T) store {
		s := store{schema: w.schema}
		s.db = pgtest.New(t, "real", func(ctx context.Context, url string) error {
			if err := standin.Load(ctx, url, standin.Options{}); err != nil {
				return err
			}
			return runAs(ctx, url, standin.Owner, "create schema lockstep; create schema "+w.schema, dump,
				functions(t, environment(t, "LOCKSTEP_MEDUSA_SCHEMA")), "select lockstep.medusa_indexes()")
		})
		s.super, s.owner = s.pool(t, ""), s.pool(t, standin.Owner)
		return s
	}
	t.Run("guests", func(t *testing.T) {
		targettest.Run(t, func(t *testing.T) targettest.Subject { s := openCopy(t); return s.subject(s.owner) })
	})
	t.Run("accounts", func(t *testing.T) {
		targettest.Run(t, func(t *testing.T) targettest.Subject { s := openCopy(t); return s.accounts(s.owner) })
	})
}

// tables are those of Medusa's that Lockstep reads, and their neighbours.
const tables = `'customer', 'customer_address', 'customer_group', 'customer_group_customer',
	'customer_account_holder', 'auth_identity', 'provider_identity', 'api_key'`

// dump is the tables' DDL, without Lockstep's own indexes.
func (w *world) dump(t *testing.T) string {
	t.Helper()
	bin, err := localpg.FindBinaries()
	if err != nil {
		t.Fatal(err)
	}
	server, err := filepath.EvalSymlinks(filepath.Join(bin, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--schema-only", "--no-owner", "--no-privileges", "-d", environment(t, "LOCKSTEP_MEDUSA_DATABASE_URL")}
	for _, name := range regexp.MustCompile(`\w+`).FindAllString(tables, -1) {
		args = append(args, "-t", w.schema+"."+name)
	}
	cmd := osexec.CommandContext(t.Context(), filepath.Join(filepath.Dir(server), "pg_dump"), args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("pg_dump: %v\n%s", err, said.Bytes())
	}
	ours := regexp.MustCompile(`(?m)^(\\.*|CREATE INDEX lockstep_.*)$`) // and psql's own commands
	return ours.ReplaceAllString(string(text), "")
}

// TestStandinOnRealMedusa holds the stand-in that all other tests use to the
// tables that Medusa makes.
func TestStandinOnRealMedusa(t *testing.T) {
	w := openWorld(t)
	mine := openStore(t, standin.Options{MedusaSchema: environment(t, "LOCKSTEP_MEDUSA_SCHEMA")})
	real, standIn := ddl(t, w.super, w.schema), ddl(t, mine.super, mine.schema)
	if len(real) < 60 {
		t.Fatalf("read %d lines only: %v", len(real), real)
	}
	if diff := cmp.Diff(real, standIn); diff != "" {
		t.Errorf("the stand-in is not as Medusa makes it (-real +stand-in):\n%s", diff)
	}
	t.Logf("%d columns, constraints and indexes are the same", len(real))
}

// ddl describes every column, constraint and index of the tables.
func ddl(t *testing.T, db execer, schema string) []string {
	t.Helper()
	lines, err := try[string](t, db, fmt.Sprintf(`
		with tables as (
			select c.oid, c.relname from pg_class c
			where c.relnamespace = $1::regnamespace and c.relkind = 'r' and c.relname in (%s))
		select format('%%s.%%s %%s null=%%s default %%s', t.relname, a.attname, format_type(a.atttypid, a.atttypmod),
			not a.attnotnull, coalesce(pg_get_expr(d.adbin, d.adrelid), '-'))
		from tables t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
		left join pg_attrdef d on d.adrelid = t.oid and d.adnum = a.attnum
		union all
		select format('%%s: %%s %%s', t.relname, k.conname, pg_get_constraintdef(k.oid))
		from tables t join pg_constraint k on k.conrelid = t.oid
		union all
		select pg_get_indexdef(i.indexrelid) from tables t join pg_index i on i.indrelid = t.oid
		where i.indexrelid::regclass::text not like '%%lockstep\_%%'
		union all
		select format('%%s: trigger %%s', t.relname, g.tgname) from tables t join pg_trigger g on g.tgrelid = t.oid and not g.tgisinternal`,
		tables), schema)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}
