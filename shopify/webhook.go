package shopify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// minSecretBytes is below what Shopify issues (32 hexadecimal digits and more)
// and above what anybody would guess.
const minSecretBytes = 24

// ErrSignature is a webhook that is not believed. It means 401.
var ErrSignature = errors.New("webhook signature does not match")

// WebhookVerifier checks that a webhook comes from Shopify: base64 of
// HMAC-SHA256 over the raw body, keyed with the app's client secret
// (shopify.dev, "Verify webhook deliveries"). It is safe for concurrent use.
//
// The signature does not cover the headers: who is told the shop's name by one
// must take the verifier of that very shop.
type WebhookVerifier struct {
	keys [][]byte
}

// NewWebhookVerifier takes the secrets that are live: while one is being rotated
// Shopify signs with the oldest that is not revoked. A secret that is empty or
// short is refused.
func NewWebhookVerifier(secrets []string) (*WebhookVerifier, error) {
	if len(secrets) == 0 {
		return nil, errors.New("no webhook secret")
	}
	v := &WebhookVerifier{}
	for i, secret := range secrets {
		key := []byte(strings.TrimSpace(secret))
		if len(key) < minSecretBytes {
			return nil, fmt.Errorf("webhook secret %d of %d has %d characters, at least %d are needed", i+1, len(secrets), len(key), minSecretBytes)
		}
		v.keys = append(v.keys, key)
	}
	return v, nil
}

// Verify checks the raw body against its header, X-Shopify-Hmac-Sha256. It tries
// every secret, whichever matches, so that its time tells nothing.
func (v *WebhookVerifier) Verify(h http.Header, body []byte) error {
	given, err := base64.StdEncoding.Strict().DecodeString(h.Get("X-Shopify-Hmac-Sha256"))
	if err != nil {
		return ErrSignature
	}
	match := false
	for _, key := range v.keys {
		mac := hmac.New(sha256.New, key)
		mac.Write(body)
		match = hmac.Equal(mac.Sum(nil), given) || match
	}
	if !match {
		return ErrSignature
	}
	return nil
}

// WebhookShop is the shop that a webhook says it is of, "acme.myshopify.com".
// Nothing vouches for it until the signature matches a secret of that shop.
func WebhookShop(h http.Header) string { return shopName(h.Get("X-Shopify-Shop-Domain")) }
