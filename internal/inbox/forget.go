package inbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
)

// Forget erases a user: what is personal in Lockstep's tables at once, then the
// customer in each connected target, as customers says or, without it, the
// target's own policy; then the rest. It works in this process, and what it cannot
// finish a job does. Called again it goes on. The user must be gone from Clerk, or
// the next look there would bring everything back: who calls it sees to that.
func (in *Inbox) Forget(ctx context.Context, userID string, customers lockstep.OnDelete) (postgres.Erasure, error) {
	names, err := in.connected(ctx)
	if err != nil {
		return postgres.Erasure{}, err
	}
	var id int64
	var done bool
	err = in.inTx(ctx, func(tx pgx.Tx) error {
		if id, done, err = in.store.BeginErasure(ctx, tx, userID, customers); err != nil || done {
			return err
		}
		if _, err := in.store.Bump(ctx, tx, []string{userID}, names); err != nil {
			return err
		}
		return in.enqueuePrivacy(ctx, tx, postgres.LostRequest{ID: id, UserID: userID})
	})
	if err != nil {
		return postgres.Erasure{}, postgres.Redact(err)
	}
	if !done {
		err = postgres.Redact(in.forget(ctx, id, userID))
	}
	proof, readErr := in.store.Erasure(ctx, userID)
	return proof, errors.Join(err, readErr)
}

// forget does what is left to do of an erasure that was begun.
func (in *Inbox) forget(ctx context.Context, id int64, userID string) error {
	names, err := in.connected(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, name := range names {
		err := in.syncNow(ctx, postgres.Key{UserID: userID, Target: name})
		if err != nil && !errors.Is(err, postgres.ErrNoLink) { // which is done
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
		}
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	err = in.inTx(ctx, func(tx pgx.Tx) error {
		woken, err := in.store.FinishErasure(ctx, tx, id, userID, names)
		if err != nil {
			return err
		}
		return in.enqueue(ctx, tx, woken)
	})
	if err == nil {
		in.log.Info("user forgotten", "user", userID)
	}
	return err
}
