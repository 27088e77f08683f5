package shopify_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/shopify"
)

const marketing = "public_metadata.marketing"

func mapsConsent(o *shopify.Options) { o.Consent = marketing }

// day is a moment in April, with the milliseconds that Clerk has and Shopify has not.
func day(n int) time.Time { return time.Date(2026, 4, n, 1, 0, 0, 654e6, time.UTC) }

// saying is Ada, who says so about marketing since a day.
func saying(state string, n int) lockstep.Profile {
	p := ada()
	p.Consent = lockstep.Consent{State: state, At: day(n), Place: marketing}
	return p
}

// wantConsent is what the shop holds, in seconds.
func (w world) wantConsent(t *testing.T, when, id, state string, n int) {
	t.Helper()
	got := w.customer(t, id).EmailConsent
	if got.State != state || state != "" && (got.UpdatedAt == nil || !got.UpdatedAt.Equal(day(n).Truncate(time.Second))) {
		t.Errorf("%s: %+v, want %s of day %d", when, got, state, n)
	}
}

// Given, withdrawn and given again: each is written once, after the customer, and
// with its own time. Each costs ten points, and a look at the customer if nothing
// else is to be written; who says nothing new costs what it did.
func TestConsentFollowsTheUser(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	m := &meter{}
	target := w.target(t, w.acme, m.reads, mapsConsent)
	must(t, defineBy(t, target))
	l := newLinks(target)
	id := l.must(t, ada()).Customer.ID
	w.wantConsent(t, "nothing said", id, "", 0)
	moved := saying(lockstep.Unsubscribed, 4)
	moved.Email = "ada@example.net"
	for _, step := range []struct {
		name   string
		p      lockstep.Profile
		points string
		state  string
		day    int
	}{
		{"given", saying(lockstep.Subscribed, 1), "Resolve 10, Read 5, Consent 10", "SUBSCRIBED", 1},
		{"given, again", saying(lockstep.Subscribed, 1), "Resolve 10", "SUBSCRIBED", 1},
		{"withdrawn", saying(lockstep.Unsubscribed, 2), "Resolve 10, Read 5, Consent 10", "UNSUBSCRIBED", 2},
		{"an older yes", saying(lockstep.Subscribed, 1), "Resolve 10", "UNSUBSCRIBED", 2},
		{"given anew", saying(lockstep.Subscribed, 3), "Resolve 10, Read 5, Consent 10", "SUBSCRIBED", 3},
		{"nothing said", ada(), "Resolve 10", "SUBSCRIBED", 3},
		{"withdrawn for a new e-mail", moved, "Resolve 10, Set 14, Consent 10", "UNSUBSCRIBED", 4},
	} {
		m.reset()
		if l.must(t, step.p); m.points() != step.points {
			t.Errorf("%s: %s, want %s", step.name, m.points(), step.points)
		}
		w.wantConsent(t, step.name, id, step.state, step.day)
	}
}

// However the user comes by a customer, it is told what the user says.
func TestConsentOfANewCustomer(t *testing.T) {
	t.Parallel()
	for name, guest := range map[string]bool{"created": false, "adopted": true} {
		w := openWorld(t)
		if guest {
			w.put(t, emulator.CustomerSpec{Email: "ada@example.test", Orders: 1})
		}
		id := newLinks(w.target(t, w.acme, mapsConsent)).must(t, saying(lockstep.Subscribed, 1)).Customer.ID
		w.wantConsent(t, name, id, "SUBSCRIBED", 1)
		w.only(t, 1)
	}
}

// What the shopper said in the shop since stands, and what the shop closed stays.
func TestConsentOfTheShopIsNewer(t *testing.T) {
	t.Parallel()
	for state, says := range map[string]string{
		"UNSUBSCRIBED": lockstep.Subscribed, "SUBSCRIBED": lockstep.Unsubscribed, "REDACTED": lockstep.Subscribed, "INVALID": lockstep.Subscribed,
	} {
		w := openWorld(t)
		at := day(5)
		if state == "REDACTED" || state == "INVALID" {
			at = day(1)
		}
		at = at.Truncate(time.Second)
		w.put(t, emulator.CustomerSpec{Email: "ada@example.test", EmailConsent: emulator.ShopConsent{State: state, OptInLevel: "SINGLE_OPT_IN", UpdatedAt: &at}})
		l := newLinks(w.target(t, w.acme, mapsConsent))
		id := l.must(t, saying(says, 2)).Customer.ID
		l.must(t, saying(says, 3))
		if got := w.customer(t, id).EmailConsent; got.State != state || !got.UpdatedAt.Equal(at) {
			t.Errorf("%s: %+v", state, got)
		}
		if n := w.total("mutation *onsent*"); n != 0 {
			t.Errorf("%s: %d mutations of consent", state, n)
		}
	}
}

