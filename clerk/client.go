package clerk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/lockstephq/lockstep"
	"golang.org/x/sync/singleflight"
)

const (
	apiVersion     = "2026-05-12" // pinned: a newer one may change what users look like
	userAgent      = "lockstep"
	defaultBaseURL = "https://api.clerk.com"
	flightTimeout  = 15 * time.Second // of a shared call whose callers set no deadline
)

// ClientConfig says which Clerk instance to talk to.
type ClientConfig struct {
	SecretKey string // "sk_test_…" or "sk_live_…"; required
	BaseURL   string // default https://api.clerk.com

	// RateLimit is how many requests this client may make in any 10 seconds. The
	// default is what Clerk grants an instance: 1000 in production, 100 in
	// development (clerk.com/docs, guides/how-clerk-works/system-limits). It is
	// shared by all who use the key: several nodes may want less each.
	RateLimit int

	Consent string // see Decoder

	HTTP *http.Client // default one that follows no redirects
}

// Client reads users from Clerk's Backend API. It is safe for concurrent use.
//
// A call that fails for a passing reason (429, 5xx, a broken connection) is
// tried again while the context's deadline allows; if the next try would come
// too late the call fails at once with ErrUnavailable. Errors are *APIError, or
// wrap ErrMalformed.
type Client struct {
	base    string
	secret  string
	http    *http.Client
	limit   *limiter
	decoder Decoder
	flights singleflight.Group
}

// NewClient fails on settings that could not work; its errors repeat no secret.
func NewClient(c ClientConfig) (*Client, error) {
	secret := strings.TrimSpace(c.SecretKey)
	kind, _, ok := strings.Cut(strings.TrimPrefix(secret, "sk_"), "_")
	if !strings.HasPrefix(secret, "sk_") || !ok || strings.ContainsAny(secret, " \t\r\n") {
		return nil, errors.New("secret key must be one that begins with sk_test_ or sk_live_")
	}
	base := strings.TrimSuffix(strings.TrimRight(cmp.Or(strings.TrimSpace(c.BaseURL), defaultBaseURL), "/"), "/v1")
	if !isURL(base) {
		return nil, errors.New("base URL must be one such as https://api.clerk.com")
	}
	rate := c.RateLimit
	if rate <= 0 && kind == "live" {
		rate = 1000
	} else if rate <= 0 {
		rate = 100
	}
	client := &Client{base: base, secret: secret, http: c.HTTP, limit: newLimiter(rate), decoder: Decoder{Consent: c.Consent}}
	if client.http == nil {
		client.http = newHTTPClient()
	}
	return client, nil
}

// newHTTPClient is a client that leaves no secret and believes no answer
// anywhere but at the address it was given.
func newHTTPClient() *http.Client {
	const connections = 32
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if base, ok := http.DefaultTransport.(*http.Transport); ok { // programs may have replaced it
		transport := base.Clone()
		transport.MaxIdleConnsPerHost = connections
		client.Transport = transport
	}
	return client
}

// GetUser reads a user; ErrNotFound if there is none. However many ask for one
// user at once, Clerk is asked once: who joins a call may get an answer from
// just before it asked, see [Client.GetUserNow]. A call is not ended by a
// caller who leaves, and has the first one's deadline.
func (c *Client) GetUser(ctx context.Context, id string) (lockstep.User, error) {
	answer := c.flights.DoChan(id, func() (any, error) {
		shared, cancel := detach(ctx)
		defer cancel()
		return c.GetUserNow(shared, id)
	})
	select {
	case a := <-answer:
		user, _ := a.Val.(lockstep.User)
		return user, a.Err
	case <-ctx.Done():
		return lockstep.User{}, &APIError{Kind: ErrUnavailable, Err: ctx.Err()}
	}
}

func detach(ctx context.Context) (context.Context, context.CancelFunc) {
	detached := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(detached, deadline)
	}
	return context.WithTimeout(detached, flightTimeout)
}

// GetUserNow reads a user as it is after the call began, and shares no other's
// call: for whoever knows that the user has just changed.
func (c *Client) GetUserNow(ctx context.Context, id string) (lockstep.User, error) {
	if !validUserID(id) {
		return lockstep.User{}, &APIError{Kind: ErrNotFound}
	}
	wire, err := get[wireUser](ctx, c, "/v1/users/"+id, nil)
	if err != nil {
		return lockstep.User{}, err
	}
	if wire.ID != id {
		return lockstep.User{}, fmt.Errorf("%w: the answer is about another user", ErrMalformed)
	}
	return c.decoder.decode(wire)
}

// Issuer derives the iss of an instance's tokens from its publishable key,
// "pk_test_…" or "pk_live_…", which holds the Frontend API's host in base64
// (github.com/clerk/javascript, packages/shared/src/keys.ts).
func Issuer(publishableKey string) (string, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(publishableKey), "pk_")
	_, encoded, found := strings.Cut(rest, "_")
	host, err := decodeHost(encoded)
	if !ok || !found || err != nil {
		return "", errors.New("publishable key must be one that begins with pk_test_ or pk_live_")
	}
	return "https://" + host, nil
}
