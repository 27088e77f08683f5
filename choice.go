package lockstep

// Choice is what a person decided about a user's customer in one target, and
// the facts that it was decided on. It stands while the facts do; the decision
// table of internal/engine reads it, and says when it stands no longer.
type Choice struct {
	Kind     ChoiceKind `json:"kind"`
	Customer string     `json:"customer,omitempty"` // of ChoiceUse

	// Seen are the customers that may have been the user's when the person chose.
	// Another one that comes between the user and the customer later is news, for
	// the person to hear of.
	Seen []string `json:"seen,omitempty"`

	// Email is a digest of the address that the customer should have had then.
	Email string `json:"email,omitempty"`

	// Hidden says that the target called the address taken then, and showed nobody
	// who holds it.
	Hidden bool `json:"hidden,omitempty"`

	// Over is the deleted user whose mark Customer carried then.
	Over string `json:"over,omitempty"`

	// Version tells one choice about a link from another; it only grows.
	Version int64 `json:"version,omitempty"`
}

// ChoiceKind is what a person can decide.
type ChoiceKind string

// The kinds of choices. A deletion in Clerk ends all of them.
const (
	ChoiceUse    ChoiceKind = "use"    // that customer is the user's, and no other
	ChoiceCreate ChoiceKind = "create" // a customer of the user's own, beside all others
	ChoiceUnlink ChoiceKind = "unlink" // none, until a person says otherwise
)
