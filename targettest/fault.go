package targettest

import (
	"errors"

	"github.com/lockstephq/lockstep"
)

// faultChecks ask what a target says when the store misbehaves.
func faultChecks() []check {
	var all []check
	for _, s := range scenes() {
		for _, f := range []Fault{FaultLostAfter, FaultLostBefore} {
			all = append(all, check{s.name + ", " + string(f), func(e *exam) { lost(e, s, f) }})
		}
		all = append(all,
			check{s.name + ", " + string(FaultLimit), func(e *exam) { limited(e, s) }},
			check{s.name + ", " + string(FaultRefusal), func(e *exam) { refused(e, s) }})
	}
	return append(all, check{"reading under faults", readsUnderFaults})
}

// scene is a write whose end everybody can tell, tried on a store that already
// holds what the write needs.
type scene struct {
	name   string
	before func(*exam) Record // the record to write; none for Create
	write  func(*exam, Record) error
	after  func(*exam) // checks that the write is done, once
}

func scenes() []scene {
	return []scene{
		{"Create", func(*exam) Record { return Record{} },
			func(e *exam, _ Record) error { _, err := e.Target.Create(e.ctx, person(1)); return err },
			func(e *exam) { e.done(person(1)) }},
		{"Adopt", func(e *exam) Record { return e.put(e.shopper(1)) },
			func(e *exam, r Record) error { _, err := e.Target.Adopt(e.ctx, r.Customer, person(1)); return err },
			func(e *exam) { e.done(person(1)) }},
		{"Update", func(e *exam) Record { return e.get(e.create(person(2)).ID) },
			func(e *exam, r Record) error { _, err := e.Target.Update(e.ctx, r.Customer, moved()); return err },
			func(e *exam) { e.done(moved()) }},
		{"Update of a chosen account", func(e *exam) Record {
			r := e.shopper(1)
			r.Account = true
			return e.put(r)
		},
			func(e *exam, r Record) error { _, err := e.Target.Update(e.ctx, r.Customer, person(1)); return err },
			func(e *exam) {
				want := person(1)
				want.Account = true
				e.done(want)
			}},
		releasing("Release", lockstep.OnDeleteKeep, func(e *exam) {
			want := person(1)
			want.UserID = ""
			e.done(want)
		}),
		releasing("Release to anonymise", lockstep.OnDeleteAnonymise, func(e *exam) {
			for _, r := range e.live(1) {
				e.anonymous(r)
			}
		}),
		releasing("Release to delete", lockstep.OnDeleteDelete, func(e *exam) { e.live(0) }),
	}
}

func releasing(name string, how lockstep.OnDelete, after func(*exam)) scene {
	return scene{name, func(e *exam) Record { return e.get(e.create(person(1)).ID) },
		func(e *exam, r Record) error { _, err := e.Target.Release(e.ctx, r.Customer, how); return err }, after}
}

func moved() lockstep.Customer {
	c := person(3)
	c.UserID = person(2).UserID
	return c
}

// done checks that the store holds want, and nobody else.
func (e *exam) done(want lockstep.Customer) {
	e.Helper()
	for _, r := range e.live(1) {
		want.ID = r.ID
		e.equal("the record", r.Customer, e.owned(want))
	}
}

// lost has the answer to a write lost, looks, and writes again.
func lost(e *exam, s scene, f Fault) {
	start := s.before(e)
	e.breaks(f)
	e.kind(s.name, s.write(e, start), lockstep.ErrUnknown)
	e.struck(f, start)
	e.truthful(start.ID)
	if err := s.write(e, start); err != nil { // Create may also say that it is done
		e.kind(s.name+" again", err, lockstep.ErrTaken)
	}
	s.after(e)
}

// struck checks that the fault did what its name says.
func (e *exam) struck(f Fault, start Record) {
	e.Helper()
	all, err := e.Shop.Live(e.ctx)
	e.must("list", err)
	same := len(all) == 0 && start.ID == "" || len(all) == 1 && all[0].Version == start.Version
	if same != (f == FaultLostBefore) {
		e.Errorf("after %q the store holds %+v, before it %+v", f, all, start)
	}
}

// truthful checks that Resolve shows what the store holds.
func (e *exam) truthful(id string) {
	e.Helper()
	all, err := e.Shop.Live(e.ctx)
	e.must("list", err)
	var want lockstep.Found
	q := lockstep.Query{UserID: person(1).UserID, CustomerID: id, Email: person(1).Email}
	if id != "" && len(all) == 1 {
		want.ByLink = &all[0].Customer
	}
	for _, r := range all {
		if r.UserID == q.UserID {
			want.ByUser = append(want.ByUser, r.Customer)
		}
		if lockstep.NormalEmail(r.Email) == q.Email {
			want.ByEmail = append(want.ByEmail, r.Customer)
		}
	}
	e.equal("found after the fault", tidied(e.resolve(q)), want)
}

// tidied overlooks what a fault may well leave undone.
func tidied(found lockstep.Found) lockstep.Found {
	if found.ByLink != nil {
		found.ByLink.Untidy = false
	}
	for _, list := range [][]lockstep.Customer{found.ByUser, found.ByEmail} {
		for i := range list {
			list[i].Untidy = false
		}
	}
	return found
}

func limited(e *exam, s scene) {
	start := s.before(e)
	e.breaks(FaultLimit)
	e.throttled(s.name, s.write(e, start))
	e.struck(FaultLostBefore, start)
	e.must("written again", s.write(e, start))
	s.after(e)
}

func (e *exam) throttled(what string, err error) {
	e.Helper()
	e.kind(what, err, lockstep.ErrThrottled)
	if te, ok := errors.AsType[*lockstep.TargetError](err); !ok || te.After <= 0 {
		e.Errorf("%s: %v does not say how long to wait", what, err)
	}
}

func refused(e *exam, s scene) {
	start := s.before(e)
	e.breaks(FaultRefusal)
	e.kind(s.name, s.write(e, start), lockstep.ErrRefused)
	e.struck(FaultLostBefore, start)
	e.must("written again", s.write(e, start))
	s.after(e)
}

func readsUnderFaults(e *exam) {
	now := e.create(person(1))
	if _, lacks := e.Lacks[FaultRefusal]; !lacks {
		e.Break(FaultRefusal)
		_, err := e.Target.Resolve(e.ctx, everything(now))
		e.kind("Resolve", err, lockstep.ErrRefused)
		e.Break(FaultRefusal)
		e.kind("Check", e.Target.Check(e.ctx), lockstep.ErrRefused)
	}
	if _, lacks := e.Lacks[FaultLimit]; !lacks {
		e.Break(FaultLimit)
		_, err := e.Target.Resolve(e.ctx, everything(now))
		e.throttled("Resolve", err)
	}
	e.equal("found after", e.resolve(everything(now)).ByUser, []lockstep.Customer{now})
}
