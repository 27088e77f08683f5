package emulator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// State is how far a webhook message has come.
type State string

// The states of a message.
const (
	StateHeld         State = "held"         // kept back by Hold, waits for Release
	StateSending      State = "sending"      // queued, on its way, or waiting for its next attempt
	StateAcknowledged State = "acknowledged" // answered 2xx at least once
	StateFailed       State = "failed"       // every attempt failed, or the receiver aborted it
	StateLost         State = "lost"         // dropped on purpose, never sent again by itself
)

// Message is one webhook. All attempts, and every repetition, carry its ID.
type Message struct {
	ID         string          `json:"id"`
	Type       string          `json:"type"`
	State      State           `json:"state"`
	Attempts   int             `json:"attempts"`
	LastStatus int             `json:"last_status,omitempty"` // of the last attempt; zero without an answer
	LastError  string          `json:"last_error,omitempty"`
	CreatedAt  time.Time       `json:"created_at"`
	To         string          `json:"to,omitempty"`     // where it goes, if not where all do
	Header     http.Header     `json:"header,omitempty"` // of every attempt, besides the signature
	Body       json.RawMessage `json:"body"`             // as sent; need not be JSON if the event said so
}

// Outbox sends webhooks: at once, with retries, over a bounded number of
// connections, and badly if told to. It is safe for concurrent use.
type Outbox struct {
	sign     func(id string, at time.Time, body []byte) http.Header
	schedule []time.Duration
	timeout  time.Duration
	senders  int
	client   *http.Client
	now      func() time.Time
	random   *source
	newID    func(random *source, now time.Time) string
	// attempted, if any, hears of each attempt before the next is planned; false
	// ends the sending.
	attempted func(m Message, acknowledged bool) bool

	ctx    context.Context // ends when the outbox is closed
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu          sync.Mutex
	url         string
	holding     bool
	lose        float64
	duplicate   float64
	closed      bool
	messages    []*message // oldest first
	byID        map[string]*message
	queue       []*sending
	active      int
	outstanding int           // sendings that have not come to their end
	changed     chan struct{} // closed and replaced at every change
	timers      map[*time.Timer]struct{}
}

// message is what the outbox knows about a Message; Outbox.mu guards it.
type message struct {
	Message
	held         bool
	lost         bool
	acknowledged bool
	pending      int // sendings that have not come to their end
	losses       int // a sending started before the last loss is void
}

// sending is one walk of a message through the schedule.
type sending struct {
	message *message
	losses  int // of the message, when the sending started
	step    int
}

func (s *sending) void() bool { return s.losses != s.message.losses }

// outboxOptions are the parts of an outbox that differ between services.
type outboxOptions struct {
	url       string
	sign      func(id string, at time.Time, body []byte) http.Header
	schedule  []time.Duration // waits before each attempt; its length is the number of attempts
	timeout   time.Duration   // for one attempt
	senders   int             // zero means 16
	client    *http.Client    // nil means one of its own
	now       func() time.Time
	seed      uint64
	messageID string                                         // prefix of message ids
	newID     func(random *source, now time.Time) string     // of messages, instead of those with the prefix
	attempted func(m Message, acknowledged bool) (goOn bool) // nil means none
}

const defaultSenders = 16

func newOutbox(o outboxOptions) *Outbox {
	senders := cmp.Or(o.senders, defaultSenders)
	if o.newID == nil {
		o.newID = func(random *source, now time.Time) string { return random.id(o.messageID, now) }
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Outbox{
		sign: o.sign, schedule: o.schedule, timeout: o.timeout, now: o.now,
		senders: senders, client: senderClient(o.client, senders),
		random: newSource(o.seed, outboxStream), newID: o.newID, attempted: o.attempted,
		ctx: ctx, cancel: cancel, url: o.url,
		byID: map[string]*message{}, changed: make(chan struct{}), timers: map[*time.Timer]struct{}{},
	}
}

// Disturb makes the given shares (0 to 1) of the messages to come go missing or
// be sent twice.
func (o *Outbox) Disturb(lose, duplicate float64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lose, o.duplicate = lose, duplicate
}

// SetURL says where webhooks go from the next attempt on. Without a URL no
// message is made, as in an instance without an endpoint, unless Hold is on.
func (o *Outbox) SetURL(url string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.url = url
}

// Hold keeps back the messages to come until Release.
func (o *Outbox) Hold() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.holding = true
}

// Release ends Hold and sends the named held messages in the given order, or
// all of them, oldest first, when none is named; the rest stays held. The order
// of arrival is the order of sending only with one sender. It fails, and
// releases nothing, when a message is not held.
func (o *Outbox) Release(ids ...string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	picked, err := o.pickHeld(ids)
	if err != nil {
		return err
	}
	o.release(picked)
	return nil
}

// ReleaseShuffled ends Hold and sends all held messages in random order.
func (o *Outbox) ReleaseShuffled() {
	o.mu.Lock()
	defer o.mu.Unlock()
	picked, _ := o.pickHeld(nil) // cannot fail without ids
	o.random.shuffle(len(picked), func(i, j int) { picked[i], picked[j] = picked[j], picked[i] })
	o.release(picked)
}

