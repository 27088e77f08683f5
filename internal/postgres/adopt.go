package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed adopt/*.sql
var adoption embed.FS

// machinery are the files with the functions that adoption is made of, in the
// order in which they need each other.
func machinery() []string {
	return []string{"adopted", "find", "functions", "dependants", "describe", "obstacles", "convert"}
}

// adoptionSteps carry a public.profiles of another making over. They have the
// names of the recipe that many projects have tried by hand.
func adoptionSteps() []string {
	return []string{"fix_profiles_clerk", "change_profiles_id_to_text", "add_medusa_customer_id"}
}

// RefusedError says what stands in the way of adopting public.profiles, each
// obstacle with what to type. It names objects of the schema, never data.
type RefusedError struct{ Obstacles []string }

// Error implements error.
func (e *RefusedError) Error() string {
	return "public.profiles cannot be adopted as it is; nothing was changed:\n  - " + strings.Join(e.Obstacles, "\n  - ")
}

// SQLSTATEs that matter to a migration.
const (
	stateRefused = "LK001" // of adopt_refuse
	stateLocked  = "55P03" // lock_not_available
)

// adopt runs the steps that a fresh database has nothing to do for.
func (m *Migrator) adopt(ctx context.Context, s session) error {
	if err := s.run(ctx, machinery()...); err != nil {
		return err
	}
	return s.run(ctx, adoptionSteps()...)
}

// giveBack undoes adoption as far as it can be undone.
func (m *Migrator) giveBack(ctx context.Context, s session) error {
	if err := s.run(ctx, machinery()...); err != nil {
		return err
	}
	return s.run(ctx, "give_back")
}

// run executes files of the folder adopt.
func (s session) run(ctx context.Context, names ...string) error {
	for _, name := range names {
		sql, err := adoptionSQL(name)
		if err != nil {
			return err
		}
		_, err = s.tx.Exec(ctx, sql)
		pg, ok := errors.AsType[*pgconn.PgError](err)
		switch {
		case ok && pg.Code == stateRefused:
			return &RefusedError{strings.Split(pg.Message, "\n")}
		case ok && pg.Code == stateLocked:
			return ErrLocked
		case err != nil:
			return fmt.Errorf("%s: %w", name, Redact(err))
		}
	}
	return nil
}

func adoptionSQL(name string) (string, error) {
	data, err := adoption.ReadFile(path.Join("adopt", name+".sql"))
	return string(data), err
}
