package shopify

import (
	"context"
	"strings"
	"time"

	"github.com/lockstephq/lockstep"
)

// askConsent has a document read the consent to e-mail marketing as well, which
// costs no points: the fields are no objects.
func askConsent(document string) string {
	return strings.ReplaceAll(document, "{ emailAddress }", "{ emailAddress marketingState marketingUpdatedAt }")
}

// fitConsent leaves out what is said at another place than the mapped one. The
// shop's times are whole seconds.
func (t *Target) fitConsent(c lockstep.Consent) lockstep.Consent {
	if t.consent == "" || c.Place != t.consent {
		return lockstep.Consent{}
	}
	c.At = c.At.Truncate(time.Second)
	return c
}

// agree writes the consent that is due to a customer as it was just seen. One that
// Shopify refuses is no reason to do without the customer.
func (t *Target) agree(ctx context.Context, c, want lockstep.Customer) (lockstep.Customer, error) {
	due := lockstep.ConsentDue(c, want)
	if due == (lockstep.Consent{}) {
		return c, nil
	}
	var got struct {
		Payload struct {
			Errors userErrors `json:"userErrors"`
		} `json:"customerEmailMarketingConsentUpdate"`
	}
	op := t.ops["consent"]
	err := t.client.run(ctx, op, map[string]any{"input": map[string]any{"customerId": c.ID, "emailMarketingConsent": map[string]any{
		"marketingState": due.State, "marketingOptInLevel": "SINGLE_OPT_IN", "consentUpdatedAt": due.At.UTC().Format(time.RFC3339),
	}}}, &got)
	if err != nil {
		return lockstep.Customer{}, err
	}
	for _, e := range got.Payload.Errors {
		switch {
		case e.about("customerId"):
			return lockstep.Customer{}, op.failf(lockstep.ErrGone, "it was deleted")
		case e.about("consentUpdatedAt"): // Clerk's clock is ahead: it passes
			return lockstep.Customer{}, op.failf(lockstep.ErrTransient, "%s", codeAndPath(e.code(), e.Field))
		}
	}
	if len(got.Payload.Errors) > 0 {
		t.log.Warn("consent left out: Shopify refuses it", "target", t.name, "user", want.UserID)
		c.RefusedConsent = due.At
		return c, nil
	}
	c.Consent = lockstep.Consent{State: due.State, At: due.At}
	return c, nil
}
