package emulator

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// UserSpec describes a user to make. Every field may be left out. The JSON form
// is the body of the control route.
type UserSpec struct {
	ID         string `json:"id"` // default a new "user_…"
	ExternalID string `json:"external_id"`
	Username   string `json:"username"`
	FirstName  string `json:"first_name"`
	LastName   string `json:"last_name"`

	Email    string `json:"email"`    // the primary address
	Verified bool   `json:"verified"` // whether the primary address was proved
	Strategy string `json:"strategy"` // see EmailSpec

	// ExtraEmails stand before the primary address in the user's list, so that
	// whoever reads element 0 gets the wrong one.
	ExtraEmails []EmailSpec `json:"extra_emails"`

	Phone         string `json:"phone"` // the primary number
	PhoneVerified bool   `json:"phone_verified"`

	Password      bool `json:"password"`
	Banned        bool `json:"banned"`
	Locked        bool `json:"locked"`
	Deprovisioned bool `json:"deprovisioned"`

	PublicMetadata  map[string]any `json:"public_metadata"`
	PrivateMetadata map[string]any `json:"private_metadata"`
	UnsafeMetadata  map[string]any `json:"unsafe_metadata"`

	CreatedAt time.Time `json:"created_at"` // default now
}

// EmailSpec describes an address.
type EmailSpec struct {
	Address  string `json:"address"`
	Verified bool   `json:"verified"`
	Reserved bool   `json:"reserved"`
	// Strategy is how it is verified: "email_code" (the default), "email_link",
	// "admin", "ticket", "saml", "scim", "from_oauth_google" and the like (adds
	// the external account too), or "none" for an address without verification.
	Strategy string `json:"strategy"`
}

// UserChange describes a change. What is nil or empty stays; a pointer to ""
// makes a field null. The empty change only gives the user a new version.
type UserChange struct {
	ExternalID *string `json:"external_id"`
	Username   *string `json:"username"`
	FirstName  *string `json:"first_name"`
	LastName   *string `json:"last_name"`
	ImageURL   *string `json:"image_url"`

	Email        *string     `json:"email"`    // replaces the primary address; "" removes it
	Verified     *bool       `json:"verified"` // of the primary address; a new one is unverified by default
	AddEmails    []EmailSpec `json:"add_emails"`
	RemoveEmails []string    `json:"remove_emails"`
	PrimaryEmail *string     `json:"primary_email"` // makes an address the user has the primary one

	Phone         *string `json:"phone"` // replaces the primary number; "" removes it
	PhoneVerified *bool   `json:"phone_verified"`

	Banned        *bool `json:"banned"`
	Locked        *bool `json:"locked"`
	Deprovisioned *bool `json:"deprovisioned"`
	SignedIn      bool  `json:"signed_in"` // sets last_sign_in_at to now

	PublicMetadata  map[string]any `json:"public_metadata"` // merged, as are the others
	PrivateMetadata map[string]any `json:"private_metadata"`
	UnsafeMetadata  map[string]any `json:"unsafe_metadata"`
}

const day = 24 * time.Hour

// newUser makes a user of a spec.
func (c *Clerk) newUser(spec UserSpec) *User {
	created := c.clock.tick()
	if !spec.CreatedAt.IsZero() {
		created = spec.CreatedAt.UnixMilli()
	}
	u := &User{
		ID: cmp.Or(spec.ID, c.random.id("user_", c.options.Now())), Object: "user",
		ExternalID: orNull(spec.ExternalID), Username: orNull(spec.Username),
		FirstName: orNull(spec.FirstName), LastName: orNull(spec.LastName),
		ProfileImageURL: "https://www.gravatar.com/avatar?d=mp",
		PublicMetadata:  mergeMetadata(nil, spec.PublicMetadata),
		PrivateMetadata: mergeMetadata(nil, spec.PrivateMetadata),
		UnsafeMetadata:  mergeMetadata(nil, spec.UnsafeMetadata),
		EmailAddresses:  []EmailAddress{}, PhoneNumbers: []PhoneNumber{}, ExternalAccounts: []ExternalAccount{},
		Web3Wallets: []any{}, Passkeys: []any{}, SAMLAccounts: []any{}, EnterpriseAccounts: []any{},
		PasswordEnabled: spec.Password, Banned: spec.Banned, Deprovisioned: spec.Deprovisioned,
		VerificationAttemptsRemaining: new(int64(100)),
		LastActiveAt:                  new(created - created%day.Milliseconds()),
		CreatedAt:                     created, UpdatedAt: max(created, c.clock.tick()),
		DeleteSelfEnabled: true, CreateOrganizationEnabled: true,
	}
	u.ImageURL = avatarURL(c.InstanceID(), u.ID)
	if spec.Password {
		u.PasswordLastUpdatedAt = new(created)
	}
	setLocked(u, spec.Locked)
	c.addIdentifications(u, spec)
	return u
}

