package inbox_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/localpg"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/watch"
	"github.com/lockstephq/lockstep/targettest"
)

// serveRole in the environment makes the test binary a `lockstep serve` whose
// Medusa fails one call in five, a third of them after the commit. Shops do so
// by themselves: see failShops.
const serveRole = "LOCKSTEP_CRASH_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(serveRole); role != "" {
		if err := serve(app.Role(role)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func serve(role app.Role) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	config, err := app.LoadConfig(os.Getenv, app.NeedWeb)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	a, err := app.Open(config, log, app.WithTargets(func(t lockstep.Target) lockstep.Target {
		if t.Name() != "medusa" {
			return t
		}
		return targettest.NewFlaky(t, targettest.Rates{Seed: rand.Uint64(), Fail: 0.2, After: 0.34, Delay: 2 * time.Millisecond})
	}))
	if err != nil {
		return err
	}
	defer a.Close()
	return a.Serve(ctx, role, nil)
}

// crash is the world of a crash test: PostgreSQL, emulated services, and
// Lockstep in processes of its own.
type crash struct {
	t     testing.TB
	pg    *localpg.Cluster
	pool  *pgxpool.Pool
	clerk *emulator.Clerk
	shops *emulator.Shopify // nil without shops
	addr  string
	env   []string
	procs []*process
	kills int
	gone  int // users who were deleted
}

// process is one `lockstep serve`, started again each time it is killed.
type process struct {
	role app.Role
	cmd  *exec.Cmd
	log  string
}

func TestCrashOfServe(t *testing.T) { crashTest(t, nil, app.RoleAll) }

func TestCrashOfOneOfTwoWorkers(t *testing.T) {
	crashTest(t, nil, app.RoleWorker, app.RoleWorker, app.RoleWeb)
}

// crashTest sends 1,000 signed events, kills the first process ten times and
// restarts PostgreSQL twice while they are worked off, in Medusa and the shops.
func crashTest(t *testing.T, shops []emulator.ShopSpec, roles ...app.Role) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	w := newCrash(t)
	if len(shops) > 0 {
		w.openShops(shops, nil)
		w.failShops()
	}
	w.run(roles)
	events := w.sendEvents()
	w.disturb(events, 10, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	if err := w.clerk.Webhooks.Wait(ctx); err != nil {
		t.Fatalf("webhooks: %v", err)
	}
	start := time.Now()
	w.settle(ctx)
	t.Logf("%d events acknowledged, %d kills, in step %v after the last one", events, w.kills, time.Since(start).Round(time.Second))
	if len(shops) > 0 {
		w.deleteLinked(ctx)
	}
	w.check()
	w.checkShops()
}

// settle waits until every acknowledged event is worked off.
func (w *crash) settle(ctx context.Context) {
	w.t.Helper()
	const upToDate = `select count(*) > 0 and count(*) filter (where applied < desired) = 0 from lockstep.customer_links`
	w.waitUntil(ctx, "all links are up to date", upToDate)
	w.waitUntil(ctx, "no dispatch is left", `select count(*) = 0 from lockstep.river_job where kind = 'dispatch' and state <> 'completed'`)
	w.waitUntil(ctx, "all links are up to date", upToDate)
}

func newCrash(t testing.TB) *crash {
	t.Helper()
	if _, err := localpg.FindBinaries(); err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	pg, err := localpg.Start(t.Context(), localpg.Options{})
	must(t, err)
	w := &crash{t: t, pg: pg, addr: freeAddr(t)}
	t.Cleanup(func() { must(t, pg.Close()) })
	must(t, standin.Load(t.Context(), pg.URL("", ""), standin.Options{MedusaSchema: "medusa"}))
	w.pool, err = pgxpool.New(t.Context(), pg.URL(standin.Owner, ""))
	must(t, err)
	t.Cleanup(w.pool.Close)
	must(t, (&postgres.Migrator{Pool: w.pool, MedusaSchema: "medusa", Log: watch.Logger(t)}).Up(t.Context()))
	w.clerk, err = emulator.NewClerk(emulator.ClerkOptions{Schedule: quickRetries()})
	must(t, err)
	t.Cleanup(w.clerk.Close)
	w.clerk.SetWebhookURL("http://" + w.addr + "/webhooks/clerk")
	w.env = append(os.Environ(), "DATABASE_URL="+pg.URL(standin.Owner, ""), "LOCKSTEP_ADDR="+w.addr, "MEDUSA_MODE=database")
	for _, s := range w.clerk.Settings() {
		w.env = append(w.env, s.Name+"="+s.Value)
	}
	return w
}

// run starts a process in each role, and waits for the web.
func (w *crash) run(roles []app.Role) {
	w.t.Helper()
	dir := w.t.TempDir() // which goes after the processes that log there
	w.t.Cleanup(w.stopAll)
	for i, role := range roles {
		p := &process{role: role, log: filepath.Join(dir, fmt.Sprintf("serve%d.log", i))}
		w.start(p)
		w.procs = append(w.procs, p)
	}
	w.waitForHTTP("http://" + w.addr + "/readyz")
}

// quickRetries is Svix's schedule in fast motion: a day is over in a minute.
func quickRetries() []time.Duration {
	waits := make([]time.Duration, 5000)
	for i := 1; i < len(waits); i++ {
		waits[i] = time.Duration(min(i, 20)) * 5 * time.Millisecond
	}
	return waits
}

