package emulator

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// ask makes a request to a control route of Shopify's.
func ask[T any](t *testing.T, s *Shopify, method, path, body string) T {
	t.Helper()
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequest(method, shopPrefix+path, strings.NewReader(body)))
	if rec.Code != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, rec.Code, rec.Body)
	}
	return decode[T](t, rec.Body.Bytes())
}

func askStatus(s *Shopify, method, path, body string) int {
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequest(method, shopPrefix+path, strings.NewReader(body)))
	return rec.Code
}

func number(id string) string { return id[strings.LastIndex(id, "/")+1:] }

func TestControlShopCustomers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{SearchLag: -1})
	c := ask[ShopCustomer](t, w.s, "POST", "acme/customers", `{"email":"ada@example.com","verified_email":false,"tags":["vip"],"addresses":[{"address1":"1 Example Street"}]}`)
	path := "acme.myshopify.com/customers/" + number(c.ID)
	edited := ask[ShopCustomer](t, w.s, "PATCH", path, `{"verified_email":true,"first_name":"Ada","note":""}`)
	w.equal("edited", words(edited.VerifiedEmail, edited.FirstName, edited.Note != nil, edited.Tags), "true Ada true [vip]")
	w.equal("by e-mail", ask[ShopCustomer](t, w.s, "GET", "acme/customers?email=ADA@example.com", "").ID, c.ID)
	w.equal("one", ask[ShopCustomer](t, w.s, "GET", path, "").ID, c.ID)
	w.equal("orders", ask[ShopCustomer](t, w.s, "POST", path+"/orders", "").Orders, 1)
	w.equal("with orders", askStatus(w.s, "DELETE", path, ""), 422)
	other := ask[ShopCustomer](t, w.s, "POST", "acme/customers", `{"first_name":"Other"}`)
	kept := ask[ShopCustomer](t, w.s, "POST", "acme/customers/"+number(other.ID)+"/merge", `{"into":"`+c.ID+`"}`)
	w.equal("kept", kept.ID, c.ID)
	list := ask[map[string][]ShopCustomer](t, w.s, "GET", "acme/customers", "")["customers"]
	w.equal("list", len(list), 1)
	ask[anyJSON](t, w.s, "POST", "acme/index", "")
	w.equal("indexed", len(w.found("email:ada@example.com")), 1)
	w.equal("finished", ask[anyJSON](t, w.s, "POST", "acme/finish-merges", "")["finished"], 0)
	for request, want := range map[string]int{
		`GET nobody/customers`: 404, `GET acme/customers/5`: 404, `PATCH acme/customers/5 {}`: 404, `DELETE acme/customers/5`: 404,
		`POST acme/customers {"mail":"x"}`: 400, `POST acme/customers {"email":"bad"}`: 422, `POST acme/customers {}`: 422,
		`POST acme/comply {"topic":"x","customer":"` + c.ID + `"}`: 400, `POST acme/comply {"topic":"customers/redact"}`: 404,
		`PATCH acme {"plan":"gold"}`: 400, `PATCH acme {"restore_rate":0}`: 400, `POST shops {"domain":"acme"}`: 400, `GET nobody/messages`: 404,
	} {
		method, rest, _ := strings.Cut(request, " ")
		path, body, _ := strings.Cut(rest, " ")
		w.equal(request, askStatus(w.s, method, path, body), want)
	}
}

