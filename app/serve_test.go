package app_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/testdb"
)

func TestUserBecomesCustomer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const users = 20
	for i := range users {
		w.create(fmt.Sprintf("Ada.%d", i))
	}
	w.delivered()
	w.eventually("all are linked", inStep, users)
	if n := testdb.Query[int](t, w.pool, `select count(*) from public.profiles p join medusa.customer c on c.id = p.medusa_customer_id
		where c.email = lower(p.email) and c.first_name = p.first_name`); n != users {
		t.Errorf("%d of %d profiles name their customer", n, users)
	}
	if n := testdb.Query[int](t, w.pool, `select count(*) from medusa.customer`); n != users {
		t.Errorf("%d customers for %d users", n, users)
	}
}

func TestLifeOfAUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.create("Ada")
	w.eventually("linked", isLinked, u.ID)
	_, err := w.clerk.UpdateUser(u.ID, emulator.UserChange{FirstName: new("Augusta"), Email: new("augusta@example.test"), Verified: new(true)})
	must(t, err)
	w.eventually("the customer follows", `select count(*) = 1 from medusa.customer
		where metadata ->> 'clerk_user_id' = $1 and first_name = 'Augusta' and email = 'augusta@example.test'`, u.ID)
	must(t, w.clerk.DeleteUser(u.ID))
	w.eventually("the customer is released", `select count(*) = 1 from medusa.customer
		where email = 'augusta@example.test' and deleted_at is null and metadata ->> 'clerk_user_id' is null`)
	w.delivered()
	if n := testdb.Query[int](t, w.pool, `select count(*) from public.profiles where id = $1 and deleted_at is not null`, u.ID); n != 1 {
		t.Error("the profile is not a tombstone")
	}
}

func TestEachReceiptHasItsWord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct{ id, body, want string }{
		{"msg_new", userEvent("user.created", 2000), "applied"},
		{"msg_new", userEvent("user.created", 2000), "duplicate"},
		{"msg_old", userEvent("user.updated", 1000), "stale"},
		{"msg_del", `{"type":"user.deleted","data":{"id":"user_a","deleted":true}}`, "applied"},
		{"msg_late", userEvent("user.updated", 3000), "stale"}, // a deletion is final
		{"msg_other", `{"type":"session.created","data":{}}`, "ignored"},
	} {
		got := w.send(c.id, c.body)
		if want := fmt.Sprintf("{\"status\":%q}\n", c.want); got.status != http.StatusOK || got.body != want {
			t.Errorf("%s: %d %s, want %s", c.id, got.status, got.body, want)
		}
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got := w.request(http.MethodGet, "/healthz", nil, nil); got.status != http.StatusOK || got.body != `{"status":"ok"}`+"\n" {
		t.Errorf("%+v", got)
	}
	w.wantError(w.request(http.MethodGet, "/webhooks/clerk", nil, nil), http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED")
	w.wantError(w.request(http.MethodPost, "/webhooks/nobody", nil, nil), http.StatusNotFound, "NOT_FOUND")
}

// userEvent is an event about user_a, of a version in milliseconds.
func userEvent(kind string, version int) string {
	return fmt.Sprintf(`{"type":%q,"data":{"id":"user_a","first_name":"Ada","updated_at":%d,"created_at":1,
		"primary_email_address_id":"idn_1","email_addresses":[{"id":"idn_1","email_address":"ada@example.test","verification":{"status":"verified"}}]}}`, kind, version)
}
