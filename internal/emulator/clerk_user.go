package emulator

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
)

// User is a user as Clerk's API and webhooks show it; the fields are those of
// its OpenAPI description. Times are in milliseconds. A User is never changed
// once it is handed out.
type User struct {
	ID                            string            `json:"id"`
	Object                        string            `json:"object"`
	ExternalID                    *string           `json:"external_id"`
	PrimaryEmailAddressID         *string           `json:"primary_email_address_id"`
	PrimaryPhoneNumberID          *string           `json:"primary_phone_number_id"`
	PrimaryWeb3WalletID           *string           `json:"primary_web3_wallet_id"`
	Username                      *string           `json:"username"`
	FirstName                     *string           `json:"first_name"`
	LastName                      *string           `json:"last_name"`
	Locale                        *string           `json:"locale"`
	ProfileImageURL               string            `json:"profile_image_url"` // deprecated by Clerk
	ImageURL                      string            `json:"image_url"`
	HasImage                      bool              `json:"has_image"`
	PublicMetadata                map[string]any    `json:"public_metadata"`
	PrivateMetadata               map[string]any    `json:"private_metadata"`
	UnsafeMetadata                map[string]any    `json:"unsafe_metadata"`
	EmailAddresses                []EmailAddress    `json:"email_addresses"`
	PhoneNumbers                  []PhoneNumber     `json:"phone_numbers"`
	Web3Wallets                   []any             `json:"web3_wallets"`
	Passkeys                      []any             `json:"passkeys"`
	ExternalAccounts              []ExternalAccount `json:"external_accounts"`
	SAMLAccounts                  []any             `json:"saml_accounts"`
	EnterpriseAccounts            []any             `json:"enterprise_accounts"`
	PasswordEnabled               bool              `json:"password_enabled"`
	PasswordLastUpdatedAt         *int64            `json:"password_last_updated_at"`
	TwoFactorEnabled              bool              `json:"two_factor_enabled"`
	TOTPEnabled                   bool              `json:"totp_enabled"`
	BackupCodeEnabled             bool              `json:"backup_code_enabled"`
	MFAEnabledAt                  *int64            `json:"mfa_enabled_at"`
	MFADisabledAt                 *int64            `json:"mfa_disabled_at"`
	LastSignInAt                  *int64            `json:"last_sign_in_at"`
	LastActiveAt                  *int64            `json:"last_active_at"` // start of a day
	Banned                        bool              `json:"banned"`
	Locked                        bool              `json:"locked"`
	Deprovisioned                 bool              `json:"deprovisioned"`
	LockoutExpiresInSeconds       *int64            `json:"lockout_expires_in_seconds"`
	VerificationAttemptsRemaining *int64            `json:"verification_attempts_remaining"`
	CreatedAt                     int64             `json:"created_at"`
	UpdatedAt                     int64             `json:"updated_at"`
	DeleteSelfEnabled             bool              `json:"delete_self_enabled"`
	CreateOrganizationEnabled     bool              `json:"create_organization_enabled"`
	CreateOrganizationsLimit      *int64            `json:"create_organizations_limit"`
	LegalAcceptedAt               *int64            `json:"legal_accepted_at"`
	BypassClientTrust             bool              `json:"bypass_client_trust"`
}

// EmailAddress is one of a user's addresses.
type EmailAddress struct {
	ID                   string        `json:"id"`
	Object               string        `json:"object"`
	EmailAddress         string        `json:"email_address"`
	Reserved             bool          `json:"reserved"` // unverified, yet usable to sign in
	Verification         *Verification `json:"verification"`
	LinkedTo             []LinkedTo    `json:"linked_to"`
	MatchesSSOConnection bool          `json:"matches_sso_connection"`
	CreatedAt            int64         `json:"created_at"`
	UpdatedAt            int64         `json:"updated_at"`
}

// PhoneNumber is one of a user's numbers.
type PhoneNumber struct {
	ID                      string        `json:"id"`
	Object                  string        `json:"object"`
	PhoneNumber             string        `json:"phone_number"`
	ReservedForSecondFactor bool          `json:"reserved_for_second_factor"`
	DefaultSecondFactor     bool          `json:"default_second_factor"`
	Reserved                bool          `json:"reserved"`
	Verification            *Verification `json:"verification"`
	LinkedTo                []LinkedTo    `json:"linked_to"`
	BackupCodes             []string      `json:"backup_codes"`
	CreatedAt               int64         `json:"created_at"`
	UpdatedAt               int64         `json:"updated_at"`
}