func (c *Clerk) addIdentifications(u *User, spec UserSpec) {
	for _, email := range spec.ExtraEmails {
		c.addEmail(u, email, u.CreatedAt)
	}
	if spec.Email != "" {
		id := c.addEmail(u, EmailSpec{Address: spec.Email, Verified: spec.Verified, Strategy: spec.Strategy}, u.CreatedAt)
		u.PrimaryEmailAddressID = &id
	}
	if spec.Phone != "" {
		c.addPrimaryPhone(u, spec.Phone, phoneVerification(spec.PhoneVerified, u.CreatedAt), u.CreatedAt)
	}
}

// apply puts a change into a clone of a user; at is the time of its version.
func (c *Clerk) apply(u *User, change UserChange, at int64) error {
	setString(&u.ExternalID, change.ExternalID)
	setString(&u.Username, change.Username)
	setString(&u.FirstName, change.FirstName)
	setString(&u.LastName, change.LastName)
	if change.ImageURL != nil {
		u.ImageURL, u.HasImage = *change.ImageURL, *change.ImageURL != ""
	}
	if change.Banned != nil {
		u.Banned = *change.Banned
	}
	if change.Locked != nil {
		setLocked(u, *change.Locked)
	}
	if change.Deprovisioned != nil {
		u.Deprovisioned = *change.Deprovisioned
	}
	if change.SignedIn {
		u.LastSignInAt = new(at)
	}
	u.PublicMetadata = mergeMetadata(u.PublicMetadata, change.PublicMetadata)
	u.PrivateMetadata = mergeMetadata(u.PrivateMetadata, change.PrivateMetadata)
	u.UnsafeMetadata = mergeMetadata(u.UnsafeMetadata, change.UnsafeMetadata)
	c.applyPhone(u, change, at)
	return c.applyEmails(u, change, at)
}

func (c *Clerk) applyEmails(u *User, change UserChange, at int64) error {
	for _, email := range change.AddEmails {
		c.addEmail(u, email, at)
	}
	if change.Email != nil {
		removeEmail(u, u.PrimaryEmail())
		if *change.Email != "" {
			id := c.addEmail(u, EmailSpec{Address: *change.Email}, at)
			u.PrimaryEmailAddressID = &id
		}
	}
	for _, address := range change.RemoveEmails {
		removeEmail(u, address)
	}
	if change.PrimaryEmail != nil {
		email := findEmail(u, *change.PrimaryEmail)
		if email == nil {
			return invalid(codeParamInvalid, "the user has no such e-mail address")
		}
		u.PrimaryEmailAddressID = new(email.ID)
	}
	if email := findEmail(u, u.PrimaryEmail()); change.Verified != nil && email != nil {
		email.Verification = verification("email_code", *change.Verified, at)
		email.UpdatedAt = at
	}
	return nil
}

func (c *Clerk) applyPhone(u *User, change UserChange, at int64) {
	number, verified := u.PrimaryPhone(), change.PhoneVerified != nil && *change.PhoneVerified
	if change.Phone != nil {
		number = *change.Phone
	} else if change.PhoneVerified == nil {
		return
	}
	u.PhoneNumbers = slices.DeleteFunc(u.PhoneNumbers, func(p PhoneNumber) bool {
		return u.PrimaryPhoneNumberID != nil && p.ID == *u.PrimaryPhoneNumberID
	})
	u.PrimaryPhoneNumberID = nil
	if number != "" {
		c.addPrimaryPhone(u, number, phoneVerification(verified, at), at)
	}
}

