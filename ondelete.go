package lockstep

import "fmt"

// OnDelete says what becomes of the customer of a user who was deleted. Orders
// stay, whatever it is.
type OnDelete string

// The policies, from the mildest to the harshest. A target that cannot go as far
// goes as far as it can, see Target.Release.
const (
	OnDeleteKeep      OnDelete = "keep"      // the mark comes off; all else stays
	OnDeleteAnonymise OnDelete = "anonymise" // and what Lockstep wrote of the person goes
	OnDeleteDelete    OnDelete = "delete"    // the customer goes
)

// Unmark is no policy: the user lives, and the customer is not the user's any
// more. The mark comes off, and nothing says that a user was deleted.
const Unmark OnDelete = "unmark"

// ParseOnDelete reads a policy; nothing is OnDeleteKeep.
func ParseOnDelete(s string) (OnDelete, error) {
	switch how := OnDelete(s); how {
	case "":
		return OnDeleteKeep, nil
	case OnDeleteKeep, OnDeleteAnonymise, OnDeleteDelete:
		return how, nil
	}
	return "", fmt.Errorf("must be %s, %s or %s", OnDeleteKeep, OnDeleteAnonymise, OnDeleteDelete)
}
