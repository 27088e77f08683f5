package targettest

import (
	"slices"
	"strings"

	"github.com/lockstephq/lockstep"
)

// releaseChecks ask what becomes of a deleted user's customer.
func releaseChecks() []check {
	return []check{
		{"Release takes the mark off and no more", releaseMark},
		{"Release anonymises what Lockstep wrote and no more", anonymise},
		{"Release deletes", deleteCustomer},
		{"Release keeps who ever had an order", keepOrders},
		{"Release goes on with who was let go before", releaseAgain},
		{"Release leaves another's mark", releaseOthers},
		{"Release leaves an account that carries no mark", leaveAccount},
		{"Release only lets go of an account that may be another's", releaseAccount},
		{"a released customer can be adopted", adoptReleased},
	}
}

// policies are all, the mildest first.
func policies() []lockstep.OnDelete {
	return []lockstep.OnDelete{lockstep.OnDeleteKeep, lockstep.OnDeleteAnonymise, lockstep.OnDeleteDelete}
}

func releaseMark(e *exam) {
	e.releaseMark(1, lockstep.Unmark)
	e.releaseMark(2, lockstep.OnDeleteKeep)
}

func (e *exam) releaseMark(n int, how lockstep.OnDelete) {
	guest := e.put(e.shopper(n))
	now := e.adopt(guest.Customer, person(n))
	e.release(now, how, how)
	want := person(n)
	want.UserID = ""
	e.holds(guest.ID, want, guest.Foreign)
	e.equal("found by the mark", e.resolve(lockstep.Query{UserID: now.UserID}), lockstep.Found{})

	before := e.get(guest.ID)
	for _, how := range append(policies(), lockstep.Unmark) { // the mark that it does not carry any more
		e.release(now, how, "")
	}
	e.untouched(before)
}

// anonymous checks that a record is nobody's any more.
func (e *exam) anonymous(r Record) {
	e.Helper()
	if r.UserID != "" || r.Account {
		e.Errorf("an anonymised customer is still somebody's: %+v", r)
	}
	for _, field := range []string{r.Email, r.FirstName, r.LastName, r.Phone} {
		if slices.ContainsFunc(personal(), func(word string) bool { return strings.Contains(strings.ToLower(field), word) }) {
			e.Errorf("an anonymised customer still names a person: %+v", r)
		}
	}
}

// forgotten checks that nothing finds the person any more, and that somebody else
// may have the e-mail.
func (e *exam) forgotten(n int) {
	e.Helper()
	e.equal("found by mark and e-mail", e.resolve(everything(person(n))), lockstep.Found{})
	again := person(n)
	again.UserID = person(n + 50).UserID
	e.create(again)
}

func anonymise(e *exam) {
	guest := e.put(e.shopper(1))
	other := e.get(e.create(person(2)).ID)
	now := e.adopt(guest.Customer, person(1))
	e.release(now, lockstep.OnDeleteAnonymise, lockstep.OnDeleteAnonymise)
	r := e.get(guest.ID)
	e.anonymous(r)
	e.equal("its foreign fields", r.Foreign, guest.Foreign)
	e.release(now, lockstep.OnDeleteAnonymise, "")
	e.untouched(r)
	e.untouched(other)

	second := e.create(person(3)) // two may be nobody
	e.release(second, lockstep.OnDeleteAnonymise, lockstep.OnDeleteAnonymise)
	e.anonymous(e.get(second.ID))
	e.forgotten(1)
}

func deleteCustomer(e *exam) {
	guest := e.put(e.shopper(1))
	now := e.adopt(guest.Customer, person(1))
	other := e.get(e.create(person(2)).ID)
	e.release(now, lockstep.OnDeleteDelete, lockstep.OnDeleteDelete)
	e.live(1)
	e.untouched(other)
	e.equal("found by the link", e.resolve(lockstep.Query{UserID: now.UserID, CustomerID: now.ID}), lockstep.Found{})
	e.release(now, lockstep.OnDeleteDelete, "")
	e.forgotten(1)
}

func keepOrders(e *exam) {
	if e.Order == nil {
		e.Skipf("the store deletes customers who had orders")
	}
	now := e.create(person(1))
	e.must("order", e.Order(e.ctx, now.ID))
	e.release(now, lockstep.OnDeleteDelete, lockstep.OnDeleteAnonymise)
	e.anonymous(e.get(now.ID))
	e.live(1)
	e.forgotten(1)
}

func releaseAgain(e *exam) {
	for n, how := range policies()[1:] {
		now := e.create(person(n))
		e.release(now, lockstep.OnDeleteKeep, lockstep.OnDeleteKeep)
		kept := e.resolve(lockstep.Query{UserID: now.UserID, CustomerID: now.ID}).ByLink
		if kept == nil || kept.UserID != "" {
			e.Fatalf("found %+v, want the customer without its mark", kept)
		}
		e.release(*kept, how, how)
		again := how // does no harm
		if how == lockstep.OnDeleteDelete {
			again = ""
		}
		e.release(*kept, how, again)
		e.forgotten(n)
	}
	all := e.live(3)
	e.anonymous(all[0])
}

func releaseOthers(e *exam) {
	others := e.create(person(1))
	before := e.get(others.ID)
	for _, user := range []string{person(2).UserID, ""} {
		stale := others
		stale.UserID = user
		for _, how := range policies() {
			e.release(stale, how, "")
		}
	}
	e.untouched(before)
}

func leaveAccount(e *exam) {
	r := e.shopper(1)
	r.Account = true
	account := e.put(r)
	for _, how := range policies() {
		e.release(account.Customer, how, "")
	}
	e.untouched(account)
}

// releaseAccount is about a linked account. Where nothing shows who signs in as
// it, only the mark comes off.
func releaseAccount(e *exam) {
	for n, how := range policies()[1:] {
		r := e.shopper(n)
		r.Account, r.UserID = true, person(n).UserID
		account := e.put(r)
		if account.Proven {
			e.release(account.Customer, how, how)
			continue
		}
		e.release(account.Customer, how, lockstep.OnDeleteKeep)
		want := account.Customer
		want.UserID = ""
		e.equal("the account", e.get(account.ID).Customer, want)
	}
}

func adoptReleased(e *exam) {
	now := e.create(person(1))
	e.release(now, lockstep.OnDeleteKeep, lockstep.OnDeleteKeep)
	found := e.resolve(lockstep.Query{UserID: person(2).UserID, Email: person(1).Email})
	if len(found.ByEmail) != 1 {
		e.Fatalf("found %+v, want the released customer", found)
	}
	want := person(2)
	want.Email = person(1).Email
	e.adopt(found.ByEmail[0], want)
	e.holds(now.ID, want, nil)
	e.live(1)
}
