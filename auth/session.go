package auth

import (
	"context"
	"net/http"
	"strings"

	"github.com/lockstephq/lockstep"
)

// cookieName is the cookie in which Clerk's front ends keep the session token
// of their own origin (clerk.com/docs, guides/sessions).
const cookieName = "__session"

// Session is who calls.
type Session struct {
	UserID    string // "user_…", from the token
	SessionID string // "sess_…", from the token
	ProfileID string
	Profile   lockstep.Profile // seconds old at most, see Config.TTL
	Claims    any              // what else the Verifier read; a *clerk.Claims of clerk's
}

type contextKey struct{}

func withSession(ctx context.Context, s *Session) context.Context {
	return context.WithValue(ctx, contextKey{}, s)
}

// FromContext returns the session of a request that RequireAuth or OptionalAuth
// let pass; false for an anonymous one.
func FromContext(ctx context.Context) (Session, bool) {
	if s, ok := ctx.Value(contextKey{}).(*Session); ok {
		return *s, true
	}
	return Session{}, false
}

// token finds a request's session token: a bearer token wins over the cookie.
// Credentials of another scheme are another layer's business. It fails with
// ErrNoToken if there is none.
func token(r *http.Request) (text string, fromCookie bool, err error) {
	for _, header := range r.Header.Values("Authorization") {
		scheme, credentials, _ := strings.Cut(strings.TrimSpace(header), " ")
		if strings.EqualFold(scheme, "Bearer") {
			return strings.TrimSpace(credentials), false, nil
		}
	}
	if cookie, err := r.Cookie(cookieName); err == nil && cookie.Value != "" {
		return cookie.Value, true, nil
	}
	return "", false, ErrNoToken
}
