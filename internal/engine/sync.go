package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockstephq/lockstep"
)

const (
	// rounds bounds how often one Sync looks again after a write that somebody
	// else overtook, or whose outcome is unknown.
	rounds = 3

	// maxReleases bounds how many customers one Sync lets go.
	maxReleases = 10
)

// Owners tells which user a link in Lockstep's own tables gives each customer
// of the target to. Customers without a link are left out.
type Owners func(ctx context.Context, target string, customerIDs []string) (map[string]string, error)

// Result is what Sync did, and what the link must remember of it.
type Result struct {
	Decision Decision
	Customer lockstep.Customer // as the target holds it now; zero if the user has none
	Refused  string            // the phone number that the target does not take
	Unheard  time.Time         // of the consent that it does not take
	Wrote    []Action          // the writes that took effect, in order
	Released []string          // the customers that were let go
	LetGo    []string          // of a deleted user: the customers that stay as they were
	MarkOnly bool              // no link, but a mark, says whose the customer in the way is
	Choices  []lockstep.Choice // what a person may choose, if the decision is a conflict
}

// Sync makes the target hold what the profile says, starting from what is
// there now. A failed write is never repeated without looking first. Errors
// keep the kind that the target gave them; what had been written before the
// error is found again by the next Sync.
//
// Of a user who was deleted every customer is let go, as how says; nothing is
// OnDeleteKeep.
func Sync(ctx context.Context, t lockstep.Target, p lockstep.Profile, link lockstep.Link, owners Owners, how lockstep.OnDelete) (Result, error) {
	if p.Deleted() {
		return part(ctx, t, p, link, owners, how)
	}
	var res Result
	var last error
	var doubtful Action // the write whose answer was lost
	var f Facts
	for tries := 0; tries < rounds; {
		var err error
		if f, err = look(ctx, t, p, link, owners, how); err != nil {
			return res, err
		}
		d := Plan(f)
		res.Decision, res.Choices = d, nil
		res.MarkOnly = d.HeldBy != "" && f.linked[d.BlockedBy] != d.HeldBy
		if d.Status == lockstep.StatusConflict {
			res.Choices = Choices(f, false)
		}
		res.Customer, last = apply(ctx, t, d)
		res.Refused = cmp.Or(res.Customer.RefusedPhone, link.RefusedPhone)
		res.Unheard = cmp.Or(res.Customer.RefusedConsent, link.RefusedConsent)
		switch {
		case last == nil && d.Action == Release: // another customer may carry the mark, or one is to get it
			res.Released = append(res.Released, d.Now.ID)
			if res.Wrote = append(res.Wrote, d.Action); len(res.Wrote) >= maxReleases {
				return res, letTooManyGo()
			}
			continue
		case last == nil && d.writes():
			res.Wrote = append(res.Wrote, d.Action)
			return res, nil
		case last == nil:
			if doubtful != "" && d.Status == lockstep.StatusLinked {
				res.Wrote = append(res.Wrote, doubtful) // it did arrive
			}
			return res, nil
		case !lookAgain(last):
			return res, last
		}
		if lockstep.KindOf(last) == lockstep.ErrUnknown {
			doubtful = d.Action
		}
		tries++
	}
	return giveUp(res, f, last)
}

// letTooManyGo ends a Sync that let go as many customers as one may.
func letTooManyGo() error {
	return &lockstep.TargetError{Kind: lockstep.ErrTransient, Err: fmt.Errorf("after %d releases a customer still carries the mark", maxReleases)}
}

// Decide reads what is and plans, and writes nothing: `sync --explain`.
func Decide(ctx context.Context, t lockstep.Target, p lockstep.Profile, link lockstep.Link, owners Owners, how lockstep.OnDelete) (Decision, error) {
	f, err := look(ctx, t, p, link, owners, how)
	if err != nil {
		return Decision{}, err
	}
	return Plan(f), nil
}

// look gathers the facts that a decision may depend on.
func look(ctx context.Context, t lockstep.Target, p lockstep.Profile, link lockstep.Link, owners Owners, how lockstep.OnDelete) (Facts, error) {
	f := Facts{UserID: p.ID, Deleted: p.Deleted(), Want: wanted(t.Fit, p, link), OnDelete: how, Choice: link.Choice}
	if f.Want.Email == "" {
		f.Unverified = lockstep.NormalEmail(p.Email)
	}
	q := lockstep.Query{UserID: p.ID, CustomerID: link.CustomerID, Email: f.Want.Email + f.Unverified}
	if f.Deleted {
		q.CustomerID, q.Email = pendingOf(link).link(link).CustomerID, ""
	}
	var err error
	if f.Found, err = t.Resolve(ctx, q); err != nil {
		return f, fmt.Errorf("resolve: %w", err)
	}
	if f.linked, err = nameOwners(ctx, t.Name(), &f.Found, owners); err != nil {
		return f, err
	}
	if f.Deleted {
		return f, nameHeir(ctx, t.Name(), f, owners)
	}
	if f.Choice != nil && f.Choice.Customer != "" {
		f.Chosen, err = lookForChosen(ctx, t, f, owners)
	}
	return f, err
}

