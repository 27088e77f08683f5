// Package app reads the settings, wires the parts together and runs them. It is
// the only place that knows all of them; targets.go is the list of targets.
package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/inbox"
	"github.com/lockstephq/lockstep/internal/observe"
	"github.com/lockstephq/lockstep/internal/postgres"
)

// App is a Lockstep that is wired up; nothing is connected until it is used.
type App struct {
	config  Config
	log     *slog.Logger
	store   *postgres.Store
	pool    *pgxpool.Pool // links, and all else
	front   *pgxpool.Pool // deliveries and sign-in, which must not queue behind hundreds of workers
	jobPool *pgxpool.Pool // the job engine's own
	medusa  *pgxpool.Pool // a store that hangs must not take our connections
	targets []lockstep.Target
	watch   *observe.Watch
	metrics *observe.Metrics
	traces  *observe.Traces // nil for off

	inspectEvery time.Duration // zero: the default
	bulkPoll     time.Duration // zero: the default

	furnish []func([]lockstep.Target) []lockstep.Target // what options do to the targets
}

// Option changes how an App is wired; demo and tests use it.
type Option func(*App)

// WithTargets passes each target through wrap: to inject faults, say.
func WithTargets(wrap func(lockstep.Target) lockstep.Target) Option {
	return withTargets(func(list []lockstep.Target) []lockstep.Target {
		for i, t := range list {
			list[i] = wrap(t)
		}
		return list
	})
}

func withTargets(change func([]lockstep.Target) []lockstep.Target) Option {
	return func(a *App) { a.furnish = append(a.furnish, change) }
}

// WithExtraTargets adds targets to those of the settings.
func WithExtraTargets(more ...lockstep.Target) Option {
	return withTargets(func(list []lockstep.Target) []lockstep.Target { return append(list, more...) })
}

// WithInspectEvery changes how often each shop is inspected.
func WithInspectEvery(d time.Duration) Option {
	return func(a *App) { a.inspectEvery = d }
}

// WithBulkPoll changes how often a shop is asked for the end of a bulk operation
// of which no webhook tells.
func WithBulkPoll(d time.Duration) Option {
	return func(a *App) { a.bulkPoll = d }
}

// Connections per pool and process.
const (
	storeConns  = 12
	frontConns  = 6
	jobConns    = 6
	medusaConns = 8
)

// Open wires an App up from settings.
func Open(c Config, log *slog.Logger, options ...Option) (*App, error) {
	a := &App{config: c, log: log}
	for _, o := range options {
		o(a)
	}
	var err error
	if c.TracesURL != "" {
		if a.traces, err = observe.OpenTraces(context.Background(), c.TracesURL, log); err != nil {
			return nil, err
		}
	}
	for _, p := range []struct {
		pool **pgxpool.Pool
		max  int32
	}{{&a.pool, storeConns}, {&a.front, frontConns}, {&a.jobPool, jobConns}, {&a.medusa, medusaConns}} {
		if *p.pool, err = openPool(c.DatabaseURL, p.max, a.traces); err != nil {
			a.Close()
			return nil, err
		}
	}
	a.store = postgres.NewStore(a.pool)
	if a.targets, err = a.makeTargets(newBuckets(a.pool)); err != nil {
		a.Close()
		return nil, err
	}
	for _, change := range a.furnish {
		a.targets = change(a.targets)
	}
	a.observe()
	return a, nil
}

// observe puts the wired parts under observation.
func (a *App) observe() {
	vitals := func(ctx context.Context) (postgres.Vitals, error) { return inbox.Vitals(ctx, a.frontStore()) }
	a.watch = observe.NewWatch(vitals, observe.Scope{
		Targets: a.targetNames(), Sources: a.sources(), Silence: a.config.WatchSilence, Pending: a.config.WatchPending, Overdue: a.config.Reconcile.overdue(),
	})
	a.metrics = observe.NewMetrics(a.watch)
	for i, t := range a.targets {
		a.targets[i] = a.metrics.Target(t, a.traces)
	}
}

// sources are those whose webhooks are believed, and so expected.
func (a *App) sources() []string {
	sources := []string{"clerk"}
	if slices.ContainsFunc(a.config.Shops, func(c ShopConfig) bool { return len(c.webhookSecrets()) > 0 }) {
		sources = append(sources, "shopify")
	}
	return sources
}

// frontStore does not wait for the workers: probes and webhooks use it.
func (a *App) frontStore() *postgres.Store { return postgres.NewStore(a.front) }

func openPool(url string, most int32, traces *observe.Traces) (*pgxpool.Pool, error) {
	config, err := postgres.ParseURL(url)
	if err != nil {
		return nil, &SettingError{"DATABASE_URL", err}
	}
	config.MaxConns = most
	config.ConnConfig.Tracer = traces.Queries()
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, fmt.Errorf("database: %w", postgres.Redact(err))
	}
	return pool, nil
}

// traceTime bounds the sending of the last spans.
const traceTime = 5 * time.Second

// Close ends all connections.
func (a *App) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), traceTime)
	defer cancel()
	if err := a.traces.Close(ctx); err != nil {
		a.log.Warn("the last traces were not delivered")
	}
	for _, p := range []*pgxpool.Pool{a.pool, a.front, a.jobPool, a.medusa} {
		if p != nil {
			p.Close()
		}
	}
}

func (a *App) inboxConfig() inbox.Config {
	return inbox.Config{
		Pool: a.pool, FrontPool: a.front, JobPool: a.jobPool, Targets: a.targets, Instance: a.config.ClerkInstanceID,
		PollOnly: postgres.TransactionPooler(a.connConfig()), Log: a.log, Inspect: a.inspect, InspectEvery: a.inspectEvery,
		Reconcile: inbox.ReconcileConfig{MaxDeletions: a.config.Reconcile.MaxDeletions},
		Keep:      inbox.Keep{Deliveries: a.config.KeepDeliveries, History: a.config.KeepHistory},
		OnDelete:  onDelete(a.config),
		Linked:    a.metrics.Linked, Middleware: a.traces.Jobs(),
	}
}

func (a *App) connConfig() *pgx.ConnConfig { return a.pool.Config().ConnConfig }

func (a *App) targetNames() []string {
	names := make([]string, len(a.targets))
	for i, t := range a.targets {
		names[i] = t.Name()
	}
	return names
}
