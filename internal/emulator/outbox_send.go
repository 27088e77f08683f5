package emulator

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"
)

// attempt is the result of sending a message once.
type attempt struct {
	status int // zero without an answer
	abort  bool
	err    error
}

func (a attempt) acknowledged() bool { return a.err == nil && a.status >= 200 && a.status < 300 }

// enqueue starts a walk through the schedule. The caller holds o.mu and calls
// pump afterwards.
func (o *Outbox) enqueue(m *message) {
	if o.closed {
		return
	}
	m.pending++
	o.outstanding++
	o.later(&sending{message: m, losses: m.losses}, o.wait(0))
}

// later queues a sending now or after a wait.
func (o *Outbox) later(s *sending, wait time.Duration) {
	if wait <= 0 {
		o.queue = append(o.queue, s)
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.timers, timer)
		if !o.closed {
			o.queue = append(o.queue, s)
			o.pump()
		}
	})
	o.timers[timer] = struct{}{}
}

func (o *Outbox) wait(step int) time.Duration {
	if step < len(o.schedule) {
		return o.schedule[step]
	}
	return 0
}

// pump starts as many attempts as there are senders to spare. The caller holds
// o.mu.
func (o *Outbox) pump() {
	for !o.closed && o.active < o.senders && len(o.queue) > 0 {
		next := o.queue[0]
		o.queue = o.queue[1:]
		if next.void() {
			continue
		}
		o.active++
		o.wg.Go(func() { o.send(next) })
	}
	o.notify()
}

// send makes one attempt and decides what follows from it.
func (o *Outbox) send(s *sending) {
	o.mu.Lock()
	url, m := o.url, s.message.Message
	o.mu.Unlock()
	result := o.post(cmp.Or(m.To, url), m)
	if o.attempted != nil && !o.attempted(m, result.acknowledged()) {
		result.abort = true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.active--
	o.note(s.message, result)
	o.proceed(s, result)
	o.pump()
}

func (o *Outbox) note(m *message, result attempt) {
	m.Attempts++
	m.LastStatus, m.LastError = result.status, ""
	if result.err != nil {
		m.LastError = result.err.Error()
	}
	m.acknowledged = m.acknowledged || result.acknowledged()
}

// proceed plans the next attempt or ends the sending.
func (o *Outbox) proceed(s *sending, result attempt) {
	if o.closed || s.void() {
		return
	}
	s.step++
	if result.acknowledged() || result.abort || s.step >= len(o.schedule) {
		s.message.pending--
		o.outstanding--
		return
	}
	o.later(s, o.wait(s.step))
}

// post sends a message once.
func (o *Outbox) post(url string, m Message) attempt {
	ctx, cancel := context.WithTimeout(o.ctx, o.timeout)
	defer cancel()
	req, err := o.request(ctx, url, m)
	if err != nil {
		return attempt{err: err}
	}
	resp, err := o.client.Do(req)
	if err != nil {
		return attempt{err: fmt.Errorf("deliver %s: %w", m.ID, err)}
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody)) // so that the connection can be used again
	return attempt{status: resp.StatusCode, abort: abortsMessage(resp.Header)}
}

func (o *Outbox) request(ctx context.Context, url string, m Message) (*http.Request, error) {
	if url == "" {
		return nil, errors.New("no webhook URL is set")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(m.Body))
	if err != nil {
		return nil, err
	}
	req.Header = o.sign(m.ID, o.now(), m.Body)
	req.Header.Set("Content-Type", "application/json")
	maps.Copy(req.Header, m.Header)
	return req, nil
}

// abortsMessage reads the receiver's wish to get no more of this message
// (docs.svix.com/receiving/delivery-control).
func abortsMessage(header http.Header) bool {
	return slices.Contains(header.Values("Webhook-Delivery"), "abort-message")
}

// senderClient is the given client or one that keeps a connection per sender.
// Neither follows redirects: to a webhook sender they are failures.
func senderClient(given *http.Client, senders int) *http.Client {
	client := http.Client{}
	if given != nil {
		client = *given
	} else if transport, ok := http.DefaultTransport.(*http.Transport); ok {
		own := transport.Clone()
		own.MaxIdleConnsPerHost = senders
		client.Transport = own
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}
