package emulator

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

type svixVectors struct {
	Example struct {
		Secret, ID, Body, Signature string
		Timestamp                   int64
	} `json:"svix_docs_example"`
	BadSecrets []struct{ Name, Secret string } `json:"bad_secrets"`
	Vectors    []struct {
		Name, Secret, Body string
		Headers            map[string]string
		Expect             struct{ OK bool }
	}
}

func TestSignaturesAreThoseOfSvix(t *testing.T) {
	t.Parallel()
	vectors := readTestdata[svixVectors](t, "svix_vectors.json")
	for _, v := range vectors.Vectors {
		if !v.Expect.OK {
			continue // of interest to a verifier only
		}
		get := func(name string) string { return v.Headers["svix-"+name] + v.Headers["webhook-"+name] }
		seconds, err := strconv.ParseInt(get("timestamp"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		header := signed(t, v.Secret, get("id"), seconds, v.Body)
		if !slices.Contains(strings.Fields(get("signature")), header.Get("Svix-Signature")) {
			t.Errorf("%s: %s is not in %s", v.Name, header.Get("Svix-Signature"), get("signature"))
		}
		if header.Get("Svix-Id") != get("id") || header.Get("Svix-Timestamp") != get("timestamp") {
			t.Errorf("%s: %v", v.Name, header)
		}
	}
	docs := vectors.Example
	if got := signed(t, docs.Secret, docs.ID, docs.Timestamp, docs.Body).Get("Svix-Signature"); got != docs.Signature {
		t.Errorf("Svix's own example: %s, want %s", got, docs.Signature)
	}
}

func signed(t *testing.T, secret, id string, seconds int64, body string) http.Header {
	t.Helper()
	keys, err := svixKeys([]string{secret})
	if err != nil {
		t.Fatal(err)
	}
	return svixHeaders(keys, id, time.Unix(seconds, 0), []byte(body))
}

func TestBadSecretsAreRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range readTestdata[svixVectors](t, "svix_vectors.json").BadSecrets {
		if _, err := NewClerk(ClerkOptions{WebhookSecrets: []string{bad.Secret}, Key: testKey()}); err == nil {
			t.Errorf("%s: accepted", bad.Name)
		}
	}
}

func TestBothSecretsSignWhileRotating(t *testing.T) {
	t.Parallel()
	rc := &receiver{}
	c := newTestClerk(t, receiving(rc))
	old := c.options.WebhookSecrets[0]
	const fresh = "whsec_c3ludGhldGljLXNlY3JldC10d28tMjRi"
	if err := c.SetWebhookSecrets(old, fresh); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, c, UserSpec{})
	waitAcknowledged(t, c)
	got := rc.deliveries()[0]
	seconds, err := strconv.ParseInt(got.header.Get("Svix-Timestamp"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	want := signed(t, old, got.id(), seconds, string(got.body)).Get("Svix-Signature") + " " +
		signed(t, fresh, got.id(), seconds, string(got.body)).Get("Svix-Signature")
	if got.header.Get("Svix-Signature") != want {
		t.Errorf("signatures %q, want %q", got.header.Get("Svix-Signature"), want)
	}
	if c.SetWebhookSecrets() == nil || c.SetWebhookSecrets("whsec_") == nil {
		t.Error("no secret was accepted")
	}
}
