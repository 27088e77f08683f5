package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/clerk"
	"github.com/lockstephq/lockstep/internal/inbox"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/web"
)

// Erasure is the proof that a user was forgotten: ids, times and counts.
type Erasure = postgres.Erasure

// ErrStillThere is a user whom Clerk has: the next look there would bring
// everything back.
var ErrStillThere = errors.New("still in Clerk, so the next sync would bring everything back: " +
	"delete the user in Clerk's dashboard (Users, the user, Delete user), then run lockstep forget again")

// errOtherInstance guards against a key of another instance, which knows nobody.
var errOtherInstance = errors.New("none of the other users is in Clerk either, so CLERK_SECRET_KEY is of another instance: correct it")

// Forget erases a user who is gone from Clerk: what Lockstep holds, and the
// customers as the policy of each target says, or customers for this user. It may
// be repeated, and goes on where it was; what it could not finish the workers do.
// The proof is returned with an error too, once it was begun.
func (a *App) Forget(ctx context.Context, userID string, customers lockstep.OnDelete) (Erasure, error) {
	if err := a.store.Ping(ctx); err != nil {
		return Erasure{}, fmt.Errorf("not begun: %w", err)
	}
	in, err := inbox.New(a.inboxConfig())
	if err != nil {
		return Erasure{}, err
	}
	return a.forget(ctx, in, userID, customers)
}

func (a *App) forget(ctx context.Context, in *inbox.Inbox, userID string, customers lockstep.OnDelete) (Erasure, error) {
	if err := a.goneFromClerk(ctx, userID); err != nil {
		return Erasure{}, err
	}
	return in.Forget(ctx, userID, customers)
}

// goneFromClerk asks Clerk itself. Where Lockstep has not heard of the deletion
// yet, Clerk must know somebody whom Lockstep knows.
func (a *App) goneFromClerk(ctx context.Context, userID string) error {
	client, err := newClerkClient(a.config)
	if err != nil {
		return &SettingError{"CLERK_SECRET_KEY", err}
	}
	switch _, err := client.GetUserNow(ctx, userID); {
	case err == nil:
		return ErrStillThere
	case !errors.Is(err, clerk.ErrNotFound):
		return fmt.Errorf("ask Clerk whether the user is gone: %w", err)
	}
	p, err := a.store.Profile(ctx, userID)
	if errors.Is(err, postgres.ErrNoProfile) || err == nil && p.Deleted() {
		return nil
	}
	if err != nil {
		return postgres.Redact(err)
	}
	others, err := a.store.OtherUsers(ctx, userID, 100)
	if err != nil || len(others) == 0 {
		return postgres.Redact(err)
	}
	known, err := client.UsersByID(ctx, others...)
	if err == nil && len(known) == 0 {
		err = errOtherInstance
	}
	return err
}

// Erasures lists the users who were forgotten, or are about to be, the newest
// first: those with a lower number than before; zero begins at the newest.
func (a *App) Erasures(ctx context.Context, before int64) ([]Erasure, error) {
	if err := a.store.Ping(ctx); err != nil {
		return nil, err
	}
	return a.store.Erasures(ctx, before, PrivacyPage)
}

// operatorForget answers with the proof.
func (a *App) operatorForget(ctx context.Context, in *inbox.Inbox, userID, customers string) (any, error) {
	var how lockstep.OnDelete
	if customers != "" {
		var err error
		if how, err = lockstep.ParseOnDelete(customers); err != nil {
			return nil, &web.RefusedError{Kind: web.ErrBadRequest, Text: "customers " + err.Error() + ", or left out for each target's own policy"}
		}
	}
	proof, err := a.forget(ctx, in, userID, how)
	switch {
	case err == nil:
		return proof, nil
	case errors.Is(err, ErrStillThere) || errors.Is(err, errOtherInstance):
		return nil, &web.RefusedError{Kind: web.ErrBadRequest, Text: "Not done: " + err.Error()}
	case proof.UserID != "":
		return nil, &web.RefusedError{Text: fmt.Sprintf("Begun, and the workers go on: %v", postgres.Redact(err))}
	}
	return nil, refused(err)
}
