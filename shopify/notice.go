package shopify

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/lockstephq/lockstep"
)

// Why a webhook that is believed is not kept.
var (
	ErrTopic     = errors.New("the topic is not one that Lockstep keeps")
	ErrMalformed = errors.New("the webhook is not of its topic's form")
)

// topic is a kind of webhook, by its name in X-Shopify-Topic.
type topic struct {
	graphql string // in WebhookSubscriptionTopic; empty for those that no subscription can have
	scope   string // that a subscription needs beyond read_customers
	read    func(webhookBody, *lockstep.Notice) error
}

// topics are the webhooks that Lockstep takes. Bodies of customers hold no tags
// and no consent since 2025-01, so those have topics of their own.
func topics() map[string]topic {
	return map[string]topic{
		"customers/create":                         {graphql: "CUSTOMERS_CREATE", read: customerByID},
		"customers/update":                         {graphql: "CUSTOMERS_UPDATE", read: customerByID},
		"customers/delete":                         {graphql: "CUSTOMERS_DELETE", read: customerByID},
		"customers/enable":                         {graphql: "CUSTOMERS_ENABLE", read: customerByID},
		"customers/disable":                        {graphql: "CUSTOMERS_DISABLE", read: customerByID},
		"customers/merge":                          {graphql: "CUSTOMERS_MERGE", scope: "read_customer_merge", read: mergedCustomers},
		"customer.tags_added":                      {graphql: "CUSTOMER_TAGS_ADDED", read: taggedCustomer},
		"customer.tags_removed":                    {graphql: "CUSTOMER_TAGS_REMOVED", read: taggedCustomer},
		"customers_email_marketing_consent/update": {graphql: "CUSTOMERS_EMAIL_MARKETING_CONSENT_UPDATE", read: consentingCustomer},
		"customers_marketing_consent/update":       {graphql: "CUSTOMERS_MARKETING_CONSENT_UPDATE", read: consentingCustomer},
		"bulk_operations/finish":                   {graphql: "BULK_OPERATIONS_FINISH", read: bulkOperation},
		"app/uninstalled":                          {graphql: "APP_UNINSTALLED", read: uninstalled},
		"customers/data_request":                   {read: privacyOf(lockstep.PrivacyReport)},
		"customers/redact":                         {read: privacyOf(lockstep.PrivacyEraseCustomer)},
		"shop/redact":                              {read: privacyOfShop},
	}
}

// webhookBody is what is read of a body: ids and the shop, nothing of a person.
// Ids are whole numbers beyond what a float64 can hold.
type webhookBody struct {
	ID          int64  `json:"id"`
	GID         string `json:"admin_graphql_api_id"`
	CustomerID  int64  `json:"customer_id"`
	CustomerGID string `json:"customerId"`
	KeptGID     string `json:"admin_graphql_api_customer_kept_id"`
	DeletedGID  string `json:"admin_graphql_api_customer_deleted_id"`
	Customer    struct {
		ID int64 `json:"id"`
	} `json:"customer"`
	Request struct {
		ID int64 `json:"id"`
	} `json:"data_request"`
	ShopDomain string `json:"shop_domain"`      // of the topics that the law demands
	Myshopify  string `json:"myshopify_domain"` // of a shop
}

// DecodeWebhook reduces a verified webhook to a notice. It fails with ErrTopic
// for one that is to be left aside, and with ErrMalformed.
func DecodeWebhook(h http.Header, body []byte) (lockstep.Notice, error) {
	shop := WebhookShop(h)
	n := lockstep.Notice{
		Source: "shopify", ID: h.Get("X-Shopify-Webhook-Id"), Target: "shopify:" + shop,
		Kind: strings.ToLower(h.Get("X-Shopify-Topic")),
	}
	kind, ok := topics()[n.Kind]
	if !ok {
		return n, ErrTopic
	}
	const longest = 200 // of an id; Shopify's are UUIDs
	if n.ID == "" || len(n.ID) > longest {
		return n, fmt.Errorf("%w: X-Shopify-Webhook-Id is missing", ErrMalformed)
	}
	n.Triggered, _ = time.Parse(time.RFC3339Nano, h.Get("X-Shopify-Triggered-At")) // zero without it
	var b webhookBody
	if err := json.Unmarshal(body, &b); err != nil {
		return n, fmt.Errorf("%w: no JSON, or an id that is no whole number", ErrMalformed) // err may quote the body
	}
	if err := kind.read(b, &n); err != nil {
		return n, fmt.Errorf("%s: %w", n.Kind, err)
	}
	return n, b.of(shop)
}

