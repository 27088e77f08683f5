package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

const shopQuery = `{ shop { id } }`

func TestShopRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	status := func() int {
		return w.post(w.acme, NewestShopifyVersion, in{"query": shopQuery}, nil).Code
	}
	for _, want := range []int{http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound, http.StatusLocked} {
		w.acme.SetStatus(want)
		w.equal("status", status(), want)
	}
	w.acme.SetStatus(0)
	w.equal("open", status(), 200)
	w.acme.Revoke()
	w.equal("revoked", status(), 401)
	w.equal("another shop", w.post(w.bolt, NewestShopifyVersion, in{"query": shopQuery}, nil).Code, 200)
	w.acme.Restore()
	w.equal("restored", status(), 200)
	w.equal("the token of another shop", w.post(w.acme, NewestShopifyVersion, in{"query": shopQuery}, http.Header{"X-Shopify-Access-Token": {w.bolt.AccessToken()}}).Code, 401)
	w.equal("no token", w.post(w.acme, NewestShopifyVersion, in{"query": shopQuery}, http.Header{"X-Shopify-Access-Token": nil}).Code, 401)
	w.equal("no JSON", w.post(w.acme, NewestShopifyVersion, "{", nil).Code, 400)
	unknown := httptest.NewRecorder()
	w.s.ServeHTTP(unknown, httptest.NewRequest("POST", "/nobody/admin/api/2026-10/graphql.json", strings.NewReader("{}")))
	w.equal("unknown shop", words(unknown.Code, strings.TrimSpace(unknown.Body.String())), `404 {"errors":"Not Found"}`)
}

// TestVersions: an ended version falls forward to the oldest one served, and only
// the header tells.
func TestVersions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	for asked, want := range map[string]string{
		"2026-10": "200 2026-10", "2026-01": "200 2026-01", "2025-10": "200 2026-01", "2023-04": "200 2026-01",
		"2027-01": "200 2027-01", "unstable": "200 unstable", "2027-04": "404 ", "2026-02": "404 ", "latest": "404 ",
	} {
		rec := w.post(w.acme, asked, in{"query": shopQuery}, nil)
		w.equal(asked, fmt.Sprint(rec.Code, " ", rec.Header().Get("X-Shopify-API-Version")), want)
	}
	deprecated := w.run(`{ customers(first: 1) { nodes { email } } }`, nil)
	w.equal("deprecated", deprecated.Header.Get("X-Shopify-API-Deprecated-Reason") != "", true)
	w.equal("not", w.run(shopQuery, nil).Header.Get("X-Shopify-API-Deprecated-Reason"), "")
	handles := w.want(`{ publicApiVersions { handle supported } }`, nil)
	w.equal("handles", handles.at("publicApiVersions.3"), in{"handle": "2026-10", "supported": true})
	w.equal("candidate", handles.at("publicApiVersions.4"), in{"handle": "2027-01", "supported": false})
}