// Verification says whether and how an address or a number was proved.
type Verification struct {
	Object   string `json:"object"`
	Status   string `json:"status"` // "unverified", "verified", "failed", "expired", …
	Strategy string `json:"strategy"`
	Attempts *int64 `json:"attempts"`
	ExpireAt *int64 `json:"expire_at"`
}

// LinkedTo names the external account that an address came from.
type LinkedTo struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

// ExternalAccount is a sign-in at another provider.
type ExternalAccount struct {
	Object           string         `json:"object"`
	ID               string         `json:"id"`
	Provider         string         `json:"provider"`
	IdentificationID string         `json:"identification_id"`
	ProviderUserID   string         `json:"provider_user_id"`
	ApprovedScopes   string         `json:"approved_scopes"`
	EmailAddress     string         `json:"email_address"`
	FirstName        string         `json:"first_name"`
	LastName         string         `json:"last_name"`
	ImageURL         string         `json:"image_url"`
	Username         *string        `json:"username"`
	PublicMetadata   map[string]any `json:"public_metadata"`
	Label            *string        `json:"label"`
	CreatedAt        int64          `json:"created_at"`
	UpdatedAt        int64          `json:"updated_at"`
	Verification     *Verification  `json:"verification"`
}

// deletedObject is what is left of a user in answers and webhooks.
type deletedObject struct {
	Object     string  `json:"object"`
	ID         string  `json:"id"`
	Deleted    bool    `json:"deleted"`
	ExternalID *string `json:"external_id,omitempty"`
}

// PrimaryEmail returns the address that primary_email_address_id names, or "".
func (u *User) PrimaryEmail() string {
	for _, email := range u.EmailAddresses {
		if u.PrimaryEmailAddressID != nil && email.ID == *u.PrimaryEmailAddressID {
			return email.EmailAddress
		}
	}
	return ""
}

// PrimaryPhone returns the number that primary_phone_number_id names, or "".
func (u *User) PrimaryPhone() string {
	for _, phone := range u.PhoneNumbers {
		if u.PrimaryPhoneNumberID != nil && phone.ID == *u.PrimaryPhoneNumberID {
			return phone.PhoneNumber
		}
	}
	return ""
}

// Verified reports whether the address was proved.
func (e EmailAddress) Verified() bool { return e.Verification.verified() }

// Verified reports whether the number was proved.
func (p PhoneNumber) Verified() bool { return p.Verification.verified() }

func (v *Verification) verified() bool { return v != nil && v.Status == "verified" }

// clone copies a user so that the copy may be changed. Entries of the lists and
// of the metadata are replaced, never changed in place, and may be shared.
func (u *User) clone() *User {
	c := *u
	c.EmailAddresses = slices.Clone(u.EmailAddresses)
	c.PhoneNumbers = slices.Clone(u.PhoneNumbers)
	c.ExternalAccounts = slices.Clone(u.ExternalAccounts)
	c.PublicMetadata = maps.Clone(u.PublicMetadata)
	c.PrivateMetadata = maps.Clone(u.PrivateMetadata)
	c.UnsafeMetadata = maps.Clone(u.UnsafeMetadata)
	return &c
}

// mergeMetadata merges a change into metadata, level by level; null deletes.
func mergeMetadata(into, change map[string]any) map[string]any {
	merged := maps.Clone(into)
	if merged == nil {
		merged = map[string]any{}
	}
	for key, value := range change {
		inner, isObject := value.(map[string]any)
		switch {
		case value == nil:
			delete(merged, key)
		case isObject:
			below, _ := merged[key].(map[string]any)
			merged[key] = mergeMetadata(below, inner)
		default:
			merged[key] = value
		}
	}
	return merged
}

// avatarURL is the address of the picture Clerk draws from the initials.
func avatarURL(instanceID, userID string) string {
	name, _ := json.Marshal(map[string]string{"type": "default", "iid": instanceID, "rid": userID}) // strings always marshal
	return "https://img.clerk.com/" + base64.RawStdEncoding.EncodeToString(name)
}
