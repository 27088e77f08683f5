package emulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func waitAcknowledged(t *testing.T, c *Clerk) {
	t.Helper()
	if err := c.Webhooks.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestRetriesFollowSvix runs through the whole schedule, 27.6 hours of a clock
// that stands still while something happens.
func TestRetriesFollowSvix(t *testing.T) {
	t.Parallel()
	testKey() // outside the bubble: other tests wait for it too
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		rc := &receiver{answer: func(int, *http.Request) (*http.Response, error) {
			at = append(at, time.Since(start))
			return reply(http.StatusInternalServerError), nil
		}}
		c := newTestClerk(t, receiving(rc))
		mustCreate(t, c, UserSpec{})
		if err := c.Webhooks.Wait(t.Context()); !errors.Is(err, ErrUndelivered) {
			t.Errorf("wait: %v", err)
		}
		var want []time.Duration
		sum := time.Duration(0)
		for _, step := range SvixSchedule() {
			sum += step
			want = append(want, sum)
		}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("attempts: %s", diff)
		}
		checkAttempts(t, c, rc.deliveries(), start, want)
		m := c.Webhooks.Messages()[0]
		if m.State != StateFailed || m.Attempts != 8 || m.LastStatus != 500 {
			t.Errorf("message: %+v", m)
		}
	})
}

// checkAttempts wants one id and body, and a timestamp and signature of each
// attempt's own time.
func checkAttempts(t *testing.T, c *Clerk, got []delivery, start time.Time, at []time.Duration) {
	t.Helper()
	for i, d := range got {
		want := signed(t, c.options.WebhookSecrets[0], got[0].id(), start.Add(at[i]).Unix(), string(got[0].body))
		for _, name := range []string{"Svix-Id", "Svix-Timestamp", "Svix-Signature"} {
			if d.header.Get(name) != want.Get(name) {
				t.Errorf("attempt %d: %s %q, want %q", i+1, name, d.header.Get(name), want.Get(name))
			}
		}
	}
}

func TestReceiverHas15Seconds(t *testing.T) {
	t.Parallel()
	testKey()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		rc := &receiver{answer: func(_ int, r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}}
		options := receiving(rc)
		options.Schedule = []time.Duration{0}
		c := newTestClerk(t, options)
		mustCreate(t, c, UserSpec{})
		if err := c.Webhooks.Wait(t.Context()); !errors.Is(err, ErrUndelivered) {
			t.Errorf("wait: %v", err)
		}
		if took := time.Since(start); took != 15*time.Second {
			t.Errorf("gave up after %v", took)
		}
		if m := c.Webhooks.Messages()[0]; m.LastStatus != 0 || m.LastError == "" {
			t.Errorf("message: %+v", m)
		}
	})
}

func TestRetryOverTheNetwork(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch calls.Add(1) {
		case 1:
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect) // no success, and not followed
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	t.Cleanup(endpoint.Close)
	c := newTestClerk(t, ClerkOptions{RetryScale: 1e-9})
	c.SetWebhookURL(endpoint.URL)
	mustCreate(t, c, UserSpec{})
	waitAcknowledged(t, c)
	if m := c.Webhooks.Messages()[0]; m.State != StateAcknowledged || m.Attempts != 3 || m.LastStatus != 204 {
		t.Errorf("message: %+v", m)
	}
}

func TestReceiverMayAbort(t *testing.T) {
	t.Parallel()
	rc := &receiver{answer: func(int, *http.Request) (*http.Response, error) {
		refusal := reply(http.StatusBadRequest)
		refusal.Header.Set("webhook-delivery", "abort-message")
		return refusal, nil
	}}
	c := newTestClerk(t, receiving(rc))
	mustCreate(t, c, UserSpec{})
	if err := c.Webhooks.Wait(t.Context()); !errors.Is(err, ErrUndelivered) {
		t.Errorf("wait: %v", err)
	}
	if m := c.Webhooks.Messages()[0]; m.State != StateFailed || m.Attempts != 1 {
		t.Errorf("message: %+v", m)
	}
}

