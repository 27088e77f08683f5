package medusa_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/medusa"
	"github.com/lockstephq/lockstep/targettest"
)

// TestList pages through guests, accounts and marked customers in both modes; a
// deleted one is not shown.
func TestList(t *testing.T) {
	t.Parallel()
	w := openAPI(t)
	s := openDefault(t)
	for name, tt := range map[string]struct {
		target lockstep.Lister
		shop   targettest.Shop
	}{
		"api":      {w.target(t, byLogin(w.Medusa)), apiShop{w.Medusa}},
		"database": {medusa.NewDatabase(s.pool(t, standin.Owner)), s.shop()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var want []lockstep.Customer
			for i := range 7 {
				c := lockstep.Customer{Email: fmt.Sprintf("User%d@example.test", i), Account: i == 3, FirstName: "A"}
				if i%2 == 0 {
					c.UserID = fmt.Sprintf("user_%d", i)
				}
				made, err := tt.shop.Put(t.Context(), targettest.Record{Customer: c})
				must(t, err)
				if i == 5 {
					must(t, tt.shop.Delete(t.Context(), made.ID))
				} else {
					want = append(want, made.Customer)
				}
			}
			for _, limit := range []int{1, 2, 3, 6, 250} {
				listsAll(t, tt.target, limit, want)
			}
		})
	}
}

func listsAll(t *testing.T, target lockstep.Lister, limit int, want []lockstep.Customer) {
	t.Helper()
	var all []lockstep.Customer
	for after := ""; ; after = all[len(all)-1].ID {
		some, err := target.List(t.Context(), after, limit)
		must(t, err)
		all = append(all, some...)
		if len(some) < limit {
			break
		}
		if len(some) > limit || len(all) > len(want) {
			t.Fatalf("%d of %d at a time, %d in all, want %d", len(some), limit, len(all), len(want))
		}
	}
	byID := func(a, b lockstep.Customer) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	}
	slices.SortFunc(all, byID)
	slices.SortFunc(want, byID)
	if !slices.Equal(all, want) {
		t.Errorf("%d at a time: %+v, want %+v", limit, all, want)
	}
}

// TestListRefuses: the kinds of failure are those of every read.
func TestListRefuses(t *testing.T) {
	t.Parallel()
	w := openAPI(t)
	target := w.target(t, byKey(w.Medusa))
	must(t, w.Faults.Script("", emulator.Fault{Action: emulator.ActionDropBefore}, emulator.Fault{Action: emulator.ActionRefuse, Status: 401}))
	for _, want := range []lockstep.ErrorKind{lockstep.ErrTransient, lockstep.ErrRefused} {
		if _, err := target.List(t.Context(), "", 10); lockstep.KindOf(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := target.List(t.Context(), "\x00", 10); lockstep.KindOf(err) != lockstep.ErrInvalid {
		t.Errorf("got %v", err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
