package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/inbox"
	"github.com/lockstephq/lockstep/internal/web"
	"github.com/lockstephq/lockstep/shopify"
)

// webhookSecrets are the keys that a shop's webhooks may be signed with: those
// set for it, several while one is rotated, and the client secret, with which
// Shopify signs what an app of the Dev Dashboard subscribed to.
func (c ShopConfig) webhookSecrets() (secrets []string) {
	for s := range strings.SplitSeq(c.WebhookSecret+","+c.ClientSecret, ",") {
		if s = strings.TrimSpace(s); s != "" {
			secrets = append(secrets, s)
		}
	}
	return secrets
}

// shopVerifiers has the verifier of each shop that has a secret.
func shopVerifiers(shops []ShopConfig) (map[string]*shopify.WebhookVerifier, error) {
	all := map[string]*shopify.WebhookVerifier{}
	for _, s := range shops {
		secrets := s.webhookSecrets()
		if len(secrets) == 0 {
			continue
		}
		v, err := shopify.NewWebhookVerifier(secrets)
		if err != nil {
			return nil, &SettingError{"SHOPIFY_WEBHOOK_SECRET", fmt.Errorf("of %s is not usable: %w", s.Shop, err)}
		}
		all[s.Shop] = v
	}
	return all, nil
}

// receiveShopify is the way of a shop's webhook: verify with that shop's own
// secrets, reduce to a notice, accept.
func receiveShopify(verifiers map[string]*shopify.WebhookVerifier, in *inbox.Inbox) web.Receive {
	return func(ctx context.Context, h http.Header, body []byte) (lockstep.Receipt, error) {
		verifier, ok := verifiers[shopify.WebhookShop(h)]
		if !ok { // said in the same words: who asks for shops learns nothing
			return "", fmt.Errorf("%w: %w", web.ErrBadSignature, shopify.ErrSignature)
		}
		if err := verifier.Verify(h, body); err != nil {
			return "", fmt.Errorf("%w: %w", web.ErrBadSignature, err)
		}
		notice, err := shopify.DecodeWebhook(h, body)
		switch {
		case errors.Is(err, shopify.ErrTopic):
			return lockstep.ReceiptIgnored, nil
		case err != nil:
			return "", fmt.Errorf("%w: %w", web.ErrMalformed, err)
		}
		return in.AcceptNotice(ctx, notice)
	}
}
