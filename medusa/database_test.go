package medusa_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/medusa"
	"github.com/lockstephq/lockstep/targettest"
)

// TestDatabase runs the exam in every way of asking that pgx knows for poolers,
// and under other names of Medusa's schema.
func TestDatabase(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		options standin.Options
		mode    pgx.QueryExecMode
	}{
		"prepared":                          {standin.Options{MedusaSchema: "medusa"}, pgx.QueryExecModeCacheStatement},
		"exec, own schema, older grants":    {standin.Options{MedusaSchema: "shop-medusa", AutoGrants: true}, pgx.QueryExecModeExec},
		"simple protocol, Medusa in public": {standin.Options{MedusaSchema: "public"}, pgx.QueryExecModeSimpleProtocol},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			targettest.Run(t, func(t *testing.T) targettest.Subject {
				s := openStore(t, tt.options)
				return s.subject(s.pool(t, standin.Owner, execMode(tt.mode)))
			})
		})
		t.Run(name+", accounts", func(t *testing.T) {
			t.Parallel()
			targettest.Run(t, func(t *testing.T) targettest.Subject {
				s := openStore(t, tt.options)
				return s.accounts(s.pool(t, standin.Owner, execMode(tt.mode)))
			})
		})
	}
}

// accounts is the subject whose users sign in to Medusa.
func (s store) accounts(db medusa.Querier) targettest.Subject {
	subject, b := s.subject(db), &breaker{Querier: db}
	subject.Target, subject.Break, subject.Accounts = medusa.NewDatabase(b).WithAccounts(), b.arm, true
	subject.Shop = accountShop{s.shop(), s.schema}
	return subject
}

func (s store) subject(db medusa.Querier) targettest.Subject {
	b := &breaker{Querier: db}
	return targettest.Subject{
		Target:  medusa.NewDatabase(b),
		Shop:    s.shop(),
		Foreign: map[string]string{company: "Owls Ltd", "loyalty": "gold"},
		Break:   b.arm,
		Lacks:   map[targettest.Fault]string{targettest.FaultLimit: "PostgreSQL limits no rate"},
	}
}

func (s store) shop() shop { return shop{s.super, s.schema + ".customer"} }

// breaker is a connection that misbehaves when it is armed.
type breaker struct {
	medusa.Querier

	mu    sync.Mutex
	fault targettest.Fault
}

func (b *breaker) arm(f targettest.Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fault = f
}

// strike returns the fault that hits the statement, and disarms it.
func (b *breaker) strike(sql string) targettest.Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	reads := strings.Contains(sql, "from lockstep.medusa_resolve") || strings.Contains(sql, "medusa_check")
	if reads && b.fault != targettest.FaultRefusal {
		return ""
	}
	f := b.fault
	b.fault = ""
	return f
}

func (b *breaker) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	switch b.strike(sql) {
	case targettest.FaultLostBefore:
		return nil, broken()
	case targettest.FaultLostAfter:
		rows, err := b.Querier.Query(ctx, sql, args...)
		if err != nil {
			return nil, err
		}
		rows.Close() // the statement is committed
		if err := rows.Err(); err != nil {
			return nil, err
		}
		return nil, broken()
	case targettest.FaultRefusal: // PostgreSQL's own answer
		return b.Querier.Query(ctx, `select lockstep.medusa_of_another_version()`)
	}
	return b.Querier.Query(ctx, sql, args...)
}

func broken() error { return fmt.Errorf("receive message: %w", syscall.ECONNRESET) }
