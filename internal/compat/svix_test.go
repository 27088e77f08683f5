package compat

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/clerk"
	"github.com/lockstephq/lockstep/internal/emulator"
	svix "github.com/svix/svix-webhooks/go"
)

const secret = "whsec_c3ludGhldGljIHNlY3JldCBvZiAzMiBieXRlcyEhISE="

// What Svix's own library signs, we accept; what it did not sign, we do not.
func TestSvixSignsWhatWeAccept(t *testing.T) {
	t.Parallel()
	library, err := svix.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := clerk.NewWebhookVerifier([]string{secret}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"type":"user.deleted","data":{"id":"user_2tSYNTHada","object":"user","deleted":true}}`)
	for offset, accepted := range map[time.Duration]bool{0: true, -4 * time.Minute: true, 4 * time.Minute: true, -6 * time.Minute: false, 6 * time.Minute: false} {
		at := time.Now().Add(offset)
		signature, err := library.Sign("msg_synth0001", at, body)
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		h.Set("Svix-Id", "msg_synth0001")
		h.Set("Svix-Timestamp", fmt.Sprint(at.Unix()))
		h.Set("Svix-Signature", signature)
		if id, err := ours.Verify(h, body); (err == nil) != accepted || (accepted && id != "msg_synth0001") {
			t.Errorf("%v off: %q, %v", offset, id, err)
		}
		if err := library.Verify(body, h); (err == nil) != accepted {
			t.Errorf("%v off: the library says %v", offset, err)
		}
		if _, err := ours.Verify(h, append(body, ' ')); err == nil {
			t.Errorf("%v off: another body was accepted", offset)
		}
	}
}

// received is a webhook as it came.
type received struct {
	header http.Header
	body   []byte
}

// What our emulator signs, Svix's library accepts, with each of two secrets.
func TestSvixAcceptsWhatTheEmulatorSigns(t *testing.T) {
	t.Parallel()
	got := make(chan received, 10)
	endpoint := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- received{r.Header.Clone(), body}
	}))
	defer endpoint.Close()
	older := "whsec_b2xkZXIgc2VjcmV0LCB3aGlsZSByb3RhdGluZyEhISE="
	server, err := emulator.NewClerk(emulator.ClerkOptions{WebhookURL: endpoint.URL, WebhookSecrets: []string{secret, older}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if _, err := server.CreateUser(emulator.UserSpec{FirstName: "Adé", Email: "ada@example.test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := server.EmitExample(); err != nil {
		t.Fatal(err)
	}
	if err := server.Webhooks.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		webhook := <-got
		for _, s := range []string{secret, older} {
			library, err := svix.NewWebhook(s)
			if err != nil {
				t.Fatal(err)
			}
			if err := library.Verify(webhook.body, webhook.header); err != nil {
				t.Error(err)
			}
		}
	}
}

// The library takes an empty secret, and with it anybody's webhooks. We do not.
func TestSvixTakesAnEmptySecret(t *testing.T) {
	t.Parallel()
	if _, err := svix.NewWebhook(""); err != nil {
		t.Errorf("the library has learned to refuse it: %v", err)
	}
	if _, err := clerk.NewWebhookVerifier([]string{""}, time.Now); err == nil {
		t.Error("we accept an empty secret")
	}
}
