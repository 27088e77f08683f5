package inbox_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
)

// Of two processes one makes the deep run. Killed in its middle, it is followed
// by the other, which goes on where it was and finishes the same run.
func TestCrashOfAReconcileRun(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	const users = 3000
	w := newCrash(t)
	api := httptest.NewServer(w.clerk)
	t.Cleanup(api.Close)
	w.clerk.SetWebhookURL("")
	for i := range users {
		_, err := w.clerk.CreateUser(emulator.UserSpec{FirstName: "Ada", Email: fmt.Sprintf("ada.%d@example.test", i), Verified: true})
		must(t, err)
	}
	must(t, w.clerk.Faults.Set(emulator.Rule{Route: "GET /v1/users", Rate: 1, Fault: emulator.Fault{Action: emulator.ActionPass, Delay: 500 * time.Millisecond}}))
	w.env = append(w.env, "CLERK_API_URL="+api.URL, "LOCKSTEP_RECONCILE_DEEP=@every 2s", "LOCKSTEP_RECONCILE_SHALLOW=off")
	w.run([]app.Role{app.RoleAll, app.RoleWorker})

	w.waitUntil(t.Context(), "the run is in its middle", `select count(*) = 1 from lockstep.reconcile_steps where name = 'users' and state = 'todo' and looked_at between 500 and 2000`)
	killed, lease := w.holder()
	if lease != 1 {
		t.Errorf("the run changed hands %d times before anybody was killed", lease-1)
	}
	w.killByPID(killed)
	w.waitUntil(t.Context(), "the other one finishes", `select count(*) = 1 from lockstep.reconcile_runs where id = 1 and state = 'done'`)
	other, lease := w.holder()
	if other == killed || lease != 2 {
		t.Errorf("process %d finished the run of process %d, as its holder number %d", other, killed, lease)
	}
	var looked, profiles, missing int
	must(t, w.pool.QueryRow(t.Context(), `select (select looked_at from lockstep.reconcile_steps where run_id = 1 and name = 'users'), (select count(*) from public.profiles),
		(select count(*) from lockstep.reconcile_findings where run_id = 1 and kind = 'profile-missing')`).Scan(&looked, &profiles, &missing))
	if looked != users || profiles != users || missing != users {
		t.Errorf("%d users looked at, %d profiles, %d found missing, want %d of each", looked, profiles, missing, users)
	}
	t.Logf("process %d was killed, process %d finished: %d users looked at", killed, other, looked)
	w.procs = slices.DeleteFunc(w.procs, func(p *process) bool { return p.cmd.ProcessState != nil })
}

// holder is the process that has, or had, the lease of the first run.
func (w *crash) holder() (pid, lease int) {
	w.t.Helper()
	var holder string
	must(w.t, w.pool.QueryRow(context.WithoutCancel(w.t.Context()), `select holder, lease from lockstep.reconcile_runs where id = 1`).Scan(&holder, &lease))
	pid, err := strconv.Atoi(holder[strings.LastIndex(holder, ":")+1:])
	must(w.t, err)
	return pid, lease
}

func (w *crash) killByPID(pid int) {
	w.t.Helper()
	for _, p := range w.procs {
		if p.cmd.Process.Pid == pid {
			w.kill(p)
			return
		}
	}
	w.t.Fatalf("process %d is none of ours", pid)
}
