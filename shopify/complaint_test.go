package shopify_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/shopify"
)

// What users of other connectors complain about (facts/shopify.md, section 6),
// each with the place where it was said.

// BCApps #6459, frappe/ecommerce_integrations #11, shopify-api-ruby #151.
func TestComplaintDuplicatesAndWrongMatchBySearch(t *testing.T) {
	t.Parallel()
	w := openWorld(t) // its search index stands still: whoever asks it makes duplicates
	near := w.put(t, emulator.CustomerSpec{Email: "ada@example.test.example", FirstName: "Eve"})
	w.acme.IndexNow()
	l := newLinks(w.target(t, w.acme))
	id := l.must(t, ada()).Customer.ID
	for range 3 {
		forgetful := newLinks(l.target) // another process, which knows no link yet
		if got := forgetful.must(t, ada()); got.Customer.ID != id {
			t.Errorf("matched %s, want %s", got.Customer.ID, id)
		}
	}
	if c := w.customer(t, near.ID); markOf(c) != "" || c.FirstName != "Eve" {
		t.Errorf("matched a part of an e-mail: %+v", c)
	}
	w.only(t, 2)
}

// BCApps PR #10256, shopify_transporter #6, frappe #99.
func TestComplaintPhoneOfAStranger(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	stranger := w.put(t, emulator.CustomerSpec{Phone: "+4520123456", FirstName: "Eve"})
	l := newLinks(w.target(t, w.acme))
	p := ada()
	p.Phone, p.PhoneVerified = "+45 20 12 34 56", true
	res := l.must(t, p)
	if res.Customer.ID == stranger.ID || res.Customer.Phone != "" || res.Refused != "+4520123456" {
		t.Errorf("got %+v", res)
	}
	before := w.total("mutation *")
	if again := l.must(t, p); len(again.Wrote) > 0 || again.Refused != res.Refused || w.total("mutation *") != before {
		t.Errorf("the refused number was tried again: %+v", again)
	}
	p.Phone = "+45 20 12 34 57"
	if res := l.must(t, p); res.Customer.Phone != "+4520123457" || res.Customer.FirstName != "Ada" {
		t.Errorf("another number: %+v", res.Customer)
	}
	p.Phone, p.FirstName = "+45 20 12 34 56", "Augusta"
	forgetful := newLinks(l.target)
	if res := forgetful.must(t, p); res.Customer.FirstName != "Augusta" || res.Customer.Phone != "+4520123457" || res.Refused == "" {
		t.Errorf("an update with a taken number: %+v", res)
	}
	if res := newLinks(l.target).must(t, p); res.Refused == "" || res.Customer.FirstName != "Augusta" {
		t.Errorf("an update of nothing but a taken number: %+v", res)
	}
	if c := w.customer(t, stranger.ID); c.FirstName != "Eve" || c.Phone != "+4520123456" || markOf(c) != "" {
		t.Errorf("the stranger is %+v", c)
	}
}

// frappe #99: extensions, and whatever else is no number.
func TestComplaintPhoneInvalid(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	for i, phone := range []string{"+1 416 555 0123 ext. 7", "+4520", "20123456", "+1 111 111 1111"} {
		l := newLinks(w.target(t, w.acme))
		p := person(i, 0)
		p.Phone = phone
		res := l.must(t, p)
		if res.Customer.Phone != "" || res.Customer.Email != p.Email {
			t.Errorf("%q: %+v", phone, res.Customer)
		}
		if again := l.must(t, p); len(again.Wrote) > 0 {
			t.Errorf("%q seems to be missing for ever: %+v", phone, again)
		}
	}
}

// A number that the check takes for valid, and Shopify does not.
func TestComplaintPhoneRefusedByShopifyAlone(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	l := newLinks(strict{w.target(t, w.acme)})
	p := ada()
	p.Phone, p.PhoneVerified = "+1 111 111 1111", true
	if res := l.must(t, p); res.Customer.Phone != "" || res.Refused != p.Phone || res.Customer.Email != p.Email {
		t.Errorf("got %+v", res)
	}
}