// lookForChosen finds the customer that a person chose among those that were
// found or, if it is none of them, by its id; nil if it is gone.
func lookForChosen(ctx context.Context, t lockstep.Target, f Facts, owners Owners) (*lockstep.Customer, error) {
	if c := find(f.Found, f.Choice.Customer); c != nil {
		return c, nil
	}
	found, err := t.Resolve(ctx, lockstep.Query{UserID: f.UserID, CustomerID: f.Choice.Customer})
	if err != nil {
		return nil, fmt.Errorf("resolve the chosen customer: %w", err)
	}
	if found.ByLink == nil {
		return nil, nil
	}
	named := lockstep.Found{ByEmail: []lockstep.Customer{*found.ByLink}}
	if _, err := nameOwners(ctx, t.Name(), &named, owners); err != nil {
		return nil, err
	}
	return &named.ByEmail[0], nil
}

// find returns a copy of one of the customers found; nil if it is none of them.
func find(found lockstep.Found, id string) *lockstep.Customer {
	if found.ByLink != nil && found.ByLink.ID == id {
		return new(*found.ByLink)
	}
	for _, list := range [][]lockstep.Customer{found.ByUser, found.ByEmail} {
		for _, c := range list {
			if c.ID == id {
				return &c
			}
		}
	}
	return nil
}

// wanted is the customer that a target should hold.
func wanted(fit func(lockstep.Customer) lockstep.Customer, p lockstep.Profile, link lockstep.Link) lockstep.Customer {
	want := fit(p.Customer())
	if want.Phone == link.RefusedPhone {
		want.Phone = "" // until the user has another number
	}
	if want.Consent.At.Equal(link.RefusedConsent) {
		want.Consent = lockstep.Consent{} // until the user says something new
	}
	return want
}

// expected is wanted, but for an e-mail that a person's choice leaves to another.
func expected(fit func(lockstep.Customer) lockstep.Customer, p lockstep.Profile, link lockstep.Link) lockstep.Customer {
	want := wanted(fit, p, link)
	if kept(link) {
		want.Email = ""
	}
	return want
}

// Drifted reports whether a customer, as its store just showed it, differs from
// what the user it is linked to should have there. It decides nothing: it tells
// whether a Sync has anything to do, so that our own writes, which a store tells
// us of as well, cost none.
func Drifted(t lockstep.Target, p lockstep.Profile, link lockstep.Link, now lockstep.Customer) bool {
	if p.Deleted() {
		return now.UserID == p.ID // not released yet
	}
	return Differs(now, expected(t.Fit, p, link))
}

// nameOwners lets the links overrule the marks: somebody may have taken a mark
// off, or copied one, in the store's admin. The link's own customer keeps what
// it carries: a lost mark is written again, another's mark is a conflict. It
// returns the links' users by customer.
func nameOwners(ctx context.Context, target string, found *lockstep.Found, owners Owners) (map[string]string, error) {
	var ids []string
	for _, list := range [][]lockstep.Customer{found.ByUser, found.ByEmail} {
		for _, c := range list {
			ids = append(ids, c.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	owner, err := owners(ctx, target, ids)
	if err != nil {
		return nil, fmt.Errorf("read links: %w", err)
	}
	for _, list := range [][]lockstep.Customer{found.ByUser, found.ByEmail} {
		for i := range list {
			if o := owner[list[i].ID]; o != "" {
				list[i].UserID = o
			}
		}
	}
	return owner, nil
}

// nameHeir finds the user who has a customer by now that was let go before.
func nameHeir(ctx context.Context, target string, f Facts, owners Owners) error {
	c := f.Found.ByLink
	if c == nil || c.UserID != "" {
		return nil
	}
	owner, err := owners(ctx, target, []string{c.ID})
	if err != nil {
		return fmt.Errorf("read links: %w", err)
	}
	if o := owner[c.ID]; o != f.UserID {
		c.UserID = o
	}
	return nil
}

func (d Decision) writes() bool {
	_, lets := d.Action.policy()
	return lets || d.Action == Create || d.Action == Adopt || d.Action == Update
}

func apply(ctx context.Context, t lockstep.Target, d Decision) (c lockstep.Customer, err error) {
	switch d.Action {
	case Create:
		c, err = t.Create(ctx, d.Want)
	case Adopt:
		c, err = t.Adopt(ctx, d.Now, d.Want)
	case Update:
		c, err = t.Update(ctx, d.Now, d.Want)
	case Release:
		_, err = t.Release(ctx, d.Now, lockstep.Unmark)
	default:
		c = d.Now
	}
	if err != nil {
		return lockstep.Customer{}, fmt.Errorf("%s: %w", d.Action, err)
	}
	return c, nil
}

// lookAgain reports whether a failed write may have an answer in the target by
// now, so that resolving again tells more than giving up.
func lookAgain(err error) bool {
	switch lockstep.KindOf(err) {
	case lockstep.ErrTaken, lockstep.ErrGone, lockstep.ErrUnknown:
		return true
	}
	return false
}

// giveUp ends a Sync whose rounds are used up. An e-mail that stays taken by a
// customer nobody can see is for a person; anything else may pass by itself.
func giveUp(res Result, f Facts, last error) (Result, error) {
	if !errors.Is(last, lockstep.ErrTaken) {
		return res, last
	}
	own := res.Decision.Now
	res.Decision = conflict(own, own, fmt.Sprintf(
		"the target says the e-mail of %s is taken, and shows no customer that holds it: look in the store's admin", f.UserID))
	res.Decision.BlockedBy, res.Decision.HeldBy = "", ""
	res.Choices = Choices(f, true)
	return res, nil
}
