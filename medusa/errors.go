package medusa

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lockstephq/lockstep"
)

// operation is what a failure is about.
type operation struct {
	verb   string
	writes bool // so that a lost answer leaves doubt
}

func reading(verb string) operation { return operation{verb: verb} }
func writing(verb string) operation { return operation{verb: verb, writes: true} }

func (o operation) fail(kind lockstep.ErrorKind, cause error) error {
	return &lockstep.TargetError{Kind: kind, Err: fmt.Errorf("medusa: %s: %w", o.verb, cause)}
}

// mayStart refuses, before anything is sent, a context that has ended and text
// that PostgreSQL cannot hold.
func (o operation) mayStart(ctx context.Context, args []any) error {
	if err := ctx.Err(); err != nil {
		return o.fail(lockstep.ErrTransient, err)
	}
	for _, arg := range args {
		if s, ok := arg.(string); ok && !storable(s) {
			return o.fail(lockstep.ErrInvalid, errors.New("a field holds a NUL byte or is not UTF-8"))
		}
	}
	return nil
}

// noAnswer is for a write that succeeded without a row. The functions answer
// with one, or fail: somebody has replaced them.
func (o operation) noAnswer() error {
	return o.fail(lockstep.ErrUnknown, errors.New("the database answered with no customer: run lockstep migrate up"))
}

// failed classes an error of the database. It goes by codes, never by texts,
// and repeats none: they can hold values of a row, or of a setting.
func (o operation) failed(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return o.answered(pg, sentNothing(err))
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok { // quotes the user and the database
		return o.fail(lockstep.ErrTransient, errors.New("cannot connect to the database: check that it runs, and DATABASE_URL"))
	}
	kind := lockstep.ErrTransient
	if o.writes && !sentNothing(err) {
		kind = lockstep.ErrUnknown
	}
	for _, ended := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, ended) {
			return o.fail(kind, ended)
		}
	}
	return o.fail(kind, errors.New("the connection to the database broke"))
}

// sentNothing reports whether the query cannot have reached the server.
func sentNothing(err error) bool {
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	return connecting || pgconn.SafeToRetry(err)
}

// answered classes an error that the server sent; with it the statement is
// rolled back. Class 08 is the exception: there a pooler reports that it lost
// the server, and nobody knows what the server did (pgbouncer's "server conn
// crashed" is 08P01).
func (o operation) answered(pg *pgconn.PgError, sentNothing bool) error {
	kind, advice := judge(pg.Code)
	if o.writes && !sentNothing && strings.HasPrefix(pg.Code, "08") {
		kind = lockstep.ErrUnknown
	}
	return o.fail(kind, &sqlError{code: pg.Code, object: object(pg), advice: advice})
}

// judge gives the kind of a code (PostgreSQL's manual, appendix A) and, where a
// person must act, what to do. Codes it does not know are worth another try.
func judge(code string) (lockstep.ErrorKind, string) {
	switch code {
	case "23505": // unique_violation
		return lockstep.ErrTaken, ""
	case "P0002": // no_data_found
		return lockstep.ErrGone, ""
	case "23502", "23514": // not_null_violation, check_violation
		return lockstep.ErrInvalid, ""
	case "42883", "3F000": // undefined_function, invalid_schema_name
		return lockstep.ErrRefused, "Lockstep's functions are missing: run lockstep migrate up"
	case "42P01": // undefined_table
		return lockstep.ErrRefused, "Medusa's tables are not where MEDUSA_SCHEMA says: " +
			"set MEDUSA_SCHEMA, then run lockstep migrate up"
	case "42703", "42P10": // undefined_column, invalid_column_reference
		return lockstep.ErrRefused, "Medusa's table customer is not as Medusa 2 makes it: " +
			"run medusa db:migrate"
	case "42501": // insufficient_privilege
		return lockstep.ErrRefused, "the role may not use Medusa's customers: connect as the role that ran " +
			"lockstep migrate up, and grant that role usage on Medusa's schema and select, insert, update on its table customer " +
			"(for MEDUSA_ACCOUNTS=clerk also select, insert, update, delete on auth_identity and provider_identity)"
	case "25004": // inappropriate_isolation_level_…, raised by lockstep.medusa_begin
		return lockstep.ErrRefused, "set default_transaction_isolation to 'read committed' for the role"
	case "3D000": // invalid_catalog_name
		return lockstep.ErrRefused, "the database does not exist: correct DATABASE_URL"
	}
	switch code[:min(2, len(code))] {
	case "22": // data_exception
		return lockstep.ErrInvalid, ""
	case "28": // invalid_authorization_specification
		return lockstep.ErrRefused, "the database refuses the user: correct DATABASE_URL"
	}
	return lockstep.ErrTransient, ""
}

// denied reports that a privilege is missing.
func denied(err error) bool {
	e, ok := errors.AsType[*sqlError](err)
	return ok && e.code == "42501"
}

// sqlError is a server's error without its message and detail, which can hold
// values of a row.
type sqlError struct {
	code   string
	object string // the table, constraint or column it is about
	advice string
}

func (e *sqlError) Error() string {
	text := "SQLSTATE " + e.code
	if e.object != "" {
		text += " (" + e.object + ")"
	}
	if e.advice != "" {
		text += ": " + e.advice
	}
	return text
}

func object(pg *pgconn.PgError) string {
	for _, name := range []string{pg.ConstraintName, pg.ColumnName, pg.TableName} {
		if name != "" {
			return name
		}
	}
	return ""
}
