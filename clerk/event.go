package clerk

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/lockstephq/lockstep"
)

// Event is what a webhook says.
type Event struct {
	Kind     string // "user.updated"
	Instance string // "ins_…"
	User     lockstep.User
}

// ErrMalformed is a body that is signed and yet not an event we understand.
var ErrMalformed = errors.New("malformed Clerk event")

// Kept reports whether Lockstep keeps events of the kind. All others are
// acknowledged and forgotten: email.created and sms.created carry one-time codes.
func Kept(kind string) bool {
	return kind == "user.created" || kind == "user.updated" || kind == "user.deleted"
}

// DecodeEvent reads a webhook's body. Of a kind that is not Kept it reads the
// envelope only. Errors wrap ErrMalformed and quote nothing of the body.
func DecodeEvent(body []byte) (Event, error) { return Decoder{}.Event(body) }

// Event is DecodeEvent, and reads the user's consent as well.
func (d Decoder) Event(body []byte) (Event, error) {
	var envelope struct {
		Type       string          `json:"type"`
		InstanceID string          `json:"instance_id"`
		Data       json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &envelope); err != nil {
		return Event{}, fmt.Errorf("%w: not a JSON object of the expected shape", ErrMalformed)
	}
	if envelope.Type == "" {
		return Event{}, fmt.Errorf("%w: no type", ErrMalformed)
	}
	e := Event{Kind: clean(envelope.Type), Instance: clean(envelope.InstanceID)}
	if !Kept(e.Kind) {
		return e, nil
	}
	var err error
	e.User, err = d.User(envelope.Data)
	if err == nil && e.User.Deleted != (e.Kind == "user.deleted") {
		err = fmt.Errorf("%w: kind and data disagree about a deletion", ErrMalformed)
	}
	return e, err
}

// clean drops NUL, which PostgreSQL's text cannot hold; encoding/json has
// already replaced invalid UTF-8.
func clean(s string) string {
	return strings.ReplaceAll(s, "\x00", "")
}
