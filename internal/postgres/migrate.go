package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"text/template"

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

//go:embed medusa.sql
var medusaSQL string

// migrateLock keeps two migrations of one database from running at once.
const migrateLock = 0x6c6f636b73746570 // "lockstep"

// Migrator brings a database up to what this version of Lockstep needs, or
// takes Lockstep out of it again. It needs a direct or session-mode connection.
type Migrator struct {
	Pool         *pgxpool.Pool
	MedusaSchema string // where Medusa's tables are, or will be
	Role         Role   // the login role that serves
	Log          *slog.Logger
}

// Step is one part of the schema.
type Step struct {
	Name    string `json:"name"`
	Applied bool   `json:"applied"`
}

// Why a migration was refused.
var (
	ErrTransactionPooler = errors.New("migrations need a direct or session-mode connection: DATABASE_URL names a pooler in transaction mode (on Supabase use port 5432 instead of 6543)")
	ErrForeignProfiles   = errors.New("public.profiles exists and is not of Lockstep's making: adopting such a table is not supported yet; rename it, or use another database")
)

// Up applies what is missing. Running it again changes nothing, except that
// Medusa's functions follow MedusaSchema.
func (m *Migrator) Up(ctx context.Context) error {
	return m.locked(ctx, func(conn *pgx.Conn) error {
		if err := refuseForeignProfiles(ctx, conn); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, `create schema if not exists `+Schema); err != nil {
			return fmt.Errorf("create schema %s: %w", Schema, Redact(err))
		}
		if err := m.goose(func(p *goose.Provider) error { _, err := p.Up(ctx); return err }); err != nil {
			return err
		}
		if err := m.river(ctx); err != nil {
			return err
		}
		if err := m.functions(ctx, conn); err != nil {
			return err
		}
		return m.indexes(ctx, conn)
	})
}

// Down removes schema lockstep, with all links and jobs, and the two functions
// in public. A public.profiles that holds rows stays. Running it again changes
// nothing.
func (m *Migrator) Down(ctx context.Context) error {
	return m.locked(ctx, func(conn *pgx.Conn) error {
		var there bool
		if err := conn.QueryRow(ctx, `select to_regnamespace($1) is not null`, Schema).Scan(&there); err != nil || !there {
			return Redact(err)
		}
		if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return m.closeAccess(ctx, tx) }); err != nil {
			return err
		}
		if err := m.goose(func(p *goose.Provider) error { _, err := p.DownTo(ctx, 0); return err }); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, `
			drop function if exists public.create_medusa_customer(text, text, text);
			drop function if exists public.update_medusa_customer(text, text, text, text);
			drop schema if exists `+Schema+` cascade`)
		if err != nil {
			return fmt.Errorf("drop schema %s: %w", Schema, Redact(err))
		}
		return nil
	})
}

