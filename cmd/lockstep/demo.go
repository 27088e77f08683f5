package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/localpg"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/targettest"
	"github.com/spf13/cobra"
)

func newDemo() *cobra.Command {
	var server, medusa string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Play the whole story on this machine and check it",
		Long: `Demo starts a private PostgreSQL with Supabase's roles and Medusa's tables, an
emulated Clerk, two emulated Shopify shops, and a Lockstep between them. 255
users of every difficult kind sign up, change and leave; a third of the calls to
Medusa fail, and half of those to one of the shops. In the end it prints who is
in step, and checks every expectation in the stores themselves.

It stays up to look around, unless ONCE=1 is set or there is no terminal. It
reads no setting, and touches no database of yours: with --server it makes one
of its own there. With --medusa api Lockstep goes through an emulated Admin API
of Medusa's instead of its tables.`,
		Args: exactly(0, "demo [--medusa database|api]"),
		RunE: func(c *cobra.Command, _ []string) error {
			if medusa != "database" && medusa != "api" {
				return usageError{errors.New("--medusa must be database or api")}
			}
			once := os.Getenv("ONCE") == "1" || !isTerminal(c.OutOrStdout())
			d := &demo{out: c.OutOrStdout(), progress: c.ErrOrStderr(), mode: medusa}
			return d.run(c.Context(), server, once)
		},
	}
	c.Flags().StringVar(&server, "server", "", "superuser's URL of a throw-away PostgreSQL server to use instead of a private one")
	c.Flags().StringVar(&medusa, "medusa", "database", "the way to Medusa: database, or api for an emulated Admin API")
	return c
}

// demo is the world of one performance.
type demo struct {
	out, progress io.Writer
	url           func(user string) string // of the demo's database
	db            *pgxpool.Pool            // the audience's view
	app           *app.App
	clerk         *emulator.Clerk
	mode          string           // the way to Medusa
	medusa        *emulator.Medusa // its Admin API, in the mode api
	shopify       *emulator.Shopify
	flaky         *targettest.Flaky
	lockstepURL   string
	clerkURL      string
	stops         []func() error
}

