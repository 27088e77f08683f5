package emulator

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// shopifyTimeout is how long Shopify waits for an answer (shopify.dev, "Deliver
// webhooks through HTTPS").
const shopifyTimeout = 5 * time.Second

// ShopifySchedule returns the waits before Shopify's nine attempts: at once, then
// eight more over four hours (shopify.dev, "Deliver webhooks through HTTPS"). How
// the four hours are divided is not published.
func ShopifySchedule() []time.Duration {
	return []time.Duration{
		0, time.Minute, 3 * time.Minute, 7 * time.Minute, 14 * time.Minute,
		25 * time.Minute, 40 * time.Minute, 60 * time.Minute, 90 * time.Minute,
	}
}

// shopifySignature is the X-Shopify-Hmac-Sha256 of a body.
func shopifySignature(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// sign signs with the oldest secret, as Shopify does while one is being rotated.
func (s *Shop) sign(id string, _ time.Time, body []byte) http.Header {
	header := http.Header{}
	header.Set("X-Shopify-Webhook-Id", id)
	header.Set("X-Shopify-Hmac-Sha256", shopifySignature(s.Secrets()[0], body))
	header.Set("User-Agent", "Shopify-Captain-Hook")
	return header
}

// subscription is a webhook subscription made through the API.
type subscription struct {
	number             int64
	topic              string // of WebhookSubscriptionTopic
	uri, name, filter  string
	format             string
	includeFields      []string
	metafieldNamespace []string
	createdAt          time.Time
	updatedAt          time.Time
	failures           int // attempts in a row
}

func (s *subscription) gid() string {
	return fmt.Sprintf("gid://shopify/WebhookSubscription/%d", s.number)
}

// topicName is the name in X-Shopify-Topic of a topic of the schema.
func topicName(topic string) string {
	switch topic {
	case "CUSTOMER_TAGS_ADDED":
		return "customer.tags_added"
	case "CUSTOMER_TAGS_REMOVED":
		return "customer.tags_removed"
	case "CUSTOMERS_PURCHASING_SUMMARY":
		return "customers/purchasing_summary"
	case "APP_SCOPES_UPDATE":
		return "app/scopes_update"
	}
	cut := strings.LastIndex(topic, "_")
	return strings.ToLower(topic[:cut] + "/" + topic[cut+1:])
}

func (s *Shop) subscription(id string) *subscription {
	for _, sub := range s.subscriptions {
		if sub.gid() == id {
			return sub
		}
	}
	return nil
}

func (s *Shop) subscriptionCreate(args map[string]any) (any, error) {
	const payload = "WebhookSubscriptionCreatePayload"
	topic, scope := textOf(args["topic"]), "read_customers"
	if topic == "CUSTOMERS_MERGE" {
		scope = "read_customer_merge"
	}
	if !s.access.may(scope) {
		return nil, accessDenied("webhookSubscriptionCreate", scope)
	}
	at := s.options.Now()
	sub := &subscription{topic: topic, format: "JSON", includeFields: []string{}, metafieldNamespace: []string{}, createdAt: at, updatedAt: at}
	sub.apply(inputOf(args, "webhookSubscription"))
	if wrong := s.checkSubscription(sub); wrong != nil {
		return s.payload(payload, map[string]any{"webhookSubscription": nil}, *wrong), nil
	}
	sub.number = s.number()
	s.subscriptions = append(s.subscriptions, sub)
	return s.payload(payload, map[string]any{"webhookSubscription": s.subscriptionObject(sub)}), nil
}

// apply puts a WebhookSubscriptionInput over a subscription.
func (s *subscription) apply(input map[string]any) {
	for name, into := range map[string]*string{
		"callbackUrl": &s.uri, "uri": &s.uri, "filter": &s.filter, "format": &s.format, "name": &s.name,
	} {
		if text := textOf(input[name]); text != "" {
			*into = text
		}
	}
	if fields := listOf(input["includeFields"]); fields != nil {
		s.includeFields = textsOf(fields)
	}
	if namespaces := listOf(input["metafieldNamespaces"]); namespaces != nil {
		s.metafieldNamespace = textsOf(namespaces)
	}
}

// checkSubscription answers as captured. Plain http is allowed, unlike at Shopify:
// tests listen on their own machine.
func (s *Shop) checkSubscription(sub *subscription) *userError {
	at := []string{"webhookSubscription", "callbackUrl"}
	where, err := url.Parse(sub.uri)
	switch {
	case sub.uri == "":
		return &userError{field: at, message: "Address can't be blank"}
	case err != nil || !slices.Contains([]string{"http", "https"}, where.Scheme) || where.Host == "":
		return &userError{field: at, message: "Address is invalid"}
	}
	for _, other := range s.subscriptions {
		if other != sub && other.topic == sub.topic && other.uri == sub.uri && other.filter == sub.filter {
			return &userError{field: at, message: "Address for this topic has already been taken"}
		}
	}
	return nil
}

func (s *Shop) subscriptionUpdate(args map[string]any) (any, error) {
	const payload = "WebhookSubscriptionUpdatePayload"
	sub := s.subscription(textOf(args["id"]))
	if sub == nil {
		return s.payload(payload, map[string]any{"webhookSubscription": nil}, noSubscription()), nil
	}
	changed := *sub
	changed.apply(inputOf(args, "webhookSubscription"))
	before := *sub
	*sub = changed
	if wrong := s.checkSubscription(sub); wrong != nil {
		*sub = before
		return s.payload(payload, map[string]any{"webhookSubscription": nil}, *wrong), nil
	}
	sub.updatedAt = s.options.Now()
	return s.payload(payload, map[string]any{"webhookSubscription": s.subscriptionObject(sub)}), nil
}

func noSubscription() userError {
	return userError{field: []string{"id"}, message: "Webhook subscription does not exist"}
}

func (s *Shop) subscriptionDelete(args map[string]any) (any, error) {
	const payload = "WebhookSubscriptionDeletePayload"
	sub := s.subscription(textOf(args["id"]))
	if sub == nil {
		return s.payload(payload, map[string]any{"deletedWebhookSubscriptionId": nil}, noSubscription()), nil
	}
	s.forget(sub)
	return s.payload(payload, map[string]any{"deletedWebhookSubscriptionId": sub.gid()}), nil
}

func (s *Shop) forget(gone *subscription) {
	s.subscriptions = slices.DeleteFunc(s.subscriptions, func(sub *subscription) bool { return sub == gone })
}

func (s *Shop) subscriptionByID(args map[string]any) (any, error) {
	sub := s.subscription(textOf(args["id"]))
	if sub == nil {
		return nil, nil
	}
	return s.subscriptionObject(sub), nil
}

// subscriptionPage lists what was made through the API, not ShopSpec.WebhookURL.
func (s *Shop) subscriptionPage(args map[string]any) (any, error) {
	var rows []row
	topics := listOf(args["topics"])
	for _, sub := range s.subscriptions {
		if topics != nil && !slices.Contains(topics, any(sub.topic)) || args["uri"] != nil && args["uri"] != sub.uri {
			continue
		}
		rows = append(rows, row{sub.number, "", func() *object { return s.subscriptionObject(sub) }})
	}
	return pageOf("WebhookSubscription", rows, args)
}

func (s *Shop) subscriptionsCount(args map[string]any) (any, error) {
	return countObject(len(s.subscriptions), args), nil
}

func (s *Shop) subscriptionObject(sub *subscription) *object {
	return &object{"WebhookSubscription", map[string]any{
		"id": sub.gid(), "legacyResourceId": strconv.FormatInt(sub.number, 10), "topic": sub.topic, "uri": sub.uri,
		"format": sub.format, "filter": nullable(sub.filter), "name": nullable(sub.name), "includeFields": sub.includeFields,
		"metafieldNamespaces": sub.metafieldNamespace, "metafields": []*object{}, "apiVersion": versionObject(NewestShopifyVersion),
		"createdAt": sub.createdAt, "updatedAt": sub.updatedAt,
	}}
}

// noteDelivery counts failures. A subscription made through the API is deleted when
// too many attempts failed in a row, and nothing more is sent to it; shopify.dev
// does not say whether attempts or webhooks count, so this is the stricter way.
func (s *Shop) noteDelivery(m Message, acknowledged bool) bool {
	if m.To == "" {
		return true // of the app's configuration
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.subscriptions, func(sub *subscription) bool { return sub.uri == m.To && topicName(sub.topic) == m.Type })
	if at < 0 {
		return false
	}
	sub := s.subscriptions[at]
	if acknowledged {
		sub.failures = 0
		return true
	}
	sub.failures++
	if s.options.MaxFailures > 0 && sub.failures >= s.options.MaxFailures {
		s.forget(sub)
		return false
	}
	return true
}

// DropSubscriptions deletes all subscriptions made through the API, as Shopify
// does after failures. It returns how many.
func (s *Shop) DropSubscriptions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.subscriptions)
	s.subscriptions = nil
	return n
}