// Status lists the steps and whether each is applied.
func (m *Migrator) Status(ctx context.Context) (steps []Step, err error) {
	var exists, functions bool
	err = m.Pool.QueryRow(ctx, `select to_regclass('lockstep.migrations') is not null,
		to_regprocedure('lockstep.medusa_check()') is not null`).Scan(&exists, &functions)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", Redact(err))
	}
	applied := map[int64]bool{}
	if exists {
		rows, err := m.Pool.Query(ctx, `select version_id from lockstep.migrations where is_applied`)
		if err != nil {
			return nil, fmt.Errorf("read migrations: %w", Redact(err))
		}
		versions, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return nil, fmt.Errorf("read migrations: %w", Redact(err))
		}
		for _, v := range versions {
			applied[v] = true
		}
	}
	err = m.goose(func(p *goose.Provider) error {
		for _, src := range p.ListSources() {
			name := strings.TrimSuffix(src.Path, ".sql")
			steps = append(steps, Step{name, applied[src.Version]})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	jobs, err := m.riverApplied(ctx)
	return append(steps, Step{"job engine", jobs}, Step{"functions", functions}), err
}

// locked runs f while no other migration runs on the database.
func (m *Migrator) locked(ctx context.Context, f func(*pgx.Conn) error) error {
	if TransactionPooler(m.Pool.Config().ConnConfig) {
		return ErrTransactionPooler
	}
	conn, err := m.Pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("database: %w", Redact(err))
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `select pg_advisory_lock($1)`, int64(migrateLock)); err != nil {
		return fmt.Errorf("wait for other migrations: %w", Redact(err))
	}
	defer func() {
		if _, err := conn.Exec(context.WithoutCancel(ctx), `select pg_advisory_unlock($1)`, int64(migrateLock)); err != nil {
			m.Log.Warn("unlock migrations", "error", Redact(err)) // it ends with the connection
		}
	}()
	return f(conn.Conn())
}

func refuseForeignProfiles(ctx context.Context, conn *pgx.Conn) error {
	var foreign bool
	err := conn.QueryRow(ctx, `select to_regclass('public.profiles') is not null and count(*) < 2 from pg_attribute
		where attrelid = to_regclass('public.profiles') and not attisdropped
		  and (attname = 'id' and atttypid = 'text'::regtype or attname = 'clerk_updated_at')`).Scan(&foreign)
	switch {
	case err != nil:
		return fmt.Errorf("look at public.profiles: %w", Redact(err))
	case foreign:
		return ErrForeignProfiles
	}
	return nil
}

// goose runs f on a provider whose version table lies in our schema.
func (m *Migrator) goose(f func(*goose.Provider) error) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	table, err := database.NewStore(goose.DialectPostgres, Schema+".migrations")
	if err != nil {
		return err
	}
	var db *sql.DB = stdlib.OpenDBFromPool(m.Pool)
	defer func() { _ = db.Close() }() // closes nothing of the pool's
	p, err := goose.NewProvider("", db, files, goose.WithStore(table), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if err := f(p); err != nil {
		return fmt.Errorf("migrate: %w", Redact(err))
	}
	return nil
}

func (m *Migrator) riverMigrator() (*rivermigrate.Migrator[pgx.Tx], error) {
	return rivermigrate.New(riverpgxv5.New(m.Pool), &rivermigrate.Config{Schema: Schema, Logger: m.Log})
}

func (m *Migrator) river(ctx context.Context) error {
	migrator, err := m.riverMigrator()
	if err != nil {
		return fmt.Errorf("job engine: %w", err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrate the job engine: %w", Redact(err))
	}
	return nil
}

func (m *Migrator) riverApplied(ctx context.Context) (bool, error) {
	migrator, err := m.riverMigrator()
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
func (m *Migrator) functions(ctx context.Context, conn *pgx.Conn) error {
	t, err := template.New("medusa.sql").Option("missingkey=error").Parse(medusaSQL)
	if err != nil {
		return err
	}
	var sql strings.Builder
	if err := t.Execute(&sql, map[string]string{"Medusa": pgx.Identifier{m.MedusaSchema}.Sanitize()}); err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sql.String()); err != nil {
			return fmt.Errorf("make Medusa's functions: %w", Redact(err))
		}
		if _, err := tx.Exec(ctx, closeSchema); err != nil {
			return fmt.Errorf("close schema %s: %w", Schema, Redact(err))
		}
		return m.access(ctx, tx)
	})
}

// indexes makes the look-ups on Medusa's table fast. Medusa's writes wait while
// they are built. Without them all works, slower, so a table that is not there
// yet, or not ours, is no error.
func (m *Migrator) indexes(ctx context.Context, conn *pgx.Conn) error {
	var result string
	if err := conn.QueryRow(ctx, `select lockstep.medusa_indexes()`).Scan(&result); err != nil {
		return fmt.Errorf("make Medusa's indexes: %w", Redact(err))
	}
	m.Log.Info("indexes on Medusa's customers", "result", result)
	return nil
}

const closeSchema = `
do $$
declare
  t regclass;
begin
  for t in select c.oid from pg_class c where c.relnamespace = 'lockstep'::regnamespace and c.relkind in ('r', 'p') and not c.relrowsecurity loop
    execute format('alter table %s enable row level security', t);
  end loop;
  revoke all on all tables in schema lockstep from public;
  revoke all on all sequences in schema lockstep from public;
  revoke all on all functions in schema lockstep from public;
end
$$`
