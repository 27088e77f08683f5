package emulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func waitFor(t *testing.T, o *Outbox) {
	t.Helper()
	if err := o.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestShopifySignatures compares the known answers byte for byte.
func TestShopifySignatures(t *testing.T) {
	t.Parallel()
	var vectors struct {
		Secret     string `json:"client_secret"`
		Deliveries []struct {
			File    string
			Headers map[string]string
		}
	}
	if err := json.Unmarshal(shopifyFile(t, "webhooks/deliveries.json"), &vectors); err != nil {
		t.Fatal(err)
	}
	rc := &receiver{}
	options := shopReceiver(rc)
	options.Shops = []ShopSpec{{Domain: "parity-test", WebhookURL: "http://lockstep.example.test/", Secrets: []string{vectors.Secret, "newer"}}}
	w := newWorld(t, options)
	for i, delivery := range vectors.Deliveries {
		body := shopifyFile(t, "webhooks/"+delivery.File)
		if _, err := w.s.Shop("parity-test").Emit(delivery.Headers["X-Shopify-Topic"], body); err != nil {
			t.Fatal(err)
		}
		waitFor(t, w.s.Shop("parity-test").Webhooks)
		got := rc.deliveries()[i]
		if string(got.body) != string(body) {
			t.Errorf("%s: body changed", delivery.File)
		}
		for name, want := range delivery.Headers {
			value := got.header.Get(name)
			switch name {
			case "X-Shopify-Webhook-Id", "X-Shopify-Event-Id", "X-Shopify-Triggered-At":
				if len(value) < 20 {
					t.Errorf("%s: %s is %q", delivery.File, name, value)
				}
			default:
				if value != want {
					t.Errorf("%s: %s is %q, want %q", delivery.File, name, value, want)
				}
			}
		}
	}
}

// shapeOf replaces values by their kinds, so that bodies can be compared.
func shapeOf(value any) any {
	switch v := value.(type) {
	case map[string]any:
		shape := map[string]any{}
		for name, member := range v {
			shape[name] = shapeOf(member)
		}
		return shape
	case []any:
		if len(v) > 0 {
			return []any{shapeOf(v[0])}
		}
		return []any{}
	case nil:
		return "nullable"
	case string:
		return "nullable" // texts may be null as well
	}
	return fmt.Sprintf("%T", value)
}

// TestWebhookBodies: the bodies have the fields of the published shapes, no more
// and no less.
func TestWebhookBodies(t *testing.T) {
	t.Parallel()
	rc := &receiver{}
	w := newWorld(t, shopReceiver(rc))
	at := w.clock.Now()
	c := w.put(w.acme, CustomerSpec{Email: "ada@example.com", Phone: "+16135550142", FirstName: "Ada"})
	bare := w.put(w.acme, CustomerSpec{Phone: "+16135550143"})
	addresses := []ShopAddress{{Address1: "1 Example Street", CountryCode: "CA", Province: "ON", Phone: "+16135550142"}, {Address1: "22 Sample Road"}}
	steps := []error{
		second(w.acme.EditCustomer(c.ID, CustomerEdit{Note: new("Prefers e-mail"), Addresses: &addresses})),
		second(w.acme.EditCustomer(c.ID, CustomerEdit{Tags: &[]string{"clerk", "plan:pro"}})),
		second(w.acme.EditCustomer(c.ID, CustomerEdit{Tags: &[]string{"clerk"}, EmailConsent: &ShopConsent{"SUBSCRIBED", "SINGLE_OPT_IN", &at}})),
		second(w.acme.EditCustomer(c.ID, CustomerEdit{State: new(CustomerEnabled)})),
		second(w.acme.Comply("customers/data_request", c.ID)),
		second(w.acme.Comply("customers/redact", c.ID)),
		second(w.acme.Comply("shop/redact", "")),
		second(w.acme.MergeCustomers(bare.ID, c.ID)),
		w.acme.DeleteCustomer(c.ID),
	}
	for _, err := range steps {
		if err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, w.acme.Webhooks)
	files := map[string]string{ // the first message of each topic
		"customers/create": "customers_create.json", "customers/delete": "customers_delete.json",
		"customers/merge": "customers_merge.json", "customer.tags_added": "customer_tags_added.json", "customer.tags_removed": "customer_tags_removed.json",
		"customers_email_marketing_consent/update": "customers_email_marketing_consent_update.json",
		"customers/update":                         "customers_update.json", "customers/redact": "customers_redact.json",
		"customers/data_request": "customers_data_request.json", "shop/redact": "shop_redact.json",
	}
	for _, got := range rc.deliveries() {
		topic := got.header.Get("X-Shopify-Topic")
		file := files[topic]
		if file == "" {
			continue
		}
		delete(files, topic)
		want, have := decode[any](t, shopifyFile(t, "webhooks/"+file)), decode[any](t, got.body)
		dropOrders(want)
		dropOrders(have)
		if diff := cmp.Diff(shapeOf(want), shapeOf(have)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", topic, diff)
		}
	}
	for topic := range files {
		t.Errorf("no %s", topic)
	}
	if body := string(rc.deliveries()[0].body); !strings.Contains(body, `"id":90071992546`) || strings.Contains(body, "tags") {
		t.Errorf("create: %s", body)
	}
}

// dropOrders empties the lists of orders, which the emulator has none of.
func dropOrders(body any) {
	if members, ok := body.(map[string]any); ok {
		for _, name := range []string{"orders_to_redact", "orders_requested"} {
			if _, there := members[name]; there {
				members[name] = []any{}
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

// topics lists what was delivered.
func (rc *receiver) topics() []string {
	var topics []string
	for _, d := range rc.deliveries() {
		topics = append(topics, d.header.Get("X-Shopify-Topic"))
	}
	return topics
}

func TestWebhooksFollowWrites(t *testing.T) {
	t.Parallel()
	rc := &receiver{}
	w := newWorld(t, shopReceiver(rc))
	w.define(w.acme)
	w.set(customID("user_1"), in{"email": "a@example.com", "tags": []string{"x"}})
	c := w.acme.Customers()[0]
	w.set(in{"id": c.ID}, in{"email": "a@example.com"})                             // nothing new
	w.set(in{"id": c.ID}, in{"email": "bad"})                                       // refused
	w.setMetafields(in{"ownerId": c.ID, "key": "clerk_user_id", "value": "user_2"}) // not told by webhook
	w.run(`mutation($id: ID!) { tagsAdd(id: $id, tags: ["y"]) { userErrors { message } } }`, in{"id": c.ID})
	if _, err := w.acme.EditCustomer(c.ID, CustomerEdit{State: new(CustomerEnabled)}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.acme.EditCustomer(c.ID, CustomerEdit{State: new(CustomerDisabled)}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, w.acme.Webhooks)
	w.equal("topics", rc.topics(), []string{
		"metafield_definitions/create", "customers/create", "customer.tags_added", "customers/update", "customer.tags_added",
		"customers/update", "customers/enable", "customers/update", "customers/disable",
	})
	got := rc.deliveries()
	w.equal("one action, one event id", got[1].header.Get("X-Shopify-Event-Id"), got[2].header.Get("X-Shopify-Event-Id"))
	w.equal("two actions, two ids", got[1].header.Get("X-Shopify-Event-Id") == got[3].header.Get("X-Shopify-Event-Id"), false)
	w.equal("webhook ids differ", got[1].header.Get("X-Shopify-Webhook-Id") == got[2].header.Get("X-Shopify-Webhook-Id"), false)
	w.equal("signed by the oldest secret", got[1].header.Get("X-Shopify-Hmac-Sha256"), shopifySignature("old-secret", got[1].body))
	if err := w.acme.SetSecrets("new-secret"); err != nil {
		t.Fatal(err)
	}
	if err := w.acme.Webhooks.Resend(w.acme.Webhooks.Messages()[0].ID); err != nil {
		t.Fatal(err)
	}
	waitFor(t, w.acme.Webhooks)
	last := rc.deliveries()[len(got)]
	w.equal("after the rotation", last.header.Get("X-Shopify-Hmac-Sha256"), shopifySignature("new-secret", last.body))
	w.equal("same webhook id", last.header.Get("X-Shopify-Webhook-Id"), got[0].header.Get("X-Shopify-Webhook-Id"))
}

func TestSubscriptions(t *testing.T) {
	t.Parallel()
	rc := &receiver{}
	w := newWorld(t, ShopifyOptions{Client: &http.Client{Transport: rc}, Senders: 1})
	const create = `mutation($topic: WebhookSubscriptionTopic!, $w: WebhookSubscriptionInput!) { webhookSubscriptionCreate(topic: $topic, webhookSubscription: $w) { webhookSubscription { id uri name } userErrors { field message } } }`
	const root = "webhookSubscriptionCreate"
	address := "https://lockstep.example.com/webhooks/shopify"
	subscribe := func(topic string, input in) gqlReply { return w.run(create, in{"topic": topic, "w": input}) }
	w.wantErrors(subscribe("CUSTOMERS_UPDATE", in{}), root, "webhookSubscription.callbackUrl||Address can't be blank")
	w.wantErrors(subscribe("CUSTOMERS_UPDATE", in{"uri": "ftp://x"}), root, "webhookSubscription.callbackUrl||Address is invalid")
	made := subscribe("CUSTOMERS_UPDATE", in{"uri": address, "name": "lockstep", "includeFields": []string{"id", "updated_at", "metafields"}, "metafieldNamespaces": []string{"custom"}})
	w.wantErrors(subscribe("CUSTOMERS_UPDATE", in{"uri": address}), root, "webhookSubscription.callbackUrl||Address for this topic has already been taken")
	subscribe("CUSTOMERS_DELETE", in{"uri": address})
	c := w.put(w.acme, CustomerSpec{Email: "a@example.com", Metafields: []ShopMetafield{{Namespace: "custom", Key: "k1", Value: "v"}, {Namespace: "other", Key: "k1", Value: "v"}}})
	if err := second(w.acme.EditCustomer(c.ID, CustomerEdit{FirstName: new("A")})); err != nil {
		t.Fatal(err)
	}
	if err := w.acme.DeleteCustomer(c.ID); err != nil {
		t.Fatal(err)
	}
	waitFor(t, w.acme.Webhooks)
	w.equal("only what was asked for", rc.topics(), []string{"customers/update", "customers/delete"})
	first := rc.deliveries()[0]
	w.equal("name", first.header.Get("X-Shopify-Name"), "lockstep")
	keys := sortedKeys(decode[map[string]any](t, first.body))
	w.equal("fields", keys, []string{"id", "metafields", "updated_at"})
	w.equal("metafields", len(decode[map[string]any](t, first.body)["metafields"].([]any)), 1)
	list := w.want(`{ webhookSubscriptions(first: 10, topics: [CUSTOMERS_UPDATE]) { nodes { id topic includeFields } } webhookSubscriptionsCount { count } }`, nil)
	w.equal("list", words(len(list.at("webhookSubscriptions.nodes").([]any)), list.at("webhookSubscriptionsCount.count")), "1 2")
	id := made.at(root + ".webhookSubscription.id")
	w.want(`mutation($id: ID!, $w: WebhookSubscriptionInput!) { webhookSubscriptionUpdate(id: $id, webhookSubscription: $w) { webhookSubscription { uri } userErrors { field message } } }`, in{"id": id, "w": in{"uri": address + "/2"}})
	const remove = `mutation($id: ID!) { webhookSubscriptionDelete(id: $id) { deletedWebhookSubscriptionId userErrors { field message } } }`
	w.want(remove, in{"id": id})
	w.wantErrors(w.run(remove, in{"id": id}), "webhookSubscriptionDelete", "id||Webhook subscription does not exist")
	w.equal("dropped", w.acme.DropSubscriptions(), 1)
	w.acme.SetScopes("write_customers")
	w.equal("merge needs its scope", subscribe("CUSTOMERS_MERGE", in{"uri": address}).code(), "ACCESS_DENIED")
}

// TestWebhookRetries: at once and eight times more over four hours, the same body
// and id; a subscription made by API is deleted after eight failures running.
func TestWebhookRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		rc := &receiver{answer: func(int, *http.Request) (*http.Response, error) {
			at = append(at, time.Since(start))
			return reply(http.StatusMovedPermanently), nil // a redirect is a failure
		}}
		options := shopReceiver(rc)
		options.Now = time.Now
		w := newWorld(t, options)
		w.put(w.acme, CustomerSpec{Email: "a@example.com"})
		if err := w.acme.Webhooks.Wait(t.Context()); err == nil {
			t.Error("it was not given up")
		}
		w.equal("attempts", len(at), 9)
		w.equal("four hours", at[8], 4*time.Hour)
		w.equal("one id", len(slices.Compact(idsOf(rc))), 1)
		w.acme.SetWebhookURL("")
		const create = `mutation($uri: String!) { webhookSubscriptionCreate(topic: CUSTOMERS_CREATE, webhookSubscription: {uri: $uri}) { userErrors { message } } }`
		w.run(create, in{"uri": "http://lockstep.example.test/api"})
		w.put(w.acme, CustomerSpec{Email: "b@example.com"})
		_ = w.acme.Webhooks.Wait(t.Context()) // the failure is known
		w.equal("attempts until the deletion", len(at), 9+8)
		w.equal("subscriptions", w.want(`{ webhookSubscriptionsCount { count } }`, nil).at("webhookSubscriptionsCount.count"), 0)
		w.acme.Webhooks.Close()
	})
}

func idsOf(rc *receiver) []string {
	var ids []string
	for _, d := range rc.deliveries() {
		ids = append(ids, d.header.Get("X-Shopify-Webhook-Id"))
	}
	return ids
}

// TestUninstall: the shop says so, and lets the app in no more.
func TestUninstall(t *testing.T) {
	t.Parallel()
	rc := &receiver{}
	w := newWorld(t, shopReceiver(rc))
	w.acme.Uninstall()
	waitFor(t, w.acme.Webhooks)
	w.equal("topics", rc.topics(), []string{"app/uninstalled"})
	body := decode[map[string]any](t, rc.deliveries()[0].body)
	w.equal("shop", body["myshopify_domain"], "acme.myshopify.com")
	w.equal("status", w.post(w.acme, NewestShopifyVersion, in{"query": shopQuery}, nil).Code, 401)
	w.acme.Restore()
	w.equal("installed again", w.want(`{ webhookSubscriptionsCount { count } }`, nil).at("webhookSubscriptionsCount.count"), 0)
}
