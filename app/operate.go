package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/inbox"
	"github.com/lockstephq/lockstep/internal/observe"
	"github.com/lockstephq/lockstep/internal/postgres"
)

// The words of reports, for commands that print them.
type (
	TargetStatus  = postgres.TargetStatus
	Watchdog      = observe.State
	Retried       = inbox.Retried
	TimelineEntry = postgres.Entry
	MigrationStep = postgres.Step
	Explanation   = inbox.Explanation
)

// What a command may be asked for that is not there.
var (
	ErrUnknownUser   = postgres.ErrNoProfile // a user without a profile
	ErrUnknownTarget = inbox.ErrUnknownTarget
)

// MigrateOptions are how a migration is run.
type MigrateOptions struct {
	Role        string            // the login role to make for serving; empty for none, or the one there is
	LockTimeout time.Duration     // how long it waits for tables in use; 0 is five seconds
	Progress    func(note string) // if set, is told what is done, and what cannot be given back
}

func (a *App) migrator(o MigrateOptions) *postgres.Migrator {
	return &postgres.Migrator{
		Pool: a.pool, MedusaSchema: a.config.MedusaSchema, Log: a.log,
		Role:        postgres.Role{Name: o.Role, Password: a.config.RolePassword},
		LockTimeout: o.LockTimeout, Progress: o.Progress,
	}
}

// MigrateUp brings the database up to date, and adopts a public.profiles that
// is there. With a role, or if there was one before, that role may serve.
func (a *App) MigrateUp(ctx context.Context, o MigrateOptions) error {
	err := a.migrator(o).Up(ctx)
	if errors.Is(err, postgres.ErrRolePassword) {
		return &SettingError{"LOCKSTEP_ROLE_PASSWORD", err}
	}
	return err
}

// HasRolePassword reports whether MigrateUp gives a role its password.
func (a *App) HasRolePassword() bool { return a.config.RolePassword != "" }

// MigrateDown takes Lockstep out of the database; profiles stay, and an adopted
// table becomes what it was, as far as that can be done.
func (a *App) MigrateDown(ctx context.Context, o MigrateOptions) error {
	return a.migrator(o).Down(ctx)
}

// ExportMigrations writes what MigrateUp would do as files for the Supabase CLI
// into the folder dir, and returns their paths. It needs no database.
func ExportMigrations(c Config, dir string) ([]string, error) {
	return postgres.Export(dir, c.MedusaSchema, time.Now())
}

// MigrateStatus lists the steps of the schema.
func (a *App) MigrateStatus(ctx context.Context) ([]MigrationStep, error) {
	return a.migrator(MigrateOptions{}).Status(ctx)
}

// Status reports how far each target is in step.
func (a *App) Status(ctx context.Context) ([]TargetStatus, error) {
	if err := a.store.Ping(ctx); err != nil {
		return nil, err
	}
	return a.store.Status(ctx, a.targetNames())
}

// StatusReport is how far everything is in step, and what needs a person.
type StatusReport struct {
	Targets   []TargetStatus `json:"targets"`
	Watchdogs []Watchdog     `json:"watchdogs"`
}

// StatusReport reads the targets' status and asks the watchdogs.
func (a *App) StatusReport(ctx context.Context) (r StatusReport, err error) {
	if r.Targets, err = a.Status(ctx); err != nil {
		return r, err
	}
	r.Watchdogs, err = a.Watchdogs(ctx)
	return r, err
}

// Watchdogs says what needs a person.
func (a *App) Watchdogs(ctx context.Context) ([]Watchdog, error) {
	report, err := a.watch.Look(ctx)
	return report.Watchdogs, err
}

// Retry queues anew what was given up, and resumes paused targets that work:
// of the users, or of all; to the target, or to all.
func (a *App) Retry(ctx context.Context, target string, users []string) (Retried, error) {
	in, err := a.syncer(ctx)
	if err != nil {
		return Retried{}, err
	}
	return in.Retry(ctx, target, users)
}

// UserReport is all that Lockstep knows of one user.
type UserReport struct {
	Profile  lockstep.Profile
	Links    []lockstep.Link
	Timeline []TimelineEntry
	Erasure  *Erasure // nil unless somebody asked to forget the user
}

// Show reads a user's report; ErrUnknownUser if there is no profile.
func (a *App) Show(ctx context.Context, userID string) (r UserReport, err error) {
	const entries = 200
	if err := a.store.Ping(ctx); err != nil {
		return r, err
	}
	if r.Profile, err = a.store.Profile(ctx, userID); err != nil {
		return r, err
	}
	if r.Links, err = a.store.Links(ctx, userID); err != nil {
		return r, err
	}
	if r.Timeline, err = a.store.Timeline(ctx, userID, entries); err != nil {
		return r, err
	}
	switch proof, err := a.store.Erasure(ctx, userID); {
	case err == nil:
		r.Erasure = &proof
	case !errors.Is(err, postgres.ErrNotForgotten):
		return r, err
	}
	return r, nil
}

// errNoTargets is for commands that have nothing to do without a store.
var errNoTargets = errors.New("no target is configured: set MEDUSA_MODE to database or api, or SHOPIFY_SHOP")

// Sync brings every target in step for one user, now.
func (a *App) Sync(ctx context.Context, userID string) error {
	in, err := a.syncer(ctx)
	if err != nil {
		return err
	}
	return in.SyncUser(ctx, userID)
}

// Explain says what Sync would do, and why, and does nothing.
func (a *App) Explain(ctx context.Context, userID string) ([]Explanation, error) {
	in, err := a.syncer(ctx)
	if err != nil {
		return nil, err
	}
	return in.Explain(ctx, userID)
}

func (a *App) syncer(ctx context.Context) (*inbox.Inbox, error) {
	if len(a.targets) == 0 {
		return nil, errNoTargets
	}
	if err := a.store.Ping(ctx); err != nil {
		return nil, fmt.Errorf("not begun: %w", err)
	}
	return inbox.New(a.inboxConfig())
}
