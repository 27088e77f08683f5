package engine

import "github.com/lockstephq/lockstep"

// Sight is a customer as a walk through its target saw it, beside what
// Lockstep's own tables say of it.
type Sight struct {
	Customer lockstep.Customer
	Owner    *lockstep.Link    // names the customer
	Marked   *lockstep.Link    // of the user whose mark it carries, if that is not Owner
	Profile  *lockstep.Profile // of Owner's user or, without one, of the mark's
}

// UserID is the user whom a sight is about: the link counts more than the mark.
func (s Sight) UserID() string {
	if s.Owner != nil {
		return s.Owner.UserID
	}
	return s.Customer.UserID
}

// Compare names the drift of a customer, empty for none. Like Plan it is pure
// and total; what it finds, Sync decides about, and writes.
//
//	nobody's: no link names it, it carries no mark      nothing
//	a link names it, the user has no living profile     nothing: the links tell
//	a link names it, it carries another user's mark     mark-foreign
//	a link names it, it carries no mark                 mark-lost
//	a link names it, a field differs                    customer-differs
//	no link names it, it is an account                  nothing: shoppers write their own marks
//	no link names it, its user is deleted or unknown    mark-orphan
//	no link names it, its user has another customer     customer-duplicate
//	no link names it, its user has none                 mark-unlinked
//
// A link that is being worked on, or is held for a person, tells nothing new.
func Compare(s Sight, fit func(lockstep.Customer) lockstep.Customer) lockstep.Drift {
	if s.Owner != nil {
		return compareOwned(s, fit)
	}
	switch {
	case s.Customer.UserID == "" || s.Customer.Account:
		return ""
	case s.Profile == nil && s.Marked == nil:
		return lockstep.DriftMarkOrphan
	case s.Profile == nil || s.Marked != nil && held(*s.Marked):
		return ""
	case s.Profile.Deleted():
		return lockstep.DriftMarkOrphan
	case s.Marked != nil && s.Marked.CustomerID != "":
		return lockstep.DriftCustomerDuplicate
	}
	return lockstep.DriftMarkUnlinked
}

func compareOwned(s Sight, fit func(lockstep.Customer) lockstep.Customer) lockstep.Drift {
	if s.Profile == nil || s.Profile.Deleted() || !settled(*s.Owner) {
		return ""
	}
	switch {
	case isOthers(s.Customer, s.Owner.UserID):
		return lockstep.DriftMarkForeign
	case s.Customer.UserID == "":
		return lockstep.DriftMarkLost
	case Differs(s.Customer, expected(fit, *s.Profile, *s.Owner)):
		return lockstep.DriftCustomerDiffers
	}
	return ""
}

func settled(l lockstep.Link) bool {
	return !l.Pending && (l.Status == lockstep.StatusLinked || l.Status == lockstep.StatusReleased)
}

func held(l lockstep.Link) bool {
	return l.Pending || l.Status == lockstep.StatusConflict || l.Status == lockstep.StatusFailed
}

// MaxDeletions is how many users one run may take for deleted, of so many: a
// wrong key or a broken answer must not empty the stores.
func MaxDeletions(users int) int { return max(10, users/20) }
