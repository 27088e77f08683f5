package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/internal/postgres"
)

// SyncUser brings every target in step for one user, now and in this process,
// by the same way as a worker. It waits for a worker that is busy with the user.
// The errors of all targets are joined; a target that failed stays due. One that
// was disconnected is left alone. A person's choice that the user has no customer
// is taken back: it holds until a person says so.
func (in *Inbox) SyncUser(ctx context.Context, userID string) error {
	if _, err := in.store.Profile(ctx, userID); err != nil {
		return err
	}
	names, err := in.connected(ctx)
	if err != nil {
		return err
	}
	err = in.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := in.store.Bump(ctx, tx, []string{userID}, names); err != nil {
			return err
		}
		return in.store.LetHave(ctx, tx, userID, names, "a person ran sync: the user may have a customer here again")
	})
	if err != nil {
		return err
	}
	var failed []error
	for _, name := range names {
		if err := in.syncNow(ctx, postgres.Key{UserID: userID, Target: name}); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(failed...)
}

func (in *Inbox) syncNow(ctx context.Context, k postgres.Key) error {
	for {
		more, err := in.round(ctx, in.targets[k.Target], k, func(pgx.Tx) error { return nil })
		if busy, ok := errors.AsType[*postgres.BusyError](err); ok {
			if err := pauseFor(ctx, min(busy.Until, time.Second)); err != nil {
				return err
			}
			continue
		}
		if failed, ok := errors.AsType[*roundError](err); ok {
			unclaim, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return errors.Join(failed.err, in.store.Unclaim(unclaim, failed.claim, failed.Error()))
		}
		if err != nil || !more {
			return err
		}
	}
}

// Explanation is what would be done for a user in one target, and why.
type Explanation struct {
	Target   string
	Decision engine.Decision
	Err      error
}

// Explain decides for every target and writes nothing.
func (in *Inbox) Explain(ctx context.Context, userID string) ([]Explanation, error) {
	profile, err := in.store.Profile(ctx, userID)
	if err != nil {
		return nil, err
	}
	links, err := in.store.Links(ctx, userID)
	if err != nil {
		return nil, err
	}
	erasure, err := in.store.Erasure(ctx, userID)
	if err != nil && !errors.Is(err, postgres.ErrNotForgotten) {
		return nil, err
	}
	out := make([]Explanation, len(in.names))
	for i, name := range in.names {
		out[i].Target = name
		link := linkTo(links, name)
		out[i].Decision, out[i].Err = engine.Decide(ctx, in.targets[name], profile, link, in.store.Owners, in.policy(name, erasure.Customers))
	}
	return out, nil
}

func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func linkTo(links []lockstep.Link, target string) lockstep.Link {
	for _, l := range links {
		if l.Target == target {
			return l
		}
	}
	return lockstep.Link{Target: target}
}
