package engine_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/targettest"
)

const ada = "user_ada"

func put(t *testing.T, shop *targettest.Fake, c lockstep.Customer) string {
	t.Helper()
	r, err := shop.Put(t.Context(), targettest.Record{Customer: c})
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

func nobody(context.Context, string, []string) (map[string]string, error) { return nil, nil }

func depart(t *testing.T, target lockstep.Target, link lockstep.Link, how lockstep.OnDelete) (engine.Result, error) {
	t.Helper()
	gone := lockstep.Profile{ID: ada, Email: "ada@example.test", EmailVerified: true, DeletedAt: time.Now()}
	return engine.Sync(t.Context(), target, gone, link, nobody, how)
}

func live(t *testing.T, shop *targettest.Fake) int {
	t.Helper()
	all, err := shop.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func check(t *testing.T, res engine.Result, wrote []engine.Action, letGo ...string) {
	t.Helper()
	if res.Decision.Status != lockstep.StatusReleased || !slices.Equal(res.Wrote, wrote) || !slices.Equal(res.LetGo, letGo) {
		t.Errorf("%s: wrote %v, want %v; let go of %v, want %v; %s", res.Decision.Status, res.Wrote, wrote, res.LetGo, letGo, res.Decision.Reason)
	}
}

// TestEveryMarkGoes: somebody copied the mark.
func TestEveryMarkGoes(t *testing.T) {
	t.Parallel()
	shop := targettest.NewFake("shop")
	link := lockstep.Link{UserID: ada, CustomerID: put(t, shop, lockstep.Customer{UserID: ada, Email: "ada@example.test"})}
	for _, email := range []string{"b@example.test", "c@example.test", "d@example.test"} {
		put(t, shop, lockstep.Customer{UserID: ada, Email: email})
	}
	put(t, shop, lockstep.Customer{UserID: "user_bob", Email: "bob@example.test"})
	res, err := depart(t, shop, link, lockstep.OnDeleteDelete)
	if err != nil {
		t.Fatal(err)
	}
	check(t, res, []engine.Action{engine.Delete, engine.Delete, engine.Delete, engine.Delete})
	if n := live(t, shop); n != 1 {
		t.Errorf("%d customers, want the other user's", n)
	}
}

// TestAHarsherPolicyComesLater: what was kept at first is anonymised, or deleted.
func TestAHarsherPolicyComesLater(t *testing.T) {
	t.Parallel()
	for how, action := range map[lockstep.OnDelete]engine.Action{lockstep.OnDeleteAnonymise: engine.Anonymise, lockstep.OnDeleteDelete: engine.Delete} {
		shop := targettest.NewFake("shop")
		id := put(t, shop, lockstep.Customer{UserID: ada, Email: "ada@example.test"})
		res, err := depart(t, shop, lockstep.Link{UserID: ada, CustomerID: id}, "")
		if err != nil {
			t.Fatal(err)
		}
		check(t, res, []engine.Action{engine.Release}, id)
		link := lockstep.Link{UserID: ada, LetGo: res.LetGo}
		if res, err = depart(t, shop, link, lockstep.OnDeleteKeep); err != nil {
			t.Fatal(err)
		}
		check(t, res, nil, id) // as it was
		if res, err = depart(t, shop, link, how); err != nil {
			t.Fatal(err)
		}
		check(t, res, []engine.Action{action})
	}
}

// TestAnHeirIsLeftAlone: another user has the customer by now, by a link or by the mark.
func TestAnHeirIsLeftAlone(t *testing.T) {
	t.Parallel()
	shop := targettest.NewFake("shop")
	linked := put(t, shop, lockstep.Customer{Email: "ada@example.test"})
	marked := put(t, shop, lockstep.Customer{UserID: "user_bob", Email: "b@example.test"})
	account := put(t, shop, lockstep.Customer{Email: "c@example.test", Account: true})
	gone := lockstep.Profile{ID: ada, DeletedAt: time.Now()}
	owners := func(_ context.Context, _ string, ids []string) (map[string]string, error) {
		if slices.Contains(ids, linked) {
			return map[string]string{linked: "user_bob"}, nil
		}
		return nil, nil
	}
	res, err := engine.Sync(t.Context(), shop, gone, lockstep.Link{UserID: ada, LetGo: []string{linked, marked, account}}, owners, lockstep.OnDeleteDelete)
	if err != nil {
		t.Fatal(err)
	}
	check(t, res, nil)
	if n := live(t, shop); n != 3 {
		t.Errorf("%d customers, want all 3", n)
	}
}

// TestLostFarewell: the answer is lost, before or after the commit. It is done
// once, told as what it was, and told of orders as well.
func TestLostFarewell(t *testing.T) {
	t.Parallel()
	for _, fault := range []targettest.Fault{targettest.FaultLostAfter, targettest.FaultLostBefore} {
		for how, action := range map[lockstep.OnDelete]engine.Action{
			lockstep.OnDeleteKeep: engine.Release, lockstep.OnDeleteAnonymise: engine.Anonymise, lockstep.OnDeleteDelete: engine.Delete,
		} {
			for _, orders := range []bool{false, true} {
				shop := targettest.NewFake("shop")
				id := put(t, shop, lockstep.Customer{UserID: ada, Email: "ada@example.test"})
				want, letGo := action, []string(nil)
				if orders {
					if err := shop.Order(t.Context(), id); err != nil {
						t.Fatal(err)
					}
					if action == engine.Delete {
						want = engine.Anonymise
					}
				}
				if how == lockstep.OnDeleteKeep {
					letGo = []string{id}
				}
				shop.Break(fault)
				res, err := depart(t, shop, lockstep.Link{UserID: ada, CustomerID: id}, how)
				if err != nil {
					t.Fatalf("%s, %s: %v", fault, how, err)
				}
				check(t, res, []engine.Action{want}, letGo...)
				if r, alive, _ := shop.Get(t.Context(), id); alive != (want != engine.Delete) || r.UserID != "" || (r.Email == "") != (want != engine.Release) {
					t.Errorf("%s, %s: %v, %+v", fault, how, alive, r)
				}
			}
		}
	}
}

// TestFarewellGivesUp: a target that stays away is tried again later, and one
// that does nothing without saying why is not waited for.
func TestFarewellGivesUp(t *testing.T) {
	t.Parallel()
	shop := targettest.NewFake("shop")
	link := lockstep.Link{UserID: ada, CustomerID: put(t, shop, lockstep.Customer{UserID: ada, Email: "ada@example.test"})}
	for name, release := range map[string]func() (lockstep.OnDelete, error){
		"away":    func() (lockstep.OnDelete, error) { return "", lockstep.ErrUnknown },
		"nothing": func() (lockstep.OnDelete, error) { return "", nil },
	} {
		res, err := depart(t, stubborn{shop, release}, link, lockstep.OnDeleteDelete)
		if err == nil || len(res.Wrote) > 0 {
			t.Errorf("%s: %v, wrote %v", name, err, res.Wrote)
		}
		if name == "away" && !errors.Is(err, lockstep.ErrUnknown) {
			t.Errorf("got %v", err)
		}
	}
}

type stubborn struct {
	*targettest.Fake
	release func() (lockstep.OnDelete, error)
}

func (s stubborn) Release(context.Context, lockstep.Customer, lockstep.OnDelete) (lockstep.OnDelete, error) {
	return s.release()
}
