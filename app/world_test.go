package app_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/localpg"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/internal/watch"
)

// world is a running Lockstep with an emulated Clerk in front of it and
// Medusa's tables behind it.
type world struct {
	t     *testing.T
	setup setup
	clerk *emulator.Clerk
	skew  atomic.Int64 // how far Clerk's clock is off, in nanoseconds
	pool  *pgxpool.Pool
	*served
	patience time.Duration // of waitFor; zero means three minutes
}

// setup is how a world differs from the usual one.
type setup struct {
	url       string            // of the database, for Lockstep; default a migrated one of its own
	superuser string            // of the database, for the test
	env       map[string]string // over the emulator's settings
	log       io.Writer         // default the test's
	client    *http.Client      // sends the webhooks
	options   []app.Option
}

// newWorld starts everything on a database of its own.
func newWorld(t *testing.T, options ...app.Option) *world {
	t.Helper()
	return newWorldWith(t, setup{options: options})
}

func newWorldWith(t *testing.T, s setup) *world {
	t.Helper()
	if s.url == "" {
		db := testdb.New(t)
		s.url, s.superuser = db.URL(testdb.Role), db.URL("")
	}
	if s.env = maps.Clone(s.env); s.env["OTEL_EXPORTER_OTLP_ENDPOINT"] == "" && s.env["OTEL_TRACES_EXPORTER"] == "" {
		if s.env == nil {
			s.env = map[string]string{}
		}
		s.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = newCollector(t).url // which searches the spans
	}
	w := &world{t: t, setup: s}
	var err error
	w.pool, err = pgxpool.New(t.Context(), s.superuser)
	must(t, err)
	t.Cleanup(w.pool.Close)
	w.clerk, err = emulator.NewClerk(emulator.ClerkOptions{Schedule: manyTries(), Client: s.client,
		Now: func() time.Time { return time.Now().Add(time.Duration(w.skew.Load())) }})
	must(t, err)
	t.Cleanup(w.clerk.Close)
	api := httptest.NewServer(w.clerk)
	t.Cleanup(api.Close)
	w.clerk.SetBaseURL(api.URL)
	w.restart(nil)
	return w
}

// manyTries is Svix's schedule in fast motion: it does not give up before the
// test does.
func manyTries() []time.Duration {
	schedule := make([]time.Duration, 10_000)
	for i := 1; i < len(schedule); i++ {
		schedule[i] = 20 * time.Millisecond
	}
	return schedule
}

// settings points at the emulator and the database; env goes over that.
func (w *world) settings(env map[string]string) map[string]string {
	all := map[string]string{"DATABASE_URL": w.setup.url, "LOCKSTEP_ADDR": "127.0.0.1:0", "MEDUSA_MODE": "database"}
	for _, s := range w.clerk.Settings() {
		all[s.Name] = s.Value
	}
	maps.Copy(all, w.setup.env)
	maps.Copy(all, env)
	return all
}

func (w *world) open(env map[string]string) *app.App {
	w.t.Helper()
	all := w.settings(env)
	c, err := app.LoadConfig(func(name string) string { return all[name] }, app.NeedWeb)
	must(w.t, err)
	out := w.setup.log
	if out == nil {
		out = w.t.Output()
	}
	log := watch.Logger(w.t, out)
	a, err := app.Open(c, log, w.setup.options...)
	must(w.t, err)
	return a
}

// served is a Lockstep that runs.
type served struct {
	url   string
	addr  string
	asked context.CancelFunc // asks it to stop
	wait  func() error       // for its end
}

// restart stops the world's Lockstep, if it has one, and starts another with
// other settings. It runs until the test ends, and fails the test if it does.
func (w *world) restart(env map[string]string) {
	w.t.Helper()
	if w.served != nil {
		w.asked()
		must(w.t, w.wait())
	}
	a := w.open(env)
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	listening, done := make(chan net.Addr, 1), make(chan error, 1)
	go func() { done <- a.Serve(ctx, app.RoleAll, func(addr net.Addr) { listening <- addr }) }()
	w.served = &served{asked: cancel, wait: sync.OnceValue(func() error {
		defer a.Close()
		return <-done
	})}
	w.t.Cleanup(func() {
		w.searchMetrics()
		cancel()
		if err := w.wait(); err != nil {
			w.t.Errorf("serve: %v", err)
		}
	})
	select {
	case addr := <-listening:
		w.addr, w.url = addr.String(), "http://"+addr.String()
	case err := <-done:
		done <- err
		w.t.Fatalf("serve: %v", err)
	}
	w.clerk.SetWebhookURL(w.url + "/webhooks/clerk")
}

// searchMetrics looks for what no metric may say, unless the test stopped its
// Lockstep.
func (w *world) searchMetrics() {
	w.t.Helper()
	resp, err := http.Get(w.url + "/metrics")
	if err != nil {
		return
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	must(w.t, err)
	if resp.StatusCode == http.StatusNotFound {
		return // they have an address of their own
	}
	if !strings.Contains(string(text), "lockstep_") {
		w.t.Errorf("no metrics: %d", resp.StatusCode)
	}
	watch.Text(w.t, "metrics", string(text))
}

// waitFor polls until ask says yes.
func (w *world) waitFor(what string, ask func(context.Context) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), cmp.Or(w.patience, 3*time.Minute))
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ask(ctx) {
		select {
		case <-ctx.Done():
			w.t.Fatalf("%s: never came true", what)
		case <-tick.C:
		}
	}
}