// TestShopByHost: without a path prefix the host names the shop.
func TestShopByHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	r := httptest.NewRequest("POST", "http://acme.myshopify.com:443/admin/api/2026-10/graphql.json", strings.NewReader(`{"query":"{ shop { myshopifyDomain } }"}`))
	r.Header.Set("X-Shopify-Access-Token", w.acme.AccessToken())
	rec := httptest.NewRecorder()
	w.s.ServeHTTP(rec, r)
	w.equal("domain", strings.Contains(rec.Body.String(), `"acme.myshopify.com"`), true)
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	grant := func(secret string) (string, int) {
		form := url.Values{"grant_type": {"client_credentials"}, "client_id": {w.acme.ClientID()}, "client_secret": {secret}}
		r := httptest.NewRequest("POST", "/acme.myshopify.com/admin/oauth/access_token", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		w.s.ServeHTTP(rec, r)
		var body struct {
			Token   string `json:"access_token"`
			Scope   string
			Expires int `json:"expires_in"`
		}
		_ = json.Unmarshal(rec.Body.Bytes(), &body)
		if rec.Code == 200 {
			w.equal("grant", fmt.Sprint(body.Expires, strings.Contains(body.Scope, "write_customers")), "86399 true")
		}
		return body.Token, rec.Code
	}
	works := func(token string) int {
		return w.post(w.acme, NewestShopifyVersion, in{"query": shopQuery}, http.Header{"X-Shopify-Access-Token": {token}}).Code
	}
	_, refused := grant("wrong")
	w.equal("wrong secret", refused, 400)
	old := w.acme.Secrets()[0]
	token, _ := grant(old)
	w.equal("works", works(token), 200)
	w.clock.Add(86398 * time.Second)
	w.equal("still", works(token), 200)
	w.clock.Add(time.Second)
	w.equal("expired", works(token), 401)
	token, _ = grant(old)
	if err := w.acme.SetSecrets(old, "shpss_new"); err != nil {
		t.Fatal(err)
	}
	w.equal("two secrets", works(token), 200)
	if err := w.acme.SetSecrets("shpss_new"); err != nil {
		t.Fatal(err)
	}
	w.equal("bound to its secret", works(token), 401)
	if err := w.acme.SetSecrets(""); err == nil {
		t.Error("an empty secret")
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	c := w.put(w.acme, CustomerSpec{Email: "a@example.com"})
	w.acme.SetScopes("read_customers")
	w.equal("read", w.run(`query($id: ID!) { customer(id: $id) { id } }`, in{"id": c.ID}).code(), "")
	denied := w.set(in{"id": c.ID}, in{"firstName": "A"})
	w.equal("write", denied.code(), "ACCESS_DENIED")
	w.equal("message", denied.Errors[0].Message, "Access denied for customerSet field. Required access: `write_customers` access scope.")
	w.equal("null", denied.Data, in{"customerSet": nil})
	w.acme.SetScopes("write_customers")
	w.equal("writing includes reading", w.set(in{"id": c.ID}, in{"firstName": "A"}).code(), "")
	w.equal("merge", w.run(`mutation { customerMerge(customerOneId: "gid://shopify/Customer/1", customerTwoId: "gid://shopify/Customer/2") { userErrors { message } } }`, nil).code(), "ACCESS_DENIED")
	w.equal("erasure", w.run(`mutation { customerRequestDataErasure(customerId: "gid://shopify/Customer/1") { userErrors { message } } }`, nil).code(), "ACCESS_DENIED")
	w.acme.SetScopes()
	both := w.run(`{ shop { id } currentAppInstallation { accessScopes { handle } } customers(first: 1) { nodes { id } } }`, nil)
	w.equal("a field that must not be null", words(both.code(), both.Data == nil), "ACCESS_DENIED true")
	w.equal("scopes", w.want(`{ currentAppInstallation { accessScopes { handle } } }`, nil).at("currentAppInstallation.accessScopes"), []any{})
}

// TestProtectedCustomerData: without access fields are null though there is data.
func TestProtectedCustomerData(t *testing.T) {
	t.Parallel()
	rc := &receiver{}
	w := newWorld(t, shopReceiver(rc))
	c := w.put(w.acme, CustomerSpec{Email: "ada@example.com", Phone: "+16135550142", FirstName: "Ada", Addresses: []ShopAddress{{City: "Ottawa"}}})
	w.acme.SetCustomerData(false)
	const query = `query($id: ID!) { customer(id: $id) { id email phone firstName lastName displayName defaultEmailAddress { emailAddress } defaultPhoneNumber { phoneNumber } defaultAddress { city } tags } }`
	w.equal("hidden", w.want(query, in{"id": c.ID}).Data["customer"], in{
		"id": c.ID, "email": nil, "phone": nil, "firstName": nil, "lastName": nil, "displayName": "",
		"defaultEmailAddress": nil, "defaultPhoneNumber": nil, "defaultAddress": nil, "tags": []any{},
	})
	if _, err := w.acme.EditCustomer(c.ID, CustomerEdit{LastName: new("Byron")}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, w.acme.Webhooks)
	last := rc.deliveries()[len(rc.deliveries())-1]
	if body := string(last.body); !strings.Contains(body, `"email":null`) || strings.Contains(body, "Byron") {
		t.Errorf("webhook: %s", body)
	}
	w.acme.SetCustomerData(true)
	w.equal("shown", w.want(query, in{"id": c.ID}).at("customer.email"), "ada@example.com")
}

func TestMaskedPhones(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{Shops: []ShopSpec{{Domain: "acme", MaskedPhones: true}}})
	c := w.put(w.acme, CustomerSpec{Phone: "+16135550142"})
	w.equal("masked", w.want(`query($id: ID!) { customer(id: $id) { defaultPhoneNumber { phoneNumber } } }`, in{"id": c.ID}).at("customer.defaultPhoneNumber.phoneNumber"), "+1********42")
}

