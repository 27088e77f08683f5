package emulator

import (
	"cmp"
	"slices"
	"time"
)

// consentKind is one of the ways to write to a customer.
type consentKind struct {
	input, payload string // of the GraphQL mutation
	refused        []string
	contact        func(*ShopCustomer) string
	of             func(*ShopCustomer) *ShopConsent
}

func emailConsent() consentKind {
	return consentKind{
		"emailMarketingConsent", "CustomerEmailMarketingConsentUpdatePayload", []string{"NOT_SUBSCRIBED", "REDACTED", "INVALID"},
		func(c *ShopCustomer) string { return c.Email }, func(c *ShopCustomer) *ShopConsent { return &c.EmailConsent },
	}
}

func smsConsent() consentKind {
	return consentKind{
		"smsMarketingConsent", "CustomerSmsMarketingConsentUpdatePayload", []string{"NOT_SUBSCRIBED", "REDACTED"},
		func(c *ShopCustomer) string { return c.Phone }, func(c *ShopCustomer) *ShopConsent { return &c.SMSConsent },
	}
}

func (s *Shop) emailConsentUpdate(args map[string]any) (any, error) {
	return s.updateConsent(emailConsent(), inputOf(args, "input"))
}

func (s *Shop) smsConsentUpdate(args map[string]any) (any, error) {
	return s.updateConsent(smsConsent(), inputOf(args, "input"))
}

// updateConsent answers errors as captured: with the unchanged customer for wrong
// e-mail consents, without one for an unknown customer.
func (s *Shop) updateConsent(kind consentKind, input map[string]any) (any, error) {
	given := inputOf(input, kind.input)
	if err := kind.check(given); err != nil {
		return nil, err
	}
	old := s.store.find(textOf(input["customerId"]))
	if old == nil {
		return s.payload(kind.payload, map[string]any{"customer": nil}, userError{field: []string{"input", "customerId"}, message: "Customer not found", code: "INVALID"}), nil
	}
	c := old.clone()
	if wrong := s.setConsent(kind, c, given); wrong != nil {
		wrong.field = append([]string{"input", kind.input}, wrong.field...)
		return s.payload(kind.payload, map[string]any{"customer": s.customerObject(old)}, *wrong), nil
	}
	if kind.contact(c) == "" { // captured for e-mail: no error, no change
		c = old
	}
	return s.payload(kind.payload, map[string]any{"customer": s.customerObject(s.commit(old, c))}), nil
}

// check refuses states that only Shopify itself may set.
func (k consentKind) check(given map[string]any) error {
	state := textOf(given["marketingState"])
	if slices.Contains(k.refused, state) {
		return codedError("INVALID", "Cannot specify %s as a marketing state input", state)
	}
	return nil
}

func (s *Shop) setConsent(kind consentKind, c *ShopCustomer, given map[string]any) *userError {
	at := s.options.Now()
	if text := textOf(given["consentUpdatedAt"]); text != "" {
		told, err := time.Parse(time.RFC3339, text)
		if err != nil || told.After(at) {
			return &userError{field: []string{"consentUpdatedAt"}, message: "Consent updated at must not be in the future", code: "INVALID"}
		}
		at = told
	}
	state, level := textOf(given["marketingState"]), cmp.Or(textOf(given["marketingOptInLevel"]), "SINGLE_OPT_IN")
	if state == "PENDING" && level != "CONFIRMED_OPT_IN" {
		return &userError{field: []string{"marketingOptInLevel"}, message: "Marketing opt in level must be confirmed opt-in for pending consent state", code: "INVALID"}
	}
	now := *kind.of(c)
	if now.State == state && now.OptInLevel == level && now.UpdatedAt != nil && now.UpdatedAt.Equal(at) {
		return nil
	}
	*kind.of(c) = ShopConsent{State: state, OptInLevel: level, UpdatedAt: &at}
	return nil
}

// applyConsents sets the consents of a CustomerInput, which only a creation takes.
func (s *Shop) applyConsents(c *ShopCustomer, input map[string]any) ([]userError, error) {
	var errs []userError
	for _, kind := range []consentKind{emailConsent(), smsConsent()} {
		given := inputOf(input, kind.input)
		if given == nil || given["marketingState"] == "NOT_SUBSCRIBED" {
			continue
		}
		if err := kind.check(given); err != nil {
			return nil, err
		}
		if kind.contact(c) == "" {
			errs = append(errs, userError{field: []string{kind.input}, message: "A contact method is needed to set a marketing consent"})
			continue
		}
		if wrong := s.setConsent(kind, c, given); wrong != nil {
			wrong.field = append([]string{kind.input}, wrong.field...)
			errs = append(errs, *wrong)
		}
	}
	return errs, nil
}

// state is the state as answers show it.
func (c ShopConsent) state() string { return cmp.Or(c.State, "NOT_SUBSCRIBED") }

func (c ShopConsent) level() string { return cmp.Or(c.OptInLevel, "SINGLE_OPT_IN") }

func (c ShopConsent) at() any {
	if c.UpdatedAt == nil {
		return nil
	}
	return *c.UpdatedAt
}
