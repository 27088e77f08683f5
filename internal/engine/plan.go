package engine

import (
	"fmt"
	"slices"

	"github.com/lockstephq/lockstep"
)

// Action is what a target must do next for a user.
type Action string

// The actions.
const (
	Nothing Action = "nothing"
	Create  Action = "create"
	Adopt   Action = "adopt"
	Update  Action = "update"
	Release Action = "release" // of a deleted user's customer: only the mark comes off

	// The other two policies for it; see lockstep.OnDelete.
	Anonymise Action = "anonymise"
	Delete    Action = "delete"

	Unmark   Action = "unmark"   // let go of what a person said is not the user's
	Wait     Action = "wait"     // for the user to verify the e-mail
	Conflict Action = "conflict" // for a person to decide
)

// Facts is all that a decision may depend on.
type Facts struct {
	UserID     string
	Deleted    bool
	Want       lockstep.Customer // Profile.Customer: unverified fields are left out
	Unverified string            // the e-mail in normal form, if it is not verified
	Found      lockstep.Found    // each UserID: the link's owner or, without a link, the mark

	linked map[string]string // whose links name the customers found; for what follows a decision

	Choice *lockstep.Choice   // a person's; nil for none
	Chosen *lockstep.Customer // the one that Choice names, as Found would show it; nil if it is gone

	// Of a deleted user, whose customer ByLink is even if it was let go before:
	// what the policy for the target says.
	OnDelete lockstep.OnDelete
}

// Decision is one action, and what to remember once it is done.
type Decision struct {
	Action    Action
	Now       lockstep.Customer // the customer to adopt, update or release
	Want      lockstep.Customer // what to write
	Status    lockstep.Status
	Reason    string // for a person; names ids only
	BlockedBy string // the customer that stands in the way, or has the e-mail by a person's choice
	HeldBy    string // the user whose that customer is, if anybody's
	Void      string // why a person's choice does not stand any more; empty if it does, or there is none
}

// Plan is the decision table. It is pure and total: the same facts give the
// same action, and every combination of facts gives one.
//
//	the user is deleted, a customer is marked    release, anonymise or delete it: the policy
//	  … an account, not proven to be the user's  release it: somebody else may sign in
//	  … a person chose another one, or none      unmark it
//	the user is deleted, an unmarked guest was   anonymise or delete it: the policy
//	  … and the policy is to keep it             nothing
//	the user is deleted, neither                 nothing
//	a person chose, and the facts bear it        as chosen (planChosen)
//	two customers carry the user                 conflict
//	the link's customer carries another user     conflict
//	has a customer, fields differ                update
//	  … and another customer holds the e-mail    update the rest, conflict
//	  … an account is due, another one holds it  conflict
//	has a customer, fields agree                 nothing
//	has none, unverified e-mail somebody holds   wait
//	has none, nobody holds the e-mail            create
//	has none, one unmarked guest holds it        adopt (verified e-mail only)
//	has none, an account or another's holds it   conflict
func Plan(f Facts) Decision {
	switch {
	case f.Deleted:
		return planDeleted(f)
	case f.Choice == nil:
		return planFound(f)
	}
	d, void := planChosen(f)
	if void == "" {
		return d
	}
	d = planFound(f)
	d.Void = void
	d.Reason += "; what a person chose before does not stand any more: " + void
	return d
}

// planFound decides by what is there alone.
func planFound(f Facts) Decision {
	own, rival := ownCustomer(f)
	switch {
	case rival != nil:
		return conflict(*rival, lockstep.Customer{}, describeRival(f, own, *rival))
	case own != nil:
		return planKnown(f, *own)
	default:
		return planUnknown(f)
	}
}

// ownCustomer finds the customer that is the user's already: the link's or, if
// that is gone, the guest that carries the mark. A rival is a customer that
// makes the answer doubtful. The mark on an account proves nothing: Medusa's
// Store API lets shoppers write their own metadata. That the user signs in as
// the customer does.
func ownCustomer(f Facts) (own, rival *lockstep.Customer) {
	own = f.Found.ByLink
	if own != nil && isOthers(*own, f.UserID) {
		return nil, own
	}
	for i := range f.Found.ByUser {
		marked := &f.Found.ByUser[i]
		switch {
		case marked.Account && !marked.Proven && (own == nil || marked.ID != own.ID):
			continue // who signs in to the store may have written the mark
		case own == nil && !isOthers(*marked, f.UserID):
			own = marked
		case own == nil || marked.ID != own.ID:
			return own, marked
		}
	}
	return own, nil
}

func describeRival(f Facts, own *lockstep.Customer, rival lockstep.Customer) string {
	if own == nil {
		return fmt.Sprintf("customer %s is linked to %s but carries %s: take one of them off", rival.ID, f.UserID, rival.UserID)
	}
	return fmt.Sprintf("customers %s and %s both carry %s: merge them, or take the mark off one", own.ID, rival.ID, f.UserID)
}