// TestShopifyFaults: by shop and root field, before and after the commit.
func TestShopifyFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	server := httptest.NewServer(w.s)
	defer server.Close()
	w.define(w.acme)
	post := func(query string) (int, string, error) {
		body, _ := json.Marshal(in{"query": query})
		r, _ := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/acme.myshopify.com/admin/api/2026-10/graphql.json", strings.NewReader(string(body)))
		r.Header.Set("X-Shopify-Access-Token", w.acme.AccessToken())
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("Retry-After") + string(readAll(t, resp.Body)), nil
	}
	const set = `mutation { customerSet(identifier: {customId: {key: "clerk_user_id", value: "u"}}, input: {email: "u@example.com"}) { customer { id } userErrors { message } } }`
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.s.Faults.Script("acme mutation customerSet", Fault{Action: ActionDropBefore}, Fault{Action: ActionDropAfter}))
	must(w.s.Faults.Script("* query shop", Fault{Action: ActionRefuse, Status: 429, RetryAfter: 1500 * time.Millisecond},
		Fault{Action: ActionRefuse, Code: "THROTTLED"}, Fault{Action: ActionRefuse, Code: "INTERNAL_SERVER_ERROR"}, Fault{Action: ActionRefuse, Status: 502}))
	if _, _, err := post(set); err == nil || w.acme.CustomerCount() != 0 {
		t.Errorf("dropped before: %v, %d customers", err, w.acme.CustomerCount())
	}
	if _, _, err := post(set); err == nil || w.acme.CustomerCount() != 1 {
		t.Errorf("dropped after: %v, %d customers", err, w.acme.CustomerCount())
	}
	for _, want := range []string{`429 2{"errors":"Too Many Requests"}`, `200 {"errors":[{"message":"Refused by the emulator's fault injection","extensions":{"code":"THROTTLED"}}]}`,
		`200 {"errors":[{"message":"Refused by the emulator's fault injection","extensions":{"code":"INTERNAL_SERVER_ERROR"}}]}`, `502 {"errors":"Bad Gateway"}`} {
		status, body, err := post(shopQuery)
		must(err)
		w.equal("refused", fmt.Sprint(status, " ", strings.TrimSpace(body)), want)
	}
	status, _, err := post("mutation A { tagsRemove(id: \"gid://shopify/Customer/1\", tags: []) { userErrors { message } } a: tagsAdd(id: \"gid://shopify/Customer/1\", tags: []) { userErrors { message } } b: tagsAdd(id: \"gid://shopify/Customer/1\", tags: []) { userErrors { message } } }")
	w.equal("served", fmt.Sprint(status, err), "200 <nil>")
	var routes []string
	for _, count := range w.s.Faults.Counts() {
		routes = append(routes, fmt.Sprint(count.Route, " ", count.Outcome, " ", count.N))
	}
	w.equal("routes", strings.Join(routes, "\n"), strings.Join([]string{
		"acme mutation customerSet drop_after 200 1", "acme mutation customerSet drop_before 1", "acme mutation metafieldDefinitionCreate 200 1",
		"acme mutation tagsAdd,tagsRemove 200 1", "acme query shop refuse 200 2", "acme query shop refuse 429 1", "acme query shop refuse 502 1",
	}, "\n"))
}

func TestShopsHaveNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	for _, domain := range []string{"", "acme", "ACME.myshopify.com", "a/b", "_control"} {
		if _, err := w.s.AddShop(ShopSpec{Domain: domain}); err == nil {
			t.Errorf("%q became a shop", domain)
		}
	}
	if _, err := w.s.AddShop(ShopSpec{Domain: "third"}); err != nil || len(w.s.Shops()) != 3 {
		t.Errorf("third: %v", err)
	}
	if _, err := NewShopify(ShopifyOptions{Shops: []ShopSpec{{Domain: "a"}, {Domain: "a"}}}); err == nil {
		t.Error("two shops of one name")
	}
	var shopErr *ShopError
	if _, err := w.acme.Customer("gid://shopify/Customer/1"); !errors.As(err, &shopErr) || shopErr.Status != 404 {
		t.Errorf("no customer: %v", err)
	}
}
