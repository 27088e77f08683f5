package medusa

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/lockstephq/lockstep"
)

// secretKey is a key of Medusa's admin, sent as HTTP Basic; as a bearer token
// Medusa refuses it.
type secretKey string

func (k secretKey) authorize(context.Context, string) (string, error) {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(k+":")), nil
}

const (
	renewAhead = time.Hour        // how long before its end a login is renewed; Medusa's lasts a day
	renewPause = 30 * time.Second // between tries to renew one that still holds
)

// login keeps an admin's token: it logs in when there is none, has it renewed
// before it ends, and logs in anew when Medusa refuses it.
type login struct {
	client   *client // without a login of its own
	email    string
	password string
	now      func() time.Time

	turn    chan struct{} // held by the one caller that may look or log in
	header  string
	renew   time.Time
	expires time.Time // zero if the token does not say
}

func newLogin(c *client, email, password string) *login {
	bare := *c
	return &login{client: &bare, email: email, password: password, now: time.Now, turn: make(chan struct{}, 1)}
}

// authorize implements authorizer. One caller logs in, the others wait for it.
func (l *login) authorize(ctx context.Context, refused string) (string, error) {
	op := reading("log in")
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return "", op.fail(lockstep.ErrTransient, ctx.Err())
	}
	if l.header == refused || l.ended() {
		l.header = ""
	}
	switch {
	case l.header == "":
		err := l.ask(ctx, op, "/auth/user/emailpass", map[string]string{"email": l.email, "password": l.password})
		return l.header, err
	case l.now().Before(l.renew):
		return l.header, nil
	}
	if err := l.ask(ctx, op, "/auth/token/refresh", map[string]string{}); err != nil {
		l.renew = l.now().Add(renewPause) // the old one still holds
	}
	return l.header, nil
}

func (l *login) ended() bool { return !l.expires.IsZero() && !l.now().Before(l.expires) }

// ask posts for a token and keeps it.
func (l *login) ask(ctx context.Context, op operation, path string, body map[string]string) error {
	data, err := encode(body)
	if err != nil {
		return op.failf(lockstep.ErrRefused, "the login cannot be written as JSON: correct MEDUSA_ADMIN_EMAIL and MEDUSA_ADMIN_PASSWORD")
	}
	res, err := l.client.send(ctx, op, http.MethodPost, path, l.header, data)
	if err != nil {
		return err
	}
	if res.status == http.StatusUnauthorized {
		return op.failf(lockstep.ErrRefused, "Medusa refuses the admin's login (401): correct MEDUSA_ADMIN_EMAIL and MEDUSA_ADMIN_PASSWORD")
	}
	if err := op.answeredHTTP(res); err != nil {
		return err
	}
	var answer struct {
		Token string `json:"token"`
	}
	if json.Unmarshal(res.body, &answer) != nil || answer.Token == "" {
		return op.failf(lockstep.ErrRefused, "the admin's login needs more than a password: "+
			"use an admin user of Lockstep's own that does not, or MEDUSA_API_KEY")
	}
	l.keep(answer.Token)
	return nil
}

// keep remembers a token and when to renew it.
func (l *login) keep(token string) {
	l.header, l.expires, l.renew = "Bearer "+token, time.Time{}, l.now().Add(renewAhead)
	if left := expiry(token).Sub(l.now()); left > 0 {
		l.expires = l.now().Add(left)
		l.renew = l.expires.Add(-min(renewAhead, left/10))
	}
}

// expiry reads when a token ends; zero if it does not say. Nothing is trusted
// because of it: Medusa checks the token.
func expiry(token string) time.Time {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	data, err := base64.RawURLEncoding.DecodeString(payload)
	var claims struct {
		Expires int64 `json:"exp"`
	}
	if err != nil || json.Unmarshal(data, &claims) != nil || claims.Expires == 0 {
		return time.Time{}
	}
	return time.Unix(claims.Expires, 0)
}
