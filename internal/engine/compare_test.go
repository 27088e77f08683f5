package engine

import (
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	linked := func(user, customer string) *lockstep.Link {
		return &lockstep.Link{UserID: user, CustomerID: customer, Status: lockstep.StatusLinked}
	}
	with := func(l *lockstep.Link, change func(*lockstep.Link)) *lockstep.Link { change(l); return l }
	pending := func(l *lockstep.Link) { l.Pending = true }
	status := func(s lockstep.Status) func(*lockstep.Link) {
		return func(l *lockstep.Link) { l.Status = s }
	}
	alive := &lockstep.Profile{ID: "user_a", FirstName: "Ada", Email: "Ada@Example.test", EmailVerified: true, Phone: "+1", PhoneVerified: true}
	dead := &lockstep.Profile{ID: "user_a", DeletedAt: time.Unix(1, 0)}
	right := lockstep.Customer{ID: "c1", UserID: "user_a", FirstName: "Ada", Email: "ada@example.test", Phone: "+1"}
	but := func(change func(*lockstep.Customer)) lockstep.Customer {
		c := right
		change(&c)
		return c
	}
	for name, c := range map[string]struct {
		sight Sight
		want  lockstep.Drift
	}{
		"as it should be":              {Sight{right, linked("user_a", "c1"), nil, alive}, ""},
		"a guest":                      {Sight{Customer: but(func(c *lockstep.Customer) { c.UserID = "" })}, ""},
		"renamed":                      {Sight{but(func(c *lockstep.Customer) { c.FirstName = "Eve" }), linked("user_a", "c1"), nil, alive}, lockstep.DriftCustomerDiffers},
		"another e-mail":               {Sight{but(func(c *lockstep.Customer) { c.Email = "eve@example.test" }), linked("user_a", "c1"), nil, alive}, lockstep.DriftCustomerDiffers},
		"a tag is missing":             {Sight{but(func(c *lockstep.Customer) { c.Untidy = true }), linked("user_a", "c1"), nil, alive}, lockstep.DriftCustomerDiffers},
		"a number that was refused":    {Sight{but(func(c *lockstep.Customer) { c.Phone = "" }), with(linked("user_a", "c1"), func(l *lockstep.Link) { l.RefusedPhone = "+1" }), nil, alive}, ""},
		"being worked on":              {Sight{but(func(c *lockstep.Customer) { c.FirstName = "Eve" }), with(linked("user_a", "c1"), pending), nil, alive}, ""},
		"held for a person":            {Sight{but(func(c *lockstep.Customer) { c.FirstName = "Eve" }), with(linked("user_a", "c1"), status(lockstep.StatusConflict)), nil, alive}, ""},
		"the mark was taken off":       {Sight{but(func(c *lockstep.Customer) { c.UserID = "" }), linked("user_a", "c1"), nil, alive}, lockstep.DriftMarkLost},
		"another's mark":               {Sight{but(func(c *lockstep.Customer) { c.UserID = "user_b" }), linked("user_a", "c1"), nil, alive}, lockstep.DriftMarkForeign},
		"linked, no profile":           {Sight{right, linked("user_a", "c1"), nil, nil}, ""},
		"linked, user deleted":         {Sight{right, linked("user_a", "c1"), nil, dead}, ""},
		"a second customer":            {Sight{right, nil, linked("user_a", "c2"), alive}, lockstep.DriftCustomerDuplicate},
		"a second one, known":          {Sight{right, nil, with(linked("user_a", "c2"), status(lockstep.StatusConflict)), alive}, ""},
		"an account with a mark":       {Sight{but(func(c *lockstep.Customer) { c.Account = true }), nil, linked("user_a", "c2"), alive}, ""},
		"a mark that no link names":    {Sight{right, nil, with(linked("user_a", ""), status(lockstep.StatusWaiting)), alive}, lockstep.DriftMarkUnlinked},
		"the mark of a deleted user":   {Sight{right, nil, with(linked("user_a", ""), status(lockstep.StatusReleased)), dead}, lockstep.DriftMarkOrphan},
		"the mark of nobody":           {Sight{Customer: right}, lockstep.DriftMarkOrphan},
		"a mark, the profile is lost":  {Sight{right, nil, linked("user_a", "c2"), nil}, ""},
		"a mark, the link is lost too": {Sight{right, nil, nil, alive}, lockstep.DriftMarkUnlinked},
	} {
		if got := Compare(c.sight, func(c lockstep.Customer) lockstep.Customer { return c }); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestMaxDeletions(t *testing.T) {
	t.Parallel()
	for users, want := range map[int]int{0: 10, 200: 10, 201: 10, 1000: 50} {
		if got := MaxDeletions(users); got != want {
			t.Errorf("%d users: %d, want %d", users, got, want)
		}
	}
}
