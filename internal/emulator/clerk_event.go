package emulator

import (
	"cmp"
	"encoding/json"
	"fmt"
)

// Event is a webhook to send.
type Event struct {
	Type   string `json:"type"`    // "user.updated", "session.created", anything
	UserID string `json:"user_id"` // sends that user as it is now, when Data is nil
	Data   any    `json:"data"`

	InstanceID string `json:"instance_id"` // default the emulator's own
	Timestamp  int64  `json:"timestamp"`   // default now, in milliseconds; Clerk's dashboard example has seconds

	Body []byte `json:"-"` // sent instead of an envelope: for bodies that are none
}

// eventJSON is Clerk's envelope (github.com/clerk/openapi-specs, webhooks).
type eventJSON struct {
	Data            any             `json:"data"`
	EventAttributes eventAttributes `json:"event_attributes"`
	InstanceID      string          `json:"instance_id"`
	Object          string          `json:"object"`
	Timestamp       int64           `json:"timestamp"`
	Type            string          `json:"type"`
}

type eventAttributes struct {
	HTTPRequest httpRequest `json:"http_request"`
}

type httpRequest struct {
	ClientIP  string `json:"client_ip"`
	UserAgent string `json:"user_agent"`
}

// Emit signs an event and sends it, and returns its message's id: "" when there
// is no endpoint, see [Outbox.SetURL]. It fails when the event names a user that
// does not exist or has data that is no JSON.
func (c *Clerk) Emit(event Event) (string, error) {
	if event.Body != nil {
		return c.Webhooks.add(event.Type, event.Body), nil
	}
	if event.Data == nil && event.UserID != "" {
		user, err := c.User(event.UserID)
		if err != nil {
			return "", err
		}
		event.Data = user
	}
	body, err := json.Marshal(c.envelope(event))
	if err != nil {
		return "", fmt.Errorf("event %s: %w", event.Type, err)
	}
	return c.Webhooks.add(event.Type, body), nil
}

// EmitExample sends what the button "Send Example" of Clerk's dashboard sends: a
// user.created with a timestamp in seconds and a primary address that is not in
// the empty list. It is everyone's first test.
func (c *Clerk) EmitExample() (string, error) {
	created := c.clock.tick()
	u := c.newUser(UserSpec{FirstName: "John", LastName: "Doe"})
	u.PrimaryEmailAddressID = new(c.identificationID())
	u.PrivateMetadata = nil
	return c.Emit(Event{Type: "user.created", Data: u, Timestamp: created / 1000})
}

func (c *Clerk) envelope(event Event) eventJSON {
	at := event.Timestamp
	if at == 0 {
		at = c.clock.tick()
	}
	return eventJSON{
		Data: event.Data,
		EventAttributes: eventAttributes{httpRequest{
			ClientIP:  "203.0.113.17", // of the range for documentation, RFC 5737
			UserAgent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36",
		}},
		InstanceID: cmp.Or(event.InstanceID, c.InstanceID()),
		Object:     "event", Timestamp: at, Type: event.Type,
	}
}