// Between the look and the write the shopper withdraws in the shop.
func TestConsentIsReadAgainBeforeItIsWritten(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	target := w.target(t, w.acme, mapsConsent)
	now := newLinks(target).must(t, ada()).Customer
	at := day(5).Truncate(time.Second)
	if _, err := w.acme.EditCustomer(now.ID, emulator.CustomerEdit{EmailConsent: &emulator.ShopConsent{State: "UNSUBSCRIBED", OptInLevel: "SINGLE_OPT_IN", UpdatedAt: &at}}); err != nil {
		t.Fatal(err)
	}
	if _, err := target.Update(t.Context(), now, target.Fit(saying(lockstep.Subscribed, 4).Customer())); err != nil {
		t.Fatal(err)
	}
	w.wantConsent(t, "withdrawn meanwhile", now.ID, "UNSUBSCRIBED", 5)
}

// Never without a mapping, from another place, for an e-mail that nobody proved,
// or for one that somebody else holds.
func TestConsentIsNotWritten(t *testing.T) {
	t.Parallel()
	elsewhere, unproved := saying(lockstep.Subscribed, 1), saying(lockstep.Subscribed, 1)
	elsewhere.Consent.Place = "unsafe_metadata.marketing"
	unproved.EmailVerified = false
	held := saying(lockstep.Subscribed, 1)
	held.Email = "eve@example.test"
	for name, tt := range map[string]struct {
		p      lockstep.Profile
		change func(*shopify.Options)
	}{
		"not mapped":    {saying(lockstep.Subscribed, 1), func(*shopify.Options) {}},
		"another place": {elsewhere, mapsConsent},
		"not verified":  {unproved, mapsConsent},
		"held":          {held, mapsConsent},
	} {
		w := openWorld(t)
		w.put(t, emulator.CustomerSpec{Email: "eve@example.test"})
		l := newLinks(w.target(t, w.acme, tt.change))
		if tt.p.EmailVerified {
			l.must(t, ada())
		}
		l.must(t, tt.p)
		if n := w.total("mutation *onsent*"); n != 0 {
			t.Errorf("%s: %d mutations of consent", name, n)
		}
	}
}

// A consent that Shopify refuses costs nobody the customer, and is not tried again
// until the user says something new.
func TestConsentIsRefused(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	refuse := true
	m := &meter{answer: func(operation string) string {
		if operation == "Consent" && refuse {
			return `{"data":{"customerEmailMarketingConsentUpdate":{"userErrors":[{"code":"INVALID","field":["input","emailMarketingConsent","marketingState"],"message":"no"}]}}}`
		}
		return ""
	}}
	l := newLinks(w.target(t, w.acme, m.reads, mapsConsent))
	res := l.must(t, saying(lockstep.Subscribed, 1))
	if res.Decision.Status != lockstep.StatusLinked || !res.Unheard.Equal(day(1).Truncate(time.Second)) {
		t.Errorf("got %+v", res)
	}
	refuse = false
	if l.must(t, saying(lockstep.Subscribed, 1)); len(m.sent("Consent")) != 1 {
		t.Errorf("sent %q", m.sent("Consent"))
	}
	id := l.must(t, saying(lockstep.Unsubscribed, 2)).Customer.ID
	w.wantConsent(t, "a newer word", id, "UNSUBSCRIBED", 2)
}

// A time ahead of Shopify's passes, and a customer that is gone is found to be.
func TestConsentComesTooEarly(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	l := newLinks(w.target(t, w.acme, mapsConsent))
	l.must(t, ada())
	p := saying(lockstep.Unsubscribed, 1)
	p.Consent.At = time.Now().Add(time.Hour)
	if _, err := l.sync(t, p); lockstep.KindOf(err) != lockstep.ErrTransient {
		t.Errorf("ahead of time: %v", err)
	}
	gone := `{"data":{"customerEmailMarketingConsentUpdate":{"userErrors":[{"code":"INVALID","field":["input","customerId"],"message":"Customer not found"}]}}}`
	m := &meter{answer: func(operation string) string {
		if operation == "Consent" {
			return gone
		}
		return ""
	}}
	target := w.target(t, w.acme, m.reads, mapsConsent)
	now := l.must(t, ada()).Customer
	if _, err := target.Update(t.Context(), now, target.Fit(saying(lockstep.Subscribed, 1).Customer())); lockstep.KindOf(err) != lockstep.ErrGone {
		t.Errorf("gone: %v", err)
	}
}

