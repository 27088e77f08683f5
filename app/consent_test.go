package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/testdb"
)

func TestConsentSettings(t *testing.T) {
	t.Parallel()
	const one, two = "{shop: a.myshopify.com, access_token: t, consent: %A}", "{shop: b.myshopify.com, access_token: t, consent: %B}"
	for name, tt := range map[string]struct{ a, b, env, want string }{
		"none":            {},
		"one of two":      {a: "public_metadata.marketing"},
		"both":            {a: "unsafe_metadata.news", b: "unsafe_metadata.news"},
		"two places":      {a: "public_metadata.marketing", b: "public_metadata.news", want: "SHOPIFY_CONSENT of b.myshopify.com is another place"},
		"no place":        {a: "private_metadata.marketing", want: "SHOPIFY_CONSENT of a.myshopify.com must be public_metadata.KEY or unsafe_metadata.KEY"},
		"for no one shop": {env: "public_metadata.marketing", want: "SHOPIFY_CONSENT is for the shop of SHOPIFY_SHOP"},
	} {
		file := "shopify: [" + strings.ReplaceAll(one, "%A", `"`+tt.a+`"`) + ", " + strings.ReplaceAll(two, "%B", `"`+tt.b+`"`) + "]"
		c, err := load(t, map[string]string{"SHOPIFY_CONSENT": tt.env}, file, app.NeedDatabase)
		switch {
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		case tt.want == "" && (err != nil || c.Shops[0].Consent != tt.a || c.Shops[1].Consent != tt.b):
			t.Errorf("%s: %v, %v", name, c.Shops, err)
		}
	}
	c, err := load(t, map[string]string{"SHOPIFY_SHOP": "c.myshopify.com", "SHOPIFY_ACCESS_TOKEN": "t", "SHOPIFY_CONSENT": "public_metadata.marketing"}, "", app.NeedDatabase)
	if err != nil || c.Shops[0].Consent != "public_metadata.marketing" {
		t.Errorf("by the environment: %v, %v", c.Shops, err)
	}
}

// mapConsent starts Lockstep anew with a place mapped for acme.
func (w *shopWorld) mapConsent(place string) {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "lockstep.yaml")
	must(w.t, os.WriteFile(file, []byte(w.shops.ConfigYAML()+"    consent: "+place+"\n"), 0o600))
	w.setup.env["LOCKSTEP_CONFIG"] = file
	w.restart(nil)
	w.listenTo(w.shops.Shops()...)
}

// says has the application's server write down what the user says.
func (w *shopWorld) says(user string, word any) {
	w.t.Helper()
	_, err := w.clerk.UpdateUser(user, emulator.UserChange{PublicMetadata: map[string]any{"marketing": word}})
	must(w.t, err)
	w.delivered()
	w.settle()
}

func (w *shopWorld) wantConsent(when, user, state string) {
	w.t.Helper()
	if got := w.customerOf(user).EmailConsent.State; got != state {
		w.t.Errorf("%s: the shop holds %q, want %q", when, got, state)
	}
}

// A user says yes, which nobody mapped; then it is mapped, and a deep run learns
// it. The user changes their mind and back, the shopper unsubscribes in the shop,
// and a change of the name does not subscribe them again. What the shop tells of
// our own writes costs no write.
func TestConsentFromClerkToTheShop(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	u, _ := w.linked("ada")
	const route = "mutation customerEmailMarketingConsentUpdate"
	w.says(u.ID, true)
	w.wantConsent("not mapped", u.ID, "")
	w.mapConsent("public_metadata.marketing")
	_, err := w.command().Reconcile(t.Context(), app.ReconcileOptions{Deep: true})
	must(t, err)
	w.eventually("the word is known", `select exists (select from lockstep.consents where clerk_user_id = $1 and subscribed)`, u.ID)
	w.settle()
	w.wantConsent("mapped", u.ID, "SUBSCRIBED")
	w.says(u.ID, false)
	w.wantConsent("withdrawn", u.ID, "UNSUBSCRIBED")
	w.says(u.ID, "yes")
	w.wantConsent("a text", u.ID, "UNSUBSCRIBED")
	w.says(u.ID, nil)
	before := time.Now().Add(-time.Hour).UTC().Truncate(time.Second) // in one second a yes would not be newer
	w.edit(w.customerOf(u.ID).ID, emulator.CustomerEdit{EmailConsent: &emulator.ShopConsent{State: "UNSUBSCRIBED", OptInLevel: "SINGLE_OPT_IN", UpdatedAt: &before}})
	w.says(u.ID, true)
	w.wantConsent("given again", u.ID, "SUBSCRIBED")
	if n := w.requests(route); n != 3 {
		t.Errorf("%d writes of consent, want 3", n)
	}
	later := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	w.edit(w.customerOf(u.ID).ID, emulator.CustomerEdit{EmailConsent: &emulator.ShopConsent{State: "UNSUBSCRIBED", OptInLevel: "SINGLE_OPT_IN", UpdatedAt: &later}})
	w.settle()
	_, err = w.clerk.UpdateUser(u.ID, emulator.UserChange{LastName: new("King")})
	must(t, err)
	w.delivered()
	w.settle()
	w.wantConsent("withdrawn in the shop", u.ID, "UNSUBSCRIBED")
	if c := w.customerOf(u.ID); c.LastName != "King" || w.requests(route) != 3 {
		t.Errorf("%+v after %d writes of consent", c, w.requests(route))
	}
	w.wantCaptured(w.customerOf(u.ID).ID, map[string]string{"email_consent": "UNSUBSCRIBED"})
	if n := testdb.Query[int](t, w.pool, `select count(*) from information_schema.columns where table_schema = 'public' and table_name = 'profiles' and column_name ~ 'consent|subscribed'`); n != 0 {
		t.Error("the application's table has grown")
	}
}
