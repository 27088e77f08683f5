package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/lockstephq/lockstep/internal/inbox"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/web"
	"golang.org/x/sync/errgroup"
)

// Role is the part of the work that a process takes on.
type Role string

// The roles. Any number of processes may run in each.
const (
	RoleAll    Role = "all"
	RoleWeb    Role = "web"
	RoleWorker Role = "worker"
)

// drainTime is how long open requests may take once a stop is asked for.
const drainTime = 20 * time.Second

// Serve runs until ctx ends, then drains: it takes no new requests, answers
// those it has, and lets running jobs finish. A database that is away is waited
// for; one that lacks Lockstep's tables is an error. Listening, if not nil,
// hears the address once webhooks can be sent there.
func (a *App) Serve(ctx context.Context, role Role, listening func(net.Addr)) error {
	if err := a.store.Ping(ctx); errors.Is(err, postgres.ErrNotMigrated) {
		return err
	}
	newInbox := inbox.NewWorker
	if role == RoleWeb {
		newInbox = inbox.New
	}
	config := a.inboxConfig()
	config.Reconcile = a.schedule()
	in, err := newInbox(config)
	if err != nil {
		return err
	}
	// The inbox outlives the server: the last requests still need it.
	inboxCtx, stopInbox := context.WithCancel(context.WithoutCancel(ctx))
	defer stopInbox()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return in.Run(inboxCtx) })
	group.Go(func() error {
		defer stopInbox()
		if role == RoleWorker {
			<-ctx.Done()
			return nil
		}
		return a.listen(ctx, in, listening)
	})
	if a.config.MetricsAddr != "" {
		group.Go(func() error { return a.listenForProbes(ctx) })
	}
	group.Go(func() error { a.warnOfTargets(ctx); return nil })
	return group.Wait()
}

// listenForProbes answers operators on an address of their own, in every role.
func (a *App) listenForProbes(ctx context.Context) error {
	front := web.Front{Ready: a.health, Metrics: a.metrics.Handler(), Log: a.log}
	l, err := a.bind(ctx, "LOCKSTEP_METRICS_ADDR", a.config.MetricsAddr)
	if l == nil {
		return err
	}
	a.log.Info("answering probes", "addr", l.Addr().String())
	return a.serveUntil(ctx, a.newServer(front.Handler()), l)
}

func (a *App) listen(ctx context.Context, in *inbox.Inbox, listening func(net.Addr)) error {
	verifier, err := newVerifier(a.config)
	if err != nil {
		return &SettingError{"CLERK_WEBHOOK_SECRET", err}
	}
	sessions, err := a.newSessions(in)
	if err != nil {
		return err
	}
	shops, err := shopVerifiers(a.config.Shops)
	if err != nil {
		return err
	}
	front := web.Front{
		Webhooks: map[string]web.Receive{
			"clerk":   receiveClerk(verifier, a.config.consent(), in, sessions.guard.Forget),
			"shopify": receiveShopify(shops, in),
		},
		Me: sessions.me(), Operator: a.operator(in), Counter: a.metrics, Ready: a.health, Log: a.log,
	}
	if a.config.MetricsAddr == "" {
		front.Metrics = a.metrics.Handler()
	}
	server := a.newServer(a.traces.Handler(front.Handler()))
	listener, err := a.bind(ctx, "LOCKSTEP_ADDR", a.config.Addr)
	if listener == nil {
		return err
	}
	a.log.Info("listening", "addr", listener.Addr().String(), "targets", a.targetNames())
	if listening != nil {
		listening(listener.Addr())
	}
	return a.serveUntil(ctx, server, listener)
}

func (a *App) newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 20 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelWarn),
	}
}

// bind listens at the address that a setting names; nil without an error if a
// stop came first.
func (a *App) bind(ctx context.Context, setting, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if ctx.Err() != nil {
		if err == nil {
			_ = l.Close() // nobody has heard of it
		}
		return nil, nil
	}
	if err != nil {
		return nil, &SettingError{setting, whyNotListening(err)}
	}
	return l, nil
}

// whyNotListening says what to do; the system's own error quotes the setting.
func whyNotListening(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return errors.New("is in use: stop the process that listens there, or set another, such as :8081")
	case errors.Is(err, syscall.EACCES):
		return errors.New("is not allowed to this user: set a port above 1023, such as :8080")
	}
	return errors.New("is no address of this machine: set host:port or :port, such as :8080")
}

// serveUntil returns when the last request has been answered.
func (a *App) serveUntil(ctx context.Context, server *http.Server, l net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		return fmt.Errorf("requests were cut off: %w", err)
	}
	return nil
}

// warnOfTargets says at the start what would otherwise show at the first user.
func (a *App) warnOfTargets(ctx context.Context) {
	for _, t := range a.targets {
		check, cancel := context.WithTimeout(ctx, 10*time.Second)
		if err := t.Check(check); err != nil && ctx.Err() == nil {
			a.log.Warn("target is not ready", "target", t.Name(), "error", err)
		}
		cancel()
	}
}
