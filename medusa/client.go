package medusa

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/lockstephq/lockstep"
)

const (
	maxAnswer = 16 << 20 // of an answer, in bytes; a customer takes about 400, and its metadata

	// Medusa closes a connection that was idle for 5 s. One that closes while a
	// request is sent leaves doubt, so it is closed here first.
	idleTime = 4 * time.Second
)

// client sends requests to one Medusa.
type client struct {
	base    string
	http    *http.Client
	timeout time.Duration // for one request: Medusa answers nothing while its database is away
	auth    authorizer
	lost    *lostWrites
}

// authorizer gives the header Authorization. refused is empty, or a value that
// Medusa just did not accept: then another one is given, or the same if there is
// no other.
type authorizer interface {
	authorize(ctx context.Context, refused string) (string, error)
}

// httpClient follows no redirect and takes no proxy from the environment: the
// key, or the password, would go along.
func httpClient(given *http.Client) *http.Client {
	own := http.Client{}
	if given != nil {
		own = *given
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if base, ok := http.DefaultTransport.(*http.Transport); ok && own.Transport == nil {
		transport := base.Clone()
		transport.Proxy = nil
		transport.IdleConnTimeout = idleTime
		transport.MaxIdleConnsPerHost = 32 // as many as a target has workers
		own.Transport = transport
	}
	return &own
}

// response is an HTTP answer, read to its end.
type response struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
}

// call sends a request and decodes the answer. It is never resent, but for one
// that was refused with its login: with that nothing was done.
func (c *client) call(ctx context.Context, op operation, method, path string, body, into any) (response, error) {
	data, err := encode(body)
	if err != nil {
		return response{}, op.failf(lockstep.ErrInvalid, "a field cannot be written as JSON")
	}
	auth, err := c.auth.authorize(ctx, "")
	if err != nil {
		return response{}, err
	}
	res, err := c.send(ctx, op, method, path, auth, data)
	if err == nil && res.status == http.StatusUnauthorized {
		res, err = c.sendAgain(ctx, op, method, path, auth, data, res)
	}
	if err == nil {
		err = op.answeredHTTP(res)
	}
	if err == nil && json.Unmarshal(res.body, into) != nil {
		err = op.unreadable("the answer is not of Medusa's form")
	}
	return res, err
}

func encode(body any) ([]byte, error) {
	if body == nil {
		return nil, nil
	}
	return json.Marshal(body)
}

func (c *client) sendAgain(ctx context.Context, op operation, method, path, refused string, data []byte, res response) (response, error) {
	auth, err := c.auth.authorize(ctx, refused)
	if err != nil || auth == refused {
		return res, err
	}
	return c.send(ctx, op, method, path, auth, data)
}

// send exchanges one request for an answer. Until a connection was found nothing
// can have been sent.
func (c *client) send(ctx context.Context, op operation, method, path, auth string, data []byte) (response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	req, err := http.NewRequestWithContext(traced, method, c.base+path, bytes.NewReader(data))
	if err != nil {
		return response{}, op.failf(lockstep.ErrRefused, "Medusa's address is no URL: correct MEDUSA_API_URL")
	}
	req.Header.Set("Accept", "application/json")
	if data != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	began := time.Now()
	res, err := c.http.Do(req)
	if err != nil {
		return response{}, c.unanswered(ctx, op, err, connected.Load())
	}
	defer func() { _ = res.Body.Close() }() // read to its end, or of no use
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return response{}, c.unanswered(ctx, op, err, true)
	}
	if len(body) > maxAnswer {
		return response{}, op.fail(op.doubt(), errTooLarge)
	}
	return response{res.StatusCode, res.Header, body, time.Since(began)}, nil
}

// errTooLarge is an answer that is not read to its end. Only lists can be so
// large.
var errTooLarge = errors.New("the answer is too large")

// unanswered classes a request without an answer. The error of a connection that
// was never made names hosts only; a later one could quote the request.
func (c *client) unanswered(ctx context.Context, op operation, err error, connected bool) error {
	if !connected {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the address
		}
		return op.failf(lockstep.ErrTransient, "no connection: %w", err)
	}
	if op.writes || ctx.Err() != nil { // it may be done, or Medusa hangs
		c.lost.note()
	}
	if ended := ctx.Err(); ended != nil {
		return op.failf(op.doubt(), "no answer: %w", ended)
	}
	return op.failf(op.doubt(), "the connection broke")
}

// record is a customer as Medusa shows it.
type record struct {
	ID         string          `json:"id"`
	Email      string          `json:"email"`
	FirstName  string          `json:"first_name"`
	LastName   string          `json:"last_name"`
	Phone      string          `json:"phone"`
	HasAccount bool            `json:"has_account"`
	Metadata   json.RawMessage `json:"metadata"` // an object or null, but for what SQL can write
}

// customerFields are those of record; no other need be sent.
const customerFields = "id,email,first_name,last_name,phone,has_account,metadata"

// markKey is the key of the metadata that holds the user's id.
const markKey = "clerk_user_id"

// mark is the user that a customer carries.
func (r record) mark() string {
	var metadata map[string]json.RawMessage
	var mark string
	if json.Unmarshal(r.Metadata, &metadata) != nil || json.Unmarshal(metadata[markKey], &mark) != nil {
		return "" // another form is not Lockstep's
	}
	return mark
}

func (r record) customer() lockstep.Customer {
	return lockstep.Customer{ID: r.ID, UserID: r.mark(), Email: r.Email, FirstName: r.FirstName, LastName: r.LastName,
		Phone: r.Phone, Account: r.HasAccount}
}

// page is a part of a list, and when Medusa began to read it, by Medusa's clock;
// zero if it does not say.
type page struct {
	Customers []record `json:"customers"`
	began     time.Time
}

const customersPath = "/admin/customers"

// page reads customers by a filter, in the order of ids.
func (c *client) page(ctx context.Context, op operation, filter url.Values, limit int) (p page, err error) {
	filter.Set("order", "id")
	filter.Set("limit", strconv.Itoa(limit))
	res, err := c.call(ctx, op, http.MethodGet, customersPath+"?"+filter.Encode(), nil, &p)
	if err != nil {
		return page{}, err
	}
	if p.Customers == nil {
		return page{}, op.unreadable("the answer holds no list of customers")
	}
	if at, err := http.ParseTime(res.header.Get("Date")); err == nil {
		p.began = at.Add(-res.took) // the header is written at the end
	}
	return p, nil
}

// afterID lets a list begin after an id.
func afterID(filter url.Values, id string) url.Values {
	if id != "" {
		filter.Set("id[$gt]", id)
	}
	return filter
}

// write creates a customer, or updates one whose id is given.
func (c *client) write(ctx context.Context, op operation, id string, fields map[string]any) (record, error) {
	path := customersPath
	if id != "" {
		path += "/" + url.PathEscape(id)
	}
	var answer struct {
		Customer record `json:"customer"`
	}
	_, err := c.call(ctx, op, http.MethodPost, path+"?fields="+url.QueryEscape(customerFields), fields, &answer)
	if err == nil && answer.Customer.ID == "" {
		err = op.unreadable("the answer holds no customer")
	}
	return answer.Customer, err
}
