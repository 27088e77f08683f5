package inbox

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/targettest"
	"github.com/riverqueue/river"
)

// yesterday makes everything that happened a day older. Live jobs stay as they
// are: they would count as stuck.
const yesterday = `
	update lockstep.deliveries set received_at = received_at - interval '1 day';
	update lockstep.history set at = at - interval '1 day';
	update lockstep.river_job set finalized_at = finalized_at - interval '1 day' where finalized_at is not null`

// forgetNow does what the job does every few minutes.
func (b *box) forgetNow(keep Keep) {
	b.t.Helper()
	in := &Inbox{store: b.store, retains: keep, log: b.log}
	if err := (&retainWorker{in: in}).Work(b.t.Context(), &river.Job[retainArgs]{}); err != nil {
		b.t.Fatal(err)
	}
}

// Two months of the same life each day: after what is kept is full, no table
// grows any more.
func TestTablesDoNotGrowForEver(t *testing.T) {
	t.Parallel()
	const days, users, keepDeliveries, keepHistory = 60, 20, 30, 45
	b := newBox(t, targettest.NewFake("fake"))
	keep := Keep{Deliveries: keepDeliveries * 24 * time.Hour, History: keepHistory * 24 * time.Hour}
	rows := func(table string) int {
		return testdb.Query[int](t, b.pool, `select count(*) from lockstep.`+table)
	}
	var sizes []string
	for day := range days {
		b.exec(yesterday)
		for u := range users {
			b.accept(user(fmt.Sprint(u), day)) // a new name each day: one write, one line of history
		}
		b.eventually("settled", settled)
		b.forgetNow(keep)
		deliveries, history := rows("deliveries"), rows("history")
		if want := min(day+1, keepDeliveries) * users; deliveries != want {
			t.Fatalf("day %d: %d deliveries, want %d", day, deliveries, want)
		}
		if want := min(day+1, keepHistory) * users; history > want {
			t.Fatalf("day %d: %d lines of history, want at most %d", day, history, want)
		}
		if day%15 == 14 {
			sizes = append(sizes, fmt.Sprintf("day %d: %d deliveries, %d history, %d jobs", day+1, deliveries, history, rows("river_job")))
		}
	}
	for _, line := range sizes {
		t.Log(line)
	}
	if n := rows("history"); n < keepHistory {
		t.Errorf("%d lines of history: too little happened", n)
	}
	if testing.Short() {
		return // River looks every half minute
	}
	b.eventually("the job engine forgets too", `select not exists (select 1 from lockstep.river_job where state = 'completed' and finalized_at < now() - interval '25 hours')`)
	t.Logf("and once River has cleaned up: %d jobs", rows("river_job"))
}

func (b *box) exec(sql string, args ...any) {
	b.t.Helper()
	if _, err := b.pool.Exec(b.t.Context(), sql, args...); err != nil {
		b.t.Fatal(err)
	}
}

// The last sign of life of a source stays known, however old; and what was
// forgotten and comes again changes nothing.
func TestWhatRetentionKeeps(t *testing.T) {
	t.Parallel()
	f := targettest.NewFake("fake")
	b := newBox(t, f)
	b.accept(user("a", 1))
	b.accept(user("a", 2))
	b.eventually("linked", isStatus, "user_a", "linked")
	b.eventually("settled", settled)
	b.exec(`update lockstep.deliveries set received_at = received_at - interval '40 days'`)
	b.forgetNow(Keep{Deliveries: 30 * 24 * time.Hour})
	if id := testdb.Query[string](t, b.pool, `select string_agg(id, ' ') from lockstep.deliveries`); id != "msg_a_2" {
		t.Errorf("kept %q, want the newest alone", id)
	}
	calls := fmt.Sprint(f.Calls())
	if receipt, err := b.Accept(t.Context(), user("a", 1)); err != nil || receipt != lockstep.ReceiptStale {
		t.Errorf("a replay after it was forgotten: %s, %v", receipt, err)
	}
	b.eventually("settled", settled)
	if got := fmt.Sprint(f.Calls()); got != calls {
		t.Errorf("calls went from %s to %s", calls, got)
	}
	b.forgetNow(Keep{}) // zero is for ever
	if n := testdb.Query[int](t, b.pool, `select count(*) from lockstep.deliveries`); n != 2 {
		t.Errorf("%d deliveries, want 2", n)
	}
}

func TestForgettingGoesInBatches(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.exec(`insert into lockstep.deliveries (source, id, kind, clerk_user_id, received_at)
		select s, i::text, 'user.updated', 'user_a', now() - interval '40 days' - i * interval '1 second' from unnest(array['one', 'two']) s, generate_series(1, 50) i`)
	for _, want := range []int64{20, 20, 20, 20, 18, 0} {
		n, err := b.store.ForgetDeliveries(context.Background(), 30*24*time.Hour, 10)
		if err != nil || n != want {
			t.Fatalf("forgot %d, %v, want %d", n, err, want)
		}
	}
}

// It runs by itself, at the start and then every few minutes.
func TestRetentionIsScheduled(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.eventually("it ran", `select exists (select 1 from lockstep.river_job where kind = 'retain' and state = 'completed')`)
}