// Uninstall takes the app out of the shop, as the merchant does: its tokens are
// invalid, app/uninstalled is sent, and the subscriptions are gone. Restore puts
// it back, without them.
func (s *Shop) Uninstall() {
	s.mu.Lock()
	s.newEvent().send("APP_UNINSTALLED", webhookShop{s.shopNumber(), s.title, s.Domain(), s.Domain()}, nil)
	s.mu.Unlock()
	s.DropSubscriptions()
	s.Revoke()
}

// event is one action of the shop; all its webhooks share an event id.
type event struct {
	shop *Shop
	id   string
	at   time.Time
}

func (s *Shop) newEvent() event {
	return event{s, s.random.uuid(), s.options.Now()}
}

// send makes a webhook for each subscription to a topic and one for the app's own
// configuration. The caller holds s.mu.
func (e event) send(topic string, body any, c *ShopCustomer) {
	raw, err := json.Marshal(body)
	if err != nil {
		return // bodies are made of plain values
	}
	for _, sub := range e.shop.subscriptions {
		if sub.topic == topic {
			header := e.header(topicName(topic))
			if sub.name != "" {
				header.Set("X-Shopify-Name", sub.name)
			}
			e.shop.Webhooks.addMessage(Message{Type: topicName(topic), To: sub.uri, Header: header, Body: sub.shape(raw, c)})
		}
	}
	e.shop.Webhooks.addMessage(Message{Type: topicName(topic), Header: e.header(topicName(topic)), Body: raw})
}

