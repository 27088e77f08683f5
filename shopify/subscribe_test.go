package shopify_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/shopify"
)

const here = "https://lockstep.example.com/webhooks/shopify"

func subscribed(t *testing.T, target *shopify.Target) (all []string) {
	t.Helper()
	list, err := target.Subscriptions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		all = append(all, s.Topic+" "+s.URI)
	}
	slices.Sort(all)
	return all
}

func count(s shopify.Subscribed) string {
	return fmt.Sprintf("%d added, %d corrected, %d kept, skipped %v", len(s.Added), len(s.Corrected), len(s.Kept), s.Skipped)
}

// Subscribing may be repeated: it adds, corrects, and removes nothing of others.
func TestSubscribe(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	target := w.target(t, w.acme)
	step := func(endpoint, want string) {
		t.Helper()
		done, err := target.Subscribe(t.Context(), endpoint)
		if got := count(done); err != nil || got != want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
	if _, err := target.Subscribe(t.Context(), "https://erp.example.com/hooks"); err != nil { // another part of the same app
		t.Fatal(err)
	}
	foreign := len(subscribed(t, target))
	step(here, "12 added, 0 corrected, 0 kept, skipped []")
	step(here, "0 added, 0 corrected, 12 kept, skipped []")
	if r := target.Inspect(t.Context(), here); len(r.Missing) > 0 || len(r.Topics) != 12 {
		t.Errorf("missing %v", r.Missing)
	}
	moved := strings.Replace(here, "lockstep.", "new.", 1)
	if r := target.Inspect(t.Context(), moved); len(r.Missing) != 12 {
		t.Errorf("at another address only %v are missing", r.Missing)
	}
	step(moved, "0 added, 12 corrected, 0 kept, skipped []")
	if n := len(subscribed(t, target)); n != foreign+12 {
		t.Errorf("%d subscriptions, want %d of others and 12", n, foreign)
	}
	if n, err := target.Unsubscribe(t.Context(), moved); n != 12 || err != nil {
		t.Errorf("ended %d, %v", n, err)
	}
	if n, err := target.Unsubscribe(t.Context(), ""); n != 0 || err != nil {
		t.Errorf("ended %d more, %v", n, err)
	}
	if n := len(subscribed(t, target)); n != foreign {
		t.Errorf("%d subscriptions of others are left, want %d", n, foreign)
	}
}

func TestSubscribeWithoutMergeScope(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	w.acme.SetScopes("read_customers", "write_customers")
	target := w.target(t, w.acme)
	done, err := target.Subscribe(t.Context(), here)
	if got := count(done); err != nil || got != "11 added, 0 corrected, 0 kept, skipped [customers/merge]" {
		t.Errorf("%s, %v", got, err)
	}
	if r := target.Inspect(t.Context(), here); len(r.Missing) > 0 || findings(r.Findings) != "" {
		t.Errorf("missing %v: %s", r.Missing, findings(r.Findings))
	}
}

func findings(all []shopify.Finding) string {
	var wrong []string
	for _, f := range all {
		if f.Problem != "" {
			wrong = append(wrong, fmt.Sprintf("%s(%t): %s", f.Check, f.Stops, f.Problem))
		}
	}
	return strings.Join(wrong, " | ")
}

func TestInspect(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		harm  func(*emulator.Shop)
		want  []string
		state lockstep.FindingState
	}{
		"a revoked token":        {(*emulator.Shop).Revoke, []string{"access(true)", "401", "set its new token"}, lockstep.FindingFailed},
		"a frozen shop":          {func(s *emulator.Shop) { s.SetStatus(402) }, []string{"access(true)", "402", "owner"}, lockstep.FindingFailed},
		"an outage":              {func(s *emulator.Shop) { s.SetStatus(503) }, []string{"access(false)", "503"}, lockstep.FindingNotChecked},
		"a missing scope":        {func(s *emulator.Shop) { s.SetScopes("read_customers", "read_customer_merge") }, []string{"scopes(true)", "write_customers", "grant it"}, lockstep.FindingFailed},
		"hidden data":            {func(s *emulator.Shop) { s.SetCustomerData(false) }, []string{"customer data(true)", "level 2"}, lockstep.FindingFailed},
		"vanished webhooks":      {func(s *emulator.Shop) { s.DropSubscriptions() }, []string{"webhooks(false)", "shopify connect --shop acme.myshopify.com"}, lockstep.FindingWarning},
		"nothing, in good order": {func(*emulator.Shop) {}, nil, ""},
	} {
		w := openWorld(t)
		for i := range 3 {
			w.put(t, emulator.CustomerSpec{Email: fmt.Sprintf("g%d@example.test", i)})
		}
		target := w.target(t, w.acme)
		if _, err := target.Subscribe(t.Context(), here); err != nil {
			t.Fatal(err)
		}
		tt.harm(w.acme)
		got := findings(target.Inspect(t.Context(), "").Findings)
		for _, want := range tt.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q does not say %q", name, got, want)
			}
		}
		wrong := slices.DeleteFunc(target.Examine(t.Context()), func(f lockstep.Finding) bool { return f.State == lockstep.FindingOK })
		if (len(wrong) == 0) != (tt.state == "") || len(wrong) > 0 && (wrong[0].State != tt.state || wrong[0].Detail == "") {
			t.Errorf("%s: doctor finds %+v, want %q", name, wrong, tt.state)
		}
		if (got == "") != (tt.want == nil) || strings.Contains(got, "|") {
			t.Errorf("%s: %q", name, got)
		}
		if strings.Contains(got, "g0@") || strings.Contains(got, w.acme.AccessToken()) {
			t.Errorf("%s: %q tells too much", name, got)
		}
	}
}

