package inbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// counter is a store at which a case is played.
type counter struct {
	*mall
	hands
	target string
	next   int // the version of the next change in Clerk
}

// TestIdentity plays each case of who is who by name, in a shop and in Medusa, by
// the same path that serves: an accepted webhook, a job, the engine, the store.
func TestIdentity(t *testing.T) {
	t.Parallel()
	m := newMall(t, 8, "acme")
	stores := map[string]counter{
		"Shopify": {hands: &shopHands{m.Shop("acme")}, target: acme},
		"Medusa":  {hands: &medusaHands{m.pool, t.Context()}, target: "medusa"},
	}
	for i, c := range []struct {
		name string
		play func(*counter, *testing.T, lockstep.User)
	}{
		{"guest checkout, then a verified sign-up", guestCheckout},
		{"unverified e-mail that is verified later", unverifiedThenVerified},
		{"e-mail changed in Clerk", emailChangedInClerk},
		{"e-mail changed in Clerk to that of a guest", emailChangedToAGuests},
		{"e-mail changed in the store", emailChangedInTheStore},
		{"customer deleted in the store", customerDeleted},
		{"two users claim one record", twoUsersOneRecord},
		{"user without an e-mail", noEmail},
		{"user deleted, and signed up anew with the old e-mail", signedUpAnew},
	} {
		for name, store := range stores {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				mine := *m.box
				mine.t, store.mall = t, &mall{box: &mine, Shopify: m.Shopify}
				id := fmt.Sprintf("case%d%s", i, strings.ToLower(name))
				c.play(&store, t, user(id, 1).User)
			})
		}
	}
}

// tell sends a new version of a user from Clerk.
func (c *counter) tell(u lockstep.User) {
	c.next++
	d := lockstep.Delivery{Source: "clerk", ID: fmt.Sprint("msg_", u.ID, c.next), Kind: "user.updated", User: u}
	d.User.UpdatedAt = time.UnixMilli(int64(5000 + c.next))
	c.accept(d)
}

// becomes waits until a user's link has a status, and is up to date.
func (c *counter) becomes(u lockstep.User, status lockstep.Status) lockstep.Link {
	c.t.Helper()
	c.eventually(fmt.Sprint(u.ID, " is ", status), statusIn+` and not exists (select from lockstep.river_job where kind = 'dispatch' and state <> 'completed')`, u.ID, c.target, status)
	links, err := c.store.Links(c.t.Context(), u.ID)
	if err != nil {
		c.t.Fatal(err)
	}
	return linkTo(links, c.target)
}

// customer is one as the store holds it; none has no id.
func (c *counter) customer(t *testing.T, id string) held {
	t.Helper()
	for _, h := range c.all(t) {
		if h.id == id {
			return h
		}
	}
	return held{}
}

