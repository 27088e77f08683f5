package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/lockstephq/lockstep"
)

// planChosen is the part of the decision table that a person's choice opens. A
// choice that the facts do not bear any more is void: the reason is returned, and
// the rest of the table decides.
//
//	unlink, a customer carries the user's mark            release it
//	unlink, none does                                     nothing, wait for a person
//	the user's e-mail is another one since                void
//	the chosen customer is gone, or another user's        void
//	a customer that the person did not see carries the
//	user, or holds the e-mail                             void
//	use or create, a customer that the person saw
//	carries the user as well                              release it
//	use, the chosen one carries a deleted user's mark     release it
//	use or create, the user has the customer              update, but leave the e-mail to its holder
//	create, the user has none                             create, without an e-mail that somebody holds
//
// Marks go off before one goes on: a crash between leaves the user without a
// customer for a moment, never with two.
func planChosen(f Facts) (d Decision, void string) {
	c := f.Choice
	if c.Kind == lockstep.ChoiceUnlink {
		return planUnlinked(f), ""
	}
	own, void := chosenCustomer(f)
	if void == "" {
		void = news(f, own)
	}
	if void != "" {
		return d, void
	}
	if others := alsoMarked(f, own); len(others) > 0 {
		return unmark(others[0], lockstep.StatusPending, "a person chose another customer for "+f.UserID), ""
	}
	if own == nil {
		return createBeside(f), ""
	}
	return useChosen(f, *own), ""
}

// news is a fact that the person who chose did not know; empty for none. All are
// looked for before anything is written.
func news(f Facts, own *lockstep.Customer) string {
	if f.Choice.Email != digest(f.UserID, f.Want.Email) {
		return "the user's e-mail is another one since"
	}
	for _, other := range alsoMarked(f, own) {
		if !slices.Contains(f.Choice.Seen, other.ID) {
			return fmt.Sprintf("customer %s carries %s as well by now", other.ID, f.UserID)
		}
	}
	if holder := unseenHolder(f, own); holder != "" {
		return fmt.Sprintf("customer %s holds the e-mail by now", holder)
	}
	if own == nil {
		return ""
	}
	due := *own
	due.Account = own.Account && !isOthers(*own, f.UserID) // let go, it may be a guest again
	if rival := rivalAccount(f, due); rival != nil {
		return fmt.Sprintf("%s cannot sign in as customer %s beside customer %s", f.UserID, own.ID, rival.ID)
	}
	return ""
}

// chosenCustomer is the customer that the choice gives the user: nil for one that
// is to be made.
func chosenCustomer(f Facts) (own *lockstep.Customer, void string) {
	if f.Choice.Kind == lockstep.ChoiceCreate {
		return firstOwn(f), ""
	}
	own = f.Chosen
	linked := own != nil && f.Found.ByLink != nil && f.Found.ByLink.ID == own.ID
	switch {
	case own == nil:
		return nil, fmt.Sprintf("customer %s is not there any more", f.Choice.Customer)
	case isOthers(*own, f.UserID) && own.UserID != f.Choice.Over:
		return nil, fmt.Sprintf("customer %s is %s's", own.ID, own.UserID)
	case own.UserID != f.UserID && !linked && f.Unverified != "" && lockstep.NormalEmail(own.Email) == f.Unverified:
		return nil, fmt.Sprintf("customer %s holds the e-mail that %s has not verified", own.ID, f.UserID)
	}
	return own, ""
}

// firstOwn is the customer that is the user's without a doubt: the link's or,
// failing that, the oldest that carries the mark; nil for none.
func firstOwn(f Facts) *lockstep.Customer {
	if f.Found.ByLink != nil && !isOthers(*f.Found.ByLink, f.UserID) {
		return f.Found.ByLink
	}
	for i, c := range f.Found.ByUser {
		if !isOthers(c, f.UserID) && (!c.Account || c.Proven) {
			return &f.Found.ByUser[i]
		}
	}
	return nil
}