// eventually waits until ask, a query for a boolean, says yes. The database
// may be away meanwhile.
func (w *world) eventually(what, ask string, args ...any) {
	w.t.Helper()
	w.waitFor(what, w.saysYes(ask, args...))
}

func (w *world) saysYes(ask string, args ...any) func(context.Context) bool {
	return func(ctx context.Context) (yes bool) {
		return w.pool.QueryRow(ctx, ask, args...).Scan(&yes) == nil && yes
	}
}

const inStep = `select count(*) = $1 from lockstep.customer_links l join medusa.customer c on c.id = l.customer_id
	where l.status = 'linked' and l.applied = l.desired and c.deleted_at is null and c.metadata ->> 'clerk_user_id' = l.clerk_user_id`

const isLinked = `select coalesce((select status = 'linked' and applied = desired from lockstep.customer_links where clerk_user_id = $1), false)`

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	_, err := w.pool.Exec(w.t.Context(), sql, args...)
	must(w.t, err)
}

// create makes a user with a verified e-mail in Clerk, which sends an event.
func (w *world) create(name string) emulator.User {
	w.t.Helper()
	u, err := w.clerk.CreateUser(emulator.UserSpec{FirstName: name, LastName: "Lovelace", Email: name + "@Example.test", Verified: true})
	must(w.t, err)
	return u
}

// stillWorks proves that whatever happened before harms nobody after it.
func (w *world) stillWorks() {
	w.t.Helper()
	u := w.create("after." + strconv.Itoa(w.clerk.UserCount()))
	w.eventually("another user is linked", isLinked, u.ID)
}

// delivered waits until everything that Clerk sent is acknowledged.
func (w *world) delivered() {
	w.t.Helper()
	must(w.t, w.clerk.Webhooks.Wait(w.t.Context()))
}

// answered waits until an event of Clerk's was answered with the status.
func (w *world) answered(message string, status int) {
	w.t.Helper()
	w.waitFor(message+" is answered "+strconv.Itoa(status), func(context.Context) bool {
		m, ok := w.clerk.Webhooks.Message(message)
		return ok && m.LastStatus == status
	})
}

// lastMessage is the id of the newest event.
func (w *world) lastMessage() string {
	w.t.Helper()
	all := w.clerk.Webhooks.Messages()
	if len(all) == 0 {
		w.t.Fatal("Clerk sent nothing")
	}
	return all[len(all)-1].ID
}

func (w *world) emit(e emulator.Event) (message string) {
	w.t.Helper()
	id, err := w.clerk.Emit(e)
	must(w.t, err)
	return id
}

// stored counts all rows that an event can make.
func (w *world) stored() int {
	w.t.Helper()
	return testdb.Query[int](w.t, w.pool, `select (select count(*) from lockstep.deliveries) + (select count(*) from public.profiles)
		+ (select count(*) from lockstep.customer_links) + (select count(*) from medusa.customer)
		+ (select count(*) from lockstep.river_job where kind = 'dispatch')`)
}

func (w *world) wantNothingStored() {
	w.t.Helper()
	if n := w.stored(); n != 0 {
		w.t.Errorf("%d rows are stored, want none", n)
	}
}

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   string
}

func (w *world) request(method, path string, header http.Header, body io.Reader) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, body)
	must(w.t, err)
	maps.Copy(req.Header, header)
	resp, err := http.DefaultClient.Do(req)
	must(w.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	must(w.t, err)
	if resp.StatusCode >= 400 {
		watch.Text(w.t, path+" answered", string(text))
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// send posts a body that is signed as Svix documents it, as of now.
func (w *world) send(id, body string) answer {
	w.t.Helper()
	return w.request(http.MethodPost, "/webhooks/clerk", signature(w.t, w.secret(), id, time.Now(), body), strings.NewReader(body))
}

func (w *world) secret() string { return w.settings(nil)["CLERK_WEBHOOK_SECRET"] }

func signature(t *testing.T, secret, id string, at time.Time, body string) http.Header {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	must(t, err)
	seconds := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + seconds + "." + body))
	h := http.Header{}
	h.Set("Svix-Id", id)
	h.Set("Svix-Timestamp", seconds)
	h.Set("Svix-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return h
}

// wantError checks an error of the contract's shape.
func (w *world) wantError(got answer, status int, code string) {
	w.t.Helper()
	var body struct {
		Error struct{ Code, Message string }
	}
	err := json.Unmarshal([]byte(got.body), &body)
	if err != nil || got.status != status || body.Error.Code != code || body.Error.Message == "" {
		w.t.Errorf("answered %d %s (%v), want %d with code %s", got.status, got.body, err, status, code)
	}
	if retry := got.header.Get("Retry-After"); (retry != "") != (status == http.StatusServiceUnavailable) {
		w.t.Errorf("%d with Retry-After %q", status, retry)
	}
}

// newCluster starts a PostgreSQL that the test may stop, with a migrated
// database.
func newCluster(t *testing.T) *localpg.Cluster {
	t.Helper()
	if _, err := localpg.FindBinaries(); err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	pg, err := localpg.Start(t.Context(), localpg.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, pg.Close()) })
	must(t, standin.Load(t.Context(), pg.URL("", ""), standin.Options{MedusaSchema: testdb.MedusaSchema}))
	return pg
}

func migrate(t *testing.T, url string) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	must(t, err)
	defer pool.Close()
	m := postgres.Migrator{Pool: pool, MedusaSchema: testdb.MedusaSchema, Log: watch.Logger(t)}
	must(t, m.Up(t.Context()))
}

// buffer is a writer for several goroutines.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