// addEmail appends an address and returns its id.
func (c *Clerk) addEmail(u *User, spec EmailSpec, at int64) string {
	email := EmailAddress{
		ID: c.identificationID(), Object: "email_address", EmailAddress: spec.Address, Reserved: spec.Reserved,
		Verification: verification(spec.Strategy, spec.Verified, at),
		LinkedTo:     []LinkedTo{}, CreatedAt: at, UpdatedAt: at,
	}
	if provider, ok := strings.CutPrefix(spec.Strategy, "from_"); ok {
		account := c.externalAccount(u, provider, spec.Address, at)
		u.ExternalAccounts = append(u.ExternalAccounts, account)
		email.LinkedTo = []LinkedTo{{Type: provider, ID: account.IdentificationID}}
	}
	u.EmailAddresses = append(u.EmailAddresses, email)
	return email.ID
}

func (c *Clerk) externalAccount(u *User, provider, address string, at int64) ExternalAccount {
	object := "external_account"
	if provider == "oauth_google" || provider == "oauth_facebook" {
		object = strings.TrimPrefix(provider, "oauth_") + "_account"
	}
	id := c.identificationID()
	return ExternalAccount{
		Object: object, ID: id, Provider: provider, IdentificationID: id,
		ProviderUserID: c.random.hex(10), ApprovedScopes: "email openid profile", EmailAddress: address,
		FirstName: orEmpty(u.FirstName), LastName: orEmpty(u.LastName), PublicMetadata: map[string]any{},
		CreatedAt: at, UpdatedAt: at,
		Verification: &Verification{Object: "verification_oauth", Status: "verified", Strategy: provider, ExpireAt: new(at + codeLifetime)},
	}
}

func (c *Clerk) addPrimaryPhone(u *User, number string, proof *Verification, at int64) {
	phone := PhoneNumber{
		ID: c.identificationID(), Object: "phone_number", PhoneNumber: number,
		Verification: proof, LinkedTo: []LinkedTo{}, CreatedAt: at, UpdatedAt: at,
	}
	u.PhoneNumbers = append(u.PhoneNumbers, phone)
	u.PrimaryPhoneNumberID = &phone.ID
}

func (c *Clerk) identificationID() string { return c.random.id("idn_", c.options.Now()) }

const codeLifetime = int64(10 * time.Minute / time.Millisecond)

// verification is the proof of an address by a strategy, nil for "none".
func verification(strategy string, verified bool, at int64) *Verification {
	v := &Verification{Status: "unverified", Strategy: cmp.Or(strategy, "email_code")}
	if verified || strategy == "admin" || strategy == "scim" { // these two know no other status
		v.Status = "verified"
	}
	switch {
	case v.Strategy == "none":
		return nil
	case v.Strategy == "email_code":
		v.Object, v.Attempts, v.ExpireAt = "verification_otp", new(int64(1)), new(at+codeLifetime)
	case strings.HasPrefix(v.Strategy, "from_oauth_"):
		v.Object = "verification_from_oauth"
	default:
		v.Object = "verification_" + v.Strategy
	}
	return v
}

func phoneVerification(verified bool, at int64) *Verification {
	v := verification("email_code", verified, at)
	v.Strategy = "phone_code"
	return v
}

func findEmail(u *User, address string) *EmailAddress {
	for i := range u.EmailAddresses {
		if address != "" && strings.EqualFold(u.EmailAddresses[i].EmailAddress, address) {
			return &u.EmailAddresses[i]
		}
	}
	return nil
}

func removeEmail(u *User, address string) {
	email := findEmail(u, address)
	if email == nil {
		return
	}
	id := email.ID
	u.EmailAddresses = slices.DeleteFunc(u.EmailAddresses, func(e EmailAddress) bool { return e.ID == id })
	if u.PrimaryEmailAddressID != nil && *u.PrimaryEmailAddressID == id {
		u.PrimaryEmailAddressID = nil
	}
}

func setLocked(u *User, locked bool) {
	u.Locked, u.LockoutExpiresInSeconds = locked, nil
	if locked {
		u.LockoutExpiresInSeconds = new(int64(3600))
	}
}

func setString(field **string, value *string) {
	if value != nil {
		*field = orNull(*value)
	}
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
