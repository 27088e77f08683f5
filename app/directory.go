package app

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/clerk"
	"github.com/lockstephq/lockstep/internal/inbox"
)

// The words of the commands that read all users.
type (
	Progress   = inbox.Progress
	Backfilled = inbox.Backfilled
)

// directory is Clerk's list of users, with cursors as text.
type directory struct{ *clerk.Client }

func (a *App) directory() (inbox.Directory, error) {
	client, err := newClerkClient(a.config)
	if err != nil {
		return nil, &SettingError{"CLERK_SECRET_KEY", err}
	}
	return directory{client}, nil
}

// List implements inbox.Directory.
func (d directory) List(ctx context.Context, cursor string) (users []lockstep.User, next string, more bool, err error) {
	var from clerk.Cursor
	if cursor != "" && json.Unmarshal([]byte(cursor), &from) != nil {
		return nil, "", false, errors.New("the stored place in Clerk's list is damaged: begin anew")
	}
	users, to, more, err := d.ListUsers(ctx, from)
	if err != nil {
		return nil, "", false, err
	}
	text, err := json.Marshal(to)
	return users, string(text), more, err
}

// Changed implements inbox.Directory.
func (d directory) Changed(ctx context.Context, page int) ([]lockstep.User, bool, error) {
	return d.ListChanged(ctx, page)
}

// ByID implements inbox.Directory.
func (d directory) ByID(ctx context.Context, ids []string) ([]lockstep.User, error) {
	return d.UsersByID(ctx, ids...)
}

// BackfillClerk brings in the profiles of all of Clerk's users, from where the
// last call was stopped unless anew is set.
func (a *App) BackfillClerk(ctx context.Context, anew bool, progress func(Progress)) (Backfilled, error) {
	if err := a.store.Ping(ctx); err != nil {
		return Backfilled{}, err
	}
	users, err := a.directory()
	if err != nil {
		return Backfilled{}, err
	}
	in, err := inbox.New(a.inboxConfig())
	if err != nil {
		return Backfilled{}, err
	}
	return in.BackfillUsers(ctx, users, anew, progress)
}