// sendEvents makes 250 users, changes each of them twice and deletes some or
// signs them in, in that order for each: 1,000 events.
func (w *crash) sendEvents() int {
	const users = 250
	var ids []string
	for i := range users {
		u, err := w.clerk.CreateUser(emulator.UserSpec{FirstName: fmt.Sprintf("User%d", i), Email: fmt.Sprintf("User.%d@Example.test", i), Verified: true})
		must(w.t, err)
		ids = append(ids, u.ID)
	}
	verified := true
	for round := range 3 {
		for i, id := range ids {
			var err error
			if last := fmt.Sprintf("Version%d", round); round == 2 && i%10 == 0 {
				err = w.clerk.DeleteUser(id)
				w.gone++
			} else if round == 1 && i%5 == 0 {
				email := fmt.Sprintf("moved.%d@example.test", i)
				_, err = w.clerk.UpdateUser(id, emulator.UserChange{Email: &email, Verified: &verified})
			} else {
				_, err = w.clerk.UpdateUser(id, emulator.UserChange{LastName: &last})
			}
			must(w.t, err)
		}
	}
	return len(w.clerk.Webhooks.Messages())
}

// disturb kills the first process and restarts the server at random points
// between the first event received and the last one worked off.
func (w *crash) disturb(events, kills, restarts int) {
	w.t.Helper()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	what := append(slices.Repeat([]string{"kill"}, kills), slices.Repeat([]string{"restart"}, restarts)...)
	random.Shuffle(len(what), func(i, j int) { what[i], what[j] = what[j], what[i] })
	w.t.Logf("seed %d", seed)
	share := events / len(what)
	for i, what := range what {
		w.waitForAcknowledged(i*share + random.IntN(share))
		if what == "restart" {
			must(w.t, w.pg.Restart(w.t.Context()))
			continue
		}
		w.kill(w.procs[0])
		w.start(w.procs[0])
	}
}

func (w *crash) waitForAcknowledged(n int) {
	w.poll(w.t.Context(), fmt.Sprintf("%d events are acknowledged", n), func(context.Context) bool {
		acked := 0
		for _, m := range w.clerk.Webhooks.Messages() {
			if m.State == emulator.StateAcknowledged {
				acked++
			}
		}
		return acked >= n
	})
}

func (w *crash) start(p *process) {
	w.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(w.t, err)
	defer func() { must(w.t, log.Close()) }()
	p.cmd = exec.Command(os.Args[0], "-test.run=^$")
	p.cmd.Env = append(w.env, serveRole+"="+string(p.role))
	p.cmd.Stdout, p.cmd.Stderr = log, log
	must(w.t, p.cmd.Start())
}

func (w *crash) kill(p *process) {
	w.t.Helper()
	must(w.t, p.cmd.Process.Kill())
	if err := p.cmd.Wait(); err == nil {
		w.t.Error("a killed process ended well: was it alive?")
	}
	w.kills++
}

func (w *crash) stopAll() {
	for _, p := range w.procs {
		must(w.t, p.cmd.Process.Signal(syscall.SIGTERM))
		if err := p.cmd.Wait(); err != nil {
			w.t.Errorf("%s did not stop well: %v", p.role, err)
		}
		data, err := os.ReadFile(p.log)
		must(w.t, err)
		watch.Text(w.t, "the log of "+string(p.role), string(data))
		if w.t.Failed() {
			w.t.Logf("%s wrote:\n%s", p.log, data[max(0, len(data)-4000):])
		}
	}
}

// check compares what Clerk, the profiles and Medusa hold.
func (w *crash) check() {
	w.t.Helper()
	alive := 0
	for _, u := range w.clerk.Users() {
		alive++
		var right bool
		err := w.pool.QueryRow(w.t.Context(), `
			select p.email = $2 and p.last_name = $3 and p.deleted_at is null and l.status = 'linked' and p.medusa_customer_id = l.customer_id
			   and c.email = lower($2) and c.last_name = $3 and c.first_name = p.first_name and c.deleted_at is null
			   and (select count(*) from medusa.customer m where m.metadata ->> 'clerk_user_id' = $1) = 1
			   and (extract(epoch from p.clerk_updated_at) * 1000)::bigint = $4
			  from public.profiles p join lockstep.customer_links l on l.clerk_user_id = p.id and l.target = 'medusa' join medusa.customer c on c.id = l.customer_id
			 where p.id = $1`, u.ID, u.PrimaryEmail(), *u.LastName, u.UpdatedAt).Scan(&right)
		if err != nil || !right {
			w.t.Errorf("%s is not in step: right=%v, %v", u.ID, right, err)
		}
	}
	var customers, marked, tombstones int
	must(w.t, w.pool.QueryRow(w.t.Context(), `select count(*), count(metadata ->> 'clerk_user_id'),
		(select count(*) from public.profiles where deleted_at is not null) from medusa.customer`).Scan(&customers, &marked, &tombstones))
	w.t.Logf("%d users alive, %d deleted; %d customers, %d of them marked", alive, tombstones, customers, marked)
	if marked != alive || tombstones != w.gone || customers > alive+tombstones {
		w.t.Error("customers and users do not match")
	}
}

func (w *crash) waitUntil(ctx context.Context, what, query string) {
	w.t.Helper()
	w.poll(ctx, what, func(ctx context.Context) (yes bool) {
		return w.pool.QueryRow(ctx, query).Scan(&yes) == nil && yes // the server may be down just now
	})
}

func (w *crash) waitForHTTP(url string) {
	w.t.Helper()
	w.poll(w.t.Context(), url, func(ctx context.Context) bool {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		must(w.t, err)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
}

func (w *crash) poll(ctx context.Context, what string, ask func(context.Context) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ask(ctx) {
		select {
		case <-ctx.Done():
			w.t.Fatalf("%s: never came true", what)
		case <-tick.C:
		}
	}
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { must(t, l.Close()) }()
	return "127.0.0.1:" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
