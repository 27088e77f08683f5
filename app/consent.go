package app

import "github.com/lockstephq/lockstep/clerk"

// consent is the place in the Clerk user that the shops map; empty for none.
func (c Config) consent() string {
	for _, s := range c.Shops {
		if s.Consent != "" {
			return s.Consent
		}
	}
	return ""
}

// checkConsent: a person's word about marketing is kept once, so all shops that
// take it take it from one place.
func (s *settings) checkConsent(shops []ShopConfig) {
	place := Config{Shops: shops}.consent()
	for _, shop := range shops {
		if shop.Consent == "" {
			continue
		}
		if err := clerk.CheckPlace(shop.Consent); err != nil {
			s.wrong("SHOPIFY_CONSENT", "of %s %w", shop.Shop, err)
		}
		if shop.Consent != place {
			s.wrong("SHOPIFY_CONSENT", "of %s is another place than of the shops before: give all that have one the same", shop.Shop)
		}
	}
}