func (o *Outbox) pickHeld(ids []string) ([]*message, error) {
	var picked []*message
	if len(ids) == 0 {
		for _, m := range o.messages {
			if m.held {
				picked = append(picked, m)
			}
		}
		return picked, nil
	}
	for _, id := range ids {
		m := o.byID[id]
		if m == nil || !m.held {
			return nil, fmt.Errorf("message %s is not held", id)
		}
		picked = append(picked, m)
	}
	return picked, nil
}

func (o *Outbox) release(picked []*message) {
	o.holding = false
	for _, m := range picked {
		m.held = false
		o.enqueue(m)
	}
	o.pump()
}

// Resend sends a message once more with the same id, whatever became of it.
func (o *Outbox) Resend(id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := o.byID[id]
	if m == nil {
		return fmt.Errorf("no message %s", id)
	}
	m.held, m.lost = false, false
	o.enqueue(m)
	o.pump()
	return nil
}

// Lose drops a message that is held, queued or waiting for its next attempt. An
// attempt already on its way still arrives.
func (o *Outbox) Lose(id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := o.byID[id]
	if m == nil {
		return fmt.Errorf("no message %s", id)
	}
	m.held, m.lost = false, true
	m.losses++
	o.outstanding -= m.pending
	m.pending = 0
	o.notify()
	return nil
}

// Messages returns every message so far, oldest first.
func (o *Outbox) Messages() []Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	messages := make([]Message, len(o.messages))
	for i, m := range o.messages {
		messages[i] = m.snapshot()
	}
	return messages
}

// Message returns one message by its id.
func (o *Outbox) Message(id string) (Message, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := o.byID[id]
	if m == nil {
		return Message{}, false
	}
	return m.snapshot(), true
}

// Forget drops messages that were acknowledged from memory, for long runs.
func (o *Outbox) Forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.messages = slices.DeleteFunc(o.messages, func(m *message) bool {
		done := m.acknowledged && m.pending == 0
		if done {
			delete(o.byID, m.ID)
		}
		return done
	})
}

// ErrUndelivered is what Wait finds when the sender gave up on a message.
var ErrUndelivered = errors.New("webhooks not acknowledged")

// Wait returns once nothing is on its way and no attempt is due. Its error is
// nil if every message sent so far was acknowledged; held and lost ones were
// not sent. It fails with ErrUndelivered otherwise, or with the context's error.
func (o *Outbox) Wait(ctx context.Context) error {
	for {
		done, changed, err := o.settled()
		if done {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (o *Outbox) settled() (bool, <-chan struct{}, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return true, nil, errors.New("the outbox is closed")
	}
	if o.outstanding > 0 {
		return false, o.changed, nil
	}
	failed := slices.DeleteFunc(slices.Clone(o.messages), func(m *message) bool { return m.state() != StateFailed })
	if len(failed) == 0 {
		return true, nil, nil
	}
	first := failed[0]
	return true, nil, fmt.Errorf("%w: %d, the first is %s %s, last status %d after %d attempts",
		ErrUndelivered, len(failed), first.Type, first.ID, first.LastStatus, first.Attempts)
}

// add makes a message and sends it, unless there is no endpoint. It returns the
// message's id, or "" if none was made.
func (o *Outbox) add(kind string, body []byte) string {
	return o.addMessage(Message{Type: kind, Body: body})
}

// addMessage is add for a message with a place to go or headers of its own.
func (o *Outbox) addMessage(draft Message) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || (draft.To == "" && o.url == "" && !o.holding) {
		return ""
	}
	m := o.record(draft)
	switch {
	case o.random.hit(o.lose):
		m.lost = true
	case o.holding:
		m.held = true
	default:
		o.enqueue(m)
		if o.random.hit(o.duplicate) {
			o.enqueue(m)
		}
	}
	o.pump()
	return m.ID
}

func (o *Outbox) record(draft Message) *message {
	now := o.now()
	draft.ID, draft.CreatedAt = o.newID(o.random, now), now
	m := &message{Message: draft}
	o.messages = append(o.messages, m)
	o.byID[m.ID] = m
	return m
}

func (m *message) state() State {
	switch {
	case m.acknowledged:
		return StateAcknowledged
	case m.lost:
		return StateLost
	case m.held:
		return StateHeld
	case m.pending > 0:
		return StateSending
	}
	return StateFailed
}

func (m *message) snapshot() Message {
	shot := m.Message
	shot.State = m.state()
	return shot
}

// Close stops sending and waits for the attempts that are on their way.
func (o *Outbox) Close() {
	o.mu.Lock()
	o.closed = true
	for timer := range o.timers {
		timer.Stop()
	}
	o.queue, o.outstanding = nil, 0
	o.notify()
	o.mu.Unlock()
	o.cancel()
	o.wg.Wait()
}

// notify wakes everyone in Wait.
func (o *Outbox) notify() {
	close(o.changed)
	o.changed = make(chan struct{})
}
