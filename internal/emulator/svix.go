package emulator

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

// svixTimeout is how long Svix waits for an answer (docs.svix.com/retries).
const svixTimeout = 15 * time.Second

// SvixSchedule returns the waits before Svix's eight attempts, about 27.6 hours
// in all (docs.svix.com/retries).
func SvixSchedule() []time.Duration {
	return []time.Duration{
		0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute,
		2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 10 * time.Hour,
	}
}

// svixKeys decodes secrets of the form whsec_<base64>.
func svixKeys(secrets []string) ([][]byte, error) {
	keys := make([][]byte, len(secrets))
	for i, secret := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil {
			return nil, fmt.Errorf("webhook secret %d is not whsec_ and base64: %w", i+1, err)
		}
		if len(key) == 0 {
			return nil, errors.New("a webhook secret is empty")
		}
		keys[i] = key
	}
	return keys, nil
}

// svixHeaders signs one attempt with every live secret, as Svix does for 24
// hours after a rotation.
func svixHeaders(keys [][]byte, id string, at time.Time, body []byte) http.Header {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	signatures := make([]string, len(keys))
	for i, key := range keys {
		signatures[i] = svixSignature(key, id, timestamp, body)
	}
	header := http.Header{}
	header.Set("Svix-Id", id)
	header.Set("Svix-Timestamp", timestamp)
	header.Set("Svix-Signature", strings.Join(signatures, " "))
	header.Set("User-Agent", "Svix-Webhooks/1.0 (sender-9YMgn; +https://www.svix.com/http-sender/)")
	return header
}

// svixSignature is "v1," and the base64 HMAC-SHA256 of "id.timestamp.body".
func svixSignature(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
