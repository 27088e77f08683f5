package clerk

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Tolerance is how far a webhook's timestamp may lie from our clock, either
// way: Svix's own figure, and the time a captured request can be replayed.
const Tolerance = 5 * time.Minute

// minKeyBytes is what Svix issues. The reference libraries for Go accept an
// empty secret, and with it anybody's webhooks.
const minKeyBytes = 24

// Why a webhook was not believed. All of them mean 401.
var (
	ErrHeaders   = errors.New("webhook signature headers are missing or malformed")
	ErrTimestamp = errors.New("webhook timestamp is more than 5 minutes off")
	ErrSignature = errors.New("webhook signature does not match")
)

// WebhookVerifier checks that a request comes from Clerk, which sends through
// Svix: HMAC-SHA256 over "id.timestamp.body" (docs.svix.com, "Verifying
// Webhooks Manually"). It is safe for concurrent use.
type WebhookVerifier struct {
	keys [][]byte
	now  func() time.Time
}

// NewWebhookVerifier takes the signing secrets that are live, more than one
// while a secret is being rotated. The "whsec_" prefix is optional, as it is in
// Svix's libraries. A secret that is empty, short or not base64 is refused.
func NewWebhookVerifier(secrets []string, now func() time.Time) (*WebhookVerifier, error) {
	if len(secrets) == 0 {
		return nil, errors.New("no webhook signing secret")
	}
	v := &WebhookVerifier{now: now}
	for i, secret := range secrets {
		key, err := webhookKey(secret)
		if err != nil {
			return nil, fmt.Errorf("webhook signing secret %d of %d: %w", i+1, len(secrets), err)
		}
		v.keys = append(v.keys, key)
	}
	return v, nil
}

// webhookKey decodes a secret; its errors do not repeat it.
func webhookKey(secret string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(strings.TrimSpace(secret), "whsec_"))
	if err != nil {
		return nil, errors.New("is not base64 after whsec_")
	}
	if len(key) < minKeyBytes {
		return nil, fmt.Errorf("has %d bytes, at least %d are needed", len(key), minKeyBytes)
	}
	return key, nil
}

// Verify checks the raw body against the headers and returns the delivery's
// id, which stays the same when Svix retries.
func (v *WebhookVerifier) Verify(h http.Header, body []byte) (id string, err error) {
	id, timestamp, signatures, ok := signatureHeaders(h)
	if !ok {
		return "", ErrHeaders
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return "", ErrHeaders
	}
	if off := v.now().Unix() - seconds; off > int64(Tolerance/time.Second) || off < -int64(Tolerance/time.Second) {
		return "", ErrTimestamp
	}
	for _, key := range v.keys {
		if matches(sign(key, id, timestamp, body), signatures) {
			return id, nil
		}
	}
	return "", ErrSignature
}

// signatureHeaders reads Svix's header names or, failing one of them, the
// Standard Webhooks names; never a mixture of both.
func signatureHeaders(h http.Header) (id, timestamp, signatures string, ok bool) {
	for _, prefix := range []string{"Svix-", "Webhook-"} {
		id, timestamp, signatures = h.Get(prefix+"Id"), h.Get(prefix+"Timestamp"), h.Get(prefix+"Signature")
		if id != "" && timestamp != "" && signatures != "" {
			return id, timestamp, signatures, len(id) <= 255
		}
	}
	return "", "", "", false
}

func sign(key []byte, id, timestamp string, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	return mac.Sum(nil)
}

// matches reports whether one of the space-separated signatures is ours.
// Versions other than v1 are somebody else's business.
func matches(want []byte, signatures string) bool {
	for s := range strings.FieldsSeq(signatures) {
		encoded, isV1 := strings.CutPrefix(s, "v1,")
		got, err := base64.StdEncoding.DecodeString(encoded)
		if isV1 && err == nil && hmac.Equal(got, want) {
			return true
		}
	}
	return false
}
