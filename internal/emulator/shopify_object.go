package emulator

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// nullable is a text as answers show it: "" is null.
func nullable(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func noteOf(c *ShopCustomer) any {
	if c.Note == nil {
		return nil
	}
	return *c.Note
}

// seen is a customer as far as the app may see it.
func (s *Shop) seen(c *ShopCustomer) *ShopCustomer {
	if !s.access.noCustomers {
		return c
	}
	bare := c.clone()
	bare.Email, bare.Phone, bare.FirstName, bare.LastName = "", "", "", ""
	bare.Addresses = []ShopAddress{}
	return bare
}

// customerObject is a customer as answers show it; nil stays nil.
func (s *Shop) customerObject(stored *ShopCustomer) *object {
	if stored == nil {
		return nil
	}
	c := s.seen(stored)
	fields := map[string]any{
		"id": c.ID, "legacyResourceId": strconv.FormatInt(c.number, 10),
		"firstName": nullable(c.FirstName), "lastName": nullable(c.LastName), "displayName": c.displayName(),
		"email": nullable(c.Email), "phone": nullable(s.shownPhone(c)), "note": noteOf(c), "tags": c.Tags, "locale": c.Locale,
		"state": c.State, "verifiedEmail": c.VerifiedEmail, "canDelete": c.Orders == 0,
		"numberOfOrders": strconv.Itoa(c.Orders), "createdAt": c.CreatedAt, "updatedAt": c.UpdatedAt,
		"multipassIdentifier": nullable(c.Multipass), "taxExempt": c.TaxExempt, "dataSaleOptOut": false,
		"lifetimeDuration": "less than a minute", "productSubscriberStatus": "NEVER_SUBSCRIBED",
		"defaultEmailAddress": s.emailObject(c), "defaultPhoneNumber": s.phoneObject(c),
		"amountSpent": &object{"MoneyV2", map[string]any{"amount": "0.0", "currencyCode": shopCurrency}},
		"taxSettings": &object{"TaxSettings", map[string]any{"taxId": nil}},
		"mergeable":   s.mergeableObject(c),
		"metafield": resolver(func(args map[string]any) (any, error) {
			return s.metafieldObject(c, c.metafield(s.namespace(args["namespace"]), textOf(args["key"]))), nil
		}),
		"metafields":               resolver(func(args map[string]any) (any, error) { return s.metafieldPage(c, args) }),
		"addressesV2":              resolver(func(args map[string]any) (any, error) { return s.addressPage(c, args) }),
		"defaultAddress":           nil,
		"identityProviderSubjects": s.subjectObjects(c),
	}
	if len(c.Addresses) > 0 {
		fields["defaultAddress"] = addressObject(c.Addresses[0])
	}
	addConsents(fields, c)
	return &object{"Customer", fields}
}

// addConsents adds the deprecated ways to read consents.
func addConsents(fields map[string]any, c *ShopCustomer) {
	fields["emailMarketingConsent"], fields["smsMarketingConsent"] = nil, nil
	if c.Email != "" {
		fields["emailMarketingConsent"] = &object{"CustomerEmailMarketingConsentState", map[string]any{
			"consentUpdatedAt": c.EmailConsent.at(), "marketingOptInLevel": c.EmailConsent.level(), "marketingState": c.EmailConsent.state(),
		}}
	}
	if c.Phone != "" {
		fields["smsMarketingConsent"] = &object{"CustomerSmsMarketingConsentState", map[string]any{
			"consentCollectedFrom": collectedFrom(c.SMSConsent), "consentUpdatedAt": c.SMSConsent.at(),
			"marketingOptInLevel": c.SMSConsent.level(), "marketingState": c.SMSConsent.state(),
		}}
	}
}

func collectedFrom(consent ShopConsent) any {
	if consent.UpdatedAt == nil {
		return nil
	}
	return "OTHER"
}

func (s *Shop) emailObject(c *ShopCustomer) *object {
	if c.Email == "" {
		return nil
	}
	return &object{"CustomerEmailAddress", map[string]any{
		"emailAddress": c.Email, "validFormat": true, "marketingState": c.EmailConsent.state(),
		"marketingOptInLevel": c.EmailConsent.level(), "marketingUpdatedAt": c.EmailConsent.at(),
	}}
}

// shownPhone masks all but the last digits where the token wants it so.
func (s *Shop) shownPhone(c *ShopCustomer) string {
	if !s.access.maskPhones || len(c.Phone) < 6 {
		return c.Phone
	}
	return c.Phone[:2] + strings.Repeat("*", len(c.Phone)-4) + c.Phone[len(c.Phone)-2:]
}

func (s *Shop) phoneObject(c *ShopCustomer) *object {
	if c.Phone == "" {
		return nil
	}
	return &object{"CustomerPhoneNumber", map[string]any{
		"phoneNumber": s.shownPhone(c), "marketingCollectedFrom": collectedFrom(c.SMSConsent),
		"marketingState": c.SMSConsent.state(), "marketingOptInLevel": c.SMSConsent.level(), "marketingUpdatedAt": c.SMSConsent.at(),
		"smsMarketingConsent":      consentObject("CustomerSmsMarketingConsent", c.SMSConsent),
		"whatsAppMarketingConsent": consentObject("CustomerWhatsAppMarketingConsent", ShopConsent{}),
	}}
}

// consentObject is a consent in the newer form, which calls the first state
// otherwise.
func consentObject(typename string, consent ShopConsent) *object {
	state := consent.state()
	if state == "NOT_SUBSCRIBED" {
		state = "NEVER_SUBSCRIBED"
	}
	return &object{typename, map[string]any{
		"state": state, "optInLevel": consent.level(), "updatedAt": consent.at(), "collectedFrom": collectedFrom(consent),
	}}
}

func (s *Shop) mergeableObject(c *ShopCustomer) *object {
	blocks := mergeBlocks(c, &ShopCustomer{}, c)
	var inProgress *object
	for _, job := range s.jobs {
		if !job.done && (job.plan.kept.number == c.number || job.plan.gone.number == c.number) {
			inProgress = s.mergeRequest(job)
		}
	}
	fields := map[string]any{"isMergeable": len(blocks) == 0 && inProgress == nil, "errorFields": []string{}, "reason": nil, "mergeInProgress": inProgress}
	if len(blocks) > 0 {
		fields["errorFields"], fields["reason"] = blocks[0].fields, blocks[0].message
	}
	return &object{"CustomerMergeable", fields}
}

func (s *Shop) subjectObjects(c *ShopCustomer) []*object {
	if c.Subject == "" {
		return []*object{}
	}
	return []*object{{"IdentityProviderSubject", map[string]any{
		"id": fmt.Sprintf("gid://shopify/IdentityProviderSubject/%d", c.number), "providerName": "Clerk",
		"subject": c.Subject, "createdAt": c.CreatedAt, "updatedAt": c.CreatedAt,
	}}}
}

// metafieldObject is nil for a metafield that is not there or is out of reach.
func (s *Shop) metafieldObject(c *ShopCustomer, m *ShopMetafield) *object {
	if m == nil || s.foreign(m.Namespace) {
		return nil
	}
	return &object{"Metafield", map[string]any{
		"id": m.gid(), "legacyResourceId": strconv.FormatInt(m.Number, 10), "namespace": m.Namespace, "key": m.Key,
		"type": m.Type, "value": m.Value, "jsonValue": jsonValue(m), "compareDigest": m.digest(), "sizeInBytes": len(m.Value),
		"ownerType": "CUSTOMER", "createdAt": m.CreatedAt, "updatedAt": m.UpdatedAt,
		"owner":      resolver(func(map[string]any) (any, error) { return s.customerObject(c), nil }),
		"definition": s.definitionObject(s.definition("CUSTOMER", m.Namespace, m.Key)),
	}}
}

func jsonValue(m *ShopMetafield) any {
	if m.Type == "json" || m.Type == "number_integer" || m.Type == "boolean" {
		return json.RawMessage(m.Value)
	}
	return m.Value
}

func (s *Shop) definitionObject(d *definition) *object {
	if d == nil {
		return nil
	}
	return &object{"MetafieldDefinition", map[string]any{
		"id": d.gid(), "namespace": d.namespace, "key": d.key, "name": d.name, "description": nullable(d.description),
		"ownerType": d.owner, "pinnedPosition": nil, "validationStatus": "ALL_VALID",
		"type": &object{"MetafieldDefinitionType", map[string]any{"name": d.kind, "category": strings.ToUpper(d.kind)}},
		"access": &object{"MetafieldAccess", map[string]any{
			"admin": d.adminAccess, "customerAccount": "NONE", "storefront": "NONE",
		}},
		"capabilities": &object{"MetafieldCapabilities", map[string]any{
			"uniqueValues": &object{"MetafieldCapabilityUniqueValues", map[string]any{"eligible": slices.Contains(uniqueTypes(), d.kind), "enabled": d.unique}},
			"adminFilterable": &object{"MetafieldCapabilityAdminFilterable", map[string]any{
				"eligible": false, "enabled": false, "status": "NOT_FILTERABLE",
			}},
		}},
		"metafieldsCount": resolver(func(map[string]any) (any, error) { return s.countMetafields(d), nil }),
	}}
}

func (s *Shop) countMetafields(d *definition) int {
	count := 0
	for _, c := range s.store.byNumber {
		if c.metafield(d.namespace, d.key) != nil {
			count++
		}
	}
	return count
}

func addressObject(a ShopAddress) *object {
	country, province := countryName(a.CountryCode), provinceName(a.CountryCode, a.Province)
	area := strings.TrimSpace(a.City + " " + a.Province)
	if country != "" {
		area = strings.TrimPrefix(area+", "+country, ", ")
	}
	return &object{"MailingAddress", map[string]any{
		"id":       fmt.Sprintf("gid://shopify/MailingAddress/%d?model_name=CustomerAddress", a.Number),
		"address1": nullable(a.Address1), "address2": nullable(a.Address2), "city": nullable(a.City), "company": nullable(a.Company),
		"country": nullable(country), "countryCodeV2": nullable(a.CountryCode), "province": nullable(province), "provinceCode": nullable(a.Province),
		"firstName": nullable(a.FirstName), "lastName": nullable(a.LastName), "name": nullable(strings.TrimSpace(a.FirstName + " " + a.LastName)),
		"phone": nullable(a.Phone), "zip": nullable(a.Zip), "coordinatesValidated": false, "formattedArea": nullable(area),
		"formatted": []string{a.Address1, strings.TrimSpace(a.City + " " + a.Province + " " + a.Zip), country},
	}}
}

// countryName knows the few countries that synthetic data lives in.
func countryName(code string) string {
	switch code {
	case "CA":
		return "Canada"
	case "US":
		return "United States"
	case "DE":
		return "Germany"
	case "GB":
		return "United Kingdom"
	}
	return code
}

func provinceName(country, code string) string {
	if country == "CA" && code == "ON" {
		return "Ontario"
	}
	return code
}

func (s *Shop) shopObject() *object {
	plus := s.access.plan == PlanPlus || s.access.plan == PlanEnterprise
	host := s.Domain()
	return &object{"Shop", map[string]any{
		"id": fmt.Sprintf("gid://shopify/Shop/%d", s.shopNumber()), "name": s.title, "myshopifyDomain": host,
		"email": "owner@example.com", "contactEmail": "owner@example.com", "currencyCode": shopCurrency, "ianaTimezone": shopTimezone,
		"url": "https://" + host, "setupRequired": false, "taxShipping": false, "createdAt": s.openedAt, "updatedAt": s.openedAt,
		"plan": &object{"ShopPlan", map[string]any{
			"publicDisplayName": planName(s.access.plan), "displayName": planName(s.access.plan), "shopifyPlus": plus, "partnerDevelopment": false,
		}},
		"primaryDomain": &object{"Domain", map[string]any{"id": "gid://shopify/Domain/1", "host": host, "sslEnabled": true, "url": "https://" + host}},
		"customerAccountsV2": &object{"CustomerAccountsV2", map[string]any{
			"customerAccountsVersion": "NEW_CUSTOMER_ACCOUNTS", "url": "https://" + host + "/account",
			"loginLinksVisibleOnStorefrontAndCheckout": true, "loginRequiredAtCheckout": false,
		}},
	}}
}

func planName(plan ShopPlan) string {
	switch plan {
	case PlanAdvanced:
		return "Advanced"
	case PlanPlus, PlanEnterprise:
		return "Shopify Plus"
	}
	return "Grow"
}