// strict lets every number pass.
type strict struct{ *shopify.Target }

func (s strict) Fit(want lockstep.Customer) lockstep.Customer { return want }

// php-shopify #252: the answer to a create is lost, and the second try fails.
func TestComplaintEmailAlreadyTakenAfterSuccess(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	l := newLinks(w.target(t, w.acme))
	w.script(t, "acme mutation customerSet", emulator.Fault{Action: emulator.ActionDropAfter})
	res := l.must(t, ada())
	if res.Decision.Action != engine.Nothing || res.Decision.Status != lockstep.StatusLinked || res.Customer.UserID != "user_ada" {
		t.Errorf("got %+v", res)
	}
	if n := w.total("mutation customerSet"); n != 1 {
		t.Errorf("written %d times", n)
	}
	w.only(t, 1)
}

// Someone signs up in the shop between our look and our write.
func TestComplaintEmailTakenMeanwhile(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	target := w.target(t, w.acme)
	l := newLinks(overtaken{target, func() { w.put(t, emulator.CustomerSpec{Email: "ada@example.test", Orders: 1}) }})
	res := l.must(t, ada())
	if res.Decision.Action != engine.Adopt || w.customer(t, res.Customer.ID).Orders != 1 {
		t.Errorf("got %+v", res)
	}
	w.only(t, 1)
}

// overtaken is a target before whose first create somebody else acts.
type overtaken struct {
	*shopify.Target
	act func()
}

func (o overtaken) Create(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
	o.act()
	return o.Target.Create(ctx, want)
}

// Shopify community: an update replaces all tags.
func TestComplaintTagsOverwritten(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	guest := w.put(t, emulator.CustomerSpec{Email: "ada@example.test", Tags: []string{"vip", "Clerk", "MEMBER"}, Orders: 1})
	l := newLinks(w.target(t, w.acme, func(o *shopify.Options) { o.Tags = []string{owned, "member"} }))
	l.must(t, ada())
	if got := w.customer(t, guest.ID).Tags; !slices.Equal(got, []string{"Clerk", "MEMBER", "vip"}) || w.total("mutation tags*") > 0 {
		t.Errorf("adopted: %q", got)
	}
	tags := []string{"vip", "wholesale"}
	if _, err := w.acme.EditCustomer(guest.ID, emulator.CustomerEdit{Tags: &tags}); err != nil {
		t.Fatal(err)
	}
	p := ada()
	p.FirstName = "Augusta"
	l.must(t, p)
	if got := w.customer(t, guest.ID).Tags; !slices.Equal(got, []string{"clerk", "member", "vip", "wholesale"}) {
		t.Errorf("updated: %q", got)
	}
}

// Shopify community, a migration study: an update wipes addresses; the same goes
// for notes and consent.
func TestComplaintAddressesWiped(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	note := "likes owls"
	guest := w.put(t, emulator.CustomerSpec{Email: "ada@example.test", Note: &note,
		Addresses:    []emulator.ShopAddress{{City: "Ribe", CountryCode: "DK"}, {City: "London", CountryCode: "GB"}},
		EmailConsent: emulator.ShopConsent{State: "SUBSCRIBED", OptInLevel: "CONFIRMED_OPT_IN"}})
	l := newLinks(w.target(t, w.acme))
	p := ada()
	for _, name := range []string{"Ada", "Augusta"} {
		p.FirstName = name
		l.must(t, p)
		c := w.customer(t, guest.ID)
		if len(c.Addresses) != 2 || c.Addresses[0] != guest.Addresses[0] || *c.Note != note || c.EmailConsent != guest.EmailConsent || c.FirstName != name {
			t.Errorf("after %s: %+v", name, c)
		}
	}
}

