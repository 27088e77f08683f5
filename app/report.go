package app

import (
	"time"

	"github.com/lockstephq/lockstep"
)

// UserBody is a UserReport as JSON: what `show --json` prints and the operator
// API answers.
type UserBody struct {
	Profile  ProfileBody     `json:"profile"`
	Links    []LinkBody      `json:"links"`
	Timeline []TimelineEntry `json:"timeline"`
	Erasure  *Erasure        `json:"erasure,omitempty"`
}

// ProfileBody is a profile as JSON.
type ProfileBody struct {
	ID               string     `json:"id"`
	Username         string     `json:"username"`
	AvatarURL        *string    `json:"avatar_url"`
	Email            *string    `json:"email"`
	EmailVerified    bool       `json:"email_verified"`
	FirstName        *string    `json:"first_name"`
	LastName         *string    `json:"last_name"`
	Phone            *string    `json:"phone"`
	PhoneVerified    bool       `json:"phone_verified"`
	Banned           bool       `json:"banned"`
	MedusaCustomerID *string    `json:"medusa_customer_id"`
	ClerkUpdatedAt   *time.Time `json:"clerk_updated_at"`
	DeletedAt        *time.Time `json:"deleted_at"`
	CreatedAt        time.Time  `json:"created_at"`
	UpdatedAt        time.Time  `json:"updated_at"`
}

// LinkBody is a link as JSON.
type LinkBody struct {
	Target     string          `json:"target"`
	CustomerID *string         `json:"customer_id"`
	Status     lockstep.Status `json:"status"`
	Pending    bool            `json:"pending"`
	Reason     string          `json:"reason"`
	LetGo      []string        `json:"let_go,omitempty"` // customers that a deleted user left behind
	BlockedBy  *string         `json:"blocked_by"`
	Since      time.Time       `json:"since"`
	FirstSeen  *time.Time      `json:"first_seen"`
	LastSeen   *time.Time      `json:"last_seen"`
}

// Body is the report as JSON.
func (r UserReport) Body() UserBody {
	p := r.Profile
	body := UserBody{Erasure: r.Erasure, Links: []LinkBody{}, Timeline: append([]TimelineEntry{}, r.Timeline...), Profile: ProfileBody{
		ID: p.ID, Username: p.Username, AvatarURL: orNull(p.AvatarURL), Email: orNull(p.Email), EmailVerified: p.EmailVerified,
		FirstName: orNull(p.FirstName), LastName: orNull(p.LastName), Phone: orNull(p.Phone), PhoneVerified: p.PhoneVerified,
		Banned: p.Banned, MedusaCustomerID: orNull(p.MedusaCustomerID), ClerkUpdatedAt: orNull(p.ClerkUpdatedAt),
		DeletedAt: orNull(p.DeletedAt), CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
	}}
	for _, l := range r.Links {
		body.Links = append(body.Links, LinkBody{
			Target: l.Target, CustomerID: orNull(l.CustomerID), Status: l.Status, Pending: l.Pending, Reason: l.Reason, LetGo: l.LetGo,
			BlockedBy: orNull(l.BlockedBy), Since: l.Since, FirstSeen: orNull(l.FirstSeen), LastSeen: orNull(l.LastSeen),
		})
	}
	return body
}

// orNull is null for what is not set.
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