func (c *counter) all(t *testing.T) []held {
	t.Helper()
	all, err := c.look()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// holds checks a customer, and that no other carries its user.
func (c *counter) holds(t *testing.T, id, mark, email, first string) {
	t.Helper()
	if h := c.customer(t, id); h.id == "" || h.mark != mark || h.email != email || h.first != first {
		t.Errorf("%s is marked %q, with %q, %q; want %q, %q, %q", id, h.mark, h.email, h.first, mark, email, first)
	}
	if n := len(withMark(c.all(t), mark)); mark != "" && n != 1 {
		t.Errorf("%s has %d customers", mark, n)
	}
}

// guest checks out, and says what Lockstep must leave alone.
func (c *counter) guest(t *testing.T, email string) held {
	t.Helper()
	id, err := c.checkOut(email, false, 7)
	if err != nil {
		t.Fatal(err)
	}
	return c.customer(t, id)
}

func (c *counter) keeps(t *testing.T, guest held) {
	t.Helper()
	if h := c.customer(t, guest.id); h.rest != guest.rest {
		t.Errorf("changed where Lockstep owns nothing: %s, was %s", h.rest, guest.rest)
	}
}

func guestCheckout(c *counter, t *testing.T, u lockstep.User) {
	guest := c.guest(t, u.Email)
	c.tell(u)
	if l := c.becomes(u, lockstep.StatusLinked); l.CustomerID != guest.id {
		t.Errorf("linked to %s, not to the guest", l.CustomerID)
	}
	c.holds(t, guest.id, u.ID, u.Email, "Name1")
	c.keeps(t, guest)
}

func unverifiedThenVerified(c *counter, t *testing.T, u lockstep.User) {
	guest := c.guest(t, u.Email)
	u.EmailVerified = false
	c.tell(u)
	c.becomes(u, lockstep.StatusWaiting)
	if h := c.customer(t, guest.id); h != guest || len(withMark(c.all(t), u.ID)) > 0 {
		t.Errorf("an unverified e-mail changed the guest to %+v", h)
	}
	u.EmailVerified = true
	c.tell(u)
	c.becomes(u, lockstep.StatusLinked)
	c.holds(t, guest.id, u.ID, u.Email, "Name1")
	c.keeps(t, guest)
}

// The same customer, by its id.
func emailChangedInClerk(c *counter, t *testing.T, u lockstep.User) {
	c.tell(u)
	before := c.becomes(u, lockstep.StatusLinked)
	u.Email = "new-" + u.Email
	c.tell(u)
	c.eventually("the link has the new e-mail", `select email = $3 from lockstep.customer_links where clerk_user_id = $1 and target = $2`, u.ID, c.target, u.Email)
	c.holds(t, before.CustomerID, u.ID, u.Email, "Name1")
}

// The user keeps the customer, with the old e-mail and all else that is new, until
// a person has decided; then it goes on.
func emailChangedToAGuests(c *counter, t *testing.T, u lockstep.User) {
	old := u.Email
	c.tell(u)
	before := c.becomes(u, lockstep.StatusLinked)
	guest := c.guest(t, "guest-"+old)
	u.Email, u.FirstName = guest.email, "Augusta"
	c.tell(u)
	l := c.becomes(u, lockstep.StatusConflict)
	if l.CustomerID != before.CustomerID || l.BlockedBy != guest.id || !strings.Contains(l.Reason, guest.id) || !strings.Contains(l.Reason, u.ID) {
		t.Errorf("the link is %+v", l)
	}
	c.holds(t, before.CustomerID, u.ID, old, "Augusta")
	if h := c.customer(t, guest.id); h != guest {
		t.Errorf("the guest is now %+v", h)
	}
	if err := c.remove(guest.id); err != nil {
		t.Fatal(err)
	}
	c.again(t, u)
	c.becomes(u, lockstep.StatusLinked)
	c.holds(t, before.CustomerID, u.ID, u.Email, "Augusta")
}

// again has a user looked at, as a shop's webhook or reconciling does.
func (c *counter) again(t *testing.T, u lockstep.User) {
	t.Helper()
	if err := c.SyncUser(t.Context(), u.ID); err != nil {
		t.Fatal(err)
	}
}

// Clerk's is right, also if somebody else has taken it in the store meanwhile.
func emailChangedInTheStore(c *counter, t *testing.T, u lockstep.User) {
	c.tell(u)
	l := c.becomes(u, lockstep.StatusLinked)
	if err := c.setEmail(l.CustomerID, "moved-"+u.Email); err != nil {
		t.Fatal(err)
	}
	c.again(t, u)
	c.holds(t, l.CustomerID, u.ID, u.Email, "Name1")
	if err := c.setEmail(l.CustomerID, "moved-"+u.Email); err != nil {
		t.Fatal(err)
	}
	guest := c.guest(t, u.Email)
	c.again(t, u)
	if l := c.becomes(u, lockstep.StatusConflict); l.BlockedBy != guest.id {
		t.Errorf("the link is %+v", l)
	}
	c.holds(t, l.CustomerID, u.ID, "moved-"+u.Email, "Name1")
	c.holds(t, guest.id, "", u.Email, "Guest")
}

func customerDeleted(c *counter, t *testing.T, u lockstep.User) {
	c.tell(u)
	first := c.becomes(u, lockstep.StatusLinked).CustomerID
	if err := c.remove(first); err != nil {
		t.Fatal(err)
	}
	c.again(t, u)
	second := c.becomes(u, lockstep.StatusLinked).CustomerID
	if second == first {
		t.Errorf("still linked to %s, which is gone", first)
	}
	c.holds(t, second, u.ID, u.Email, "Name1")
	if err := c.remove(second); err != nil {
		t.Fatal(err)
	}
	guest := c.guest(t, u.Email) // who comes before Lockstep does
	c.again(t, u)
	c.holds(t, guest.id, u.ID, u.Email, "Name1")
	c.keeps(t, guest)
}

func twoUsersOneRecord(c *counter, t *testing.T, u lockstep.User) {
	guest := c.guest(t, u.Email)
	other := u
	other.ID, other.FirstName = u.ID+"b", "Eve"
	c.tell(u)
	c.tell(other)
	for _, who := range []lockstep.User{u, other} {
		c.eventually("it is decided", `select coalesce((select applied = desired and status in ('linked', 'conflict') from lockstep.customer_links
			where clerk_user_id = $1 and target = $2), false)`, who.ID, c.target)
	}
	owner := testdb.Query[string](t, c.pool, `select clerk_user_id from lockstep.customer_links where target = $1 and customer_id = $2`, c.target, guest.id)
	loser := map[string]lockstep.User{u.ID: other, other.ID: u}[owner]
	if l := c.becomes(loser, lockstep.StatusConflict); l.BlockedBy != guest.id || l.CustomerID != "" || !strings.Contains(l.Reason, owner) {
		t.Errorf("the link is %+v", l)
	}
	if h := c.customer(t, guest.id); h.mark != owner || len(withMark(c.all(t), loser.ID)) > 0 {
		t.Errorf("the guest is marked %q, and the link says %s", h.mark, owner)
	}
	c.keeps(t, guest)
}

// Then one is given, which is written to the same customer.
func noEmail(c *counter, t *testing.T, u lockstep.User) {
	email := u.Email
	u.Email, u.EmailVerified = "", false
	c.tell(u)
	l := c.becomes(u, lockstep.StatusLinked)
	c.holds(t, l.CustomerID, u.ID, "", "Name1")
	u.Email, u.EmailVerified = email, true
	c.tell(u)
	c.eventually("the link has the e-mail", `select coalesce(email, '') = $3 from lockstep.customer_links where clerk_user_id = $1 and target = $2`, u.ID, c.target, email)
	c.holds(t, l.CustomerID, u.ID, email, "Name1")
}

// A new sign-up is a new id, with nothing of the old one but the proven e-mail.
func signedUpAnew(c *counter, t *testing.T, u lockstep.User) {
	c.tell(u)
	l := c.becomes(u, lockstep.StatusLinked)
	anew := u
	anew.ID = u.ID + "b"
	c.tell(anew) // the deletion is late
	c.becomes(anew, lockstep.StatusConflict)
	c.accept(deleted(strings.TrimPrefix(u.ID, "user_")))
	c.becomes(u, lockstep.StatusReleased)
	if got := c.becomes(anew, lockstep.StatusLinked); got.CustomerID != l.CustomerID {
		t.Errorf("linked to %s, not to %s", got.CustomerID, l.CustomerID)
	}
	c.holds(t, l.CustomerID, anew.ID, u.Email, "Name1")
	if slices.ContainsFunc(c.all(t), func(h held) bool { return h.mark == u.ID }) {
		t.Errorf("%s is deleted, and still has a customer", u.ID)
	}
}
