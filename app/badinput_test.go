package app_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// Bad input that comes by webhook. Each test shows the answer, that nothing of
// it is stored, and that the service goes on.

func TestBodyOfTwoMegabytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body := `{"type":"user.created","padding":"` + strings.Repeat("x", 2<<20) + `"}`
	id := w.emit(emulator.Event{Type: "user.created", Body: []byte(body)})
	w.answered(id, http.StatusRequestEntityTooLarge)
	must(t, w.clerk.Webhooks.Lose(id))
	w.wantError(w.send("msg_large", body), http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE")
	chunked := struct{ io.Reader }{strings.NewReader(body)} // its length is not announced
	w.wantError(w.request(http.MethodPost, "/webhooks/clerk", nil, chunked), http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE")
	w.wantNothingStored()
	w.stillWorks()
}

func TestInvalidUTF8(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body := strings.ReplaceAll(userEvent("user.created", 1000), `"Ada"`, "\"A\xffd\xc3a\"")
	id := w.emit(emulator.Event{Type: "user.created", Body: []byte(body)})
	w.delivered()
	w.answered(id, http.StatusOK)
	w.eventually("linked", isLinked, "user_a")
	w.wantName("user_a", "A\uFFFDd\uFFFDa")
}

func TestNULInAName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, err := w.clerk.CreateUser(emulator.UserSpec{FirstName: "A\x00da", LastName: "\x00", Email: "ada@example.test", Verified: true})
	must(t, err)
	w.delivered()
	w.eventually("linked", isLinked, u.ID)
	w.wantName(u.ID, "Ada")
}

func TestNameOf300Characters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	name := strings.Repeat("ä", 300)
	u, err := w.clerk.CreateUser(emulator.UserSpec{FirstName: name, Email: "ada@example.test", Verified: true})
	must(t, err)
	w.delivered()
	w.eventually("linked", isLinked, u.ID)
	w.wantName(u.ID, name)
}

// wantName checks a user's first name in the profile and in the store.
func (w *world) wantName(user, want string) {
	w.t.Helper()
	for where, query := range map[string]string{
		"profile":  `select first_name from public.profiles where id = $1`,
		"customer": `select first_name from medusa.customer where metadata ->> 'clerk_user_id' = $1`,
	} {
		if got := testdb.Query[string](w.t, w.pool, query, user); got != want || !utf8.ValidString(got) {
			w.t.Errorf("%s: name %q, want %q", where, got, want)
		}
	}
}

func TestUnknownEventTypeIsAcknowledgedAndNotStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, kind := range []string{"session.created", "email.created", "user.promoted", "organizationMembership.created"} {
		w.emit(emulator.Event{Type: kind, Data: map[string]any{"id": "user_a", "otp_code": "424242"}})
	}
	w.delivered()
	w.wantNothingStored()
	w.stillWorks()
}

func TestEventOfAnotherInstanceIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, setup{env: map[string]string{"CLERK_INSTANCE_ID": ""}})
	first := w.create("Ada")
	w.eventually("linked", isLinked, first.ID)
	w.restart(nil) // the first instance is pinned, and not in memory only
	before := w.stored()
	id := w.emit(emulator.Event{Type: "user.created", InstanceID: "ins_another", Data: map[string]any{"id": "user_a", "updated_at": 1000}})
	w.answered(id, http.StatusBadRequest)
	must(t, w.clerk.Webhooks.Lose(id))
	if after := w.stored(); after != before {
		t.Errorf("%d rows, before it were %d", after, before)
	}
	got := w.send("msg_other", `{"type":"user.deleted","instance_id":"ins_another","data":{"id":"`+first.ID+`","deleted":true}}`)
	w.wantError(got, http.StatusBadRequest, "BAD_REQUEST")
	for _, want := range []string{"CLERK_WEBHOOK_SECRET", "CLERK_INSTANCE_ID"} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the error does not name %s: %s", want, got.body)
		}
	}
	w.stillWorks()
}

func TestInstanceInTheSettings(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, setup{env: map[string]string{"CLERK_INSTANCE_ID": "ins_production"}})
	w.create("Ada")
	w.answered(w.lastMessage(), http.StatusBadRequest)
	w.wantNothingStored()
	w.restart(map[string]string{"CLERK_INSTANCE_ID": w.clerk.InstanceID()})
	w.delivered() // the sender still tries: nothing is lost
	w.eventually("linked", inStep, 1)
}

// Everyone's first test: the button "Send Example" in Clerk's dashboard.
func TestDashboardExample(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.clerk.EmitExample()
	must(t, err)
	w.delivered()
	w.eventually("linked", inStep, 1)
	if email := testdb.Query[*string](t, w.pool, `select email from public.profiles where first_name = 'John'`); email != nil {
		t.Errorf("e-mail %q, and the example has none", *email)
	}
}

