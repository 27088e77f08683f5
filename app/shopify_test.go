package app_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// signed is the headers of a webhook of a shop, signed with a secret.
func signed(secret, shop, topic, id, body string) http.Header {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	h := http.Header{}
	h.Set("X-Shopify-Hmac-Sha256", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	h.Set("X-Shopify-Shop-Domain", shop)
	h.Set("X-Shopify-Topic", topic)
	h.Set("X-Shopify-Webhook-Id", id)
	return h
}

func (w *world) postShopify(h http.Header, body string) answer {
	w.t.Helper()
	return w.request(http.MethodPost, "/webhooks/shopify", h, strings.NewReader(body))
}

// Every published body goes through the door byte for byte, once.
func TestShopifyVectors(t *testing.T) {
	t.Parallel()
	var vectors struct {
		Secret     string `json:"client_secret"`
		Deliveries []struct {
			File    string
			Headers map[string]string
		}
	}
	dir := filepath.Join("..", "shopify", "testdata", "webhooks")
	data, err := os.ReadFile(filepath.Join(dir, "deliveries.json"))
	must(t, err)
	must(t, json.Unmarshal(data, &vectors))
	w := newShopWorld(t, []emulator.ShopSpec{{Domain: "parity-test", Secrets: []string{vectors.Secret}}})
	for _, d := range vectors.Deliveries {
		body, err := os.ReadFile(filepath.Join(dir, d.File))
		must(t, err)
		h := http.Header{}
		for name, value := range d.Headers {
			h.Set(name, value)
		}
		for _, want := range []string{"applied", "duplicate"} {
			if got := w.postShopify(h, string(body)); got.status != http.StatusOK || !strings.Contains(got.body, want) {
				t.Errorf("%s: answered %d %s, want %s", d.File, got.status, got.body, want)
			}
		}
		w.wantError(w.postShopify(h, string(body)+" "), http.StatusUnauthorized, "UNAUTHORIZED")
	}
	if n := testdb.Query[int](t, w.pool, `select count(*) from lockstep.deliveries where source = 'shopify'`); n != len(vectors.Deliveries) {
		t.Errorf("%d deliveries, want %d", n, len(vectors.Deliveries))
	}
	if op := testdb.Query[string](t, w.pool, `select operation from lockstep.deliveries where kind = 'bulk_operations/finish'`); op != "gid://shopify/BulkOperation/4471920230417" {
		t.Errorf("the end of a bulk operation is noted as %q", op)
	}
}

func TestShopifyStatuses(t *testing.T) {
	t.Parallel()
	secrets := []string{"shpss_older_older_older_older", "shpss_newer_newer_newer_newer"}
	w := newShopWorld(t, []emulator.ShopSpec{{Domain: "acme", Secrets: secrets}, {Domain: "globex"}})
	const shop, topic, body = "acme.myshopify.com", "customers/update", `{"id":7}`
	good := func(change ...func(http.Header)) http.Header {
		h := signed(secrets[0], shop, topic, "w1", body)
		for _, f := range change {
			f(h)
		}
		return h
	}
	set := func(name, value string) func(http.Header) { return func(h http.Header) { h.Set(name, value) } }
	for name, got := range map[string]answer{
		"no signature":             w.postShopify(good(set("X-Shopify-Hmac-Sha256", "")), body),
		"another body":             w.postShopify(good(), `{"id":8}`),
		"an unknown shop":          w.postShopify(good(set("X-Shopify-Shop-Domain", "unknown.myshopify.com")), body),
		"no shop":                  w.postShopify(good(set("X-Shopify-Shop-Domain", "")), body),
		"another shop's signature": w.postShopify(signed(secrets[0], "globex.myshopify.com", topic, "w2", body), body),
		"a secret of nobody":       w.postShopify(signed("shpss_other_other_other_other", shop, topic, "w2", body), body),
	} {
		t.Log(name)
		w.wantError(got, http.StatusUnauthorized, "UNAUTHORIZED")
		if got.header.Get("WWW-Authenticate") == "" || !strings.Contains(got.body, "signature does not match") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	w.wantError(w.postShopify(good(set("X-Shopify-Webhook-Id", "")), body), http.StatusBadRequest, "BAD_REQUEST")
	for _, bad := range []string{"", "{", `{"id":7.5}`, `{}`} {
		w.wantError(w.postShopify(signed(secrets[0], shop, topic, "w3", bad), bad), http.StatusBadRequest, "BAD_REQUEST")
	}
	w.wantError(w.postShopify(good(), strings.Repeat(" ", 1<<20+1)), http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE")
	if n := testdb.Query[int](t, w.pool, `select count(*) from lockstep.deliveries`); n != 0 {
		t.Errorf("%d deliveries of what was refused", n)
	}
	if got := w.postShopify(signed(secrets[1], shop, "orders/create", "w4", body), body); got.status != 200 || !strings.Contains(got.body, "ignored") {
		t.Errorf("an unknown topic: %+v", got)
	}
	for i, secret := range secrets { // both, while one is being rotated
		if got := w.postShopify(signed(secret, shop, topic, "rotate"+secret, body), body); got.status != 200 || !strings.Contains(got.body, "applied") {
			t.Errorf("secret %d: %+v", i, got)
		}
	}
	w.settle()
	if got := w.captured("gid://shopify/Customer/7", "deleted_at"); got == "null" || got == "no row" {
		t.Errorf("a customer who does not exist is captured: deleted %s", got)
	}
}

// Shopify gives up after 5 s; the answer must come long before, in a storm too.
func TestShopifyWebhookStorm(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	const n = 400
	took := make(chan time.Duration, n)
	for i := range n {
		go func() {
			body := `{"id":` + string(rune('1'+i%9)) + `}`
			start := time.Now()
			if got := w.postShopify(signed(w.acme.Secrets()[0], w.acme.Domain(), "customers/update", "storm"+time.Duration(i).String(), body), body); got.status != 200 {
				t.Errorf("answered %d", got.status)
			}
			took <- time.Since(start)
		}()
	}
	var all []time.Duration
	for range n {
		all = append(all, <-took)
	}
	slices.Sort(all)
	t.Logf("%d webhooks at once: p50 %s, p99 %s", n, all[n/2], all[n*99/100])
	w.settle()
	if rows := testdb.Query[int](t, w.pool, `select count(*) from lockstep.shopify_customers`); rows != 9 {
		t.Errorf("%d customers captured, want 9", rows)
	}
}

// A database that is away is 503, and Shopify tries again.
func TestShopifyWebhookWithoutDatabase(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	body := `{"id":7}`
	_, err := w.pool.Exec(t.Context(), `alter table lockstep.shopify_changes rename to away`)
	must(t, err)
	h := signed(w.acme.Secrets()[0], w.acme.Domain(), "customers/update", "w1", body)
	w.wantError(w.postShopify(h, body), http.StatusServiceUnavailable, "UPSTREAM_UNAVAILABLE")
	_, err = w.pool.Exec(t.Context(), `alter table lockstep.away rename to shopify_changes`)
	must(t, err)
	if got := w.postShopify(h, body); got.status != 200 || !strings.Contains(got.body, "applied") {
		t.Errorf("tried again: %+v", got)
	}
}

func TestShopifyUninstalledPausesTheShop(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, []emulator.ShopSpec{{Domain: "acme", Plan: emulator.PlanPlus}, {Domain: "globex", Plan: emulator.PlanPlus}})
	w.acme.Uninstall()
	w.eventually("acme is paused", `select exists (select from lockstep.targets where target = $1 and paused_at is not null and reason like '%shopify connect%')`, acme)
	u := w.create("ada")
	w.eventually("globex goes on", `select coalesce((select status = 'linked' from lockstep.customer_links where clerk_user_id = $1 and target = 'shopify:globex.myshopify.com'), false)`, u.ID)
	w.acme.Restore()
	w.eventually("acme comes back", `select count(*) = 2 from lockstep.customer_links where clerk_user_id = $1 and status = 'linked'`, u.ID)
	if n := testdb.Query[int](t, w.pool, `select count(*) from lockstep.targets where paused_at is not null`); n != 0 {
		t.Errorf("%d targets are paused", n)
	}
}

func TestShopifySecretsRefusedAtStart(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"short", "shpss_older_older_older_older,short"} {
		_, err := load(t, map[string]string{"SHOPIFY_SHOP": "acme.myshopify.com", "SHOPIFY_ACCESS_TOKEN": "shpat_env", "SHOPIFY_WEBHOOK_SECRET": secret}, "", app.NeedDatabase)
		if err == nil || !strings.Contains(err.Error(), "SHOPIFY_WEBHOOK_SECRET of acme.myshopify.com") || strings.Contains(err.Error(), "older") || strings.Contains(err.Error(), "short,") {
			t.Errorf("%q: %v", secret, err)
		}
	}
}