// Airfoil's notes, ShopifySharp #1178: webhooks are lost, and cannot say that a
// field was cleared. Everything is read anew, by id.
func TestComplaintLostWebhooksAndNulls(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	l := newLinks(w.target(t, w.acme))
	id := l.must(t, ada()).Customer.ID
	none := ""
	if _, err := w.acme.EditCustomer(id, emulator.CustomerEdit{LastName: &none, Email: &none}); err != nil {
		t.Fatal(err)
	}
	res := l.must(t, ada())
	if c := w.customer(t, id); res.Decision.Action != engine.Update || c.LastName != "Byron" || c.Email != "ada@example.test" {
		t.Errorf("got %+v, %+v", res, c)
	}
}

// ShopifySharp #1225: static tokens, and those of client credentials.
func TestComplaintClientCredentials(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	minting := w.target(t, w.acme, func(o *shopify.Options) { o.Tokens = w.credentials(t) })
	static := w.target(t, w.acme)
	for _, target := range []*shopify.Target{minting, static} {
		if err := target.Check(t.Context()); err != nil {
			t.Error(err)
		}
	}
	w.acme.Revoke() // all tokens so far are worth nothing
	if err := minting.Check(t.Context()); err != nil {
		t.Errorf("not minted anew: %v", err)
	}
	if err := static.Check(t.Context()); lockstep.KindOf(err) != lockstep.ErrRefused || !strings.Contains(err.Error(), "install the app") {
		t.Errorf("a static token: %v", err)
	}
	if err := w.acme.SetSecrets("shpss_rotated"); err != nil {
		t.Fatal(err)
	}
	if err := minting.Check(t.Context()); lockstep.KindOf(err) != lockstep.ErrRefused || !strings.Contains(err.Error(), "SHOPIFY_CLIENT_SECRET") {
		t.Errorf("a rotated secret: %v", err)
	}
}

// Shopify/hydrogen #3851 is about the login of a shop whose identity provider is
// Clerk, which Lockstep is no part of. What it can do is to respect it: the
// customer tied to the user is adopted, one that is tied to another is not.
func TestComplaintIdentityProvider(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	mine := w.put(t, emulator.CustomerSpec{Email: "ada@example.test", State: emulator.CustomerEnabled, VerifiedEmail: true, Subject: "user_ada"})
	other := w.put(t, emulator.CustomerSpec{Email: "eve@example.test", State: emulator.CustomerEnabled, VerifiedEmail: true, Subject: "user_mallory"})
	l := newLinks(w.target(t, w.acme))
	if res := l.must(t, ada()); res.Customer.ID != mine.ID || w.customer(t, mine.ID).Subject != "user_ada" {
		t.Errorf("got %+v", res)
	}
	eve := lockstep.Profile{ID: "user_eve", Email: "eve@example.test", EmailVerified: true}
	if res := l.must(t, eve); res.Decision.Status != lockstep.StatusConflict || res.Decision.BlockedBy != other.ID {
		t.Errorf("got %+v", res)
	}
}

// TestAccounts: which customers somebody else may sign in to.
func TestAccounts(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		spec   emulator.CustomerSpec
		action engine.Action
	}{
		"a guest":                         {emulator.CustomerSpec{}, engine.Adopt},
		"an e-mail nobody proved":         {emulator.CustomerSpec{State: emulator.CustomerInvited}, engine.Adopt},
		"signed in by a code":             {emulator.CustomerSpec{State: emulator.CustomerEnabled, VerifiedEmail: true}, engine.Adopt},
		"a password, e-mail never proved": {emulator.CustomerSpec{State: emulator.CustomerEnabled}, engine.Conflict},
		"another user's":                  {emulator.CustomerSpec{Subject: "user_mallory"}, engine.Conflict},
	} {
		w := openWorld(t)
		tt.spec.Email = "ada@example.test"
		w.put(t, tt.spec)
		if res := newLinks(w.target(t, w.acme)).must(t, ada()); res.Decision.Action != tt.action {
			t.Errorf("%s: %s, want %s", name, res.Decision.Action, tt.action)
		}
	}
}