func TestBadSignature(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	right := w.secret()
	must(t, w.clerk.SetWebhookSecrets("whsec_"+strings.Repeat("A", 32)))
	w.create("Ada")
	w.answered(w.lastMessage(), http.StatusUnauthorized)
	w.wantNothingStored()
	body := userEvent("user.created", 1000)
	for name, change := range map[string]func(http.Header){
		"none":            func(h http.Header) { clear(h) },
		"no id":           func(h http.Header) { h.Del("Svix-Id") },
		"another id":      func(h http.Header) { h.Set("Svix-Id", "msg_2") },
		"another version": func(h http.Header) { h.Set("Svix-Signature", "v2"+h.Get("Svix-Signature")[2:]) },
		"not base64":      func(h http.Header) { h.Set("Svix-Signature", "v1,§") },
		"later":           func(h http.Header) { h.Set("Svix-Timestamp", "9"+h.Get("Svix-Timestamp")[1:]) },
	} {
		h := signature(t, right, "msg_1", time.Now(), body)
		change(h)
		got := w.request(http.MethodPost, "/webhooks/clerk", h, strings.NewReader(body))
		w.wantError(got, http.StatusUnauthorized, "UNAUTHORIZED")
		if got.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no WWW-Authenticate", name)
		}
	}
	changed := bytes.Replace([]byte(body), []byte("Ada"), []byte("Eve"), 1)
	w.wantError(w.request(http.MethodPost, "/webhooks/clerk", signature(t, right, "msg_1", time.Now(), body), bytes.NewReader(changed)),
		http.StatusUnauthorized, "UNAUTHORIZED")
	w.wantNothingStored()
	must(t, w.clerk.SetWebhookSecrets(right))
	w.delivered() // the sender tries again: a wrong secret loses nothing once it is mended
	w.eventually("linked", inStep, 1)
}

func TestOldTimestamp(t *testing.T) {
	t.Parallel()
	for name, skew := range map[string]time.Duration{"in the past": -6 * time.Minute, "in the future": 6 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.skew.Store(int64(skew))
			w.create("Ada")
			w.answered(w.lastMessage(), http.StatusUnauthorized)
			w.wantNothingStored()
			w.skew.Store(0)
			w.delivered()
			w.eventually("linked", inStep, 1)
		})
	}
}

func TestTwoSecretsWhileRotating(t *testing.T) {
	t.Parallel()
	older, newer := "whsec_"+strings.Repeat("A", 32), "whsec_"+strings.Repeat("B", 32)
	w := newWorldWith(t, setup{env: map[string]string{"CLERK_WEBHOOK_SECRET": older + ", " + newer}})
	for _, secrets := range [][]string{{older}, {older, newer}, {newer}} {
		must(t, w.clerk.SetWebhookSecrets(secrets...))
		w.stillWorks()
	}
	w.restart(map[string]string{"CLERK_WEBHOOK_SECRET": newer})
	must(t, w.clerk.SetWebhookSecrets(older))
	u := w.create("Ada")
	w.answered(w.lastMessage(), http.StatusUnauthorized)
	must(t, w.clerk.SetWebhookSecrets(older, newer))
	w.eventually("linked", isLinked, u.ID)
}

func TestMalformedEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, body := range map[string]string{
		"empty":               ``,
		"no JSON":             `{`,
		"null":                `null`,
		"a list":              `[]`,
		"a text":              `"user.created"`,
		"no type":             `{"data":{"id":"user_a"}}`,
		"type is a number":    `{"type":7}`,
		"no data":             `{"type":"user.created"}`,
		"data is a list":      `{"type":"user.created","data":[]}`,
		"no id":               `{"type":"user.created","data":{"updated_at":1}}`,
		"id of something":     `{"type":"user.created","data":{"id":"org_a","updated_at":1}}`,
		"id with a quote":     `{"type":"user.created","data":{"id":"user_a'--","updated_at":1}}`,
		"no version":          `{"type":"user.created","data":{"id":"user_a"}}`,
		"updated yet deleted": `{"type":"user.updated","data":{"id":"user_a","deleted":true}}`,
		"deleted yet alive":   userEvent("user.deleted", 1000),
		"two values":          userEvent("user.created", 1000) + `{}`,
	} {
		got := w.send("msg_1", body)
		if got.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, got.status, got.body)
			continue
		}
		w.wantError(got, http.StatusBadRequest, "BAD_REQUEST")
	}
	w.wantNothingStored()
	w.stillWorks()
}
