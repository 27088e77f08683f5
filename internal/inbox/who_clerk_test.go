package inbox

import (
	"fmt"
	"slices"
	"time"

	"github.com/lockstephq/lockstep"
)

// clerkModel is Clerk as far as it goes here: users, and webhooks on their way.
type clerkModel struct {
	users   []*lockstep.User
	mail    []lockstep.Delivery
	changes int
	proved  map[string][]string // the e-mails that a user ever verified
}

func newClerk() *clerkModel {
	return &clerkModel{proved: map[string][]string{}}
}

// addresses are so few that people get into each other's way.
func addresses() []string {
	return []string{"Ada@Example.test", "bob@example.test", "eve@example.test"}
}

func (c *clerkModel) alive() (users []lockstep.User) {
	for _, u := range c.users {
		if !u.Deleted {
			users = append(users, *u)
		}
	}
	return users
}

func (c *clerkModel) isAlive(id string) bool {
	return slices.ContainsFunc(c.alive(), func(u lockstep.User) bool { return u.ID == id })
}

// free tells whether an address may be a user's verified one: Clerk gives it to
// one user at a time.
func (c *clerkModel) free(email, id string) bool {
	return email == "" || !slices.ContainsFunc(c.alive(), func(u lockstep.User) bool { return u.ID != id && u.EmailVerified && u.Email == email })
}

func (c *clerkModel) hasProved(id, email string) bool {
	return slices.Contains(c.proved[id], lockstep.NormalEmail(email))
}

// changed gives a user a new version and sends the webhook.
func (c *clerkModel) changed(u *lockstep.User, kind string) {
	c.changes++
	d := lockstep.Delivery{Source: "clerk", ID: fmt.Sprint("msg_", c.changes), Kind: kind}
	if u.Deleted {
		d.User = lockstep.User{ID: u.ID, Deleted: true}
	} else {
		u.UpdatedAt = time.UnixMilli(int64(1000 + c.changes))
		if u.EmailVerified {
			c.proved[u.ID] = append(c.proved[u.ID], lockstep.NormalEmail(u.Email))
		}
		d.User = *u
	}
	c.mail = append(c.mail, d)
}

func (s *story) someUser() *lockstep.User {
	var alive []*lockstep.User
	for _, u := range s.clerk.users {
		if !u.Deleted {
			alive = append(alive, u)
		}
	}
	if len(alive) == 0 {
		return nil
	}
	return pick(s, "user", alive)
}

// address draws an e-mail, or none, and whether it is verified.
func (s *story) address(u *lockstep.User) {
	u.Email = pick(s, "e-mail", append(addresses(), ""))
	u.EmailVerified = u.Email != "" && s.clerk.free(u.Email, u.ID) && s.number("verified", 0, 2) > 0
}

func describe(u *lockstep.User) string {
	switch {
	case u.Email == "":
		return "no e-mail"
	case u.EmailVerified:
		return u.Email + ", verified"
	}
	return u.Email + ", unverified"
}

func (s *story) signUp() bool {
	if len(s.clerk.alive()) == 3 || len(s.clerk.users) == 6 {
		return false
	}
	n := len(s.clerk.users) + 1
	u := &lockstep.User{ID: fmt.Sprint("user_", n), FirstName: fmt.Sprint("Name", n), CreatedAt: time.UnixMilli(int64(n))}
	s.address(u)
	s.clerk.users = append(s.clerk.users, u)
	s.tell("%s signs up with %s.", u.ID, describe(u))
	s.clerk.changed(u, "user.created")
	return true
}

func (s *story) changeEmail() bool {
	u := s.someUser()
	if u == nil {
		return false
	}
	s.address(u)
	s.tell("%s now has %s.", u.ID, describe(u))
	s.clerk.changed(u, "user.updated")
	return true
}

func (s *story) verify() bool {
	u := s.someUser()
	if u == nil || u.Email == "" || u.EmailVerified || !s.clerk.free(u.Email, u.ID) {
		return false
	}
	u.EmailVerified = true
	s.tell("%s verifies %s.", u.ID, u.Email)
	s.clerk.changed(u, "user.updated")
	return true
}

func (s *story) rename() bool {
	u := s.someUser()
	if u == nil {
		return false
	}
	u.FirstName += "+"
	s.tell("%s is called %s.", u.ID, u.FirstName)
	s.clerk.changed(u, "user.updated")
	return true
}

func (s *story) deleteUser() bool {
	u := s.someUser()
	if u == nil {
		return false
	}
	u.Deleted = true
	s.tell("%s is deleted in Clerk.", u.ID)
	s.clerk.changed(u, "user.deleted")
	return true
}

// webhook delivers one of those on their way, in any order; some come again.
func (s *story) webhook() bool {
	if len(s.clerk.mail) == 0 {
		return false
	}
	i, again := 0, false
	if !s.calm {
		i = s.number("which webhook", 0, len(s.clerk.mail)-1)
		again = s.number("and again later", 0, 4) == 4
	}
	d := s.clerk.mail[i]
	if !again {
		s.clerk.mail = slices.Delete(s.clerk.mail, i, i+1)
	}
	r := &request{delivery: d}
	receipts, err := s.in.commit(s.stage.t.Context(), []*request{r})
	s.must(err)
	s.tell("Webhook %s arrives, about %s with %s: %s.", d.ID, d.User.ID, describe(&d.User), receipts[r])
	return true
}

func (s *story) loseWebhook() bool {
	if len(s.clerk.mail) == 0 {
		return false
	}
	i := s.number("which webhook", 0, len(s.clerk.mail)-1)
	s.tell("Webhook %s is lost.", s.clerk.mail[i].ID)
	s.clerk.mail = slices.Delete(s.clerk.mail, i, i+1)
	return true
}
