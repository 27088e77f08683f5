package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
)

// The demo's shops; the second one fails half the time.
const (
	steadyShop  = "steady"
	failingShop = "failing"
)

// startShops opens the shops and says how Lockstep reaches them.
func (d *demo) startShops(ctx context.Context) (configs []app.ShopConfig, err error) {
	d.shopify, err = emulator.NewShopify(emulator.ShopifyOptions{Shops: []emulator.ShopSpec{
		{Domain: steadyShop, Plan: emulator.PlanPlus}, {Domain: failingShop, Plan: emulator.PlanPlus}}})
	if err != nil {
		return nil, err
	}
	d.later(func() error { d.shopify.Close(); return nil })
	url, stop, err := serveEmulator(ctx, d.shopify, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d.later(func() error { stop(); return nil })
	d.shopify.SetBaseURL(url)
	for _, s := range d.shopify.Shops() {
		configs = append(configs, app.ShopConfig{Shop: s.Domain(), AccessToken: s.AccessToken(), APIURL: d.shopify.APIURL(), Tags: []string{"clerk"}})
	}
	return configs, d.shopify.Faults.Set(shopFaults()...)
}

// shopFaults make a call to the failing shop fail with probability one half:
// refused, lost on the way there, or lost on the way back. The first rule that
// strikes decides, so each rate is of what the ones before it let pass.
func shopFaults() []emulator.Rule {
	failing := failingShop + " *"
	return []emulator.Rule{
		{Route: failing, Rate: 0.25, Fault: emulator.Fault{Action: emulator.ActionRefuse, Status: 503}},
		{Route: failing, Rate: 0.16, Fault: emulator.Fault{Action: emulator.ActionDropBefore}},
		{Route: failing, Rate: 0.20, Fault: emulator.Fault{Action: emulator.ActionDropAfter}},
	}
}

// seedShops puts a guest with an order into both shops, where Medusa has one,
// and whoever else has the person's number.
func (d *demo) seedShops(p *person) error {
	p.inShop = map[string]string{}
	for _, s := range d.shopify.Shops() {
		note := "kept"
		if p.guest != "" && !p.account {
			c, err := s.PutCustomer(emulator.CustomerSpec{Email: fmt.Sprintf(p.guest, strings.TrimPrefix(p.email, "user")),
				Note: &note, Tags: []string{"vip"}, Orders: 3, Addresses: []emulator.ShopAddress{{Address1: "kept", CountryCode: "DK"}}})
			if err != nil {
				return err
			}
			p.inShop[s.Name()] = c.ID
		}
		if p.phoneTaken {
			if _, err := s.PutCustomer(emulator.CustomerSpec{Email: "holder." + p.email, Phone: phoneOf(p)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// phoneOf is a number of the range kept for fiction: valid, and nobody's.
func phoneOf(p *person) string { return fmt.Sprintf("+1202555%04d", 100+p.n) }

// deletedInShops takes the person's customer out of both shops.
func (d *demo) deletedInShops(p *person) error {
	for _, s := range d.shopify.Shops() {
		c, err := s.CustomerByEmail(p.email)
		if err != nil {
			return err
		}
		if err := s.DeleteCustomer(c.ID); err != nil {
			return err
		}
	}
	return nil
}

// mergeInShops merges the person's customer away, into an older one that takes
// over the e-mail.
func mergeInShops(ctx context.Context, d *demo, p *person) error {
	for _, s := range d.shopify.Shops() {
		kept, err := s.PutCustomer(emulator.CustomerSpec{Email: "older." + p.email, Orders: 7})
		if err != nil {
			return err
		}
		ours, err := s.CustomerByEmail(p.email)
		if err != nil {
			return err
		}
		if kept, err = s.MergeCustomers(ours.ID, kept.ID); err != nil {
			return err
		}
		if _, err := s.EditCustomer(kept.ID, emulator.CustomerEdit{Email: &p.email}); err != nil {
			return err
		}
		p.inShop[s.Name()] = kept.ID
	}
	return renameTwice(ctx, d, p)
}

// checkShops asks each shop about each person, and prints a line per shop and
// expectation.
func (d *demo) checkShops(_ context.Context, people []*person) (failed int, err error) {
	for _, s := range d.shopify.Shops() {
		marked := map[string][]emulator.ShopCustomer{}
		for _, c := range s.Customers() {
			if user := markOf(c); user != "" {
				marked[user] = append(marked[user], c)
			}
		}
		for _, e := range []struct {
			title string
			right func(p *person, own []emulator.ShopCustomer) bool
		}{
			{"users have one customer each, with the right e-mail", func(p *person, own []emulator.ShopCustomer) bool { return rightCount(p, own) }},
			{"guests kept their id, orders, note, tags and addresses", func(p *person, own []emulator.ShopCustomer) bool { return sameGuest(s, p, own) }},
			{"numbers are valid, or left out", func(p *person, own []emulator.ShopCustomer) bool { return rightPhone(p, own) }},
		} {
			var wrong []string
			for _, p := range people {
				if !e.right(p, marked[p.id]) {
					wrong = append(wrong, p.id)
				}
			}
			failed += d.line(len(wrong) == 0, fmt.Sprintf("%-8s %s", s.Name(), e.title), strings.Join(wrong, " "))
		}
	}
	return failed, nil
}

// markOf is the user that a customer carries.
func markOf(c emulator.ShopCustomer) string {
	for _, m := range c.Metafields {
		if m.Key == "clerk_user_id" {
			return m.Value
		}
	}
	return ""
}

func rightCount(p *person, own []emulator.ShopCustomer) bool {
	if p.leaves || p.unproved && p.guest != "" {
		return len(own) == 0
	}
	email := strings.ToLower(p.email)
	if p.unproved || p.noEmail {
		email = ""
	}
	return len(own) == 1 && strings.ToLower(own[0].Email) == email && slices.Contains(own[0].Tags, "clerk")
}

func sameGuest(s *emulator.Shop, p *person, own []emulator.ShopCustomer) bool {
	id := p.inShop[s.Name()]
	switch {
	case id == "":
		return true
	case len(own) > 0 && own[0].ID != id:
		return false
	case p.guest == "":
		return len(own) == 1 && own[0].Orders == 7 // merged
	}
	c, err := s.Customer(id)
	return err == nil && c.Orders == 3 && c.Note != nil && *c.Note == "kept" && slices.Contains(c.Tags, "vip") && len(c.Addresses) == 1
}

func rightPhone(p *person, own []emulator.ShopCustomer) bool {
	for _, c := range own {
		want := ""
		if p.phone && !p.phoneTaken {
			want = phoneOf(p)
		}
		if c.Phone != want {
			return false
		}
	}
	return true
}
