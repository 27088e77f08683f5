package shopify_test

import (
	"fmt"
	"testing"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
)

// A walk sees every customer once, in the same words as a look at one of them.
func TestListWalksThroughAllCustomers(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	target := w.target(t, w.acme)
	var lister lockstep.Lister = target
	const guests = 600
	for i := range guests {
		_, err := w.acme.PutCustomer(emulator.CustomerSpec{FirstName: "Ada", Email: fmt.Sprintf("ada.%d@example.test", i)})
		if err != nil {
			t.Fatal(err)
		}
	}
	made, err := target.Create(t.Context(), lockstep.Customer{UserID: "user_a", Email: "own@example.test", FirstName: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	w.acme.IndexNow()
	for _, limit := range []int{250, 70} {
		seen, after, last := map[string]lockstep.Customer{}, "", limit
		for last == limit {
			page, err := lister.List(t.Context(), after, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range page {
				if _, twice := seen[c.ID]; twice {
					t.Fatalf("%s came twice", c.ID)
				}
				seen[c.ID], after = c, c.ID
			}
			last = len(page)
		}
		if len(seen) != guests+1 || seen[made.ID] != made {
			t.Errorf("pages of %d: saw %d customers of %d; the user's as %+v, want %+v", limit, len(seen), guests+1, seen[made.ID], made)
		}
	}
	if _, err := lister.List(t.Context(), "cus_1", 10); lockstep.KindOf(err) != lockstep.ErrInvalid {
		t.Errorf("after what is no id: %v", err)
	}
}

// A shop that hides its customers' data must not look as if all were lost.
func TestListRefusesHiddenData(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	for i := range 5 {
		if _, err := w.acme.PutCustomer(emulator.CustomerSpec{Email: fmt.Sprintf("ada.%d@example.test", i)}); err != nil {
			t.Fatal(err)
		}
	}
	w.acme.IndexNow()
	w.acme.SetCustomerData(false)
	if _, err := w.target(t, w.acme).List(t.Context(), "", 250); lockstep.KindOf(err) != lockstep.ErrRefused {
		t.Errorf("%v", err)
	}
}
