package app_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// populate makes users whose webhooks nobody hears.
func (w *world) populate(n int) (ids []string) {
	w.t.Helper()
	w.clerk.SetWebhookURL("")
	base := time.Now().Add(-time.Hour)
	for i := range n {
		u, err := w.clerk.CreateUser(emulator.UserSpec{FirstName: "Ada", LastName: fmt.Sprintf("No%d", i),
			Email: fmt.Sprintf("ada.%d@example.test", i), Verified: true, CreatedAt: base.Add(time.Duration(i) * time.Millisecond)})
		must(w.t, err)
		ids = append(ids, u.ID)
	}
	return ids
}

func quietly(app.Progress) {}

func TestBackfill(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const users = 1200
	ids := w.populate(users)
	a := w.open(nil)
	defer a.Close()
	got, err := a.BackfillClerk(t.Context(), false, quietly)
	must(t, err)
	if got.Read != users || got.Changed != users || got.Queued != users || !got.Exact() || got.Profiles != users || got.Resumed {
		t.Errorf("%+v", got)
	}
	w.eventually("all are linked", inStep, users)

	must(t, w.clerk.DeleteUser(ids[3]))
	got, err = a.BackfillClerk(t.Context(), false, quietly)
	must(t, err)
	if got.Changed != 0 || got.Queued != 0 || got.Exact() || got.Profiles != users || got.After != users-1 {
		t.Errorf("again, one user less: %+v", got)
	}
}

// Stopped after every page, with the user at the cursor deleted meanwhile and
// Clerk's limit reached, a backfill still brings in everybody once.
func TestBackfillGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const users = 1700
	ids := w.populate(users)
	must(t, w.clerk.Faults.Set(emulator.Rule{Route: "GET /v1/users", Rate: 0.15, Fault: emulator.Fault{Action: emulator.ActionRefuse, Status: http.StatusTooManyRequests}}))
	a := w.open(nil)
	defer a.Close()
	var got app.Backfilled
	stops := 0
	for {
		ctx, cancel := context.WithCancel(t.Context())
		var err error
		got, err = a.BackfillClerk(ctx, false, func(p app.Progress) {
			if p.Done < users {
				cancel()
			}
		})
		stopped := ctx.Err() != nil
		cancel()
		if err == nil {
			break
		}
		if !stopped { // one stopped while it waited for the limit names the limit
			t.Fatal(err)
		}
		if stops++; stops == 1 {
			must(t, w.clerk.DeleteUser(ids[499])) // at the cursor
		}
		if stops > 10 {
			t.Fatal("it does not come to an end")
		}
	}
	if stops < 3 || got.Changed != users || !got.Resumed {
		t.Errorf("%d stops, %+v", stops, got)
	}
	if n := testdb.Query[int](t, w.pool, `select count(*) from public.profiles`); n != users {
		t.Errorf("%d profiles, want %d", n, users)
	}
	w.eventually("all are linked", inStep, users)
}
