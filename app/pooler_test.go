package app_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/internal/watch"
)

// TestServeThroughTransactionPooler runs two nodes behind a pooler that hands
// five connections from transaction to transaction: whatever needs a session
// fails there, or meets somebody else's.
func TestServeThroughTransactionPooler(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	pooled := testdb.Pooler(t, db, testdb.PoolerOptions{})
	log := &buffer{}
	w := newWorldWith(t, setup{url: pooled(testdb.Role), superuser: db.Superuser(), log: log})
	other := w.open(nil)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- other.Serve(ctx, app.RoleWorker, nil) }()

	const users = 60
	var wait sync.WaitGroup
	for n := range 6 {
		wait.Go(func() {
			for i := range users / 6 {
				w.create(fmt.Sprintf("Ada.%d.%d", n, i))
			}
		})
	}
	wait.Wait()
	w.delivered()
	w.eventually("all are linked", inStep, users)
	w.eventually("both nodes worked", `select count(distinct a) > 1 from lockstep.river_job, unnest(attempted_by) a`)

	id := w.newUser(ada()) // no webhook: the first call makes the profile
	token := w.token(emulator.TokenSpec{UserID: id})
	if resp, body := w.call("GET", "/v1/me?wait=10s", token); resp.StatusCode != 200 || !strings.Contains(body, `"status":"linked"`) {
		t.Errorf("sign-in: %d %s", resp.StatusCode, body)
	}
	status, err := other.Status(t.Context())
	if err != nil || len(status) != 1 || status[0].Linked != users+1 {
		t.Errorf("status: %+v, %v", status, err)
	}
	must(t, other.Sync(t.Context(), id))
	if _, err := other.Show(t.Context(), id); err != nil {
		t.Error(err)
	}
	w.eventually("nobody holds a lock for longer than a transaction", `select count(*) = 0 from pg_locks
		where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`)
	stop()
	must(t, errors.Join(<-ended))
	other.Close()
	if strings.Contains(log.String(), "Notifier") { // as River calls what listens
		t.Error("a node listens, on a connection that the pooler hands on")
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "level=WARN") {
			t.Errorf("logged: %s", line)
		}
	}
}

func TestMigrateThroughPoolers(t *testing.T) {
	t.Parallel()
	db := testdb.Bare(t, standin.Options{MedusaSchema: testdb.MedusaSchema})
	open := func(url string) *app.App {
		c, err := load(t, map[string]string{"DATABASE_URL": url, "MEDUSA_MODE": "database"}, "", app.NeedDatabase)
		must(t, err)
		a, err := app.Open(c, watch.Logger(t))
		must(t, err)
		t.Cleanup(a.Close)
		return a
	}
	transaction := open(testdb.Pooler(t, db, testdb.PoolerOptions{})(standin.Owner))
	for name, run := range map[string]func() error{
		"up":   func() error { return transaction.MigrateUp(t.Context(), app.MigrateOptions{}) },
		"down": func() error { return transaction.MigrateDown(t.Context(), app.MigrateOptions{}) },
	} {
		if err := run(); !errors.Is(err, postgres.ErrTransactionPooler) || !strings.Contains(err.Error(), "5432") {
			t.Errorf("%s in transaction mode: %v", name, err)
		}
	}
	session := testdb.Pooler(t, db, testdb.PoolerOptions{Session: true})(standin.Owner)
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			if err := open(session).MigrateUp(t.Context(), app.MigrateOptions{}); err != nil {
				t.Errorf("up in session mode: %v", err)
			}
		})
	}
	wait.Wait()
	steps, err := transaction.MigrateStatus(t.Context())
	must(t, err)
	for _, s := range steps {
		if !s.Applied {
			t.Errorf("%s is not applied", s.Name)
		}
	}
}

// A pooler on a port of its own is told by the URL.
func TestPoolerOnAnotherPort(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	url := testdb.Pooler(t, db, testdb.PoolerOptions{Port: "7654"})(testdb.Role)
	w := newWorldWith(t, setup{url: url + "&default_query_exec_mode=exec", superuser: db.Superuser()})
	w.stillWorks()
}

func TestServeThroughSessionPooler(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	log := &buffer{}
	w := newWorldWith(t, setup{url: testdb.Pooler(t, db, testdb.PoolerOptions{Session: true})(testdb.Role), superuser: db.Superuser(), log: log})
	w.stillWorks()
	w.eventually("a worker listens", `select count(*) > 0 from pg_stat_activity where datname = current_database() and query ilike 'listen%'`)
	if !strings.Contains(log.String(), "Notifier") {
		t.Error("River's log does not tell who listens: mend TestServeThroughTransactionPooler")
	}
}