// of checks the shop that the signed body names, where it names one, against the
// header, which is not signed.
func (b webhookBody) of(shop string) error {
	for _, named := range []string{b.ShopDomain, b.Myshopify} {
		if named != "" && shopName(named) != shop {
			return fmt.Errorf("%w: the body names another shop than the header", ErrMalformed)
		}
	}
	return nil
}

func customerByID(b webhookBody, n *lockstep.Notice) error { return changed(n, b.ID) }

func consentingCustomer(b webhookBody, n *lockstep.Notice) error { return changed(n, b.CustomerID) }

func changed(n *lockstep.Notice, id int64) error {
	if id <= 0 {
		return fmt.Errorf("%w: no customer id", ErrMalformed)
	}
	n.Customers = []string{customerGID(id)}
	return nil
}

func taggedCustomer(b webhookBody, n *lockstep.Notice) error {
	if !isID(b.CustomerGID) {
		return fmt.Errorf("%w: no customer id", ErrMalformed)
	}
	n.Customers = []string{b.CustomerGID}
	return nil
}

// mergedCustomers are both: which of them lives on is read, not believed.
func mergedCustomers(b webhookBody, n *lockstep.Notice) error {
	if !isID(b.KeptGID) || !isID(b.DeletedGID) {
		return fmt.Errorf("%w: no customer ids", ErrMalformed)
	}
	n.Customers = []string{b.DeletedGID, b.KeptGID}
	return nil
}

func bulkOperation(b webhookBody, n *lockstep.Notice) error {
	number, ok := strings.CutPrefix(b.GID, "gid://shopify/BulkOperation/")
	if _, err := strconv.ParseUint(number, 10, 64); !ok || err != nil {
		return fmt.Errorf("%w: no operation id", ErrMalformed)
	}
	n.Operation = b.GID
	return nil
}

func uninstalled(b webhookBody, n *lockstep.Notice) error {
	if b.Myshopify == "" {
		return fmt.Errorf("%w: no shop", ErrMalformed)
	}
	n.ShutOut = true
	return nil
}

// privacyOf reads the body of a topic of "Privacy law compliance" (shopify.dev)
// about one customer; the e-mail and phone in it are not read. The topic is not
// signed, so the body must be of the topic's own form: nobody makes an erasure
// of a report by changing a header.
func privacyOf(kind lockstep.PrivacyKind) func(webhookBody, *lockstep.Notice) error {
	return func(b webhookBody, n *lockstep.Notice) error {
		isReport := b.Request.ID > 0
		if b.Customer.ID <= 0 || b.ShopDomain == "" || isReport != (kind == lockstep.PrivacyReport) {
			return fmt.Errorf("%w: no customer id, no shop, or another topic's body", ErrMalformed)
		}
		n.Privacy = &lockstep.PrivacyRequest{Kind: kind, CustomerID: customerGID(b.Customer.ID)}
		if isReport {
			n.Privacy.Reference = strconv.FormatInt(b.Request.ID, 10)
		}
		return nil
	}
}

func privacyOfShop(b webhookBody, n *lockstep.Notice) error {
	if b.ShopDomain == "" || b.Customer.ID != 0 {
		return fmt.Errorf("%w: no shop, or another topic's body", ErrMalformed)
	}
	n.Privacy = &lockstep.PrivacyRequest{Kind: lockstep.PrivacyEraseStore}
	return nil
}

func customerGID(id int64) string { return idPrefix + strconv.FormatInt(id, 10) }