func TestControlShops(t *testing.T) {
	t.Parallel()
	rc := &receiver{}
	w := newWorld(t, shopReceiver(rc))
	opened := ask[shopSummary](t, w.s, "POST", "shops", `{"domain":"coil","plan":"plus","access_token":"shpat_given"}`)
	w.equal("opened", words(opened.Domain, opened.Plan, opened.Settings["SHOPIFY_ACCESS_TOKEN"]), "coil.myshopify.com plus shpat_given")
	w.equal("shops", len(ask[map[string][]shopSummary](t, w.s, "GET", "shops", "")["shops"]), 3)
	changed := ask[shopSummary](t, w.s, "PATCH", "coil", `{"status":402,"revoked":true,"scopes":[],"customer_data":false,"restore_rate":2,"drain":5,"secrets":["a","b"],"app_id":7,"plan":"advanced"}`)
	w.equal("changed", words(changed.Status, changed.Revoked, changed.Scopes, changed.Settings["SHOPIFY_WEBHOOK_SECRET"]), "402 true [] a,b")
	w.equal("seen", w.runIn(w.s.Shop("coil"), shopQuery, nil).Status, 402)
	ask[shopSummary](t, w.s, "PATCH", "coil", `{"status":0,"revoked":false}`)
	w.equal("open", w.runIn(w.s.Shop("coil"), shopQuery, nil).Status, 200)
	w.equal("usage", ask[ShopUsage](t, w.s, "GET", "coil/usage", "").Requests, 1)
	ask[ShopUsage](t, w.s, "DELETE", "coil/usage", "")
	w.equal("reset", ask[shopSummary](t, w.s, "GET", "coil", "").Usage.Requests, 0)
	w.equal("deleted", ask[anyJSON](t, w.s, "DELETE", "coil/subscriptions", "")["deleted"], 0)

	ask[anyJSON](t, w.s, "POST", "acme/webhook/hold", "")
	w.put(w.acme, CustomerSpec{Email: "a@example.com"})
	type messages struct{ Messages []Message }
	held := ask[messages](t, w.s, "GET", "acme/messages?state=held", "").Messages
	w.equal("held", len(held), 1)
	ask[anyJSON](t, w.s, "POST", "acme/webhook/release", `{"ids":["`+held[0].ID+`"]}`)
	ask[anyJSON](t, w.s, "POST", "acme/messages/wait", "")
	ask[anyJSON](t, w.s, "POST", "acme/messages/"+held[0].ID+"/resend", "")
	ask[anyJSON](t, w.s, "POST", "acme/messages/wait", "")
	w.equal("delivered", len(rc.deliveries()), 2)
	message := ask[map[string]string](t, w.s, "POST", "acme/comply", `{"topic":"shop/redact"}`)
	w.equal("message", len(message["id"]), 36)

	ask[anyJSON](t, w.s, "PUT", "faults", `{"rules":[{"route":"acme *","script":[{"action":"refuse","code":"THROTTLED"}]}]}`)
	w.equal("fault", w.run(shopQuery, nil).code(), "THROTTLED")
	w.equal("rules", strings.Contains(fmt.Sprint(ask[anyJSON](t, w.s, "GET", "faults", "")), "acme *"), true)
	ask[anyJSON](t, w.s, "DELETE", "faults", "")
	w.equal("requests", len(ask[struct{ Requests []Count }](t, w.s, "GET", "requests", "").Requests), 3)
}

// TestShopifySettings: for one shop by environment, for several by file.
func TestShopifySettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{Shops: []ShopSpec{
		{Domain: "acme", AccessToken: "shpat_a", Secrets: []string{"s1", "s2"}}, {Domain: "bolt", AccessToken: "shpat_b", Secrets: []string{"s3"}},
	}})
	w.s.SetBaseURL("http://127.0.0.1:9401/")
	var lines []string
	for _, setting := range w.s.Settings() {
		lines = append(lines, setting.String())
	}
	w.equal("settings", strings.Join(lines, "\n"), "SHOPIFY_SHOP=acme.myshopify.com\nSHOPIFY_ACCESS_TOKEN=shpat_a\nSHOPIFY_WEBHOOK_SECRET=s1,s2\nSHOPIFY_API_URL=http://127.0.0.1:9401/{shop}")
	var file struct {
		Shopify []map[string]string
	}
	if err := yaml.Unmarshal([]byte(w.s.ConfigYAML()), &file); err != nil {
		t.Fatalf("%v:\n%s", err, w.s.ConfigYAML())
	}
	w.equal("file", file.Shopify[1], map[string]string{"shop": "bolt.myshopify.com", "access_token": "shpat_b", "webhook_secret": "s3", "api_url": "http://127.0.0.1:9401/{shop}"})
	settings := ask[struct {
		Environment map[string]string
		YAML        string
	}](t, w.s, "GET", "settings", "")
	w.equal("route", settings.Environment["SHOPIFY_SHOP"], "acme.myshopify.com")
	w.equal("yaml", settings.YAML, w.s.ConfigYAML())
}