func TestEventBodies(t *testing.T) {
	t.Parallel()
	rc := &receiver{}
	c := newTestClerk(t, receiving(rc))
	u := mustCreate(t, c, UserSpec{Email: "ada@example.test", Verified: true, FirstName: "Ada", ExternalID: "prof_1"})
	if _, err := c.UpdateUser(u.ID, UserChange{LastName: new("Example")}); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteUser(u.ID); err != nil {
		t.Fatal(err)
	}
	waitAcknowledged(t, c)
	got := rc.deliveries()
	for i, kind := range []string{"user.created", "user.updated", "user.deleted"} {
		checkEvent(t, c, kind, got[i].body)
	}
	created := decode[struct {
		Data      User
		Timestamp int64
	}](t, got[0].body)
	if created.Data.CreatedAt >= created.Data.UpdatedAt || created.Data.UpdatedAt >= created.Timestamp {
		t.Errorf("times: %d, %d, %d", created.Data.CreatedAt, created.Data.UpdatedAt, created.Timestamp)
	}
	want := map[string]any{"object": "user", "id": u.ID, "deleted": true, "external_id": "prof_1"}
	if diff := cmp.Diff(want, decode[struct{ Data map[string]any }](t, got[2].body).Data); diff != "" {
		t.Errorf("user.deleted: %s", diff)
	}
}

// checkEvent compares the members of a body with those of a real one, and its
// data with the description.
func checkEvent(t *testing.T, c *Clerk, kind string, body []byte) {
	t.Helper()
	var compact bytes.Buffer
	if err := json.Compact(&compact, body); err != nil || compact.Len() != len(body) {
		t.Errorf("%s is not compact: %v", kind, err)
	}
	got, fixture := decode[map[string]any](t, body), readTestdata[map[string]any](t, "webhooks/"+kind+".json")
	if got["type"] != kind || got["object"] != "event" || got["instance_id"] != c.InstanceID() {
		t.Errorf("%s envelope: %s", kind, body)
	}
	if diff := cmp.Diff(memberNames(fixture), memberNames(got)); diff != "" {
		t.Errorf("%s members: %s", kind, diff)
	}
	schema := "User"
	if kind == "user.deleted" {
		schema = "DeletedObject"
	}
	doc, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Components.Schemas[schema].Value.VisitJSON(got["data"]); err != nil {
		t.Errorf("%s: %v", kind, err)
	}
}

// memberNames lists an envelope's members and those of its data. The fixtures
// are older than "deprovisioned".
func memberNames(event map[string]any) []string {
	var names []string
	for name := range event {
		names = append(names, name)
	}
	data, _ := event["data"].(map[string]any)
	for name := range data {
		if name != "deprovisioned" {
			names = append(names, "data."+name)
		}
	}
	slices.Sort(names)
	return names
}

