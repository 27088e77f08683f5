package targettest

import (
	"github.com/lockstephq/lockstep"
)

// findChecks ask what Resolve sees.
func findChecks() []check {
	return []check{
		{"the target has a name and may work", named},
		{"a new user gets one marked customer", newUser},
		{"an unknown user has none", unknownUser},
		{"found by the link alone", foundByLink},
		{"found by the mark alone", foundByMark},
		{"found by e-mail in any case", foundByEmail},
		{"a copied mark shows both customers", copiedMark},
		{"an account is shown as one", accountShown},
		{"no e-mail asked for finds none by e-mail", noEmailAsked},
		{"an edit in the store is seen", editSeen},
		{"a deleted customer is not found", deletedNotFound},
	}
}

func named(e *exam) {
	if e.Target.Name() == "" {
		e.Errorf("the target has no name")
	}
	e.must("Check", e.Target.Check(e.ctx))
	e.live(0)
}

func newUser(e *exam) {
	want := person(1)
	e.equal("found before", e.resolve(everything(want)), lockstep.Found{})
	got := e.create(want)
	if got.ID == "" {
		e.Fatalf("Create gave no id")
	}
	want = e.owned(want)
	want.ID = got.ID
	e.equal("created", got, want)
	e.equal("found after", e.resolve(everything(want)), lockstep.Found{
		ByLink: &want, ByUser: []lockstep.Customer{want}, ByEmail: []lockstep.Customer{want},
	})
	e.live(1)
	e.equal("the record", e.get(want.ID).Customer, want)
}

func unknownUser(e *exam) {
	other := e.create(person(1))
	q := everything(person(2))
	q.CustomerID = other.ID + "0"
	e.equal("found", e.resolve(q), lockstep.Found{})
}

func foundByLink(e *exam) {
	guest := e.put(e.shopper(1)).Customer
	e.equal("found", e.resolve(lockstep.Query{UserID: person(2).UserID, CustomerID: guest.ID}), lockstep.Found{ByLink: &guest})
}

func foundByMark(e *exam) {
	want := e.create(person(1))
	e.create(person(2))
	e.equal("found", e.resolve(lockstep.Query{UserID: want.UserID}), lockstep.Found{ByUser: []lockstep.Customer{want}})
}

func foundByEmail(e *exam) {
	guest := e.put(e.shopper(1)).Customer
	e.put(e.shopper(2))
	q := lockstep.Query{UserID: person(1).UserID, Email: person(1).Email}
	e.equal("found", e.resolve(q), lockstep.Found{ByEmail: []lockstep.Customer{guest}})
}

func copiedMark(e *exam) {
	e.create(person(1))
	copied := e.shopper(2)
	copied.UserID = person(1).UserID
	e.put(copied)
	if got := e.resolve(lockstep.Query{UserID: copied.UserID}).ByUser; len(got) != 2 {
		e.Errorf("found %d customers with the mark, want both: %+v", len(got), got)
	}
}

func accountShown(e *exam) {
	account := e.shopper(1)
	account.Account = true
	held := e.put(account).Customer
	found := e.resolve(lockstep.Query{UserID: person(1).UserID, Email: person(1).Email})
	e.equal("found", found, lockstep.Found{ByEmail: []lockstep.Customer{held}})
	if !held.Account {
		e.Errorf("the store did not make an account")
	}
}

func noEmailAsked(e *exam) {
	nameless := person(1)
	nameless.Email = ""
	e.create(nameless)
	e.equal("found", e.resolve(lockstep.Query{UserID: person(2).UserID}), lockstep.Found{})
}

func editSeen(e *exam) {
	now := e.create(person(1))
	edited := e.get(now.ID)
	edited.LastName = person(2).LastName
	e.edit(edited)
	e.equal("found", *e.resolve(everything(now)).ByLink, edited.Customer)
}

func deletedNotFound(e *exam) {
	gone := e.create(person(1))
	e.remove(gone.ID)
	e.equal("found", e.resolve(everything(gone)), lockstep.Found{})
	_, err := e.Target.Update(e.ctx, gone, person(1))
	e.kind("Update of a deleted customer", err, lockstep.ErrGone)

	guest := e.put(e.shopper(2)).Customer
	e.remove(guest.ID)
	_, err = e.Target.Adopt(e.ctx, guest, person(2))
	e.kind("Adopt of a deleted guest", err, lockstep.ErrGone)

	for _, how := range policies() {
		e.release(gone, how, "")
	}
	e.live(0)
	if again := e.create(person(1)); again.ID == gone.ID {
		e.Errorf("Create gave out the deleted customer's id")
	}
	e.live(1)
}
