// Package lockstep is the vocabulary of a service that keeps every customer
// record in step with the identity provider: users of Clerk, their profiles in
// Postgres, and one customer per user in each store.
//
// The package imports nothing but the standard library and does nothing by
// itself. Every other package speaks in its words; docs/ARCHITECTURE.md draws
// the house.
package lockstep

import (
	"strings"
	"time"
)

// User is a Clerk user, reduced to the fields Lockstep keeps.
type User struct {
	ID        string // "user_…", unique for ever: a new sign-up gets a new one
	Username  string
	FirstName string
	LastName  string
	AvatarURL string

	// Email and Phone are the entries that primary_email_address_id and
	// primary_phone_number_id name, never the first of the list.
	Email         string
	EmailVerified bool
	Phone         string
	PhoneVerified bool

	// Consent is what the user says at the mapped place; its time is not known yet.
	Consent Consent

	Banned        bool // a lasting decision; Clerk's "locked" is not, and is not read
	Deprovisioned bool // switched off by directory sync
	Deleted       bool // a deletion carries nothing else but the ID

	CreatedAt time.Time // millisecond precision, as Clerk sends it
	UpdatedAt time.Time // millisecond precision; orders two versions of one user
}

// Barred reports whether the user may not sign in: banned, or switched off by
// directory sync. Profile.Banned is that.
func (u User) Barred() bool { return u.Banned || u.Deprovisioned }

// Profile is a user's row in public.profiles: what the application reads.
type Profile struct {
	ID               string // the Clerk user's id
	Username         string // never empty, see User.ProfileName
	AvatarURL        string
	Email            string
	EmailVerified    bool
	FirstName        string
	LastName         string
	Phone            string
	PhoneVerified    bool
	Banned           bool // see User.Barred
	MedusaCustomerID string
	Consent          Consent // to marketing by e-mail, where a place for it is mapped
	ClerkUpdatedAt   time.Time
	DeletedAt        time.Time // zero while the user lives
	CreatedAt        time.Time
	UpdatedAt        time.Time
}

// Deleted reports whether the user was deleted in Clerk. That is final.
func (p Profile) Deleted() bool { return !p.DeletedAt.IsZero() }

// Customer returns the customer that a store should hold for the profile.
// An address or number that Clerk has not verified is left out: a store shows
// orders by e-mail, so writing one nobody proved would hand them over.
func (p Profile) Customer() Customer {
	c := Customer{UserID: p.ID, FirstName: p.FirstName, LastName: p.LastName}
	if p.EmailVerified {
		c.Email, c.Consent = NormalEmail(p.Email), p.Consent
	}
	if p.PhoneVerified {
		c.Phone = p.Phone
	}
	return c
}

// ProfileName is the username a profile gets: the username, else the first
// name, else "user_" and the first 8 characters of the id after its prefix.
func (u User) ProfileName() string {
	for _, name := range []string{u.Username, u.FirstName} {
		if name = strings.TrimSpace(name); name != "" {
			return name
		}
	}
	id := strings.TrimPrefix(u.ID, "user_")
	return "user_" + id[:min(8, len(id))]
}

// NormalEmail is the form in which e-mail addresses are stored in targets and
// compared: trimmed and lower case. Medusa's carts look up lower case only.
func NormalEmail(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// Delivery is one webhook received and verified.
type Delivery struct {
	Source   string // "clerk"
	ID       string // the sender's id, equal in every retry: duplicates are told by it
	Kind     string // "user.updated"
	Instance string // the sending Clerk instance, "ins_…"
	User     User
}

// Receipt says what became of a delivery. Every receipt means it is on disk,
// or was meant to be left aside.
type Receipt string

// The receipts.
const (
	ReceiptApplied   Receipt = "applied"   // the profile now has this version
	ReceiptStale     Receipt = "stale"     // an older version, or a user already deleted
	ReceiptDuplicate Receipt = "duplicate" // the delivery was received before
	ReceiptIgnored   Receipt = "ignored"   // a kind Lockstep does not keep
)