func (e event) header(topic string) http.Header {
	header := http.Header{}
	header.Set("X-Shopify-Topic", topic)
	header.Set("X-Shopify-Shop-Domain", e.shop.Domain())
	header.Set("X-Shopify-API-Version", NewestShopifyVersion)
	header.Set("X-Shopify-Event-Id", e.id)
	header.Set("X-Shopify-Triggered-At", e.at.UTC().Format(time.RFC3339Nano))
	return header
}

// shape adds the metafields that a subscription wants and keeps the fields that
// it names.
func (s *subscription) shape(raw []byte, c *ShopCustomer) []byte {
	if len(s.includeFields) == 0 && len(s.metafieldNamespace) == 0 {
		return raw
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return raw
	}
	if c != nil && len(s.metafieldNamespace) > 0 {
		members["metafields"], _ = json.Marshal(s.metafieldsOf(c)) // plain values
	}
	for name := range members {
		if len(s.includeFields) > 0 && !slices.Contains(s.includeFields, name) {
			delete(members, name)
		}
	}
	shaped, _ := json.Marshal(members) // it was JSON before
	return shaped
}

func (s *subscription) metafieldsOf(c *ShopCustomer) []webhookMetafield {
	list := []webhookMetafield{}
	for _, m := range c.Metafields {
		if slices.Contains(s.metafieldNamespace, m.Namespace) {
			list = append(list, webhookMetafield{m.Number, m.Namespace, m.Key, m.Value, m.gid()})
		}
	}
	return list
}

// SetWebhookURL says where the webhooks of every topic go, as subscriptions of the
// app's configuration do; see [Outbox.SetURL].
func (s *Shop) SetWebhookURL(url string) { s.Webhooks.SetURL(url) }
