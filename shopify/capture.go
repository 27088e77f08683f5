package shopify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lockstephq/lockstep"
)

// maxLook is how many ids Shopify takes in one list (shopify.dev, "Shopify API
// limits").
const maxLook = 250

// captured is a customer as the fragment of that name reads it.
type captured struct {
	snapshot
	Locale    string    `json:"locale"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
	Email     *struct {
		Address string    `json:"emailAddress"`
		Consent string    `json:"marketingState"`
		At      time.Time `json:"marketingUpdatedAt"`
	} `json:"defaultEmailAddress"`
	Phone *struct {
		Number  string `json:"phoneNumber"`
		Consent *struct {
			State string    `json:"state"`
			At    time.Time `json:"updatedAt"`
		} `json:"smsMarketingConsent"`
	} `json:"defaultPhoneNumber"`
}

// looked is the answer to the operations look and look_prove.
type looked struct {
	Nodes     []*captured `json:"nodes"`
	Customers struct {
		Nodes []snapshot `json:"nodes"` // the shop's last customers
	} `json:"customers"`
}

// Look implements lockstep.Capturer. A field of the protected customer data that
// some customer of the same answer shows is one that the app may see; to prove
// that, the shop's last customers are read along.
//
// Shopify was seen to charge a list of ids like one id, up to eight of them. If
// it finds a longer one too dear, the list is halved.
func (t *Target) Look(ctx context.Context, ids []string, prove bool) (lockstep.Looked, error) {
	op := t.ops["look"]
	if prove {
		op = t.ops["look_prove"]
	}
	if len(ids) > maxLook {
		return lockstep.Looked{}, op.failf(lockstep.ErrInvalid, "%d customers at once, at most %d", len(ids), maxLook)
	}
	for _, id := range ids {
		if !isID(id) {
			return lockstep.Looked{}, op.failf(lockstep.ErrInvalid, "no customer of Shopify's has such an id")
		}
	}
	var got looked
	err := t.client.run(ctx, op, t.place(map[string]any{"ids": ids}), &got)
	switch {
	case errors.Is(err, errTooDear) && len(ids) > 1:
		return t.lookHalves(ctx, ids, prove)
	case err != nil:
		return lockstep.Looked{}, err
	case len(got.Nodes) != len(ids):
		return lockstep.Looked{}, op.lost(fmt.Errorf("%d customers for %d ids", len(got.Nodes), len(ids)))
	}
	return t.looked(got), nil
}

func (t *Target) lookHalves(ctx context.Context, ids []string, prove bool) (lockstep.Looked, error) {
	half := len(ids) / 2
	one, err := t.Look(ctx, ids[:half], prove)
	if err != nil {
		return one, err
	}
	two, err := t.Look(ctx, ids[half:], prove)
	one.Customers = append(one.Customers, two.Customers...)
	one.Shown = lockstep.Fields{ // shown by both: access may have come or gone between them
		Email: one.Shown.Email && two.Shown.Email, Phone: one.Shown.Phone && two.Shown.Phone, Name: one.Shown.Name && two.Shown.Name,
	}
	return one, err
}

func (t *Target) looked(got looked) (l lockstep.Looked) {
	for _, s := range got.Customers.Nodes {
		show(&l.Shown, s)
	}
	for _, c := range got.Nodes {
		if c == nil {
			continue
		}
		c.fill()
		show(&l.Shown, c.snapshot)
		l.Customers = append(l.Customers, t.capturedCustomer(*c))
	}
	return l
}

// fill gives the embedded snapshot the fields that are read in another form.
func (c *captured) fill() {
	if c.Email != nil {
		c.snapshot.Email = &emailAddress{c.Email.Address, c.Email.Consent, c.Email.At}
	}
	if c.Phone != nil {
		c.snapshot.Phone = &phoneNumber{c.Phone.Number}
	}
}

func show(shown *lockstep.Fields, s snapshot) {
	shown.Email = shown.Email || s.Email != nil
	shown.Phone = shown.Phone || s.Phone != nil
	shown.Name = shown.Name || s.FirstName != "" || s.LastName != ""
}

func (t *Target) capturedCustomer(c captured) lockstep.Snapshot {
	s := lockstep.Snapshot{
		Customer: t.customer(c.snapshot, c.owner()), State: c.State, VerifiedEmail: c.Verified, Locale: c.Locale, Tags: c.Tags,
		CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt, NothingVisible: c.hidden(),
	}
	if c.Email != nil {
		s.EmailConsent = lockstep.Consent{State: c.Email.Consent, At: c.Email.At}
	}
	if c.Phone != nil {
		if sms := c.Phone.Consent; sms != nil {
			s.SMSConsent = lockstep.Consent{State: sms.State, At: sms.At}
		}
		s.Masked = strings.Contains(c.Phone.Number, "*")
	}
	return s
}