// alsoMarked are the customers, but for one, that carry the user's mark in the
// target, whoever they are linked to. A mark on an account that nobody proved
// counts only where the link, or the person, named the account.
func alsoMarked(f Facts, except *lockstep.Customer) (list []lockstep.Customer) {
	link := f.Found.ByLink
	add := func(c lockstep.Customer, named bool) {
		same := func(has lockstep.Customer) bool { return has.ID == c.ID }
		if except != nil && same(*except) || slices.ContainsFunc(list, same) || c.Account && !c.Proven && !named {
			return
		}
		c.UserID = f.UserID
		list = append(list, c)
	}
	if link != nil && link.UserID == f.UserID {
		add(*link, true)
	}
	for _, c := range f.Found.ByUser {
		add(c, link != nil && link.ID == c.ID || slices.Contains(f.Choice.Seen, c.ID))
	}
	return list
}

// unseenHolder is a customer that holds the e-mail instead of the user's, and of
// which the person who chose did not know; empty for none.
func unseenHolder(f Facts, own *lockstep.Customer) string {
	if own != nil && lockstep.NormalEmail(own.Email) == f.Want.Email {
		return ""
	}
	for _, c := range f.Found.ByEmail {
		if !slices.Contains(f.Choice.Seen, c.ID) && (own == nil || c.ID != own.ID) {
			return c.ID
		}
	}
	return ""
}

func unmark(c lockstep.Customer, then lockstep.Status, reason string) Decision {
	return Decision{Action: Release, Now: c, Status: then, Reason: reason}
}

func planUnlinked(f Facts) Decision {
	const reason = "a person said that the user has no customer here, until `lockstep sync USER` or another choice"
	if marked := alsoMarked(f, nil); len(marked) > 0 {
		return unmark(marked[0], lockstep.StatusWaiting, reason)
	}
	return Decision{Action: Nothing, Status: lockstep.StatusWaiting, Reason: reason}
}

func createBeside(f Facts) Decision {
	d := Decision{Action: Create, Want: f.Want, Status: lockstep.StatusLinked,
		Reason: "a person chose a customer of the user's own, beside what there is"}
	if holders := f.Found.ByEmail; len(holders) > 0 {
		d.Want.Email, d.BlockedBy, d.HeldBy = "", holders[0].ID, holders[0].UserID
	}
	if f.Choice.Hidden {
		d.Want.Email = ""
	}
	return d
}

// useChosen brings the chosen customer in step. What the person saw hold the
// e-mail keeps it.
func useChosen(f Facts, own lockstep.Customer) Decision {
	if isOthers(own, f.UserID) {
		return unmark(own, lockstep.StatusPending, fmt.Sprintf("a person chose customer %s for %s; %s is deleted", own.ID, f.UserID, own.UserID))
	}
	if f.Choice.Hidden {
		f.Want.Email = ""
	}
	d := planKnown(f, own)
	holder := firstOther(f.Found.ByEmail, own.ID)
	if f.Want.Email == "" || d.Want.Email != "" && d.Action != Conflict || holder == nil {
		d.Reason = "a person chose the customer: " + d.Reason
		return d
	}
	if d.Action == Conflict {
		d.Action, d.Want = Nothing, lockstep.Customer{}
	}
	d.Status, d.BlockedBy, d.HeldBy = lockstep.StatusLinked, holder.ID, holder.UserID
	d.Reason = fmt.Sprintf("a person chose the customer; customer %s keeps the e-mail", holder.ID)
	return d
}

// digest tells one address of a user from another without naming it; empty for
// none.
func digest(userID, email string) string {
	if email == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(userID + "\x00" + email))
	return hex.EncodeToString(sum[:8])
}

// kept reports whether the customer of a link keeps an e-mail that is not the
// user's, by a person's choice: that is no drift.
func kept(l lockstep.Link) bool {
	return l.Choice != nil && (l.BlockedBy != "" || l.Choice.Hidden)
}
