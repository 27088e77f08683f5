package lockstep

import (
	"context"
	"time"
)

// Capturer is a Target whose customers Lockstep keeps a copy of, and which sends
// a Notice when one changes.
type Capturer interface {
	Target

	// Look reads customers by id, at most 250, at once and as they are now. With
	// prove it finds out as well which fields the store lets Lockstep see; what
	// is empty in the others is not known to be empty.
	Look(ctx context.Context, ids []string, prove bool) (Looked, error)
}

// Looked is what a Look saw. Who is missing was deleted.
type Looked struct {
	Customers []Snapshot
	Shown     Fields // fields that the store is known to show
}

// Fields names fields of a customer that a store may hide from an app.
type Fields struct {
	Email, Phone, Name bool
}

// Snapshot is a customer as its store shows it. Texts that the store shows as
// null are empty.
type Snapshot struct {
	Customer
	State          string // "ENABLED", …
	VerifiedEmail  bool
	Locale         string
	Tags           []string
	EmailConsent   Consent
	SMSConsent     Consent
	CreatedAt      time.Time
	UpdatedAt      time.Time
	Masked         bool // the phone is shown with asterisks: it is not the number
	NothingVisible bool // no name, e-mail or phone: erased, or hidden
}
