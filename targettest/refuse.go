package targettest

import (
	"context"

	"github.com/lockstephq/lockstep"
)

// refuseChecks ask what a target must not do.
func refuseChecks() []check {
	return []check{
		{"another user's guest is not adopted", adoptOthers},
		{"an account is not adopted", adoptAccount},
		{"a guest that became an account is not adopted", adoptPromoted},
		{"a guest that got another e-mail is not adopted", adoptMoved},
		{"another user's customer is not updated", func(e *exam) { updateOthers(e, false) }},
		{"another user's account is not updated", func(e *exam) { updateOthers(e, true) }},
		{"a guest's e-mail is taken", func(e *exam) { emailTaken(e, false) }},
		{"an account's e-mail is taken", func(e *exam) { emailTaken(e, true) }},
		{"a cancelled context ends every call", cancelled},
	}
}

func adoptOthers(e *exam) {
	r := e.shopper(1)
	r.UserID = person(2).UserID
	others := e.put(r)
	found := e.resolve(lockstep.Query{UserID: person(1).UserID, Email: person(1).Email})
	e.equal("found", found, lockstep.Found{ByEmail: []lockstep.Customer{others.Customer}})
	stale := others.Customer
	stale.UserID = ""
	for _, now := range []lockstep.Customer{others.Customer, stale} {
		_, err := e.Target.Adopt(e.ctx, now, person(1))
		e.kind("Adopt of another's", err, lockstep.ErrTaken)
	}
	e.untouched(others)
}

func adoptAccount(e *exam) {
	r := e.shopper(1)
	r.Account = true
	account := e.put(r)
	_, err := e.Target.Adopt(e.ctx, account.Customer, person(1))
	e.kind("Adopt of an account", err, lockstep.ErrTaken)
	e.untouched(account)
}

func adoptPromoted(e *exam) {
	guest := e.put(e.shopper(1))
	promoted := guest
	promoted.Account = true
	e.edit(promoted)
	before := e.get(guest.ID)
	_, err := e.Target.Adopt(e.ctx, guest.Customer, person(1))
	e.kind("Adopt of what was a guest", err, lockstep.ErrTaken)
	e.untouched(before)
}

// adoptMoved: who proved the e-mail that a guest had may not have the guest who
// was given another one since.
func adoptMoved(e *exam) {
	guest := e.put(e.shopper(1))
	moved := guest
	moved.Email = person(2).Email
	e.edit(moved)
	before := e.get(guest.ID)
	_, err := e.Target.Adopt(e.ctx, guest.Customer, person(1))
	e.kind("Adopt of a guest that moved", err, lockstep.ErrTaken)
	e.untouched(before)
}

func updateOthers(e *exam, account bool) {
	r := e.shopper(1)
	r.UserID, r.Account = person(2).UserID, account
	others := e.put(r)
	stale := others.Customer
	stale.UserID = ""
	for _, now := range []lockstep.Customer{others.Customer, stale} {
		_, err := e.Target.Update(e.ctx, now, person(1))
		e.kind("Update of another's", err, lockstep.ErrTaken)
	}
	e.untouched(others)
}

// emailTaken tries to move onto an e-mail that somebody typed in mixed case.
func emailTaken(e *exam, account bool) {
	r := e.shopper(1)
	r.Account = account
	holder := e.put(r)
	want := person(2)
	want.Email = person(1).Email
	_, err := e.Target.Create(e.ctx, want)
	e.kind("Create", err, lockstep.ErrTaken)
	e.live(1)

	now := e.create(person(3))
	before := e.get(now.ID)
	want = person(4)
	want.UserID, want.Email = now.UserID, person(1).Email
	_, err = e.Target.Update(e.ctx, now, want)
	e.kind("Update", err, lockstep.ErrTaken)
	e.untouched(before)
	e.untouched(holder)
	e.live(2)
}

func cancelled(e *exam) {
	now := e.create(person(1))
	guest := e.put(e.shopper(2))
	before := e.get(now.ID)
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	calls := map[string]func() error{
		"Check":   func() error { return e.Target.Check(ctx) },
		"Resolve": func() error { _, err := e.Target.Resolve(ctx, everything(now)); return err },
		"Create":  func() error { _, err := e.Target.Create(ctx, person(3)); return err },
		"Adopt":   func() error { _, err := e.Target.Adopt(ctx, guest.Customer, person(2)); return err },
		"Update":  func() error { _, err := e.Target.Update(ctx, now, person(4)); return err },
		"Release": func() error { _, err := e.Target.Release(ctx, now, lockstep.OnDeleteDelete); return err },
	}
	for name, call := range calls {
		if call() == nil {
			e.Errorf("%s ignored a cancelled context", name)
		}
	}
	e.untouched(before)
	e.untouched(guest)
	e.live(2)
}
