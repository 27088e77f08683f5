package shopify_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/shopify"
)

// life has a user's customer created or adopted, changed in every field, found
// untidy, released and given to the next user.
func life(t *testing.T, l *links, edit func(id string)) (id string) {
	t.Helper()
	p := ada()
	id = l.must(t, p).Customer.ID
	p.Email, p.FirstName, p.LastName, p.Phone, p.PhoneVerified = "ada@example.net", "Augusta", "King", "+45 20 12 34 56", true
	l.must(t, p)
	edit(id)
	l.must(t, p)
	p.DeletedAt = time.UnixMilli(1)
	if res := l.must(t, p); res.Decision.Status != lockstep.StatusReleased {
		t.Errorf("released: %+v", res)
	}
	return id
}

// Own tags are added and removed one by one; others' tags are never lost, not
// even those that look like ours.
func TestTagsComeAndGoOneByOne(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	m := &meter{}
	others := []string{"Wholesale", "clerk", "clerk:vip", "lockstep:linked2"}
	guest := w.put(t, emulator.CustomerSpec{Email: "ada@example.test", Tags: others, Orders: 1})
	l := newLinks(w.target(t, w.acme, m.reads, func(o *shopify.Options) { o.Tags = []string{"lockstep:linked", "lockstep:eu"} }))
	check := func(when, id string, own ...string) {
		t.Helper()
		want := slices.Concat(others, own)
		slices.SortFunc(want, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
		if got := w.customer(t, id).Tags; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	id := life(t, l, func(id string) {
		check("linked", id, "lockstep:linked", "lockstep:eu")
		others = append(others, "vip")
		tags := slices.Concat(others, []string{"lockstep:eu"}) // and one of ours taken off
		if _, err := w.acme.EditCustomer(id, emulator.CustomerEdit{Tags: &tags}); err != nil {
			t.Fatal(err)
		}
		m.reset()
		l.must(t, lockstep.Profile{ID: "user_ada", Email: "ada@example.net", EmailVerified: true})
		check("put right", id, "lockstep:linked", "lockstep:eu")
		if sent := m.sent("TagsAdd"); len(sent) != 1 || !strings.Contains(sent[0], `"tags":["lockstep:linked"]`) {
			t.Errorf("added %q, where one was missing", sent)
		}
	})
	check("released", id, released)
	if sent := m.sent("TagsRemove"); len(sent) != 1 || !strings.Contains(sent[0], `["lockstep:linked","lockstep:eu"]`) {
		t.Errorf("removed %q", sent)
	}
	if id != guest.ID {
		t.Errorf("the guest was not adopted")
	}
}

// Consent to marketing is given by mapping only: without one it is never sent,
// neither for a new customer nor for one who gave or withdrew it. Nor is anything
// else sent that Lockstep does not own.
func TestConsentIsNeverSent(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 4, 25, 1, 0, 0, 0, time.UTC)
	for name, consent := range map[string]*emulator.ShopConsent{
		"a new customer": nil, "subscribed": {State: "SUBSCRIBED", OptInLevel: "CONFIRMED_OPT_IN", UpdatedAt: &at}, "unsubscribed": {State: "UNSUBSCRIBED", OptInLevel: "SINGLE_OPT_IN", UpdatedAt: &at},
	} {
		w := openWorld(t)
		m := &meter{}
		want := emulator.ShopConsent{}
		if consent != nil {
			want = *consent
			w.put(t, emulator.CustomerSpec{Email: "ada@example.test", EmailConsent: want})
		}
		l := newLinks(w.target(t, w.acme, m.reads, func(o *shopify.Options) { o.Tags = []string{owned} }))
		id := life(t, l, func(id string) {
			if got := w.customer(t, id).EmailConsent; got != want {
				t.Errorf("%s: %+v, want %+v", name, got, want)
			}
		})
		if got := w.customer(t, id); got.EmailConsent != want || got.SMSConsent != (emulator.ShopConsent{}) {
			t.Errorf("%s, released: %+v", name, got)
		}
		for _, sent := range m.asked {
			if isRead(sent.operation) || sent.operation == "Define" {
				continue
			}
			for _, other := range []string{"onsent", "arketing", "ddress\"", "ddresses", "note", "locale", "taxExempt"} {
				if strings.Contains(sent.variables, other) {
					t.Errorf("%s: %s sends %s: %s", name, sent.operation, other, sent.variables)
				}
			}
		}
		if n := w.total("mutation *onsent*"); n > 0 || w.total("mutation customerSet") == 0 {
			t.Errorf("%s: %d mutations of consent", name, n)
		}
	}
}

// One person, several shops: a customer in each, by the shop's own id, and each
// shop decides for itself whether it is a guest's.
func TestOnePersonInSeveralShops(t *testing.T) {
	t.Parallel()
	w := openWorld(t, "globex", "initech")
	guest, err := w.Shop("globex").PutCustomer(emulator.CustomerSpec{Email: "ada@example.test", Orders: 2})
	must(t, err)
	if _, err = w.Shop("initech").PutCustomer(emulator.CustomerSpec{Email: "ada@example.test", State: emulator.CustomerEnabled}); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, shop := range w.Shops() {
		res := newLinks(w.target(t, shop)).must(t, ada())
		got[shop.Name()] = string(res.Decision.Action)
		if shop.CustomerCount() != 1 || shop.Name() == "globex" && res.Customer.ID != guest.ID {
			t.Errorf("%s: %d customers, linked to %s", shop.Name(), shop.CustomerCount(), res.Customer.ID)
		}
	}
	if got["acme"] != "create" || got["globex"] != "adopt" || got["initech"] != "conflict" {
		t.Errorf("got %v", got)
	}
}
