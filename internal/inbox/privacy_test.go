package inbox

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/targettest"
)

// redact asks to erase a customer, as a shop's webhook does.
func (b *box) redact(target, customer string) {
	b.t.Helper()
	id := testdb.Query[int64](b.t, b.pool, `insert into lockstep.privacy_requests (target, kind, customer_id, delivery_id)
		values ($1, 'erase customer', $2, 'w') returning id`, target, customer)
	if err := b.inTx(b.t.Context(), func(tx pgx.Tx) error {
		return b.enqueuePrivacy(b.t.Context(), tx, postgres.LostRequest{ID: id})
	}); err != nil {
		b.t.Fatal(err)
	}
}

const redacted = `select bool_and(done_at is not null) from lockstep.privacy_requests`

// TestRedactionWaitsForTheWorker: while a worker has the link, the mark stays;
// afterwards it goes, once, and nobody's link names the customer any more.
func TestRedactionWaitsForTheWorker(t *testing.T) {
	t.Parallel()
	shop := targettest.NewFake(acme)
	b := newBox(t, shop)
	b.accept(user("ada", 1))
	b.eventually("ada is linked", isStatus, "user_ada", "linked")
	customer := testdb.Query[string](t, b.pool, `select customer_id from lockstep.customer_links`)
	_, err := b.pool.Exec(t.Context(), `insert into public.profiles (id, username) values ('user_eve', 'eve')`)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.pool.Exec(t.Context(), `insert into lockstep.customer_links (clerk_user_id, target, status, blocked_by, reason, desired, applied)
		values ('user_eve', $1, 'conflict', $2, 'the e-mail belongs to customer ' || $2, 1, 1)`, acme, customer)
	if err != nil {
		t.Fatal(err)
	}
	claim, err := b.store.Claim(t.Context(), postgres.Key{UserID: "user_ada", Target: acme}, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	b.redact(acme, customer)
	b.eventually("the job waits", `select exists (select from lockstep.river_job where kind = 'privacy' and metadata ? 'snoozes')`)
	if n := shop.Calls()["Release"]; n != 0 {
		t.Errorf("released %d times while a worker had the link", n)
	}
	if err := b.store.Unclaim(t.Context(), claim, ""); err != nil {
		t.Fatal(err)
	}
	b.eventually("it is done", redacted)
	b.eventually("eve looked again", isStatus, "user_eve", "linked")
	if n := shop.Calls()["Release"]; n != 1 {
		t.Errorf("released %d times", n)
	}
	if r, alive, _ := shop.Get(t.Context(), customer); !alive || r.UserID != "" {
		t.Errorf("the customer: %+v", r)
	}
	if n := testdb.Query[int](t, b.pool, `select count(*) from lockstep.customer_links where concat_ws(' ', customer_id, blocked_by, reason) like '%' || $1 || '%'`, customer); n != 0 {
		t.Errorf("%d links still name the customer", n)
	}
	if lease := testdb.Query[bool](t, b.pool, `select bool_and(lease_until is null) from lockstep.customer_links`); !lease {
		t.Error("a link stayed claimed")
	}
}

// TestRedactionOfWhatMovedOn: the user has another customer by now, which keeps
// the mark; the link can be claimed again at once.
func TestRedactionOfWhatMovedOn(t *testing.T) {
	t.Parallel()
	shop := targettest.NewFake(acme)
	b := newBox(t, shop)
	b.accept(user("ada", 1))
	b.eventually("ada is linked", isStatus, "user_ada", "linked")
	b.redact(acme, "fake_of_long_ago")
	b.eventually("it is done", redacted)
	if n := shop.Calls()["Release"]; n != 0 {
		t.Errorf("released %d times", n)
	}
}

// TestForgottenIsNoJobsConcern: a job that was queued before finds no link, and
// ends without being tried again.
func TestForgottenIsNoJobsConcern(t *testing.T) {
	t.Parallel()
	shop := targettest.NewFake(acme)
	b := newBox(t, shop)
	b.accept(user("ada", 1))
	b.eventually("ada is linked", isStatus, "user_ada", "linked")
	b.accept(deleted("ada"))
	b.eventually("ada is released", isStatus, "user_ada", "released")
	proof, err := b.Forget(t.Context(), "user_ada", lockstep.OnDeleteDelete)
	if err != nil || proof.Targets[acme]["delete"] != 1 {
		t.Fatalf("%+v, %v", proof, err)
	}
	if err := b.inTx(t.Context(), func(tx pgx.Tx) error {
		return b.enqueue(t.Context(), tx, []postgres.Key{{UserID: "user_ada", Target: acme}})
	}); err != nil {
		t.Fatal(err)
	}
	b.eventually("the job ended", `select exists (select from lockstep.river_job where kind = 'sync' and state = 'cancelled')`)
	b.eventually("so did that of the erasure", `select bool_and(state = 'completed') from lockstep.river_job where kind = 'privacy'`)
	if again, err := b.Forget(t.Context(), "user_ada", ""); err != nil || !again.Done.Equal(*proof.Done) {
		t.Errorf("again: %+v, %v", again, err)
	}
	if n := testdb.Query[int](t, b.pool, `select count(*) from lockstep.customer_links`); n != 0 {
		t.Errorf("%d links", n)
	}
	if n := len(live(t, shop)); n != 0 {
		t.Errorf("%d customers", n)
	}
	if _, err := b.Forget(t.Context(), "user_nobody", ""); err == nil {
		t.Error("nobody was forgotten")
	}
}
