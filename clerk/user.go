package clerk

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/lockstephq/lockstep"
)

// wireUser is Clerk's User object (openapi.yml of the Backend API), reduced to
// what Lockstep reads. Unknown fields are ignored; most strings may be null.
type wireUser struct {
	ID                    string           `json:"id"`
	Username              *string          `json:"username"`
	FirstName             *string          `json:"first_name"`
	LastName              *string          `json:"last_name"`
	ImageURL              *string          `json:"image_url"`
	PrimaryEmailAddressID *string          `json:"primary_email_address_id"`
	PrimaryPhoneNumberID  *string          `json:"primary_phone_number_id"`
	EmailAddresses        []wireIdentifier `json:"email_addresses"`
	PhoneNumbers          []wireIdentifier `json:"phone_numbers"`
	PublicMetadata        json.RawMessage  `json:"public_metadata"`
	UnsafeMetadata        json.RawMessage  `json:"unsafe_metadata"`
	Banned                bool             `json:"banned"`
	Deprovisioned         bool             `json:"deprovisioned"`
	Deleted               bool             `json:"deleted"`
	CreatedAt             int64            `json:"created_at"` // milliseconds
	UpdatedAt             int64            `json:"updated_at"` // milliseconds
}

// lastMoment is the end of the year 9999, in milliseconds: later ones have no
// form in JSON, and would wedge whatever stores them.
const lastMoment = 253402300799999

// wireIdentifier is an entry of email_addresses or phone_numbers.
type wireIdentifier struct {
	ID           string `json:"id"`
	EmailAddress string `json:"email_address"`
	PhoneNumber  string `json:"phone_number"`
	Verification *struct {
		Status string `json:"status"`
	} `json:"verification"`
}

// DecodeUser reads a User object as webhooks and the Backend API send it, or
// the stub that stands for a deleted one. Errors wrap ErrMalformed.
func DecodeUser(data []byte) (lockstep.User, error) { return Decoder{}.User(data) }

// User is DecodeUser, and reads the consent as well.
func (d Decoder) User(data []byte) (lockstep.User, error) {
	var w wireUser
	if err := json.Unmarshal(data, &w); err != nil {
		return lockstep.User{}, fmt.Errorf("%w: data is not a user", ErrMalformed)
	}
	return d.decode(w)
}

func (d Decoder) decode(w wireUser) (lockstep.User, error) {
	if !validUserID(w.ID) {
		return lockstep.User{}, fmt.Errorf("%w: data has no user id", ErrMalformed)
	}
	if w.Deleted {
		return lockstep.User{ID: w.ID, Deleted: true}, nil
	}
	if w.UpdatedAt <= 0 || w.UpdatedAt > lastMoment || w.CreatedAt < 0 || w.CreatedAt > lastMoment {
		return lockstep.User{}, fmt.Errorf("%w: user has no updated_at, or a time that is none", ErrMalformed)
	}
	u := w.user()
	u.Consent = d.consent(w)
	return u, nil
}

func (w wireUser) user() lockstep.User {
	u := lockstep.User{
		ID:            w.ID,
		Username:      text(w.Username),
		FirstName:     text(w.FirstName),
		LastName:      text(w.LastName),
		AvatarURL:     text(w.ImageURL),
		Banned:        w.Banned,
		Deprovisioned: w.Deprovisioned,
		CreatedAt:     time.UnixMilli(w.CreatedAt).UTC(),
		UpdatedAt:     time.UnixMilli(w.UpdatedAt).UTC(),
	}
	if e, ok := primary(w.EmailAddresses, w.PrimaryEmailAddressID); ok {
		u.Email, u.EmailVerified = clean(e.EmailAddress), e.verified()
	}
	if p, ok := primary(w.PhoneNumbers, w.PrimaryPhoneNumberID); ok {
		u.Phone, u.PhoneVerified = clean(p.PhoneNumber), p.verified()
	}
	return u
}

// primary finds the entry that id names. Clerk's own example event names one
// that is not in the list: then there is none.
func primary(list []wireIdentifier, id *string) (wireIdentifier, bool) {
	for _, entry := range list {
		if id != nil && entry.ID == *id {
			return entry, true
		}
	}
	return wireIdentifier{}, false
}

func (i wireIdentifier) verified() bool {
	return i.Verification != nil && i.Verification.Status == "verified"
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return strings.TrimSpace(clean(*s))
}

// validUserID keeps keys short and printable: "user_" and letters or digits.
func validUserID(id string) bool {
	rest, ok := strings.CutPrefix(id, "user_")
	if !ok || rest == "" || len(id) > 128 {
		return false
	}
	return strings.IndexFunc(rest, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
}