func TestEmit(t *testing.T) {
	t.Parallel()
	rc := &receiver{}
	c := newTestClerk(t, receiving(rc))
	u := mustCreate(t, c, UserSpec{})
	for _, event := range []Event{
		{Type: "session.created", Data: map[string]any{"object": "session", "user_id": u.ID}},
		{Type: "user.updated", UserID: u.ID, InstanceID: "ins_other", Timestamp: 1_716_883_200},
		{Type: "broken", Body: []byte(`{"half`)},
	} {
		if id, err := c.Emit(event); err != nil || id == "" {
			t.Fatalf("%s: %q, %v", event.Type, id, err)
		}
	}
	if _, err := c.EmitExample(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Emit(Event{Type: "user.updated", UserID: "user_none"}); err == nil {
		t.Error("an unknown user was sent")
	}
	waitAcknowledged(t, c)
	got := rc.deliveries()
	foreign := decode[eventJSON](t, got[2].body)
	if foreign.InstanceID != "ins_other" || foreign.Timestamp != 1_716_883_200 || string(got[3].body) != `{"half` {
		t.Errorf("foreign %+v, broken %s", foreign, got[3].body)
	}
	example := decode[struct {
		Data      User
		Timestamp int64
	}](t, got[4].body)
	if len(example.Data.EmailAddresses) != 0 || example.Data.PrimaryEmailAddressID == nil || example.Timestamp > 1e11 {
		t.Errorf("example: %s", got[4].body)
	}
}

func TestHoldAndRelease(t *testing.T) {
	t.Parallel()
	rc := &receiver{}
	c := newTestClerk(t, receiving(rc))
	c.Webhooks.Hold()
	var ids []string
	for range 4 {
		mustCreate(t, c, UserSpec{})
	}
	for _, m := range c.Webhooks.Messages() {
		if m.State != StateHeld {
			t.Errorf("state %s", m.State)
		}
		ids = append(ids, m.ID)
	}
	waitAcknowledged(t, c) // held messages were not sent
	if err := c.Webhooks.Release("msg_none"); err == nil {
		t.Error("an unknown message was released")
	}
	want := []string{ids[2], ids[0], ids[1], ids[3]}
	if err := c.Webhooks.Release(want[:2]...); err != nil {
		t.Fatal(err)
	}
	if err := c.Webhooks.Release(want[1]); err == nil {
		t.Error("a message was released twice")
	}
	if err := c.Webhooks.Release(); err != nil {
		t.Fatal(err)
	}
	waitAcknowledged(t, c)
	if got := rc.ids(); !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestReleaseShuffled(t *testing.T) {
	t.Parallel()
	rc := &receiver{}
	c := newTestClerk(t, receiving(rc))
	c.Webhooks.Hold()
	var want []string
	for range 20 {
		mustCreate(t, c, UserSpec{})
	}
	for _, m := range c.Webhooks.Messages() {
		want = append(want, m.ID)
	}
	c.Webhooks.ReleaseShuffled()
	waitAcknowledged(t, c)
	got := rc.ids()
	if slices.Equal(got, want) {
		t.Error("the order is the old one")
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Error("some messages were not sent once")
	}
}

func TestRepetitionsKeepTheID(t *testing.T) {
	t.Parallel()
	rc := &receiver{}
	c := newTestClerk(t, receiving(rc))
	c.Webhooks.Disturb(0, 1)
	mustCreate(t, c, UserSpec{})
	waitAcknowledged(t, c)
	id := c.Webhooks.Messages()[0].ID
	if err := c.Webhooks.Resend(id); err != nil {
		t.Fatal(err)
	}
	waitAcknowledged(t, c)
	if got := rc.ids(); !slices.Equal(got, []string{id, id, id}) {
		t.Errorf("ids %v", got)
	}
	if m, ok := c.Webhooks.Message(id); !ok || m.Attempts != 3 {
		t.Errorf("message %+v", m)
	}
	if c.Webhooks.Resend("msg_none") == nil || c.Webhooks.Lose("msg_none") == nil {
		t.Error("an unknown message was found")
	}
}

func TestLostMessages(t *testing.T) {
	t.Parallel()
	rc := &receiver{}
	c := newTestClerk(t, receiving(rc))
	c.Webhooks.Disturb(0.5, 0)
	for range 200 {
		mustCreate(t, c, UserSpec{})
	}
	waitAcknowledged(t, c)
	if got := len(rc.deliveries()); got < 70 || got > 130 {
		t.Errorf("%d of 200 arrived", got)
	}
	at := slices.IndexFunc(c.Webhooks.Messages(), func(m Message) bool { return m.State == StateLost })
	lost := c.Webhooks.Messages()[at].ID
	if err := c.Webhooks.Resend(lost); err != nil {
		t.Fatal(err)
	}
	waitAcknowledged(t, c)
	if m, _ := c.Webhooks.Message(lost); m.State != StateAcknowledged {
		t.Errorf("message %+v", m)
	}
	c.Webhooks.Forget()
	if slices.ContainsFunc(c.Webhooks.Messages(), func(m Message) bool { return m.State != StateLost }) {
		t.Error("an acknowledged message is still there")
	}
}

// TestLoseBetweenAttempts loses a message that waits for its second attempt, and
// sends it again later: the first walk through the schedule must not come back.
func TestLoseBetweenAttempts(t *testing.T) {
	t.Parallel()
	testKey()
	synctest.Test(t, func(t *testing.T) {
		rc := &receiver{answer: func(n int, _ *http.Request) (*http.Response, error) {
			return reply(map[bool]int{true: 500, false: 200}[n <= 2]), nil
		}}
		c := newTestClerk(t, receiving(rc))
		mustCreate(t, c, UserSpec{})
		synctest.Wait()
		id := c.Webhooks.Messages()[0].ID
		if err := c.Webhooks.Lose(id); err != nil {
			t.Fatal(err)
		}
		waitAcknowledged(t, c)
		if m, _ := c.Webhooks.Message(id); m.State != StateLost || m.Attempts != 1 {
			t.Errorf("message %+v", m)
		}
		if err := c.Webhooks.Resend(id); err != nil {
			t.Fatal(err)
		}
		waitAcknowledged(t, c)
		time.Sleep(48 * time.Hour) // of the bubble's clock
		if m, _ := c.Webhooks.Message(id); m.State != StateAcknowledged || m.Attempts != 3 {
			t.Errorf("message %+v", m)
		}
	})
}

func TestSendersAreBounded(t *testing.T) {
	t.Parallel()
	const senders = 3
	var mu sync.Mutex
	active, most := 0, 0
	full, gate := make(chan struct{}), make(chan struct{})
	rc := &receiver{answer: func(int, *http.Request) (*http.Response, error) {
		mu.Lock()
		active++
		if most = max(most, active); most == senders {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		mu.Unlock()
		<-gate
		mu.Lock()
		active--
		mu.Unlock()
		return reply(http.StatusOK), nil
	}}
	options := receiving(rc)
	options.Senders = senders
	c := newTestClerk(t, options)
	for range 20 {
		mustCreate(t, c, UserSpec{})
	}
	<-full
	close(gate)
	waitAcknowledged(t, c)
	if most != senders {
		t.Errorf("%d at once, want %d", most, senders)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	rc := &receiver{answer: func(int, *http.Request) (*http.Response, error) {
		<-gate
		return reply(http.StatusOK), nil
	}}
	c := newTestClerk(t, receiving(rc))
	mustCreate(t, c, UserSpec{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Webhooks.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
	close(gate)
	waitAcknowledged(t, c)
}

func TestCloseStopsSending(t *testing.T) {
	t.Parallel()
	rc := &receiver{answer: func(int, *http.Request) (*http.Response, error) { return reply(500), nil }}
	c := newTestClerk(t, receiving(rc))
	mustCreate(t, c, UserSpec{})
	c.Close()
	sent := len(rc.deliveries())
	mustCreate(t, c, UserSpec{})
	if err := c.Webhooks.Wait(t.Context()); err == nil {
		t.Error("a closed outbox claims success")
	}
	if got := len(rc.deliveries()); got != sent {
		t.Errorf("%d sent after closing", got-sent)
	}
}

func TestNoEndpointNoMessage(t *testing.T) {
	t.Parallel()
	rc := &receiver{}
	options := receiving(rc)
	url := options.WebhookURL
	options.WebhookURL = ""
	c := newTestClerk(t, options)
	mustCreate(t, c, UserSpec{})
	if n := len(c.Webhooks.Messages()); n != 0 {
		t.Errorf("%d messages", n)
	}
	c.SetWebhookURL(url)
	mustCreate(t, c, UserSpec{})
	waitAcknowledged(t, c)
	if got := rc.deliveries(); len(got) != 1 || got[0].header.Get("Content-Type") != "application/json" {
		t.Errorf("deliveries: %v", got)
	}
	now, err := strconv.ParseInt(rc.deliveries()[0].header.Get("Svix-Timestamp"), 10, 64)
	if err != nil || now < 1_700_000_000 {
		t.Error(fmt.Sprint("timestamp in seconds: ", now, err))
	}
}