// An API version that fell forward works on, and is named.
func TestInspectVersion(t *testing.T) {
	t.Parallel()
	s, err := emulator.NewShopify(emulator.ShopifyOptions{Shops: []emulator.ShopSpec{{Domain: domain}}, Versions: []string{"2027-10"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	w := serveWorld(t, s)
	r := w.target(t, w.acme).Inspect(t.Context(), "")
	if got := findings(r.Findings); r.Served != "2027-10" || !strings.Contains(got, "version(false)") || !strings.Contains(got, "upgrade lockstep") {
		t.Errorf("served %s: %s", r.Served, got)
	}
	if _, stops := r.Problems(); stops != nil {
		t.Errorf("it stops the work: %v", stops)
	}
}

func TestEndpoint(t *testing.T) {
	t.Parallel()
	for public, want := range map[string]string{
		"https://Lockstep.example.com": here, " https://lockstep.example.com/ ": here, here: here,
		"https://example.com/lockstep/": "https://example.com/lockstep/webhooks/shopify", "http://127.0.0.1:8080": "http://127.0.0.1:8080/webhooks/shopify",
		"http://lockstep.example.com": "", "lockstep.example.com": "", "": "", "ftp://example.com": "", "https://a:b@example.com": "", "https://example.com/?x=1": "", "https://": "",
	} {
		got, err := shopify.Endpoint(public)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", public, got, err, want)
		}
	}
}

// A look by ids, and what it proves of the access to fields.
func TestLook(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	target := w.target(t, w.acme)
	a := w.put(t, emulator.CustomerSpec{Email: "a@example.test", Tags: []string{"vip"}})
	b := w.put(t, emulator.CustomerSpec{Phone: "+4520123456"})
	got, err := target.Look(t.Context(), []string{b.ID, "gid://shopify/Customer/1", a.ID}, false)
	if err != nil || len(got.Customers) != 2 || got.Shown != (lockstep.Fields{Email: true, Phone: true}) {
		t.Fatalf("%+v, %v", got, err)
	}
	if c := got.Customers[1]; c.ID != a.ID || c.Email != "a@example.test" || c.Tags[0] != "vip" || c.UpdatedAt.IsZero() || c.NothingVisible {
		t.Errorf("%+v", c)
	}
	got, err = target.Look(t.Context(), []string{b.ID}, false)
	if err != nil || got.Shown.Email {
		t.Errorf("an e-mail is shown by a customer without one: %+v, %v", got.Shown, err)
	}
	got, err = target.Look(t.Context(), []string{b.ID}, true)
	if err != nil || !got.Shown.Email {
		t.Errorf("the shop's other customers prove nothing: %+v, %v", got.Shown, err)
	}
	if _, err := target.Look(t.Context(), make([]string, 251), false); lockstep.KindOf(err) != lockstep.ErrInvalid {
		t.Errorf("251 ids: %v", err)
	}
	if _, err := target.Look(t.Context(), []string{"gid://shopify/Order/1"}, false); lockstep.KindOf(err) != lockstep.ErrInvalid {
		t.Errorf("an order: %v", err)
	}
}
