// Package auth guards net/http handlers with Clerk's session tokens.
//
//	guard, err := auth.New(auth.Config{Verifier: verifier, Fetch: fetch})
//	mux.Handle("GET /orders", guard.RequireAuth(orders))
//
// A token says who calls. The caller's profile comes from a small cache in
// memory, else from a store, else from Clerk, which makes the profile at the
// first call. The hot path makes no request and no query.
//
// The package knows Clerk and the store by three small interfaces only:
// [Verifier], which *clerk.TokenVerifier is, [Profiles] and [Fetch].
package auth

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/lockstephq/lockstep"
)

// Verifier says whose session token it is; *clerk.TokenVerifier does.
//
// fromCookie tells that a browser sent the token on its own accord. claims is
// whatever else the token says, for [Session]. An error answers the caller with
// 401 or 403 if it, or one that it wraps, has a method HTTPStatus() int that
// says so, and with 503 otherwise: what is not known to be the caller's fault
// must not sign anybody out.
type Verifier interface {
	VerifySession(ctx context.Context, token string, fromCookie bool) (userID, sessionID string, claims any, err error)
}

// Profiles is a store of profiles. Profile fails with ErrNoProfile if there is
// none; it may return one that is deleted or banned.
type Profiles interface {
	Profile(ctx context.Context, userID string) (lockstep.Profile, error)
}

// Fetch makes the profile of a user the store does not know: it reads the user
// from Clerk and keeps it. It fails with ErrNoUser if Clerk has no such user.
type Fetch func(ctx context.Context, userID string) (lockstep.Profile, error)

// Config says what a Guard asks, and how long it remembers.
type Config struct {
	Verifier Verifier // required
	Profiles Profiles // asked before Fetch; may be nil
	Fetch    Fetch    // required

	// TTL is how long a profile is used without asking again, and so how long a
	// change may stay unseen on a node that nobody tells (see Guard.Forget). A
	// user found not to exist is remembered as long. Default 3 seconds.
	TTL time.Duration

	// Timeout bounds one reading of a profile, however long it is waited for.
	// Default 10 seconds.
	Timeout time.Duration

	MaxProfiles int              // kept in memory; default 10000
	Log         *slog.Logger     // hears why callers got 503; default none
	Now         func() time.Time // default time.Now
}

// Guard admits callers. It is safe for concurrent use.
type Guard struct {
	verifier Verifier
	profiles Profiles
	fetch    Fetch
	cache    *cache
	log      *slog.Logger
}

// New makes a Guard. It fails if Verifier or Fetch is missing.
func New(c Config) (*Guard, error) {
	if c.Verifier == nil || c.Fetch == nil {
		return nil, errors.New("auth: Verifier and Fetch are required")
	}
	const ttl, timeout, profiles = 3 * time.Second, 10 * time.Second, 10_000
	g := &Guard{verifier: c.Verifier, profiles: c.Profiles, fetch: c.Fetch, log: c.Log}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	g.cache = newCache(cmp.Or(c.MaxProfiles, profiles), g.load)
	g.cache.ttl, g.cache.timeout, g.cache.now = cmp.Or(c.TTL, ttl), cmp.Or(c.Timeout, timeout), c.Now
	return g, nil
}

// RequireAuth admits callers with a genuine session whose user is neither
// deleted nor banned; [FromContext] gives next the session. All others are
// answered as [WriteError] says.
func (g *Guard) RequireAuth(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := g.Authenticate(r)
		if err != nil {
			g.refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(withSession(r.Context(), &session)))
	})
}

// OptionalAuth is RequireAuth for handlers that serve anonymous callers too:
// those without a token pass, and [FromContext] gives next no session.
//
// Whoever sends a bearer token means to be somebody: a bad one is 401, as under
// RequireAuth, since to serve the caller as a stranger would hide the fault. A
// cookie comes unasked, and is out of date whenever a browser returns after more
// than a minute: if it is not good for a session (401, 403) the caller passes as
// anonymous, as in Clerk's own SDKs. An outage is 503 in either case.
func (g *Guard) OptionalAuth(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, fromCookie, _ := token(r)
		session, err := g.Authenticate(r)
		switch {
		case err == nil:
			r = r.WithContext(withSession(r.Context(), &session))
		case errors.Is(err, ErrNoToken), fromCookie && status(err) != http.StatusServiceUnavailable:
		default:
			g.refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Authenticate says who sent a request: by its bearer token or, if it has none,
// by the cookie __session. It is what the middleware is made of, for routes
// that answer in a way of their own; [WriteError] answers its errors.
func (g *Guard) Authenticate(r *http.Request) (Session, error) {
	text, fromCookie, err := token(r)
	if err != nil {
		return Session{}, err
	}
	userID, sessionID, claims, err := g.verifier.VerifySession(r.Context(), text, fromCookie)
	if err != nil {
		return Session{}, err
	}
	profile, err := g.cache.get(r.Context(), userID)
	switch {
	case err != nil:
		return Session{}, err
	case profile.Deleted():
		return Session{}, ErrNoUser
	case profile.Banned:
		return Session{}, ErrBanned
	}
	return Session{UserID: userID, SessionID: sessionID, ProfileID: profile.ID, Profile: profile, Claims: claims}, nil
}

// Forget drops what is remembered of users, so that their next call sees a
// change at once. Readings under way are not remembered either: they may have
// begun before the change.
func (g *Guard) Forget(userIDs ...string) { g.cache.forget(userIDs) }

// load reads a profile past the cache.
func (g *Guard) load(ctx context.Context, userID string) (lockstep.Profile, error) {
	if g.profiles != nil {
		profile, err := g.profiles.Profile(ctx, userID)
		if !errors.Is(err, ErrNoProfile) {
			return profile, err
		}
	}
	return g.fetch(ctx, userID)
}

func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if status(err) == http.StatusServiceUnavailable && r.Context().Err() == nil {
		g.log.ErrorContext(r.Context(), "caller could not be authenticated", "error", err)
	}
	WriteError(w, err)
}
