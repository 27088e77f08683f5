package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// session is the one connection and transaction of a migration. A refusal, an
// error or a kill leaves the database as it was.
type session struct {
	conn *stdlib.Conn
	tx   pgx.Tx
}

// locked runs f in a transaction while no other migration runs on the database.
func (m *Migrator) locked(ctx context.Context, f func(session) error) error {
	config := m.Pool.Config().ConnConfig.Copy()
	if TransactionPooler(config) {
		return ErrTransactionPooler
	}
	config.OnNotice = m.onNotice
	db := stdlib.OpenDB(*config)
	defer func() { _ = db.Close() }() // all is committed, or nothing shall be
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("database: %w", Redact(err))
	}
	defer func() { _ = conn.Close() }()
	err = conn.Raw(func(c any) error {
		held := c.(*stdlib.Conn)
		return pgx.BeginFunc(ctx, held.Conn(), func(tx pgx.Tx) error {
			if err := m.settle(ctx, tx); err != nil {
				return err
			}
			return f(session{held, tx})
		})
	})
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return Redact(pg) // of the commit
	}
	return err
}

// settle waits for other migrations, however long they take, and then bounds
// the time that anything else may wait for us. The statement that changes a
// large table takes its time: limits that the role has are for queries.
func (m *Migrator) settle(ctx context.Context, tx pgx.Tx) error {
	timeout := strconv.FormatInt(max(1, cmp.Or(m.LockTimeout, defaultLockTimeout).Milliseconds()), 10)
	for _, sql := range []string{
		`set local lock_timeout = 0; set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0`,
		`select pg_advisory_xact_lock(` + strconv.FormatInt(migrateLock, 10) + `)`,
		`set local lock_timeout = ` + timeout,
	} {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("wait for other migrations: %w", Redact(err))
		}
	}
	return nil
}

// notePrefix begins the notices of adopt_note.
const notePrefix = "lockstep: "

func (m *Migrator) onNotice(_ *pgconn.PgConn, n *pgconn.Notice) {
	if note, ok := strings.CutPrefix(n.Message, notePrefix); ok {
		m.note(note)
	}
}

// db lends the session's connection to a library that wants database/sql, and
// its own transactions: those become savepoints.
func (s session) db() *sql.DB {
	db := sql.OpenDB(lender{s.conn})
	db.SetMaxOpenConns(1)
	return db
}

type lender struct{ conn *stdlib.Conn }

// Connect implements driver.Connector.
func (l lender) Connect(context.Context) (driver.Conn, error) { return &lent{l.conn}, nil }

// Driver implements driver.Connector.
func (l lender) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

// lent is a connection that stays its owner's: closing it does nothing.
type lent struct{ *stdlib.Conn }

// Close implements driver.Conn.
func (*lent) Close() error { return nil }

// ResetSession implements driver.SessionResetter.
func (*lent) ResetSession(context.Context) error { return nil }

// BeginTx implements driver.ConnBeginTx.
func (l *lent) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	_, err := l.Conn.Conn().Exec(ctx, `savepoint lent`)
	return savepoint{ctx, l.Conn.Conn()}, err
}

type savepoint struct {
	ctx  context.Context
	conn *pgx.Conn
}

// Commit implements driver.Tx.
func (s savepoint) Commit() error {
	_, err := s.conn.Exec(s.ctx, `release savepoint lent`)
	return err
}

// Rollback implements driver.Tx.
func (s savepoint) Rollback() error {
	_, err := s.conn.Exec(context.WithoutCancel(s.ctx), `rollback to savepoint lent; release savepoint lent`)
	return err
}
