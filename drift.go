package lockstep

// Drift is a kind of difference between what should be and what is. The names
// are stable: reports, metrics and scripts rely on them. docs/RECONCILE.md says
// what is done about each.
type Drift string

// Profiles compared with Clerk's users.
const (
	DriftProfileMissing Drift = "profile-missing" // the user has no profile
	DriftProfileStale   Drift = "profile-stale"   // the profile is of an older version, or was edited
	DriftUserDeleted    Drift = "user-deleted"    // Clerk has no such user any more
)

// Profiles compared with their links, which takes no call to anybody.
const (
	DriftLinkMissing    Drift = "link-missing"    // no link to this target
	DriftLinkStale      Drift = "link-stale"      // the profile changed since, or nobody ever tried
	DriftLinkFailed     Drift = "link-failed"     // given up
	DriftLinkPending    Drift = "link-pending"    // a change waits for too long
	DriftLinkUnreleased Drift = "link-unreleased" // the user is deleted, the customer still carries the mark
	DriftConflict       Drift = "conflict"        // only a person may decide
)

// A target's customers compared with the links.
const (
	DriftCustomerGone      Drift = "customer-gone"      // the link's customer does not exist
	DriftCustomerDiffers   Drift = "customer-differs"   // a field that Lockstep owns differs
	DriftMarkLost          Drift = "mark-lost"          // the link's customer carries no mark
	DriftMarkForeign       Drift = "mark-foreign"       // the link's customer carries another user's mark
	DriftMarkUnlinked      Drift = "mark-unlinked"      // a customer carries the user's mark, and no link names one
	DriftMarkOrphan        Drift = "mark-orphan"        // a customer carries the mark of a user who is deleted or unknown
	DriftCustomerDuplicate Drift = "customer-duplicate" // a second customer carries the user's mark
)
