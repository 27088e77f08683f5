package shopify

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/lockstephq/lockstep"
)

// TokenSource gives the access token of one shop. It is safe for concurrent
// use.
type TokenSource interface {
	// Token returns an access token. refused is empty, or one that Shopify
	// just did not accept; the source then returns another, or the same one if
	// it has no other. Its errors name no secret.
	Token(ctx context.Context, refused string) (string, error)
}

// StaticToken is the token of an app made in the shop's admin ("shpat_…"),
// which lasts until the app is removed. No new ones are made since January
// 2026; the old ones go on working.
type StaticToken string

// Token implements TokenSource.
func (s StaticToken) Token(context.Context, string) (string, error) {
	token := strings.TrimSpace(string(s))
	if token == "" {
		return "", tokenOp().failf(lockstep.ErrRefused, "is empty: set SHOPIFY_ACCESS_TOKEN")
	}
	return token, nil
}

const (
	mintAhead = 5 * time.Minute  // how long before its end a token is replaced
	mintPause = 30 * time.Second // between tries to replace a token that still holds
)

// ClientCredentials mints tokens for an app of the Dev Dashboard that belongs
// to the shop's own organisation. They last a day; a new one is made shortly
// before, and when Shopify refuses one.
type ClientCredentials struct {
	url  string
	form url.Values
	http *http.Client
	now  func() time.Time

	turn    chan struct{} // held by the one caller that may look or mint
	token   string
	renew   time.Time // when to mint the next one
	expires time.Time
}

// NewClientCredentials needs the shop and API address of [Options], and the
// app's id and secret.
func NewClientCredentials(shop, apiURL, id, secret string) (*ClientCredentials, error) {
	base, err := baseURL(shop, apiURL)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(id) == "" || strings.TrimSpace(secret) == "" {
		return nil, errors.New("shopify: the client id or the client secret is empty: set SHOPIFY_CLIENT_ID and SHOPIFY_CLIENT_SECRET")
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {strings.TrimSpace(id)}, "client_secret": {strings.TrimSpace(secret)}}
	return &ClientCredentials{url: base + "/admin/oauth/access_token", form: form, http: httpClient(nil), now: time.Now,
		turn: make(chan struct{}, 1)}, nil
}

// Token implements TokenSource. One caller mints, the others wait for it.
func (c *ClientCredentials) Token(ctx context.Context, refused string) (string, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return "", tokenOp().fail(lockstep.ErrTransient, ctx.Err())
	}
	if c.token == refused {
		c.token = ""
	}
	if c.token != "" && c.now().Before(c.renew) {
		return c.token, nil
	}
	err := c.mint(ctx)
	if err != nil && c.token != "" && c.now().Before(c.expires) {
		c.renew = c.now().Add(mintPause) // the old one still holds
		err = nil
	}
	return c.token, err
}

func (c *ClientCredentials) mint(ctx context.Context) error {
	op := tokenOp()
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}}
	res, err := send(ctx, c.http, op, c.url, header, []byte(c.form.Encode()))
	if err != nil {
		return err
	}
	switch res.status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity:
		return op.failf(lockstep.ErrRefused, "Shopify refuses the client credentials (%d): correct SHOPIFY_CLIENT_ID and "+
			"SHOPIFY_CLIENT_SECRET, and install the app in the shop", res.status)
	case http.StatusTooManyRequests:
		return op.throttled(retryAfter(res.header), "Shopify answered with status 429")
	}
	if err := op.statusError(res.status); err != nil {
		return err
	}
	var minted struct {
		Token string  `json:"access_token"`
		Lasts float64 `json:"expires_in"` // seconds
	}
	if json.Unmarshal(res.body, &minted) != nil || minted.Token == "" || minted.Lasts <= 0 {
		return op.lost(errors.New("the answer holds no token"))
	}
	lasts := time.Duration(minted.Lasts * float64(time.Second))
	c.token, c.expires = minted.Token, c.now().Add(lasts)
	c.renew = c.expires.Add(-min(mintAhead, lasts/10))
	return nil
}

// tokenOp is the request for a token, as errors name it. It changes nothing in
// the shop.
func tokenOp() operation { return operation{file: "access token"} }

// noToken keeps the kind of a token source's error.
func (op operation) noToken(err error) error {
	if te, ok := errors.AsType[*lockstep.TargetError](err); ok {
		return te
	}
	return op.failf(lockstep.ErrTransient, "access token: %w", err)
}
