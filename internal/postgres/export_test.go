package postgres_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lockstephq/lockstep/internal/localpg/pgtest"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/internal/watch"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// push runs a folder's files as the Supabase CLI does: in the order of their
// names, as postgres, each file's statements in one pipeline, which is one
// implicit transaction (github.com/supabase/cli, pkg/migration).
func push(t *testing.T, db pgtest.DB, dir string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db.URL(standin.Owner))
	must(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	files, err := filepath.Glob(filepath.Join(dir, "*.sql"))
	must(t, err)
	for _, f := range files {
		data, err := os.ReadFile(f)
		must(t, err)
		var batch pgconn.Batch
		for _, statement := range statements(string(data)) {
			batch.ExecParams(statement, nil, nil, nil, nil)
		}
		if _, err := conn.PgConn().ExecBatch(t.Context(), &batch).ReadAll(); err != nil {
			t.Fatalf("%s: %v", filepath.Base(f), err)
		}
	}
}

// skipped is what a semicolon may stand in without ending a statement, but for
// the body that a dollar quote begins.
var skipped = regexp.MustCompile(`^(--[^\n]*|'[^']*'|\$\w*\$)`)

// statements splits SQL at its semicolons.
func statements(sql string) (out []string) {
	start := 0
	for i := 0; i < len(sql); i++ {
		token := skipped.FindString(sql[i:])
		switch {
		case strings.HasPrefix(token, "$"):
			i += len(token) + strings.Index(sql[i+len(token):], token) + len(token) - 1
		case token != "":
			i += len(token) - 1
		case sql[i] == ';':
			out, start = append(out, sql[start:i]), i+1
		}
	}
	return out // what is left is a comment, or nothing
}

func export(t *testing.T, dir string, now time.Time) []string {
	t.Helper()
	paths, err := postgres.Export(dir, testdb.MedusaSchema, now)
	must(t, err)
	return paths
}

// What is pushed is what `migrate up` does, to the letter; status notices, up
// finds nothing to do, and pushing again changes nothing.
func TestExportEqualsUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	export(t, dir, time.Now())
	empty := func(grants bool) pgtest.DB {
		return testdb.Bare(t, standin.Options{AutoGrants: grants, MedusaSchema: testdb.MedusaSchema})
	}
	for name, database := range map[string]func(grants bool) pgtest.DB{
		"empty":       empty,
		"references":  func(g bool) pgtest.DB { return foreign(t, g, adoptee(t, "references")) },
		"views":       func(g bool) pgtest.DB { return foreign(t, g, adoptee(t, "views")) },
		"columns":     func(g bool) pgtest.DB { return foreign(t, g, adoptee(t, "columns")) },
		"half_recipe": func(g bool) pgtest.DB { return foreign(t, g, adoptee(t, "half_recipe")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, grants := range []bool{false, true} {
				up, pushed := database(grants), database(grants)
				must(t, migrator(t, up).Up(t.Context()))
				push(t, pushed, dir)
				want := dump(t, up)
				if diff := lineDiff(want, dump(t, pushed)); diff != "" {
					t.Errorf("pushed differs from up:\n%s", diff)
				}
				steps, err := migrator(t, pushed).Status(t.Context())
				must(t, err)
				for _, s := range steps {
					if !s.Applied {
						t.Errorf("status does not see %s", s.Name)
					}
				}
				must(t, migrator(t, pushed).Up(t.Context()))
				push(t, pushed, dir)
				if diff := lineDiff(want, dump(t, pushed)); diff != "" {
					t.Errorf("up, and pushed again, differs:\n%s", diff)
				}
				must(t, migrator(t, pushed).Down(t.Context()))
			}
		})
	}
}

// Each file alone is refused or done: the first one that is refused leaves the
// database as the one before it did.
func TestExportRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	paths := export(t, dir, time.Now())
	db := foreign(t, false, `create table public.profiles (id uuid primary key, username text unique)`)
	before := dump(t, db)
	data, err := os.ReadFile(paths[0])
	must(t, err)
	conn, err := pgx.Connect(t.Context(), db.URL(standin.Owner))
	must(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.PgConn().Exec(t.Context(), string(data)).ReadAll(); err == nil || !strings.Contains(err.Error(), "drop constraint profiles_username_key") {
		t.Errorf("pushed: %v", err)
	}
	if diff := lineDiff(before, dump(t, db)); diff != "" {
		t.Errorf("it changed something:\n%s", diff)
	}
}

func TestExportNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"20991231235958_theirs.sql", "20250101000000_older.sql", "notes.txt", "99_x.md"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("select 1;"), 0o600))
	}
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	paths := export(t, dir, now)
	var names []string
	for _, p := range paths {
		names = append(names, filepath.Base(p))
	}
	want := []string{"20991231235959_fix_profiles_clerk.sql", "21000101000000_change_profiles_id_to_text.sql",
		"21000101000001_add_medusa_customer_id.sql", "21000101000002_lockstep_00001_lockstep.sql"}
	if diff := cmp.Diff(want, names[:4]); diff != "" || !slices.IsSorted(names) {
		t.Errorf("%s\n%v", diff, names)
	}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		must(t, err)
		if m := regexp.MustCompile(`(?m)^\\|supabase_migrations|\{\{|\+goose|TEMPLATE|(?i)^(begin|commit|rollback)\b.*;`).Find(data); m != nil {
			t.Errorf("%s holds %q", filepath.Base(p), m)
		}
	}
	if again := export(t, dir, now); len(again) > 0 {
		t.Errorf("a second export wrote %v", again)
	}
	other, err := postgres.Export(dir, "shop", now)
	must(t, err)
	if len(other) != 1 || !strings.HasSuffix(other[0], "_lockstep_functions.sql") || filepath.Base(other[0]) <= names[len(names)-1] {
		t.Errorf("with Medusa elsewhere it wrote %v", other)
	}
}

func TestExportSaysWhatToDo(t *testing.T) {
	t.Parallel()
	if _, err := postgres.Export(filepath.Join(t.TempDir(), "none"), "medusa", time.Now()); err == nil || !strings.Contains(err.Error(), "create it") {
		t.Errorf("no folder: %v", err)
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "99999999999999_x.sql"), nil, 0o600))
	if _, err := postgres.Export(dir, "medusa", time.Now()); err == nil || !strings.Contains(err.Error(), "rename it") {
		t.Errorf("a number that is no time: %v", err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

// The job engine's tables are those that its own migrator makes, in as many
// transactions as it likes.
func TestJobEngineIsRivers(t *testing.T) {
	t.Parallel()
	theirs, ours := testdb.Bare(t, standin.Options{}), testdb.Bare(t, standin.Options{})
	pool := testdb.Pool(t, theirs, standin.Owner)
	exec(t, pool, `create schema lockstep`)
	river, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: "lockstep", Logger: watch.Logger(t)})
	must(t, err)
	_, err = river.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	must(t, err)
	must(t, migrator(t, ours).Up(t.Context()))
	definitions := func(db pgtest.DB) string {
		lines := strings.Split(dump(t, db), "\n")
		return strings.Join(slices.DeleteFunc(lines, func(line string) bool {
			return !regexp.MustCompile(`^(column|constraint|index|type|function|trigger) .*river_`).MatchString(line)
		}), "\n")
	}
	if want := definitions(theirs); len(want) < 1000 || lineDiff(want, definitions(ours)) != "" {
		t.Errorf("%d bytes, differing in:\n%s", len(want), lineDiff(want, definitions(ours)))
	}
}
