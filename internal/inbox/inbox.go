// Package inbox is the way in and the work behind it: a delivery, the change of
// the profile and the job commit in one transaction (accept.go), and workers
// bring the targets in step (work.go). It is the only home of the job engine,
// River; everything durable is in Postgres, so more nodes are more processes.
//
// Accepting costs the same whatever the number of targets: a batch of
// deliveries makes one job, "dispatch", that fans out to the targets' queues.
package inbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
)

// Config says what an Inbox works with.
type Config struct {
	Pool      *pgxpool.Pool // for the workers
	FrontPool *pgxpool.Pool // for accepting, which must not queue behind them; nil: Pool
	JobPool   *pgxpool.Pool // for River alone: its elector starves when workers hold a shared pool
	Targets   []lockstep.Target
	Instance  string // the Clerk instance to accept from; empty: the first to send a signed event
	Workers   int    // per target and process; 0 means 32, and fewer beside many targets
	PollOnly  bool   // the pooler cannot LISTEN
	Keep      Keep   // how long what happened is remembered

	// OnDelete says by target what becomes of deleted users' customers; nothing is
	// lockstep.OnDeleteKeep.
	OnDelete map[string]lockstep.OnDelete

	// Inspect looks at a target every InspectEvery (zero: five minutes), and mends
	// what it can. It returns what is wrong but stops nothing, and the reason to
	// pause the target, if there is one. Nil: nobody looks.
	Inspect      func(ctx context.Context, t lockstep.Target) (problems []string, stops error)
	InspectEvery time.Duration

	Reconcile ReconcileConfig
	Log       *slog.Logger

	// Linked hears how long a change took from being accepted until its target
	// held it; nil for nobody.
	Linked     func(target string, lag time.Duration)
	Middleware []rivertype.Middleware // of the job engine
}

// Inbox accepts deliveries and works off what they cause.
type Inbox struct {
	store    *postgres.Store
	pool     *pgxpool.Pool
	front    *pgxpool.Pool
	targets  map[string]lockstep.Target
	names    []string // of the targets, in the order of the settings
	jobs     *river.Client[pgx.Tx]
	works    bool
	reindex  reindexing
	inspect  func(context.Context, lockstep.Target) ([]string, error)
	retains  Keep
	onDelete map[string]lockstep.OnDelete
	linked   func(target string, lag time.Duration)
	log      *slog.Logger
	queue    chan *request
	stopped  chan struct{} // closed when Run ends
	instance atomic.Pointer[string]

	stopping     chan struct{} // closed when Run is asked to end
	maxDeletions int           // by one reconcile run; 0 for the default
}

// New makes an inbox that accepts only. Nothing is connected yet.
func New(c Config) (*Inbox, error) {
	in := newInbox(c)
	return in, in.open(c.JobPool, &river.Config{Schema: postgres.Schema, Logger: c.Log, FetchCooldown: fetchCooldown, Middleware: c.Middleware})
}

// NewWorker makes an inbox that works as well, once it is started.
func NewWorker(c Config) (*Inbox, error) {
	in := newInbox(c)
	in.works = true
	return in, in.open(c.JobPool, in.workerConfig(c))
}

func newInbox(c Config) *Inbox {
	in := &Inbox{
		store: postgres.NewStore(c.Pool), pool: c.Pool, front: cmp.Or(c.FrontPool, c.Pool), log: c.Log, inspect: c.Inspect,
		targets: map[string]lockstep.Target{}, queue: make(chan *request), stopped: make(chan struct{}),
		stopping: make(chan struct{}), maxDeletions: c.Reconcile.MaxDeletions,
		retains: c.Keep, onDelete: c.OnDelete, linked: c.Linked,
	}
	if in.linked == nil {
		in.linked = func(string, time.Duration) {}
	}
	for _, t := range c.Targets {
		in.targets[t.Name()] = t
		in.names = append(in.names, t.Name())
	}
	if c.Instance != "" {
		in.instance.Store(&c.Instance)
	}
	return in
}

// policy is what becomes of a deleted user's customer in a target: what was said
// for this user, or else for the target.
func (in *Inbox) policy(target string, customers lockstep.OnDelete) lockstep.OnDelete {
	return cmp.Or(customers, in.onDelete[target], lockstep.OnDeleteKeep)
}

func (in *Inbox) open(pool *pgxpool.Pool, config *river.Config) (err error) {
	if in.jobs, err = river.NewClient(riverpgxv5.New(pool), config); err != nil {
		return fmt.Errorf("job engine: %w", err)
	}
	return nil
}

// stopGrace is how long running jobs may go on once a stop is asked for. Then
// their contexts end; what they did is found again by the next attempt.
const stopGrace = jobTimeout + 2*time.Second

// Run accepts, and works if it is a worker, until ctx ends; then it drains. It
// waits for a database that is away. It may be called once.
func (in *Inbox) Run(ctx context.Context) error {
	defer close(in.stopped)
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(ctx, func() { close(in.stopping) })
	var accepting sync.WaitGroup
	accepting.Go(func() { in.flushLoop(ctx) })
	err := in.work(ctx)
	cancel() // workers that cannot start end the rest as well
	accepting.Wait()
	return err
}

// work runs the job engine until ctx ends.
func (in *Inbox) work(ctx context.Context) error {
	if !in.works {
		<-ctx.Done()
		return nil
	}
	// River stops at once when its context ends, so it gets one that does not.
	if err := in.startJobs(ctx, context.WithoutCancel(ctx)); err != nil {
		return err
	}
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	if err := in.jobs.Stop(stop); err == nil {
		return nil
	}
	hard, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := in.jobs.StopAndCancel(hard); err != nil {
		return fmt.Errorf("stop workers: %w", err)
	}
	return nil
}

// startJobs tries until the database answers and is migrated, or ctx ends.
func (in *Inbox) startJobs(ctx, jobs context.Context) error {
	const pause = time.Second
	for warned := false; ; warned = true {
		err := in.store.Ping(ctx)
		if err == nil {
			err = in.reindex.ask(ctx, in.store)
		}
		if err == nil {
			err = in.jobs.Start(jobs)
		}
		if err == nil {
			in.log.Info("workers started", "targets", len(in.names))
			return nil
		}
		if errors.Is(err, postgres.ErrNotMigrated) {
			return err
		}
		if !warned {
			in.log.Warn("workers wait for the database", "error", postgres.Redact(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}
