package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed migrations/*.sql
var migrations embed.FS

//go:embed medusa/*.sql
var medusaFiles embed.FS

// migrateLock keeps two migrations of one database from running at once.
const migrateLock = 0x6c6f636b73746570 // "lockstep", as in adopt/adopted.sql

// defaultLockTimeout is how long a migration waits for a table that others use.
// Whoever wants the table after it waits too, so it must be short.
const defaultLockTimeout = 5 * time.Second

// Migrator brings a database up to what this version of Lockstep needs, or
// takes Lockstep out of it again. It needs a direct or session-mode connection.
type Migrator struct {
	Pool         *pgxpool.Pool
	MedusaSchema string // where Medusa's tables are, or will be
	Role         Role   // the login role that serves
	Log          *slog.Logger
	LockTimeout  time.Duration     // 0 is five seconds
	Progress     func(note string) // if set, is told what is done, and what could not be given back
}

// Step is one part of the schema.
type Step struct {
	Name    string `json:"name"`
	Applied bool   `json:"applied"`
}

// Why a migration was refused.
var (
	ErrTransactionPooler = errors.New("migrations need a direct or session-mode connection: DATABASE_URL names a pooler in transaction mode (on Supabase use port 5432 instead of 6543)")
	ErrLocked            = errors.New("another session uses a table that must change, and did not let go in time; nothing was changed: try again when it is quieter, or type the same with --lock-timeout 1m")
)

// Up applies what is missing and adopts a public.profiles of another making: all
// of it, or nothing. An error of type *RefusedError says what stands in the way.
// Running it again changes nothing, except that Medusa's functions follow
// MedusaSchema.
func (m *Migrator) Up(ctx context.Context) error {
	err := m.locked(ctx, func(s session) error {
		for _, part := range []struct {
			note string
			run  func(context.Context, session) error
		}{
			{"", m.adopt},
			{"making Lockstep's tables", m.own},
			{"making the job engine's tables", m.river},
			{"making Medusa's functions", m.functions},
			{"deciding who may what", m.access},
		} {
			m.note(part.note)
			if err := part.run(ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	m.note("making Medusa's indexes") // apart: they may take long, and all works without them
	return m.locked(ctx, func(s session) error { return m.indexes(ctx, s) })
}

func (m *Migrator) note(text string) {
	if m.Progress != nil && text != "" {
		m.Progress(text)
	}
}

// Down removes schema lockstep, with all links and jobs, and the two functions
// in public, and gives an adopted public.profiles back as far as that can be
// done; Progress is told what cannot. A public.profiles that holds rows stays.
// Running it again changes nothing.
func (m *Migrator) Down(ctx context.Context) error {
	return m.locked(ctx, func(s session) error {
		var there bool
		if err := s.tx.QueryRow(ctx, `select to_regnamespace($1) is not null`, Schema).Scan(&there); err != nil || !there {
			return Redact(err)
		}
		if err := m.closeAccess(ctx, s.tx); err != nil {
			return err
		}
		_, err := s.tx.Exec(ctx, `
			drop function if exists public.create_medusa_customer(text, text, text);
			drop function if exists public.update_medusa_customer(text, text, text, text);
			drop trigger if exists lockstep_hint_inserted on public.profiles -- it would keep a column that adoption added`)
		if err != nil {
			return fmt.Errorf("drop what hangs on the tables of others: %w", Redact(err))
		}
		if err := m.giveBack(ctx, s); err != nil {
			return err
		}
		if err := goosed(s.db(), func(p *goose.Provider) error { _, err := p.DownTo(ctx, 0); return err }); err != nil {
			return err
		}
		if _, err := s.tx.Exec(ctx, `drop schema if exists `+Schema+` cascade`); err != nil {
			return fmt.Errorf("drop schema %s: %w", Schema, Redact(err))
		}
		return nil
	})
}

// Status lists the steps and whether each is applied.
func (m *Migrator) Status(ctx context.Context) (steps []Step, err error) {
	var own, adopted, functions bool
	err = m.Pool.QueryRow(ctx, `select to_regclass('lockstep.migrations') is not null,
		to_regclass('lockstep.adopted') is not null, to_regprocedure('lockstep.medusa_check()') is not null`).Scan(&own, &adopted, &functions)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", Redact(err))
	}
	versions, err := list[int64](ctx, m.Pool, own, `select version_id from lockstep.migrations where is_applied`)
	if err != nil {
		return nil, err
	}
	names, err := list[string](ctx, m.Pool, adopted, `select name from lockstep.adopted where kind = 'step'`)
	if err != nil {
		return nil, err
	}
	for _, name := range adoptionSteps() { // a database made before there was adoption needs none
		steps = append(steps, Step{name, slices.Contains(names, name) || slices.Contains(versions, 1)})
	}
	err = goosed(stdlib.OpenDBFromPool(m.Pool), func(p *goose.Provider) error {
		for _, src := range p.ListSources() {
			steps = append(steps, Step{strings.TrimSuffix(src.Path, ".sql"), slices.Contains(versions, src.Version)})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	jobs, err := m.riverApplied(ctx)
	return append(steps, Step{"job engine", jobs}, Step{"functions", functions}), err
}

// list reads a column of a table, if it exists.
func list[T any](ctx context.Context, pool *pgxpool.Pool, exists bool, query string) ([]T, error) {
	if !exists {
		return nil, nil
	}
	rows, err := pool.Query(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", Redact(err))
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", Redact(err))
	}
	return out, nil
}

// own applies the files in migrations.
func (m *Migrator) own(ctx context.Context, s session) error {
	return goosed(s.db(), func(p *goose.Provider) error { _, err := p.Up(ctx); return err })
}

// goosed runs f on a provider whose version table lies in our schema, and closes
// db, which closes nothing that it was lent.
func goosed(db *sql.DB, f func(*goose.Provider) error) error {
	defer func() { _ = db.Close() }()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	table, err := database.NewStore(goose.DialectPostgres, Schema+".migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider("", db, files, goose.WithStore(table), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if err := f(p); err != nil {
		return fmt.Errorf("migrate: %w", Redact(err))
	}
	return nil
}

// river makes the job engine's tables.
func (m *Migrator) river(ctx context.Context, s session) error {
	jobs, err := riverExport()
	if err != nil {
		return err
	}
	if _, err := s.tx.Exec(ctx, jobs.sql); err != nil {
		return fmt.Errorf("migrate the job engine: %w", Redact(err))
	}
	return nil
}

func (m *Migrator) riverApplied(ctx context.Context) (bool, error) {
	migrator, err := rivermigrate.New(riverpgxv5.New(m.Pool), &rivermigrate.Config{Schema: Schema, Logger: m.Log})
	if err != nil {
		return false, fmt.Errorf("job engine: %w", err)
	}
	existing, err := migrator.ExistingVersions(ctx)
	if err != nil {
		return false, fmt.Errorf("job engine: %w", Redact(err))
	}
	return len(existing) == len(migrator.AllVersions()), nil
}

// functions makes Medusa's functions and closes everything the schema holds to
// others; the job engine's tables included, whatever it adds in later versions.
func (m *Migrator) functions(ctx context.Context, s session) error {
	sql, err := functionsSQL(m.MedusaSchema)
	if err != nil {
		return err
	}
	if _, err := s.tx.Exec(ctx, sql); err != nil {
		return fmt.Errorf("make Medusa's functions: %w", Redact(err))
	}
	return nil
}

func functionsSQL(medusaSchema string) (string, error) {
	t, err := template.New("medusa").Option("missingkey=error").ParseFS(medusaFiles, "medusa/*.sql")
	if err != nil {
		return "", err
	}
	var sql strings.Builder
	for _, part := range []string{"1_parts.sql", "2_customers.sql", "3_setup.sql"} {
		if err := t.ExecuteTemplate(&sql, part, map[string]string{"Medusa": pgx.Identifier{medusaSchema}.Sanitize()}); err != nil {
			return "", err
		}
	}
	return sql.String() + closeSchema + fixPaths, nil
}

// indexes makes the look-ups on Medusa's table fast. Medusa's writes wait while
// they are built. Without them all works, slower, so a table that is not there
// yet, or not ours, is no error.
func (m *Migrator) indexes(ctx context.Context, s session) error {
	var result string
	if err := s.tx.QueryRow(ctx, `select lockstep.medusa_indexes()`).Scan(&result); err != nil {
		return fmt.Errorf("make Medusa's indexes: %w", Redact(err))
	}
	m.Log.Info("indexes on Medusa's customers", "result", result)
	return nil
}

// closeSchema leaves the tables to their owner; access adds the role that serves.
const closeSchema = `
do $$
declare
  t regclass;
  v_owner regrole;
begin
  for t in select c.oid from pg_class c where c.relnamespace = 'lockstep'::regnamespace and c.relkind in ('r', 'p') and not c.relrowsecurity loop
    execute format('alter table %s enable row level security', t);
  end loop;
  for t, v_owner in select c.oid, c.relowner::regrole from pg_class c
     where c.relnamespace = 'lockstep'::regnamespace and c.relkind in ('r', 'p')
       and not exists (select from pg_policy p where p.polrelid = c.oid and p.polname = 'lockstep_service') loop
    execute format('create policy lockstep_service on %s to %s using (true) with check (true)', t, v_owner);
  end loop;
  revoke all on all tables in schema lockstep from public;
  revoke all on all sequences in schema lockstep from public;
  revoke all on all functions in schema lockstep from public;
end
$$;
`
