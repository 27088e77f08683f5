package medusa

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lockstephq/lockstep"
)

// answer is a server's error as a careless server words it.
func answer(code string) error {
	return fmt.Errorf("query: %w", &pgconn.PgError{
		Severity: "ERROR", Code: code, Message: "invalid: ada@example.test", Detail: "Key (email)=(ada@example.test)",
		Hint: "ada", Where: "ada", InternalQuery: "ada", TableName: "customer",
	})
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	tests := map[lockstep.ErrorKind][]string{
		lockstep.ErrTaken:     {"23505"},
		lockstep.ErrGone:      {"P0002"},
		lockstep.ErrInvalid:   {"22021", "22023", "22P02", "23502", "23514"},
		lockstep.ErrRefused:   {"42501", "42P01", "42883", "42703", "42P10", "3F000", "3D000", "28000", "28P01", "25004"},
		lockstep.ErrTransient: {"40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "53100", "53300", "25006", "XX000", "P0001", "0A000", ""},
	}
	for kind, codes := range tests {
		for _, code := range codes {
			for _, op := range []operation{reading("resolve"), writing("create")} {
				err := op.failed(answer(code))
				if lockstep.KindOf(err) != kind {
					t.Errorf("%s after %q: %v, want %q", op.verb, code, err, kind)
				}
				if strings.Contains(err.Error(), "ada") || !strings.Contains(err.Error(), "SQLSTATE "+code) {
					t.Errorf("the text is wrong: %v", err)
				}
			}
		}
	}
}

type safe struct{ error }

func (safe) SafeToRetry() bool { return true }

func TestLostAnswers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err         error
		read, write lockstep.ErrorKind
	}{
		"broken":             {io.ErrUnexpectedEOF, lockstep.ErrTransient, lockstep.ErrUnknown},
		"deadline":           {fmt.Errorf("x: %w", context.DeadlineExceeded), lockstep.ErrTransient, lockstep.ErrUnknown},
		"cancelled":          {context.Canceled, lockstep.ErrTransient, lockstep.ErrUnknown},
		"nothing sent":       {safe{io.EOF}, lockstep.ErrTransient, lockstep.ErrTransient},
		"the pooler lost it": {answer("08P01"), lockstep.ErrTransient, lockstep.ErrUnknown},
		"something else":     {errors.New("ada@example.test"), lockstep.ErrTransient, lockstep.ErrUnknown},
	}
	for name, tt := range tests {
		for op, want := range map[operation]lockstep.ErrorKind{reading("resolve"): tt.read, writing("update"): tt.write} {
			err := op.failed(tt.err)
			if lockstep.KindOf(err) != want || strings.Contains(err.Error(), "ada") {
				t.Errorf("%s, %s: %v, want %q", name, op.verb, err, want)
			}
		}
	}
	if err := writing("create").failed(context.Canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not say that it was cancelled", err)
	}
}

func TestUnstorableTextIsNotSent(t *testing.T) {
	t.Parallel()
	d := NewDatabase(nil) // a query would panic
	for _, bad := range []string{"a\x00b", "\xff"} {
		if _, err := d.Resolve(t.Context(), lockstep.Query{UserID: bad}); lockstep.KindOf(err) != lockstep.ErrInvalid {
			t.Errorf("Resolve of %q: %v", bad, err)
		}
		if _, err := d.Create(t.Context(), lockstep.Customer{UserID: "user_1", Phone: bad}); lockstep.KindOf(err) != lockstep.ErrInvalid {
			t.Errorf("Create with %q: %v", bad, err)
		}
		if _, err := d.Release(t.Context(), lockstep.Customer{ID: bad}, lockstep.OnDeleteKeep); lockstep.KindOf(err) != lockstep.ErrInvalid {
			t.Errorf("Release of %q: %v", bad, err)
		}
	}
}
