package app_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/app"
)

func TestShopsOfFileAndEnvironment(t *testing.T) {
	t.Parallel()
	c, err := load(t, map[string]string{"SHOPIFY_SHOP": "Acme.myshopify.com", "SHOPIFY_ACCESS_TOKEN": "shpat_env", "TOKEN": "shpat_file"}, `
shopify:
  - {shop: globex.myshopify.com, access_token: "${TOKEN}", namespace: custom, tags: [clerk, vip]}
  - {shop: initech.myshopify.com, client_id: id, client_secret: shpss_0123456789abcdef0123}
`, app.NeedDatabase)
	must(t, err)
	var got []string
	for _, s := range c.Shops {
		got = append(got, strings.Join([]string{s.Shop, s.AccessToken, s.ClientID, s.Namespace, strings.Join(s.Tags, "+")}, " "))
	}
	want := []string{"globex.myshopify.com shpat_file  custom clerk+vip", "initech.myshopify.com  id  ", "acme.myshopify.com shpat_env   "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestShopSettingsThatAreWrong(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ file, want string }{
		"no list":            {"shopify: acme.myshopify.com", "shopify must be a list"},
		"unknown name":       {"shopify: [{shop: a.myshopify.com, acess_token: shpat_secret}]", "shopify must be a list"},
		"another domain":     {"shopify: [{shop: shop.example.com, access_token: shpat_secret}]", "permanent address"},
		"twice":              {"shopify: [{shop: a.myshopify.com, access_token: shpat_secret}, {shop: A.myshopify.com, access_token: shpat_secret}]", "twice"},
		"no token":           {"shopify: [{shop: a.myshopify.com, client_id: id}]", "SHOPIFY_ACCESS_TOKEN of a.myshopify.com"},
		"no policy":          {"shopify: [{shop: a.myshopify.com, access_token: shpat_secret, on_delete: burn}]", "on_delete of a.myshopify.com must be keep, anonymise or delete"},
		"unset in the shell": {"shopify: [{shop: a.myshopify.com, access_token: \"${NOT_SET}\"}]", "NOT_SET"},
	} {
		_, err := load(t, nil, tt.file, app.NeedDatabase)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "shpat_secret") {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// TestOnDelete: a shop's own policy wins over the one for all shops, and keeping is
// the default. The policies reach the targets by their names.
func TestOnDelete(t *testing.T) {
	t.Parallel()
	const file = `
shopify:
  - {shop: globex.myshopify.com, access_token: t, on_delete: delete}
  - {shop: initech.myshopify.com, access_token: t}
`
	for all, want := range map[string]string{"": "delete keep", "anonymise": "delete anonymise"} {
		c, err := load(t, map[string]string{"SHOPIFY_ON_DELETE": all}, file, app.NeedDatabase)
		must(t, err)
		if got := string(c.Shops[0].OnDelete + " " + c.Shops[1].OnDelete); got != want || c.MedusaOnDelete != lockstep.OnDeleteKeep {
			t.Errorf("%q: %s and %s, want %s and keep", all, got, c.MedusaOnDelete, want)
		}
	}
	c, err := load(t, map[string]string{"MEDUSA_ON_DELETE": "delete"}, "", app.NeedDatabase)
	if must(t, err); c.MedusaOnDelete != lockstep.OnDeleteDelete {
		t.Errorf("MEDUSA_ON_DELETE: %s", c.MedusaOnDelete)
	}
}

func TestShopPrintsNoSecret(t *testing.T) {
	t.Parallel()
	c := app.ShopConfig{Shop: "a.myshopify.com", AccessToken: "shpat_secret", ClientSecret: "shpat_secret", WebhookSecret: "shpat_secret"}
	inJSON, err := json.Marshal(c)
	must(t, err)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", c, c, c, c), string(inJSON)} {
		if strings.Contains(text, "secret") || !strings.Contains(text, "a.myshopify.com") {
			t.Errorf("prints %s", text)
		}
	}
}
