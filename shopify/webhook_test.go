package shopify_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/shopify"
)

// vectors are the published bodies with their signatures.
type vectors struct {
	Secret     string `json:"client_secret"`
	Deliveries []struct {
		File    string
		Headers map[string]string
	}
}

func readVectors(t testing.TB) (v vectors) {
	t.Helper()
	if err := json.Unmarshal(readFile(t, "deliveries.json"), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/webhooks/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func header(fields map[string]string) http.Header {
	h := http.Header{}
	for name, value := range fields {
		h.Set(name, value)
	}
	return h
}

const (
	ada7  = "gid://shopify/Customer/8846213349521"
	other = "gid://shopify/Customer/8846213382289"
)

// TestWebhookVectors verifies every published body byte for byte, and reads of
// it the ids and nothing else.
func TestWebhookVectors(t *testing.T) {
	t.Parallel()
	one := []string{ada7}
	want := map[string]lockstep.Notice{
		"customers_create.json":                         {Customers: one},
		"customers_create_minimal.json":                 {Customers: []string{"gid://shopify/Customer/9007199254740995"}}, // beyond a float64
		"customers_update.json":                         {Customers: one},
		"customers_delete.json":                         {Customers: one},
		"customers_merge.json":                          {Customers: []string{other, ada7}},
		"customer_tags_added.json":                      {Customers: one},
		"customer_tags_removed.json":                    {Customers: one},
		"customers_email_marketing_consent_update.json": {Customers: one},
		"bulk_operations_finish.json":                   {Operation: "gid://shopify/BulkOperation/4471920230417"},
		"customers_data_request.json":                   {Privacy: &lockstep.PrivacyRequest{Kind: lockstep.PrivacyReport, CustomerID: ada7, Reference: "771204"}},
		"customers_redact.json":                         {Privacy: &lockstep.PrivacyRequest{Kind: lockstep.PrivacyEraseCustomer, CustomerID: ada7}},
		"shop_redact.json":                              {Privacy: &lockstep.PrivacyRequest{Kind: lockstep.PrivacyEraseStore}},
	}
	v := readVectors(t)
	verifier, err := shopify.NewWebhookVerifier([]string{v.Secret})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range v.Deliveries {
		h, body := header(d.Headers), readFile(t, d.File)
		if err := verifier.Verify(h, body); err != nil {
			t.Errorf("%s: %v", d.File, err)
		}
		n := want[d.File]
		n.Source, n.ID, n.Target = "shopify", h.Get("X-Shopify-Webhook-Id"), "shopify:parity-test.myshopify.com"
		n.Kind, n.Triggered = h.Get("X-Shopify-Topic"), time.Date(2026, 11, 9, 22, 41, 52, 512345678, time.UTC)
		got, err := shopify.DecodeWebhook(h, body)
		if diff := cmp.Diff(n, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", d.File, err, diff)
		}
		for i := range body {
			changed := append([]byte{}, body...)
			changed[i] ^= 1
			if err := verifier.Verify(h, changed); !errors.Is(err, shopify.ErrSignature) {
				t.Fatalf("%s: believed with byte %d changed", d.File, i)
			}
		}
		delete(want, d.File)
	}
	if len(want) > 0 {
		t.Errorf("no delivery of %d bodies", len(want))
	}
}

// TestWebhookSecrets: several while one is rotated; none that is empty or short.
func TestWebhookSecrets(t *testing.T) {
	t.Parallel()
	v := readVectors(t)
	h, body := header(v.Deliveries[0].Headers), readFile(t, v.Deliveries[0].File)
	newer := strings.Repeat("n", 32)
	for _, tt := range []struct {
		secrets  []string
		believes bool
	}{
		{[]string{v.Secret}, true}, {[]string{newer, v.Secret}, true}, {[]string{" " + v.Secret + "\n", newer}, true}, {[]string{newer}, false},
	} {
		verifier, err := shopify.NewWebhookVerifier(tt.secrets)
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.Verify(h, body); (err == nil) != tt.believes {
			t.Errorf("%d secrets: %v", len(tt.secrets), err)
		}
	}
	for _, secrets := range [][]string{nil, {""}, {"   "}, {v.Secret, ""}, {strings.Repeat("s", 23)}} {
		_, err := shopify.NewWebhookVerifier(secrets)
		if err == nil {
			t.Errorf("%q is accepted", secrets)
		} else if strings.Contains(err.Error(), v.Secret) || strings.Contains(err.Error(), "sss") {
			t.Errorf("%v tells the secret", err)
		}
	}
}

func TestWebhookSignaturesThatAreNone(t *testing.T) {
	t.Parallel()
	v := readVectors(t)
	verifier, err := shopify.NewWebhookVerifier([]string{v.Secret})
	if err != nil {
		t.Fatal(err)
	}
	good := v.Deliveries[0].Headers["X-Shopify-Hmac-Sha256"]
	for _, signature := range []string{"", "=", "????", good + "=", good[:43], " " + good + " x", strings.ToLower(good), strings.Repeat("A", 43) + "="} {
		h := http.Header{"X-Shopify-Hmac-Sha256": {signature}}
		if err := verifier.Verify(h, readFile(t, v.Deliveries[0].File)); !errors.Is(err, shopify.ErrSignature) {
			t.Errorf("%q: %v", signature, err)
		}
	}
}

// TestWebhooksThatAreNotKept: whatever is wrong with them, the error quotes none
// of the body.
func TestWebhooksThatAreNotKept(t *testing.T) {
	t.Parallel()
	const shop = "parity-test.myshopify.com"
	for _, tt := range []struct {
		topic, body string
		want        error
	}{
		{"orders/create", `{"id":1}`, shopify.ErrTopic},
		{"", `{"id":1}`, shopify.ErrTopic},
		{"customers/update", ``, shopify.ErrMalformed},
		{"customers/update", `{"email":"canary@example.test"`, shopify.ErrMalformed},
		{"customers/update", `[]`, shopify.ErrMalformed},
		{"customers/update", `{"email":"canary@example.test"}`, shopify.ErrMalformed},
		{"customers/update", `{"id":0}`, shopify.ErrMalformed},
		{"customers/update", `{"id":-5}`, shopify.ErrMalformed},
		{"customers/update", `{"id":9.007199254740995e15}`, shopify.ErrMalformed},
		{"customers/update", `{"id":9223372036854775808}`, shopify.ErrMalformed},
		{"customers/update", `{"id":"canary@example.test"}`, shopify.ErrMalformed},
		{"customer.tags_added", `{"customerId":"gid://shopify/Order/1"}`, shopify.ErrMalformed},
		{"customers/merge", `{"admin_graphql_api_customer_kept_id":"gid://shopify/Customer/1"}`, shopify.ErrMalformed},
		{"customers_marketing_consent/update", `{"id":1}`, shopify.ErrMalformed},
		{"bulk_operations/finish", `{"admin_graphql_api_id":"gid://shopify/Customer/1"}`, shopify.ErrMalformed},
		{"customers/redact", `{"shop_domain":"` + shop + `","customer":{"email":"canary@example.test"}}`, shopify.ErrMalformed},
		{"customers/redact", `{"customer":{"id":1}}`, shopify.ErrMalformed},
		{"customers/redact", `{"shop_domain":"other.myshopify.com","customer":{"id":1}}`, shopify.ErrMalformed},
		{"customers/data_request", `{"shop_domain":"other.myshopify.com","customer":{"id":1}}`, shopify.ErrMalformed},
		{"shop/redact", `{"shop_domain":"other.myshopify.com"}`, shopify.ErrMalformed},
		{"shop/redact", `{}`, shopify.ErrMalformed},
		// the topic is not signed: a body passes for no other topic that does harm
		{"shop/redact", `{"shop_domain":"` + shop + `","customer":{"id":1}}`, shopify.ErrMalformed},
		{"customers/redact", `{"shop_domain":"` + shop + `","customer":{"id":1},"data_request":{"id":2}}`, shopify.ErrMalformed},
		{"customers/data_request", `{"shop_domain":"` + shop + `","customer":{"id":1}}`, shopify.ErrMalformed},
		{"app/uninstalled", `{"id":1}`, shopify.ErrMalformed},
		{"app/uninstalled", `{"id":1,"myshopify_domain":"other.myshopify.com"}`, shopify.ErrMalformed},
	} {
		h := header(map[string]string{"X-Shopify-Topic": tt.topic, "X-Shopify-Shop-Domain": shop, "X-Shopify-Webhook-Id": "w"})
		_, err := shopify.DecodeWebhook(h, []byte(tt.body))
		if !errors.Is(err, tt.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s %s: %v, want %v", tt.topic, tt.body, err, tt.want)
		}
	}
	h := header(map[string]string{"X-Shopify-Topic": "Customers/Update", "X-Shopify-Shop-Domain": " Parity-Test.myshopify.com"})
	if _, err := shopify.DecodeWebhook(h, []byte(`{"id":1}`)); !errors.Is(err, shopify.ErrMalformed) {
		t.Errorf("without an id: %v", err)
	}
	h.Set("X-Shopify-Webhook-Id", "w")
	if n, err := shopify.DecodeWebhook(h, []byte(`{"id":1}`)); err != nil || n.Target != "shopify:"+shop || !n.Triggered.IsZero() {
		t.Errorf("in other letters: %+v, %v", n, err)
	}
	h.Set("X-Shopify-Topic", "app/uninstalled")
	if n, err := shopify.DecodeWebhook(h, []byte(`{"id":1,"myshopify_domain":"`+shop+`"}`)); err != nil || !n.ShutOut {
		t.Errorf("uninstalled: %+v, %v", n, err)
	}
}
