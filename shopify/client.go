package shopify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockstephq/lockstep"
)

// maxAnswer bounds an answer in bytes; the largest, ten customers of a check,
// takes a few thousand.
const maxAnswer = 4 << 20

// client sends operations to one shop.
type client struct {
	target   string // the bucket's name
	url      string
	http     *http.Client
	timeout  time.Duration // for one request
	patience time.Duration // how long a write waits for its points
	tokens   TokenSource
	bucket   Bucket
	bulk     func(context.Context) bool
	log      *slog.Logger

	served atomic.Pointer[string] // another version than Version, if Shopify answers with one
	warned sync.Once
}

// A look that fails for a passing reason is repeated at once, a little later
// each time; a job's next attempt is seconds away. A definition that is missing
// does not come by waiting.
const (
	lookAgain = 3
	lookPause = 50 * time.Millisecond
)

// run sends an operation and decodes the data of its answer. A write is never
// resent, but for one that was refused with its token.
func (c *client) run(ctx context.Context, op operation, vars map[string]any, into any) error {
	body, err := json.Marshal(map[string]any{"query": op.document, "variables": vars})
	if err != nil {
		return op.fail(lockstep.ErrInvalid, errors.New("a field cannot be written as JSON"))
	}
	err = c.once(ctx, op, body, into)
	for again := range lookAgain {
		if op.writes || !passes(err) || sleep(ctx, lookPause<<again) != nil {
			break
		}
		err = c.once(ctx, op, body, into)
	}
	return err
}

func passes(err error) bool {
	return err != nil && lockstep.KindOf(err) == lockstep.ErrTransient && !errors.Is(err, errNoDefinition)
}

func (c *client) once(ctx context.Context, op operation, body []byte, into any) error {
	if err := c.admit(ctx, op); err != nil {
		return err
	}
	told, err := c.exchange(ctx, op, body, into)
	c.settle(ctx, op, told)
	return err
}

// exchange sends the operation and reads the answer, with what it says of the
// shop's points, if anything.
func (c *client) exchange(ctx context.Context, op operation, body []byte, into any) (*cost, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	token, err := c.tokens.Token(ctx, "")
	if err != nil {
		return nil, op.noToken(err)
	}
	res, err := c.post(ctx, op, token, body)
	if err == nil && res.status == http.StatusUnauthorized {
		res, err = c.postAgain(ctx, op, token, body, res)
	}
	if err != nil {
		return nil, err
	}
	return c.read(op, res, into)
}

// postAgain sends a request once more if there is another token than the one
// that was refused: with that nothing was done.
func (c *client) postAgain(ctx context.Context, op operation, refused string, body []byte, res response) (response, error) {
	token, err := c.tokens.Token(ctx, refused)
	if err != nil {
		return response{}, op.noToken(err)
	}
	if token == refused {
		return res, nil
	}
	return c.post(ctx, op, token, body)
}

// admit takes the operation's points from the bucket, or says how long to wait.
func (c *client) admit(ctx context.Context, op operation) error {
	if err := ctx.Err(); err != nil {
		return op.fail(lockstep.ErrTransient, err)
	}
	left := c.patience
	if op.last {
		left = c.finishing()
	}
	for {
		wait, err := c.bucket.Take(ctx, c.target, op.cost+op.ahead, c.bulk == nil || !c.bulk(ctx))
		switch {
		case err != nil:
			return op.failf(lockstep.ErrTransient, "the shop's points: %w", err)
		case wait <= 0:
			return nil
		case op.first || wait > left:
			return op.throttled(wait, "the shop's points are used up")
		}
		left -= max(wait, minWait)
		if err := sleep(ctx, max(wait, minWait)); err != nil {
			return op.fail(lockstep.ErrTransient, err)
		}
	}
}

// finishing is how long a request waits that ends what was begun.
func (c *client) finishing() time.Duration { return 10 * c.patience }

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// response is an HTTP answer, read to its end.
type response struct {
	status int
	header http.Header
	body   []byte
}

func (c *client) post(ctx context.Context, op operation, token string, body []byte) (response, error) {
	header := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "X-Shopify-Access-Token": {token}}
	return send(ctx, c.http, op, c.url, header, body)
}

// send posts a body. Until a connection was found nothing can have been sent.
func send(ctx context.Context, h *http.Client, op operation, address string, header http.Header, body []byte) (response, error) {
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return response{}, op.failf(lockstep.ErrRefused, "the shop's address is no URL: correct SHOPIFY_API_URL")
	}
	req.Header = header
	res, err := h.Do(req)
	if err != nil {
		return response{}, op.unsent(ctx, err, connected.Load())
	}
	defer func() { _ = res.Body.Close() }() // read to its end, or of no use
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil || len(data) > maxAnswer {
		return response{}, op.unsent(ctx, errors.New("the answer broke off"), true)
	}
	return response{res.StatusCode, res.Header, data}, nil
}