// A write whose answer is lost is looked for, and never sent again blindly.
func TestConsentAnswerIsLost(t *testing.T) {
	t.Parallel()
	for _, action := range []emulator.Action{emulator.ActionDropAfter, emulator.ActionTruncate, emulator.ActionDropBefore} {
		w := openWorld(t)
		m := &meter{}
		l := newLinks(w.target(t, w.acme, m.reads, mapsConsent))
		w.script(t, "acme mutation customerEmailMarketingConsentUpdate", emulator.Fault{Action: action})
		id := l.must(t, saying(lockstep.Subscribed, 1)).Customer.ID
		w.wantConsent(t, string(action), id, "SUBSCRIBED", 1)
		if at := m.repeated(); at != "" {
			t.Errorf("%s: %s was sent again without a look: %s", action, at, m.points())
		}
		w.only(t, 1)
	}
}

// What a webhook has read shows the consent too: our own write is no drift, the
// shop's newer word is none, and an older one is.
func TestConsentInACapture(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	target := w.target(t, w.acme, mapsConsent)
	l := newLinks(target)
	p := saying(lockstep.Unsubscribed, 3)
	id := l.must(t, p).Customer.ID
	for _, step := range []struct {
		state   string
		day     int
		drifted bool
	}{{"UNSUBSCRIBED", 3, false}, {"SUBSCRIBED", 5, false}, {"SUBSCRIBED", 2, true}} {
		at := day(step.day).Truncate(time.Second)
		if _, err := w.acme.EditCustomer(id, emulator.CustomerEdit{EmailConsent: &emulator.ShopConsent{State: step.state, OptInLevel: "SINGLE_OPT_IN", UpdatedAt: &at}}); err != nil {
			t.Fatal(err)
		}
		seen, err := target.Look(t.Context(), []string{id}, false)
		must(t, err)
		if got := engine.Drifted(target, p, l.byUser[p.ID], seen.Customers[0].Customer); got != step.drifted {
			t.Errorf("%s of day %d: drifted %t", step.state, step.day, got)
		}
	}
}

// Bulk work writes no consent, and what it shows is not as it should be: the worker,
// who goes on from there, writes it.
func TestConsentAfterBulkWork(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	target := w.target(t, w.acme, mapsConsent, func(o *shopify.Options) { o.Bucket = noLimit{} })
	must(t, defineBy(t, target))
	p := saying(lockstep.Subscribed, 1)
	line, err := target.Line(target.Fit(p.Customer()))
	must(t, err)
	op, err := target.StartImport(t.Context(), "lockstep_import_a", line)
	must(t, err)
	op, err = target.AwaitBulk(t.Context(), op.ID, ignore)
	must(t, err)
	made, shown := target.Exported(), target.Exported()
	for done, err := range made.Imported(t.Context(), op, 0) {
		must(t, errors.Join(err, done.Err))
	}
	shown.Want(lockstep.Query{UserID: p.ID, Email: p.Email})
	for r, err := range target.Records(t.Context(), exported(t, target, "lockstep_a"), 0) {
		must(t, err)
		shown.Add(r)
	}
	l := newLinks(target)
	for name, shop := range map[string]*shopify.Exported{"the import": made, "an export": shown} {
		if d, err := engine.Decide(t.Context(), shop, p, lockstep.Link{}, l.owners, ""); err != nil || d.Action != engine.Update {
			t.Errorf("after %s: %+v, %v", name, d, err)
		}
	}
	w.wantConsent(t, "the worker", l.must(t, p).Customer.ID, "SUBSCRIBED", 1)
	w.only(t, 1)
}

// Without a mapping nothing is asked for, either.
func TestConsentIsNotAskedFor(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	for name, tt := range map[string]struct {
		change func(*shopify.Options)
		shows  bool
	}{"mapped": {mapsConsent, true}, "not mapped": {func(*shopify.Options) {}, false}} {
		c := newLinks(w.target(t, w.acme, tt.change)).must(t, ada()).Customer
		if got := strings.HasSuffix(c.Consent.State, "SUBSCRIBED"); got != tt.shows {
			t.Errorf("%s: %+v", name, c.Consent)
		}
	}
}
