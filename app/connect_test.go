package app_test

import (
	"strings"
	"testing"

	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// quiet ends the webhooks that shopWorld has every shop send: a shop's own
// subscriptions are to tell.
func (w *shopWorld) quiet() {
	for _, s := range w.shops.Shops() {
		s.SetWebhookURL("")
	}
}

// command is a Lockstep beside the one that serves, as the commands open one.
func (w *shopWorld) command() *app.App {
	w.t.Helper()
	a := w.open(nil)
	w.t.Cleanup(a.Close)
	return a
}

func topicsOf(w *shopWorld, a *app.App, shop string) int {
	w.t.Helper()
	reports, err := a.Shops(w.t.Context())
	must(w.t, err)
	for _, r := range reports {
		if r.Shop == shop {
			return len(r.Live.Topics)
		}
	}
	return -1
}

func TestConnectListDisconnect(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, []emulator.ShopSpec{{Domain: "acme", Plan: emulator.PlanPlus}, {Domain: "globex", Plan: emulator.PlanPlus}})
	w.quiet()
	a := w.command()
	for _, added := range []int{12, 0} { // safe to repeat
		done, err := a.ConnectShops(t.Context(), "acme.myshopify.com", w.url)
		must(t, err)
		if len(done) != 1 || len(done[0].Subscribed.Added) != added || done[0].Endpoint != w.url+"/webhooks/shopify" {
			t.Errorf("%+v, want %d added", done, added)
		}
	}
	u, c := w.linked("ada")
	w.edit(c.ID, emulator.CustomerEdit{FirstName: new("Wrong")})
	w.eventually("the shop's own subscriptions tell", `select count(*) > 0 from lockstep.shopify_customers where shopify_customer_id = $1`, c.ID)
	w.settle()
	reports, err := a.Shops(t.Context())
	must(t, err)
	if len(reports) != 2 {
		t.Fatalf("%d shops", len(reports))
	}
	r, other := reports[0], reports[1]
	if r.Shop != "acme.myshopify.com" || r.Token != "static" || r.Endpoint == "" || len(r.Live.Topics) != 12 || r.LastWebhook == nil || r.Customers != 1 ||
		r.Capacity != 20000 || r.Rate != 1000 || r.Live.Plan != "Shopify Plus" || r.Live.Served != "2026-10" || len(r.Live.Scopes) != 5 || r.PausedAt != nil {
		t.Errorf("acme: %+v", r)
	}
	if other.Endpoint != "" || len(other.Live.Missing) != 12 || other.LastWebhook != nil {
		t.Errorf("globex: %+v", other)
	}

	gone, err := a.DisconnectShop(t.Context(), "acme.myshopify.com", false)
	if err != nil || gone.Unsubscribed != 12 || gone.Erased != nil {
		t.Errorf("disconnect: %+v, %v", gone, err)
	}
	must(t, w.acme.DeleteCustomer(c.ID))
	later := w.create("later")
	w.eventually("globex goes on", `select coalesce((select status = 'linked' and applied = desired from lockstep.customer_links
		where clerk_user_id = $1 and target = 'shopify:globex.myshopify.com'), false)`, later.ID)
	if w.acme.CustomerCount() != 0 || testdb.Query[string](t, w.pool, `select customer_id from lockstep.customer_links where clerk_user_id = $1 and target = $2`, u.ID, acme) != c.ID {
		t.Errorf("work went on in a shop that was disconnected, or its data was not kept")
	}
	body := `{"id":7}`
	if got := w.postShopify(signed(w.acme.Secrets()[0], w.acme.Domain(), "customers/update", "late", body), body); got.status != 200 || !strings.Contains(got.body, "ignored") {
		t.Errorf("a webhook of a disconnected shop: %+v", got)
	}

	_, err = a.ConnectShops(t.Context(), "acme.myshopify.com", w.url)
	must(t, err)
	w.eventually("what waited is done", `select coalesce((select status = 'linked' and applied = desired from lockstep.customer_links
		where clerk_user_id = $1 and target = $2), false)`, later.ID, acme)

	gone, err = a.DisconnectShop(t.Context(), "acme.myshopify.com", true)
	if err != nil || gone.Erased["customer_links"] != 2 || gone.Erased["shopify_customers"] == 0 {
		t.Errorf("drop: %+v, %v", gone, err)
	}
	if n := testdb.Query[int](t, w.pool, `select (select count(*) from lockstep.shopify_customers) + (select count(*) from lockstep.history where target = $1)
		+ (select count(*) from lockstep.customer_links where target = $1)`, acme); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if n := testdb.Query[int](t, w.pool, `select count(*) from lockstep.customer_links where target <> $1`, acme); n != 2 {
		t.Errorf("%d links to the other shop, want 2", n)
	}
}

func TestConnectRefusals(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, []emulator.ShopSpec{{Domain: "acme"}, {Domain: "globex"}, {Domain: "initech"}})
	w.quiet()
	a := w.command()
	for _, tt := range []struct{ shop, url, want string }{
		{"", "", "LOCKSTEP_PUBLIC_URL"}, {"", "http://lockstep.example.com", "https://"}, {"unknown.myshopify.com", w.url, "not in the settings"},
	} {
		if _, err := a.ConnectShops(t.Context(), tt.shop, tt.url); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	w.acme.Revoke()
	w.shops.Shop("globex").SetScopes("read_customers")
	done, err := a.ConnectShops(t.Context(), "", w.url)
	for _, want := range []string{"acme.myshopify.com: ", "401", "globex.myshopify.com: ", "write_customers"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if len(done) != 3 || done[0].Shop+done[1].Shop != "" || done[2].Shop != "initech.myshopify.com" || topicsOf(w, a, "initech.myshopify.com") != 12 {
		t.Errorf("the shop in good order is not connected: %+v", done)
	}
}