// unsent classes a request without an answer. The error of a connection that
// was never made names hosts only; a later one could quote the request.
func (op operation) unsent(ctx context.Context, err error, connected bool) error {
	switch ended := ctx.Err(); {
	case !connected:
		return op.failf(lockstep.ErrTransient, "no connection: %w", withoutURL(err))
	case ended != nil:
		return op.lost(fmt.Errorf("no answer: %w", ended))
	}
	return op.lost(errors.New("the connection broke"))
}

// withoutURL is a request's error without its address.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// read turns an answer into data or an error.
func (c *client) read(op operation, res response, into any) (*cost, error) {
	c.noteVersion(res.header)
	if res.status == http.StatusTooManyRequests || res.status == 430 { // 430: Shopify's security refusal
		return nil, op.throttled(retryAfter(res.header), "Shopify answered with status "+strconv.Itoa(res.status))
	}
	if err := op.statusError(res.status); err != nil {
		return nil, err
	}
	var a answer
	if err := json.Unmarshal(res.body, &a); err != nil {
		return nil, op.lost(errors.New("the answer is no GraphQL"))
	}
	told := a.Extensions.Cost
	if err := op.topError(a); err != nil {
		return told, err
	}
	if err := json.Unmarshal(a.Data, into); err != nil || len(a.Data) == 0 {
		return told, op.lost(errors.New("the answer is not of the schema"))
	}
	return told, nil
}

// noteVersion remembers that Shopify no longer serves Version: an ended version
// is answered by the oldest one that is not.
func (c *client) noteVersion(h http.Header) {
	got := h.Get("X-Shopify-Api-Version")
	if got == "" {
		return
	}
	if got == Version {
		c.served.Store(nil)
		return
	}
	got = got[:min(len(got), len("unstable"))]
	c.served.Store(&got)
	c.warned.Do(func() {
		c.log.Warn("Shopify answers with another version of its API: upgrade lockstep", "target", c.target, "asked", Version, "got", got)
	})
}

// answer is the body of a GraphQL response.
type answer struct {
	Data       json.RawMessage `json:"data"`
	Errors     graphErrors     `json:"errors"`
	Extensions struct {
		Cost *cost `json:"cost"`
	} `json:"extensions"`
}

type cost struct {
	Requested float64        `json:"requestedQueryCost"`
	Actual    *float64       `json:"actualQueryCost"` // null when nothing was done
	Status    throttleStatus `json:"throttleStatus"`
}

// throttleStatus is the bucket as Shopify sees it.
type throttleStatus struct {
	Capacity  float64 `json:"maximumAvailable"`
	Available float64 `json:"currentlyAvailable"`
	Rate      float64 `json:"restoreRate"` // points per second
}

type graphError struct {
	Path       []any `json:"path"`
	Extensions struct {
		Code string `json:"code"`
	} `json:"extensions"`
}

func (e graphError) path() (names []string) {
	for _, part := range e.Path {
		names = append(names, fmt.Sprint(part))
	}
	return names
}

// graphErrors is a list or, where the request did not get as far as GraphQL, a
// text or an object.
type graphErrors []graphError

// UnmarshalJSON reads any of these.
func (g *graphErrors) UnmarshalJSON(data []byte) error {
	var list []graphError
	if strings.HasPrefix(string(data), "[") {
		err := json.Unmarshal(data, &list)
		*g = list
		return err
	}
	if string(data) != "null" {
		*g = graphErrors{{}}
	}
	return nil
}

// topError classes the errors above the data; a limit goes first, since nothing
// was done then.
func (op operation) topError(a answer) error {
	for _, e := range a.Errors {
		if e.Extensions.Code == "THROTTLED" {
			return op.throttled(a.Extensions.Cost.wait(), "THROTTLED")
		}
	}
	if len(a.Errors) > 0 {
		return op.graphError(a.Errors[0])
	}
	return nil
}

// wait is the time until the points that were asked for are there.
func (c *cost) wait() time.Duration {
	if c == nil || c.Status.Rate <= 0 {
		return defaultWait
	}
	seconds := (c.Requested - c.Status.Available) / c.Status.Rate
	return min(time.Duration(seconds*float64(time.Second)), maxWait)
}

// settle corrects the bucket by what Shopify told, if it did. What was taken
// beyond the actual cost comes back, all of it when the request was throttled.
func (c *client) settle(ctx context.Context, op operation, told *cost) {
	refund, s := op.ahead, throttleStatus{}
	if told != nil {
		refund, s = op.ahead+op.cost, told.Status
		if told.Actual != nil {
			refund = op.ahead + max(op.cost-*told.Actual, 0)
		}
	}
	if refund == 0 && told == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
	defer cancel()
	if err := c.bucket.Learn(ctx, c.target, refund, s.Available, s.Capacity, s.Rate); err != nil {
		c.log.Warn("what Shopify said of the shop's points was not kept", "target", c.target, "error", err)
	}
}

// retryAfter reads the header in seconds, which Shopify writes with a fraction,
// or as a date.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, maxWait.Seconds()) * float64(time.Second))
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(time.Until(at), maxWait)
	}
	return defaultWait
}
