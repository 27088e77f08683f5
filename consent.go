package lockstep

import (
	"slices"
	"time"
)

// Consent is whether a person wants marketing by e-mail or SMS, in Shopify's
// words, and since when.
type Consent struct {
	State string // empty if nothing is said
	At    time.Time
	Place string // where in the Clerk user it is said, "public_metadata.marketing"; empty in a store
}

// What a user can say.
const (
	Subscribed   = "SUBSCRIBED"
	Unsubscribed = "UNSUBSCRIBED"
)

// ConsentDue returns the consent to e-mail marketing that is to be written to a
// customer; zero for none. The newer word wins; of two as old, the one that
// withdraws. A store that shows no consent gets none, nor does another e-mail than
// the one that the user proved, nor a customer whose consent the store closed.
func ConsentDue(now, want Customer) Consent {
	has, says := now.Consent, want.Consent
	open := slices.Contains([]string{"NOT_SUBSCRIBED", "PENDING", Subscribed, Unsubscribed}, has.State)
	switch {
	case !open || has.State == says.State || want.Email == "" || NormalEmail(now.Email) != want.Email:
		return Consent{}
	case says.State == Unsubscribed && !has.At.After(says.At):
		return says
	case says.State == Subscribed && has.At.Before(says.At) && (!has.At.IsZero() || has.State == "NOT_SUBSCRIBED"):
		return says
	}
	return Consent{}
}
