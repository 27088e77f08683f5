package medusa_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/medusa"
)

const list = "GET /admin/customers"

func resolve(t *testing.T, target lockstep.Target, q lockstep.Query) lockstep.Found {
	t.Helper()
	found, err := target.Resolve(t.Context(), q)
	must(t, err)
	return found
}

// TestSeesWhatOthersWrite: an index that is filled finds what other processes,
// shoppers and staff write after that, whatever the case of the e-mail.
func TestSeesWhatOthersWrite(t *testing.T) {
	t.Parallel()
	w := openAPI(t)
	ours, theirs := w.target(t, byLogin(w.Medusa)), w.target(t, byKey(w.Medusa))
	ada := lockstep.Query{UserID: "user_ada", Email: "ada@example.test"}
	if found := resolve(t, ours, ada); len(found.ByUser)+len(found.ByEmail) > 0 {
		t.Fatalf("found %+v in an empty store", found)
	}
	made, err := theirs.Create(t.Context(), lockstep.Customer{UserID: "user_ada", FirstName: "Ada"})
	must(t, err)
	if found := resolve(t, ours, lockstep.Query{UserID: "user_ada"}); len(found.ByUser) != 1 || found.ByUser[0] != made {
		t.Errorf("another process's customer: %+v", found)
	}
	guest, err := w.PutCustomer(emulator.MedusaSpec{Email: "Ada@Example.test"})
	must(t, err)
	if found := resolve(t, ours, ada); len(found.ByEmail) != 1 || found.ByEmail[0].ID != guest.ID {
		t.Errorf("a shopper's: %+v", found)
	}
	other, again := "other@example.test", "aDA@example.test"
	for _, email := range []*string{&other, &again} {
		_, err = w.EditCustomer(guest.ID, emulator.MedusaEdit{Email: email})
		must(t, err)
		if found := resolve(t, ours, ada); len(found.ByEmail) == 1 != (email == &again) {
			t.Errorf("moved to %s: %+v", *email, found)
		}
	}
	must(t, w.DeleteCustomer(guest.ID))
	if found := resolve(t, ours, ada); len(found.ByEmail) != 0 || len(found.ByUser) != 1 {
		t.Errorf("deleted: %+v", found)
	}
}

// TestFillsOnce: all customers are read once, page by page, and on from where a
// failure left off; a look then costs one request, and a link's customer too.
func TestFillsOnce(t *testing.T) {
	t.Parallel()
	clock := newMovedClock()
	w := openAPIWith(t, emulator.MedusaOptions{Now: clock.Now})
	const many = 2100
	for i := range many {
		_, err := w.PutCustomer(emulator.MedusaSpec{Email: fmt.Sprintf("User%d@example.test", i), Metadata: map[string]any{"clerk_user_id": fmt.Sprintf("user_%d", i)}})
		must(t, err)
	}
	target := w.target(t, byKey(w.Medusa))
	q := lockstep.Query{UserID: fmt.Sprintf("user_%d", many-1)}
	must(t, w.Faults.Script(list, emulator.Fault{}, emulator.Fault{Action: emulator.ActionRefuse}))
	if _, err := target.Resolve(t.Context(), q); lockstep.KindOf(err) != lockstep.ErrTransient || err == nil {
		t.Fatalf("got %v", err)
	}
	found := resolve(t, target, q)
	if n := w.Faults.Total(list); len(found.ByUser) != 1 || n < 5 || n > 8 { // 3 pages, 1 failure, and those just made
		t.Errorf("found %+v with %d requests", found, n)
	}
	before := w.Faults.Total(list)
	q.CustomerID = found.ByUser[0].ID
	resolve(t, target, q)
	resolve(t, target, lockstep.Query{UserID: "user_7", Email: "user7@example.test", CustomerID: q.CustomerID}) // another's: a fetch and a look
	if n := w.Faults.Total(list) - before; n > 5 {
		t.Errorf("%d requests", n)
	}
}

// TestWindow: the time since which changes are read again moves on, but not while
// a request without an answer may still be carried out.
func TestWindow(t *testing.T) {
	t.Parallel()
	clock := newMovedClock()
	w := openAPIWith(t, emulator.MedusaOptions{Now: clock.Now})
	target := w.target(t, byKey(w.Medusa))
	target.SetClock(clock.Now)
	moves := func(what string, after time.Duration, want bool) {
		t.Helper()
		before := target.ReadAgain()
		clock.add(after)
		resolve(t, target, lockstep.Query{UserID: "user_1"})
		if moved := target.ReadAgain().After(before); moved != want {
			t.Errorf("%s: moved is %v", what, moved)
		}
		if ahead := clock.Now().Sub(target.ReadAgain()); ahead < 15*time.Second {
			t.Errorf("%s: only %v are read again", what, ahead)
		}
	}
	moves("at first", 0, true)
	moves("as time goes on", 30*time.Second, true)
	must(t, w.Faults.Script("POST *", emulator.Fault{Action: emulator.ActionDropBefore}))
	if _, err := target.Create(t.Context(), person(1)); lockstep.KindOf(err) != lockstep.ErrUnknown {
		t.Fatal(err)
	}
	moves("while a request is lost", 30*time.Second, false)
	moves("once it is done", medusa.Settle, true)
	for i := range 1100 {
		_, err := w.PutCustomer(emulator.MedusaSpec{Email: fmt.Sprintf("many%d@example.test", i)})
		must(t, err)
	}
	moves("when more changed than one page holds", medusa.Settle, true)
	moves("and after that", medusa.Settle, true)
}

// TestRemembersWhatIsOld: what changed long ago is found through the index alone,
// all that carry one mark, and all that share an e-mail but for its case.
func TestRemembersWhatIsOld(t *testing.T) {
	t.Parallel()
	clock := newMovedClock()
	w := openAPIWith(t, emulator.MedusaOptions{Now: clock.Now})
	for i, email := range []string{"Ada@example.test", "aDA@example.test", "ADA@example.test"} {
		_, err := w.PutCustomer(emulator.MedusaSpec{Email: email, HasAccount: i == 2, Metadata: map[string]any{"clerk_user_id": "user_ada"}})
		must(t, err)
	}
	target := w.target(t, byKey(w.Medusa))
	target.SetClock(clock.Now)
	for range 3 {
		found := resolve(t, target, lockstep.Query{UserID: "user_ada", Email: "ada@example.test"})
		if len(found.ByUser) != 3 || len(found.ByEmail) != 3 {
			t.Errorf("%v after the change: by user %+v, by e-mail %+v", clock.Now(), found.ByUser, found.ByEmail)
		}
		if byUser := resolve(t, target, lockstep.Query{UserID: "user_ada"}).ByUser; len(byUser) != 3 {
			t.Errorf("by user alone %+v", byUser)
		}
		clock.add(time.Hour)
	}
}
