package app_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/localpg"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/internal/watch"
)

func onCluster(pg *localpg.Cluster) setup {
	return setup{url: pg.URL(standin.Owner, ""), superuser: pg.URL("", "")}
}

func TestDatabaseAwayAtStart(t *testing.T) {
	t.Parallel()
	pg := newCluster(t)
	migrate(t, pg.URL(standin.Owner, ""))
	must(t, pg.Stop(t.Context()))
	w := newWorldWith(t, onCluster(pg))
	if got := w.request(http.MethodGet, "/healthz", nil, nil); got.status != http.StatusOK {
		t.Errorf("healthz: %+v", got)
	}
	got := w.request(http.MethodGet, "/readyz", nil, nil)
	w.wantError(got, http.StatusServiceUnavailable, "UPSTREAM_UNAVAILABLE")
	if !strings.Contains(got.body, "DATABASE_URL") {
		t.Errorf("readyz does not say what to look at: %s", got.body)
	}
	w.wantError(w.send("msg_a", userEvent("user.created", 1000)), http.StatusServiceUnavailable, "UPSTREAM_UNAVAILABLE")
	const users = 20
	for i := range users {
		w.create(fmt.Sprintf("ada.%d", i))
	}
	w.answered(w.lastMessage(), http.StatusServiceUnavailable)
	must(t, pg.Resume(t.Context()))
	w.delivered()
	w.eventually("all are linked", inStep, users)
	w.waitFor("ready", func(context.Context) bool {
		return w.request(http.MethodGet, "/readyz", nil, nil).status == http.StatusOK
	})
}

func TestDatabaseAwayInMidFlight(t *testing.T) {
	t.Parallel()
	pg := newCluster(t)
	migrate(t, pg.URL(standin.Owner, ""))
	w := newWorldWith(t, onCluster(pg))
	for w.acknowledged() < 50 {
		w.create(fmt.Sprintf("ada.%d", w.clerk.UserCount()))
	}
	must(t, pg.Stop(t.Context())) // with events in flight
	for range 20 {
		w.create(fmt.Sprintf("ada.%d", w.clerk.UserCount()))
	}
	w.answered(w.lastMessage(), http.StatusServiceUnavailable)
	w.wantError(w.request(http.MethodGet, "/readyz", nil, nil), http.StatusServiceUnavailable, "UPSTREAM_UNAVAILABLE")
	must(t, pg.Resume(t.Context()))
	w.delivered()
	// What was acknowledged is not sent again: a profile that lacks was lost.
	w.eventually("every acknowledged event has its profile", `select count(*) = $1 from public.profiles`, w.clerk.UserCount())
	w.eventually("all are linked", inStep, w.clerk.UserCount())
}

func (w *world) acknowledged() (n int) {
	for _, m := range w.clerk.Webhooks.Messages() {
		if m.State == emulator.StateAcknowledged {
			n++
		}
	}
	return n
}

func TestDatabaseNotMigrated(t *testing.T) {
	t.Parallel()
	db := testdb.Bare(t, standin.Options{MedusaSchema: testdb.MedusaSchema})
	c, err := load(t, map[string]string{"DATABASE_URL": db.URL(standin.Owner), "LOCKSTEP_ADDR": "127.0.0.1:0"}, "", app.NeedWeb)
	must(t, err)
	a, err := app.Open(c, watch.Logger(t))
	must(t, err)
	defer a.Close()
	for _, role := range []app.Role{app.RoleAll, app.RoleWeb, app.RoleWorker} {
		if err := a.Serve(t.Context(), role, nil); err == nil || !strings.Contains(err.Error(), "lockstep migrate up") {
			t.Errorf("%s: %v", role, err)
		}
	}
	for name, do := range map[string]func() error{
		"status": func() error { _, err := a.Status(t.Context()); return err },
		"show":   func() error { _, err := a.Show(t.Context(), "user_a"); return err },
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), "lockstep migrate up") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The server that comes up turns out to lack Lockstep's tables: no worker
// could ever start, so the process says so and ends.
func TestDatabaseAwayAtStartThenNotMigrated(t *testing.T) {
	t.Parallel()
	pg := newCluster(t)
	must(t, pg.Stop(t.Context()))
	c, err := load(t, map[string]string{"DATABASE_URL": pg.URL(standin.Owner, ""), "LOCKSTEP_ADDR": "127.0.0.1:0"}, "", app.NeedWeb)
	must(t, err)
	a, err := app.Open(c, watch.Logger(t))
	must(t, err)
	defer a.Close()
	done := make(chan error, 1)
	go func() { done <- a.Serve(t.Context(), app.RoleAll, nil) }()
	must(t, pg.Resume(t.Context()))
	if err := <-done; err == nil || !strings.Contains(err.Error(), "lockstep migrate up") {
		t.Errorf("serve: %v", err)
	}
}
