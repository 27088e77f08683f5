package inbox

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/riverqueue/river"
)

// Times of the job engine. A job that a killed process leaves behind is taken
// over when its lease ends, so River may rescue as early: two jobs for one link
// do no harm.
const (
	jobTimeout    = 20 * time.Second // above every remote call's own timeout
	leaseTime     = 30 * time.Second // above jobTimeout: who lost the lease has stopped writing
	sweepInterval = 10 * time.Second
	rescueAfter   = leaseTime // until then a killed node's running job counts as alive

	// River drops a notification that follows another sooner than this; who
	// only enqueues must not be slower than who works.
	fetchCooldown = 5 * time.Millisecond

	maxAttempts = 70 // over a day with the pauses of retryPause
	maxRounds   = 10 // changes that come while a job runs, before others get a turn
)

// The queues that are not a target's.
const (
	dispatchQueue = "dispatch"
	bulkQueue     = "dispatch_bulk" // of its own: a live change waits for nobody's page
	upkeepQueue   = "upkeep"
	inspectQueue  = "inspect"
	privacyQueue  = "privacy"
	retainQueue   = "retain"
)

// River's priorities, 1 to 4: a queue's live changes go before all bulk work.
const (
	livePriority = 1
	bulkPriority = 3
)

type bulkKey struct{}

// AsBulk marks work that must leave a target's reserve to live changes.
func AsBulk(ctx context.Context) context.Context { return context.WithValue(ctx, bulkKey{}, true) }

// IsBulk tells work of backfill and reconciling from live changes.
func IsBulk(ctx context.Context) bool { return ctx.Value(bulkKey{}) != nil }

// dispatchArgs says: these users may have changed.
type dispatchArgs struct {
	Users []string `json:"users"`
	Bulk  bool     `json:"bulk,omitempty"` // they wait behind live changes
}

func (dispatchArgs) Kind() string { return "dispatch" }

// syncArgs says: this user may have changed, as far as this target goes.
type syncArgs struct {
	User   string `json:"user"`
	Target string `json:"target"`
}

func (syncArgs) Kind() string { return "sync" }

// upkeepArgs is the periodic look after lost jobs and paused targets.
type upkeepArgs struct{}

func (upkeepArgs) Kind() string { return "upkeep" }

// dispatch enqueues the fan-out for users who changed.
func (in *Inbox) dispatch(ctx context.Context, tx pgx.Tx, users []string) error {
	if len(users) == 0 {
		return nil
	}
	_, err := in.jobs.InsertTx(ctx, tx, dispatchArgs{Users: users}, &river.InsertOpts{Queue: dispatchQueue, MaxAttempts: maxAttempts})
	if err != nil {
		return fmt.Errorf("enqueue dispatch: %w", err)
	}
	return nil
}

// dispatchBulk enqueues the fan-out for users behind live changes, in pages: how
// many targets there are is the workers' business, and so is the time it takes.
func (in *Inbox) dispatchBulk(ctx context.Context, tx pgx.Tx, users []string) error {
	var params []river.InsertManyParams
	for page := range slices.Chunk(users, bulkPage) {
		params = append(params, river.InsertManyParams{
			Args:       dispatchArgs{Users: page, Bulk: true},
			InsertOpts: &river.InsertOpts{Queue: bulkQueue, MaxAttempts: maxAttempts},
		})
	}
	if len(params) == 0 {
		return nil
	}
	if _, err := in.jobs.InsertManyTx(ctx, tx, params); err != nil {
		return fmt.Errorf("enqueue dispatch: %w", err)
	}
	return nil
}

// enqueue makes a job for each link.
func (in *Inbox) enqueue(ctx context.Context, tx pgx.Tx, keys []postgres.Key) error {
	return in.enqueueAt(ctx, tx, keys, livePriority)
}

func (in *Inbox) enqueueAt(ctx context.Context, tx pgx.Tx, keys []postgres.Key, priority int) error {
	params := make([]river.InsertManyParams, 0, len(keys))
	for _, k := range keys {
		params = append(params, river.InsertManyParams{
			Args:       syncArgs{k.UserID, k.Target},
			InsertOpts: &river.InsertOpts{Queue: queueName(k.Target), MaxAttempts: maxAttempts, Priority: priority},
		})
	}
	if len(params) == 0 {
		return nil
	}
	// Not InsertManyFastTx: it copies, which PostgreSQL refuses to whom
	// row-level security binds.
	if _, err := in.jobs.InsertManyTx(ctx, tx, params); err != nil {
		return fmt.Errorf("enqueue sync: %w", err)
	}
	return nil
}

// queueName is a target's name in the letters that River allows: one queue per
// target, so that a bad one holds up nobody else.
func queueName(target string) string {
	name := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(target), "_")
	name = strings.Trim(name[:min(len(name), 40)], "_")
	sum := sha256.Sum256([]byte(target)) // tells apart what the letters do not
	return strings.TrimPrefix(fmt.Sprintf("%s_%x", name, sum[:4]), "_")
}

// reindexing is when River rebuilds its indexes: at midnight UTC, its own
// default, or never for a role that does not own them, to whom PostgreSQL would
// refuse it each night. They then grow as autovacuum allows.
type reindexing struct{ owns atomic.Bool }

func (r *reindexing) ask(ctx context.Context, s *postgres.Store) error {
	owns, err := s.OwnsJobs(ctx)
	r.owns.Store(owns)
	return err
}

// Next implements river.PeriodicSchedule.
func (r *reindexing) Next(now time.Time) time.Time {
	const day, never = 24 * time.Hour, 100 * 365
	if !r.owns.Load() {
		return now.Add(never * day)
	}
	return now.UTC().Truncate(day).Add(day)
}

// retryPause grows by half with each attempt, from a third of a second to half
// an hour, and is spread by a fifth so that a target that comes back is not met
// by everyone at once.
func retryPause(attempt int) time.Duration {
	pause := 250 * time.Millisecond
	for i := 0; i < attempt && pause < 30*time.Minute; i++ {
		pause += pause / 2
	}
	return spread(min(pause, 30*time.Minute))
}

func spread(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.4*float64(d))
}