// refused reports whether a person said that the customer is not the user's, and
// nobody has carried it out yet.
func (f Facts) refused(id string) bool {
	c := f.Choice
	return c != nil && (c.Kind == lockstep.ChoiceUnlink || id != c.Customer && slices.Contains(c.Seen, id))
}

// chose reports whether a person gave the user that customer.
func (f Facts) chose(id string) bool { return f.Choice != nil && f.Choice.Customer == id }

func planKnown(f Facts, own lockstep.Customer) Decision {
	want := f.Want
	want.ID = own.ID
	holder := firstOther(f.Found.ByEmail, own.ID)
	if account := rivalAccount(f, own); account != nil {
		return conflict(*account, own, "to sign in as customer "+own.ID+", "+f.UserID+" needs the e-mail of "+describeHolder(*account))
	}
	if holder != nil && want.Email != own.Email {
		want.Email = "" // the rest is still right
	}
	if f.Want.Email == "" || f.Want.Email == lockstep.NormalEmail(own.Email) {
		holder = nil // it holds the e-mail as well, not instead
	}
	d := Decision{Action: Nothing, Now: own, Want: want, Status: lockstep.StatusLinked, Reason: "the customer is as it should be"}
	if Differs(own, want) {
		d.Action, d.Reason = Update, "fields differ"
	}
	if holder == nil {
		return d
	}
	held := conflict(*holder, own, "the new e-mail of "+f.UserID+" belongs to "+describeHolder(*holder))
	if d.Action == Update {
		d.Status, d.Reason, d.BlockedBy, d.HeldBy = held.Status, held.Reason, held.BlockedBy, held.HeldBy
		return d
	}
	return held
}

// rivalAccount is the account that keeps the user's own guest from becoming one:
// a store has one account per e-mail.
func rivalAccount(f Facts, own lockstep.Customer) *lockstep.Customer {
	account := otherAccount(f.Found.ByEmail, own.ID)
	if account == nil || !f.Want.Account || own.Account || lockstep.NormalEmail(own.Email) != lockstep.NormalEmail(account.Email) {
		return nil
	}
	return account
}

func planUnknown(f Facts) Decision {
	holders := f.Found.ByEmail
	switch {
	case f.Unverified != "" && len(holders) > 0:
		return Decision{Action: Wait, Status: lockstep.StatusWaiting, BlockedBy: holders[0].ID, HeldBy: holders[0].UserID,
			Reason: "a customer holds the e-mail, which the user has not verified"}
	case len(holders) == 0 || f.Want.Email == "":
		return Decision{Action: Create, Want: f.Want, Status: lockstep.StatusLinked, Reason: "no customer is the user's"}
	}
	for _, c := range holders {
		if c.Account || isOthers(c, f.UserID) {
			return conflict(c, lockstep.Customer{}, "the e-mail of "+f.UserID+" belongs to "+describeHolder(c))
		}
	}
	if len(holders) > 1 {
		return conflict(holders[1], lockstep.Customer{},
			fmt.Sprintf("guests %s and %s both hold the e-mail: merge them", holders[0].ID, holders[1].ID))
	}
	want := f.Want
	want.ID = holders[0].ID
	return Decision{Action: Adopt, Now: holders[0], Want: want, Status: lockstep.StatusLinked, Reason: "a guest holds the verified e-mail"}
}

func conflict(with, own lockstep.Customer, reason string) Decision {
	return Decision{Action: Conflict, Now: own, Status: lockstep.StatusConflict, Reason: reason, BlockedBy: with.ID, HeldBy: with.UserID}
}

func describeHolder(c lockstep.Customer) string {
	switch {
	case c.UserID != "":
		return fmt.Sprintf("customer %s of user %s: change the e-mail of one, or delete that user", c.ID, c.UserID)
	case c.Account:
		return fmt.Sprintf("customer %s, an account somebody signs in to: merge by hand, or mark it", c.ID)
	default:
		return fmt.Sprintf("customer %s, a guest: merge it by hand, or delete it", c.ID)
	}
}

// Differs reports whether an update to want would change now.
func Differs(now, want lockstep.Customer) bool {
	return now.Untidy || want.Account && !now.Account || want.UserID != "" && now.UserID != want.UserID || lockstep.Changes(now, want) != (lockstep.Customer{}) ||
		lockstep.ConsentDue(now, want) != (lockstep.Consent{})
}

func isOthers(c lockstep.Customer, userID string) bool {
	return c.UserID != "" && c.UserID != userID
}

func otherAccount(list []lockstep.Customer, id string) *lockstep.Customer {
	for i := range list {
		if list[i].Account && list[i].ID != id {
			return &list[i]
		}
	}
	return nil
}

func firstOther(list []lockstep.Customer, id string) *lockstep.Customer {
	for i := range list {
		if list[i].ID != id {
			return &list[i]
		}
	}
	return nil
}
