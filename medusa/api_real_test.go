package medusa_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lockstephq/lockstep/medusa"
	"github.com/lockstephq/lockstep/targettest"
)

// realMedusa is a Medusa that runs, as `make test-medusa` starts one.
type realMedusa struct {
	url   *url.URL
	db    *pgxpool.Pool
	table string
}

func openReal(t *testing.T) realMedusa {
	t.Helper()
	address, err := url.Parse(environment(t, "LOCKSTEP_MEDUSA_URL"))
	if err != nil {
		t.Fatal(err)
	}
	schema := pgx.Identifier{environment(t, "LOCKSTEP_MEDUSA_SCHEMA")}.Sanitize()
	return realMedusa{address, open(t, environment(t, "LOCKSTEP_MEDUSA_DATABASE_URL")), schema + ".customer"}
}

func realOptions() map[string]medusa.APIOptions {
	return map[string]medusa.APIOptions{
		"login": {AdminEmail: os.Getenv("LOCKSTEP_MEDUSA_EMAIL"), AdminPassword: os.Getenv("LOCKSTEP_MEDUSA_PASSWORD")},
		"key":   {Key: os.Getenv("LOCKSTEP_MEDUSA_KEY")},
	}
}

// ours are the exam's customers, anonymised ones too, and the contract's; a server
// may hold others.
const ours = `(lower(email) like 'vilhelmina%@example.test' or email like 'cus\_%@deleted.invalid' or last_name like 'Kvistgaard%' or metadata ->> 'clerk_user_id' like 'user_exam%')`

// alone waits until nobody else has the server, in any process, and leaves it
// without customers of ours.
func (m realMedusa) alone(t *testing.T) {
	t.Helper()
	conn, err := m.db.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Release)
	const lock = `hashtextextended('lockstep: the exam on a real Medusa', 0)`
	exec(t, conn, `select pg_advisory_lock(`+lock+`)`)
	t.Cleanup(func() {
		_, err := conn.Exec(context.WithoutCancel(t.Context()), `select pg_advisory_unlock(`+lock+`)`)
		if err != nil {
			t.Error(err)
		}
	})
	wipe := func() error {
		_, err := conn.Exec(context.WithoutCancel(t.Context()), `delete from `+m.table+` where `+ours)
		return err
	}
	if err := wipe(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := wipe(); err != nil {
			t.Error(err)
		}
	})
}

// TestAPIOnRealMedusa is TestAPI on the server itself, one check at a time.
func TestAPIOnRealMedusa(t *testing.T) {
	m := openReal(t)
	for name, options := range realOptions() {
		t.Run(name, func(t *testing.T) {
			targettest.Run(t, func(t *testing.T) targettest.Subject {
				m.alone(t)
				door := newDoor(t, m.url)
				return targettest.Subject{
					Target:  newAPI(t, door.url, options),
					Shop:    realShop{shop{m.db, m.table}},
					Foreign: map[string]string{company: "Owls Ltd", "loyalty": "gold"},
					Break:   door.arm,
				}
			})
		})
	}
}

func newAPI(t testing.TB, address string, o medusa.APIOptions) *medusa.API {
	t.Helper()
	o.URL = address
	target, err := medusa.NewAPI(o)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// realShop sees the exam's customers alone.
type realShop struct{ shop }

func (s realShop) Live(ctx context.Context) ([]targettest.Record, error) { return s.read(ctx, ours) }

// door is a proxy that misbehaves when it is armed.
type door struct {
	url string
	to  *httputil.ReverseProxy

	mu    sync.Mutex
	fault targettest.Fault
}

func newDoor(t *testing.T, to *url.URL) *door {
	t.Helper()
	d := &door{to: httputil.NewSingleHostReverseProxy(to)}
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	d.url = server.URL
	return d
}

func (d *door) arm(f targettest.Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = f
}

func (d *door) strike(r *http.Request) (f targettest.Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	read := r.Method == http.MethodGet && (d.fault == targettest.FaultLostAfter || d.fault == targettest.FaultLostBefore)
	if !read && strings.HasPrefix(r.URL.Path, "/admin/") {
		f, d.fault = d.fault, ""
	}
	return f
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch d.strike(r) {
	case targettest.FaultLostBefore:
		panic(http.ErrAbortHandler)
	case targettest.FaultLostAfter:
		d.to.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	case targettest.FaultLimit:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	case targettest.FaultRefusal:
		w.WriteHeader(http.StatusForbidden)
		return
	}
	d.to.ServeHTTP(w, r)
}
