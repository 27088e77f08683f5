// Package postgres is Lockstep's store: the profiles that the application
// reads, and the schema lockstep with links, deliveries and history. It holds
// all SQL but Medusa's, and the migrations.
//
// Everything works through a transaction-mode pooler: no session state, no
// prepared statements, no lock that outlives its transaction.
package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Schema is where everything of Lockstep's own lives.
const Schema = "lockstep"

// connectTimeout bounds one attempt to reach the server: a caller that holds a
// webhook open must hear of an outage while the sender still listens (15 s).
const connectTimeout = 3 * time.Second

// Store reads and writes Lockstep's tables. It is safe for concurrent use.
type Store struct {
	pool *pgxpool.Pool
}

// NewStore uses pool, which stays the caller's to close.
func NewStore(pool *pgxpool.Pool) *Store { return &Store{pool} }

// ParseURL reads a connection URL and sets what Lockstep relies on. Its errors
// do not repeat the URL, which holds a password.
func ParseURL(url string) (*pgxpool.Config, error) {
	if strings.TrimSpace(url) == "" {
		return nil, errors.New("is empty")
	}
	scheme, _, isURL := strings.Cut(url, "://")
	config, err := pgxpool.ParseConfig(url)
	if err != nil || isURL && scheme != "postgres" && scheme != "postgresql" && !strings.Contains(scheme, "=") {
		// pgx takes any text with a "=" for keywords and values: https://host/?a=b
		return nil, errors.New("is not a PostgreSQL connection URL")
	}
	if config.ConnConfig.ConnectTimeout == 0 || config.ConnConfig.ConnectTimeout > connectTimeout {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	if TransactionPooler(config.ConnConfig) && config.ConnConfig.DefaultQueryExecMode != pgx.QueryExecModeSimpleProtocol {
		// Prepared statements belong to a server connection, and the pooler
		// hands out another one for each transaction.
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	return config, nil
}

// TransactionPooler tells whether a connection goes through a pooler in
// transaction mode: by the port, 6543 on Supabase and 6432 for pgbouncer, or
// because the URL asks for queries without prepared statements, as pgx's manual
// advises for poolers (default_query_exec_mode=exec).
func TransactionPooler(c *pgx.ConnConfig) bool {
	return c.Port == 6543 || c.Port == 6432 ||
		c.DefaultQueryExecMode == pgx.QueryExecModeExec || c.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol
}

// Ping asks whether the database answers and is migrated.
func (s *Store) Ping(ctx context.Context) error {
	var ready bool
	err := s.pool.QueryRow(ctx, `select to_regprocedure('lockstep.medusa_check()') is not null
		and to_regclass('lockstep.customer_links') is not null and to_regclass('lockstep.river_job') is not null`).Scan(&ready)
	switch {
	case err != nil:
		return fmt.Errorf("database: %w", Redact(err))
	case !ready:
		return ErrNotMigrated
	}
	return nil
}

// ErrNotMigrated is a database that answers but lacks Lockstep's tables.
var ErrNotMigrated = errors.New("the database lacks Lockstep's tables: run `lockstep migrate up`")

// Redact reduces an error of pgx to what may be logged: PostgreSQL's detail
// quotes the row at fault, a message about data or from a trigger may, and a
// connection error quotes the URL.
func Redact(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code[:min(2, len(pg.Code))] {
		case "08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58": // about the server and the schema
			return fmt.Errorf("%s (SQLSTATE %s)", pg.Message, pg.Code)
		}
		about := strings.TrimSpace("SQLSTATE " + pg.Code + " " + cmp.Or(pg.ConstraintName, pg.ColumnName, pg.TableName))
		return fmt.Errorf("the database refused it (%s)", about)
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return errUnreachable
	}
	return err
}

var errUnreachable = errors.New("cannot connect: check that the server runs and that DATABASE_URL names it")

// Unavailable reports whether an error means that the database is away or
// overloaded, so that the same request may succeed later.
func Unavailable(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return true // no answer from the server at all
	}
	switch pg.Code[:2] {
	case "08", "53", "57", "58", "40", "55", "25":
		return true
	}
	return false
}
