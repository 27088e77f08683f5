package bench_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/internal/emulator"
)

// factory makes user.created events, each of another user: one from the
// emulated Clerk, with the ids and the address replaced.
type factory struct {
	env  []string // the settings that have Lockstep believe the events
	key  []byte
	body []byte // with placeholders
	made int
}

// Placeholders, as long as what replaces them.
const (
	userMark  = "user_BENCHBENCHBENCHBENCHBENCHBB"
	emailMark = "bench.bench.bench@example.test"
)

func newFactory(b *testing.B) *factory {
	b.Helper()
	clerk, err := emulator.NewClerk(emulator.ClerkOptions{Seed: 1, BaseURL: "https://clerk.example.test", WebhookURL: "https://lockstep.example.test"})
	must(b, err)
	defer clerk.Close()
	clerk.Webhooks.Hold()
	user, err := clerk.CreateUser(emulator.UserSpec{FirstName: "Ada", LastName: "Lovelace", Email: emailMark, Verified: true,
		Phone: "+12025550123", PhoneVerified: true, Password: true, PublicMetadata: map[string]any{"plan": "gold"}})
	must(b, err)
	f := &factory{body: bytes.ReplaceAll(clerk.Webhooks.Messages()[0].Body, []byte(user.ID), []byte(userMark))}
	for _, s := range clerk.Settings() {
		f.env = append(f.env, s.Name+"="+s.Value)
		if s.Name == "CLERK_WEBHOOK_SECRET" {
			f.key, err = base64.StdEncoding.DecodeString(strings.TrimPrefix(s.Value, "whsec_"))
			must(b, err)
		}
	}
	return f
}

// event is a signed webhook, ready to be written to a connection.
type event struct {
	user    string
	request []byte
}

// make signs n events with the time of now: Lockstep believes them for five
// minutes.
func (f *factory) make(n int) []event {
	events := make([]event, n)
	for i := range events {
		f.made++
		events[i] = f.signed(f.made, strconv.FormatInt(time.Now().Unix(), 10))
	}
	return events
}

func (f *factory) signed(n int, timestamp string) event {
	user, id := fmt.Sprintf("user_%027d", n), fmt.Sprintf("msg_%027d", n)
	body := bytes.ReplaceAll(f.body, []byte(userMark), []byte(user))
	body = bytes.ReplaceAll(body, []byte(emailMark), fmt.Appendf(nil, "bench.%011d@example.test", n))
	mac := hmac.New(sha256.New, f.key)
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	return event{user, fmt.Appendf(nil, "POST /webhooks/clerk HTTP/1.1\r\nHost: localhost\r\n"+
		"User-Agent: Svix-Webhooks/1.0 (sender-9YMgn; +https://www.svix.com/http-sender/)\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n"+
		"Svix-Id: %s\r\nSvix-Timestamp: %s\r\nSvix-Signature: v1,%s\r\n\r\n%s",
		len(body), id, timestamp, base64.StdEncoding.EncodeToString(mac.Sum(nil)), body)}
}