func (d *demo) run(ctx context.Context, server string, once bool) (err error) {
	defer func() { err = errors.Join(err, d.stop()) }()
	fmt.Fprintln(d.progress, "Starting PostgreSQL, an emulated Clerk and Lockstep …")
	if err := d.start(ctx, server); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	people := cast()
	for _, act := range []struct {
		title string
		play  func(context.Context, []*person) error
	}{
		{"Everyone signs up; the webhooks come in any order, some twice", d.signUp},
		{"They change, verify, leave and come back", d.change},
	} {
		fmt.Fprintf(d.progress, "\n%s.\n", act.title)
		if err := act.play(ctx, people); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		if err := d.watch(ctx); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	if err := d.report(ctx, people); err != nil || once {
		return err
	}
	d.invite()
	<-ctx.Done()
	return nil
}

// start brings up everything, in the order in which it is needed.
func (d *demo) start(ctx context.Context, server string) (err error) {
	if err = d.startDatabase(ctx, server); err != nil {
		return err
	}
	if err = standin.Load(ctx, d.url(""), standin.Options{MedusaSchema: "medusa"}); err != nil {
		return err
	}
	if d.db, err = pgxpool.New(ctx, d.url(standin.Owner)); err != nil {
		return err
	}
	d.later(func() error { d.db.Close(); return nil })
	if d.clerk, err = emulator.NewClerk(emulator.ClerkOptions{Schedule: quickRetries()}); err != nil {
		return err
	}
	d.later(func() error { d.clerk.Close(); return nil })
	var stopClerk func()
	if d.clerkURL, stopClerk, err = serveEmulator(ctx, d.clerk, "127.0.0.1:0"); err != nil {
		return err
	}
	d.later(func() error { stopClerk(); return nil })
	d.clerk.SetBaseURL(d.clerkURL)
	if err := d.startMedusa(ctx); err != nil {
		return err
	}
	shops, err := d.startShops(ctx)
	if err != nil {
		return err
	}
	return d.startLockstep(ctx, shops)
}

// startDatabase makes a private server, or a database on the given one.
func (d *demo) startDatabase(ctx context.Context, server string) error {
	if server == "" {
		pg, err := localpg.Start(ctx, localpg.Options{Fsync: true})
		if err != nil {
			return err
		}
		d.later(pg.Close)
		d.url = func(user string) string { return pg.URL(user, "") }
		return nil
	}
	base, err := url.Parse(server)
	if err != nil || base.Scheme != "postgres" && base.Scheme != "postgresql" {
		return usageError{errors.New("--server must be a URL such as postgres://superuser@localhost:5432/postgres")}
	}
	admin, err := pgxpool.New(ctx, server)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("lockstep_demo_%d", time.Now().UnixNano())
	if _, err := admin.Exec(ctx, "create database "+name); err != nil {
		admin.Close()
		return err
	}
	d.later(func() error {
		defer admin.Close()
		_, err := admin.Exec(context.WithoutCancel(ctx), "drop database "+name+" with (force)")
		return err
	})
	d.url = func(user string) string {
		own := *base
		own.Path = "/" + name
		if user != "" {
			own.User = url.User(user)
		}
		return own.String()
	}
	return nil
}

// quickRetries is Svix's schedule in fast motion.
func quickRetries() []time.Duration {
	waits := make([]time.Duration, 100)
	for i := 1; i < len(waits); i++ {
		waits[i] = 100 * time.Millisecond
	}
	return waits
}

// faults is what the demo does to calls to Medusa.
func faults() targettest.Rates {
	return targettest.Rates{Fail: 1. / 3, After: 1. / 3, Seed: uint64(time.Now().UnixNano())}
}

func (d *demo) startLockstep(ctx context.Context, shops []app.ShopConfig) error {
	config, err := app.LoadConfig(d.settings(), app.NeedWeb)
	if err != nil {
		return err
	}
	config.Shops = shops
	log := slog.New(slog.DiscardHandler) // a third of all calls fail: the log would be all there is to see
	d.app, err = app.Open(config, log, app.WithTargets(func(t lockstep.Target) lockstep.Target {
		if t.Name() != "medusa" {
			return t // the shops' faults are their emulator's
		}
		d.flaky = targettest.NewFlaky(t, faults())
		return d.flaky
	}))
	if err != nil {
		return err
	}
	if err := d.app.MigrateUp(ctx, app.MigrateOptions{}); err != nil {
		return err
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	listening, done := make(chan net.Addr, 1), make(chan error, 1)
	go func() { done <- d.app.Serve(serving, app.RoleAll, func(a net.Addr) { listening <- a }) }()
	d.later(func() error {
		cancel()
		defer d.app.Close()
		return <-done
	})
	select {
	case addr := <-listening:
		d.lockstepURL = "http://" + addr.String()
		d.clerk.SetWebhookURL(d.lockstepURL + "/webhooks/clerk")
		return nil
	case err := <-done:
		done <- nil
		return err
	}
}

// settings are Lockstep's, as `lockstep emulate` would print them.
func (d *demo) settings() func(string) string {
	env := map[string]string{
		"DATABASE_URL": d.url(standin.Owner), "LOCKSTEP_ADDR": "127.0.0.1:0",
		"LOCKSTEP_CONFIG": os.DevNull,
	}
	for _, s := range append(d.clerk.Settings(), d.medusaSettings()...) {
		env[s.Name] = s.Value
	}
	return func(name string) string { return env[name] }
}

func (d *demo) later(stop func() error) { d.stops = append(d.stops, stop) }

func (d *demo) stop() (err error) {
	for i := len(d.stops) - 1; i >= 0; i-- {
		err = errors.Join(err, d.stops[i]())
	}
	return err
}

// invite says what to try while everything is up.
func (d *demo) invite() {
	fmt.Fprintf(d.out, `
Everything stays up until you press Ctrl-C. In another terminal:

  psql '%s' -c 'table lockstep.customer_links'
  curl -s -X POST %s/_control/users -d '{"first_name":"Ada","email":"ada@example.test","verified":true}'
  DATABASE_URL='%s' %s go run ./cmd/lockstep status

Lockstep listens on %s, Clerk's emulator on %s (docs/EMULATORS.md).
`, d.url(standin.Owner), d.clerkURL, d.url(standin.Owner), d.medusaEnv(), d.lockstepURL, d.clerkURL)
}
