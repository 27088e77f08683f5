package shopify_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/shopify"
	"github.com/lockstephq/lockstep/targettest"
)

const (
	domain   = "acme.myshopify.com"
	owned    = "clerk"
	released = "clerk:deleted"
)

// world is an emulated Shopify with shops, the first of them acme.
type world struct {
	*emulator.Shopify
	acme *emulator.Shop
}

func openWorld(t testing.TB, others ...string) world {
	t.Helper()
	shops := []emulator.ShopSpec{{Domain: domain}}
	for _, name := range others {
		shops = append(shops, emulator.ShopSpec{Domain: name})
	}
	s, err := emulator.NewShopify(emulator.ShopifyOptions{Shops: shops, Seed: 1, SearchLag: -1})
	if err != nil {
		t.Fatal(err)
	}
	return serveWorld(t, s)
}

func serveWorld(t testing.TB, s *emulator.Shopify) world {
	t.Helper()
	server := httptest.NewServer(s)
	s.SetBaseURL(server.URL)
	t.Cleanup(func() { server.Close(); s.Close() })
	return world{s, s.Shop(domain)}
}

// target is a process that works on a shop.
func (w world) target(t testing.TB, shop *emulator.Shop, change ...func(*shopify.Options)) *shopify.Target {
	t.Helper()
	o := shopify.Options{Shop: shop.Domain(), Tokens: shopify.StaticToken(shop.AccessToken()), APIURL: w.APIURL(), Timeout: 30 * time.Second}
	for _, f := range change {
		f(&o)
	}
	target, err := shopify.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// noLimit counts nothing, for tests that are not about points.
type noLimit struct{}

func (noLimit) Take(context.Context, string, float64, bool) (time.Duration, error) { return 0, nil }
func (noLimit) Learn(context.Context, string, float64, float64, float64, float64) error {
	return nil
}

// total is how many requests a route of acme had.
func (w world) total(route string) int { return w.Faults.Total(w.acme.Name() + " " + route) }

// merchant is the shop seen by those who work in it.
type merchant struct {
	shop      *emulator.Shop
	namespace string
	define    func() error // makes the mark's definition, unknown to the target
}

func (m merchant) Put(_ context.Context, r targettest.Record) (targettest.Record, error) {
	spec := emulator.CustomerSpec{
		Email: r.Email, Phone: r.Phone, FirstName: r.FirstName, LastName: r.LastName,
		State: state(r.Account), VerifiedEmail: !r.Account, Tags: tagsOf(r),
	}
	if note, ok := r.Foreign["note"]; ok {
		spec.Note = &note
	}
	if city, ok := r.Foreign["city"]; ok {
		spec.Addresses = []emulator.ShopAddress{{City: city, CountryCode: "DK"}}
	}
	if r.UserID != "" {
		if err := m.define(); err != nil {
			return targettest.Record{}, err
		}
		spec.Metafields = []emulator.ShopMetafield{{Namespace: m.namespace, Key: "clerk_user_id", Type: "id", Value: r.UserID}}
		spec.Tags = append(spec.Tags, owned)
	}
	c, err := m.shop.PutCustomer(spec)
	if err != nil && strings.Contains(err.Error(), "already assigned") {
		return targettest.Record{}, errors.Join(errors.ErrUnsupported, err)
	}
	return record(c), err
}

// state makes an account of the older kind, with a password and an e-mail that
// nobody proved; what Shopify itself calls one may well be a guest's.
func state(account bool) string {
	if account {
		return emulator.CustomerEnabled
	}
	return emulator.CustomerDisabled
}

func tagsOf(r targettest.Record) []string {
	if r.Foreign["tags"] == "" {
		return []string{}
	}
	return strings.Split(r.Foreign["tags"], " ")
}

func (m merchant) Get(_ context.Context, id string) (targettest.Record, bool, error) {
	for _, c := range m.shop.Customers() {
		if c.ID == id {
			return record(c), true, nil
		}
	}
	return targettest.Record{}, false, nil
}

func (m merchant) Live(context.Context) (all []targettest.Record, err error) {
	for _, c := range m.shop.Customers() {
		all = append(all, record(c))
	}
	return all, nil
}

func (m merchant) Edit(_ context.Context, r targettest.Record) error {
	is, verified := state(r.Account), !r.Account
	_, err := m.shop.EditCustomer(r.ID, emulator.CustomerEdit{
		Email: &r.Email, Phone: &r.Phone, FirstName: &r.FirstName, LastName: &r.LastName, State: &is, VerifiedEmail: &verified,
	})
	return err
}

func (m merchant) Delete(_ context.Context, id string) error { return m.shop.DeleteCustomer(id) }

// record is a customer as the exam looks at it. Owned tags are not foreign.
func record(c emulator.ShopCustomer) (r targettest.Record) {
	r.ID, r.Email, r.Phone, r.FirstName, r.LastName = c.ID, c.Email, c.Phone, c.FirstName, c.LastName
	r.UserID, r.Account = markOf(c), c.State == emulator.CustomerEnabled && !c.VerifiedEmail
	r.Foreign = map[string]string{}
	tags := slices.DeleteFunc(slices.Clone(c.Tags), func(tag string) bool { return tag == owned || tag == released })
	if len(tags) > 0 {
		r.Foreign["tags"] = strings.Join(tags, " ")
	}
	if c.Note != nil {
		r.Foreign["note"] = *c.Note
	}
	if len(c.Addresses) > 0 {
		r.Foreign["city"] = c.Addresses[0].City
	}
	whole, err := json.Marshal(c)
	if err != nil {
		panic(err) // it is a struct of texts
	}
	r.Version = fmt.Sprintf("%x", sha256.Sum256(whole))
	return r
}

func markOf(c emulator.ShopCustomer) string {
	for _, m := range c.Metafields {
		if m.Key == "clerk_user_id" {
			return m.Value
		}
	}
	return ""
}
