package targettest

import (
	"strings"

	"github.com/lockstephq/lockstep"
)

// writeChecks ask what Create, Adopt and Update write.
func writeChecks() []check {
	return []check{
		{"a second Create makes no second customer", createTwice},
		{"a customer without e-mail", withoutEmail},
		{"a guest is adopted with all it has", adoptGuest},
		{"adopting again changes nothing", adoptAgain},
		{"a moved e-mail moves on the same customer", moveEmail},
		{"an unmarked linked customer gets the mark", markLinked},
		{"a linked account is updated and stays one", updateAccount},
		{"an account that a person chose gets the mark", takeAccount},
		{"empty fields leave what is there", leaveEmpty},
		{"nothing to change writes nothing", nothingToChange},
		{"what fits is what arrives", fitted},
		{"unusual text arrives as far as it fits", unusualText},
		{"a NUL byte is stripped or refused", nulByte},
	}
}

// createTwice leaves it to the target whether the second call answers with the
// customer or with ErrTaken.
func createTwice(e *exam) {
	first := e.create(person(1))
	for _, want := range []lockstep.Customer{person(1), {UserID: person(1).UserID}, {UserID: person(1).UserID, Email: person(2).Email}} {
		again, err := e.Target.Create(e.ctx, want)
		if err != nil {
			e.kind("second Create", err, lockstep.ErrTaken)
		} else if again.ID != first.ID {
			e.Errorf("second Create gave %s, want %s", again.ID, first.ID)
		}
	}
	e.live(1)
}

func withoutEmail(e *exam) {
	bare := lockstep.Customer{UserID: person(1).UserID}
	now := e.create(bare)
	e.holds(now.ID, bare, nil)
	other := e.create(lockstep.Customer{UserID: person(2).UserID})
	if other.ID == now.ID {
		e.Errorf("two users without e-mail share customer %s", now.ID)
	}
	e.live(2)
	e.update(now, person(1))
	e.holds(now.ID, person(1), nil)
}

func adoptGuest(e *exam) {
	guest := e.put(e.shopper(1))
	found := e.resolve(lockstep.Query{UserID: person(1).UserID, Email: person(1).Email})
	if len(found.ByEmail) != 1 {
		e.Fatalf("found %+v, want the guest", found)
	}
	want := person(1)
	want.FirstName = person(3).FirstName
	adopted := e.adopt(found.ByEmail[0], want)
	e.holds(guest.ID, want, guest.Foreign)
	want = e.owned(want)
	want.ID = guest.ID
	e.equal("adopted", adopted, want)

	want.LastName = person(3).LastName
	e.equal("updated", e.update(adopted, want), want)
	e.holds(guest.ID, want, guest.Foreign)
	e.equal("found after", e.resolve(lockstep.Query{UserID: want.UserID}).ByUser, []lockstep.Customer{want})
	e.live(1)
}

func adoptAgain(e *exam) {
	guest := e.put(e.shopper(1))
	adopted := e.adopt(guest.Customer, person(1))
	e.equal("adopted again", e.adopt(guest.Customer, person(1)), adopted)
	e.holds(guest.ID, person(1), guest.Foreign)
}

func moveEmail(e *exam) {
	now := e.create(person(1))
	want := e.owned(person(1))
	want.ID, want.Email = now.ID, person(2).Email
	e.equal("updated", e.update(now, want), want)
	e.holds(now.ID, want, nil)
	e.equal("found by the old e-mail", e.resolve(lockstep.Query{UserID: "user_exam99", Email: now.Email}), lockstep.Found{})
	e.live(1)
}

func markLinked(e *exam) {
	guest := e.put(e.shopper(1))
	e.update(guest.Customer, person(1))
	e.holds(guest.ID, person(1), guest.Foreign)
}

func updateAccount(e *exam) {
	r := e.shopper(1)
	r.Account, r.UserID = true, person(1).UserID
	account := e.put(r)
	want := person(1)
	want.FirstName, want.Account = person(2).FirstName, true
	e.update(account.Customer, want)
	e.holds(account.ID, want, account.Foreign)
}

// takeAccount is what Adopt refuses: here a person has decided.
func takeAccount(e *exam) {
	r := e.shopper(1)
	r.Account = true
	account := e.put(r)
	want := person(1)
	want.FirstName, want.Account = person(2).FirstName, true
	taken := e.update(account.Customer, want)
	e.holds(account.ID, want, account.Foreign)
	want = e.owned(want)
	want.ID = account.ID
	e.equal("found by the mark", e.resolve(lockstep.Query{UserID: want.UserID}).ByUser, []lockstep.Customer{want})
	before := e.get(account.ID)
	e.equal("taken again", e.update(taken, want), taken)
	e.untouched(before)

	e.create(person(3))
	rival := e.shopper(4)
	rival.Account = true
	unmarked := e.put(rival)
	third := person(3)
	third.Email = person(4).Email
	_, err := e.Target.Update(e.ctx, unmarked.Customer, third)
	e.kind("Update of a second customer of one user", err, lockstep.ErrTaken)
	e.untouched(unmarked)
}

func leaveEmpty(e *exam) {
	now := e.create(person(1))
	e.update(now, lockstep.Customer{UserID: now.UserID, FirstName: person(2).FirstName})
	want := person(1)
	want.FirstName = person(2).FirstName
	e.holds(now.ID, want, nil)

	guest := e.put(e.shopper(3))
	e.adopt(guest.Customer, lockstep.Customer{UserID: person(3).UserID, Email: person(3).Email})
	e.holds(guest.ID, person(3), guest.Foreign)
}

func nothingToChange(e *exam) {
	now := e.create(person(1))
	before := e.get(now.ID)
	e.equal("updated", e.update(now, person(1)), now)
	e.equal("updated by nothing", e.update(now, lockstep.Customer{UserID: now.UserID}), now)
	e.untouched(before)
}

// fitted asks that Fit leaves an ordinary person alone and has its last word at
// once: otherwise a customer would look wrong for ever.
func fitted(e *exam) {
	ordinary := person(1)
	ordinary.Account = e.Accounts
	e.equal("an ordinary customer, fitted", e.Target.Fit(person(1)), ordinary)
	once := e.Target.Fit(unusual())
	e.equal("fitted twice", e.Target.Fit(once), once)
	e.equal("the mark of what fits", once.UserID, unusual().UserID)
}

func unusual() lockstep.Customer {
	c := person(1)
	c.FirstName = `Vilhelmina "Æ" O'Brien \ $1 %s {{.}} 🦉 שלום`
	c.LastName = "Kvistgaard'); drop table customer; --" + strings.Repeat("ø", 1000)
	c.Phone = "45201234 ext. 7"
	return c
}

func unusualText(e *exam) {
	want := e.Target.Fit(unusual())
	now, err := e.Target.Create(e.ctx, want)
	if err != nil {
		e.kind("Create with unusual names", err, lockstep.ErrInvalid)
		return
	}
	e.holds(now.ID, want, nil)
	before := e.get(now.ID)
	e.equal("updated", e.update(now, want), now)
	e.untouched(before)
}

func nulByte(e *exam) {
	want := person(1)
	want.FirstName += "\x00x"
	_, err := e.Target.Create(e.ctx, want)
	if err != nil {
		e.kind("Create with a NUL byte", err, lockstep.ErrInvalid)
	}
	_, err = e.Target.Resolve(e.ctx, lockstep.Query{UserID: "user_\x00", Email: "\x00@example.test"})
	if err != nil {
		e.kind("Resolve with a NUL byte", err, lockstep.ErrInvalid)
	}
}
