package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/auth"
	"github.com/lockstephq/lockstep/clerk"
	"github.com/lockstephq/lockstep/internal/inbox"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/web"
)

// sessions is sign-in: who calls, and the profile at the first call. A user it
// reads from Clerk takes the same way as a webhook.
type sessions struct {
	store *postgres.Store
	clerk *clerk.Client
	inbox *inbox.Inbox
	guard *auth.Guard
	app   *App
}

func newTokenVerifier(c Config) (*clerk.TokenVerifier, error) {
	return clerk.NewTokenVerifier(clerk.TokenConfig{
		Issuer: c.ClerkIssuer, AuthorizedParties: c.ClerkAuthorizedParties, BearerWithoutParty: true, JWTKey: c.ClerkJWTKey,
	})
}

func newClerkClient(c Config) (*clerk.Client, error) {
	return clerk.NewClient(clerk.ClientConfig{SecretKey: c.ClerkSecretKey, BaseURL: c.ClerkAPIURL, Consent: c.consent()})
}

func (a *App) newSessions(in *inbox.Inbox) (*sessions, error) {
	verifier, err := newTokenVerifier(a.config)
	if err != nil {
		return nil, &SettingError{"CLERK_ISSUER", err}
	}
	client, err := newClerkClient(a.config)
	if err != nil {
		return nil, &SettingError{"CLERK_SECRET_KEY", err}
	}
	s := &sessions{store: postgres.NewStore(a.front), clerk: client, inbox: in, app: a}
	s.guard, err = auth.New(auth.Config{Verifier: verifier, Profiles: s, Fetch: s.fetch, Log: a.log})
	return s, err
}

// me is the routes of a signed-in user.
func (s *sessions) me() *web.Me {
	return &web.Me{
		Require: s.guard.RequireAuth,
		Caller: func(ctx context.Context) (lockstep.Profile, bool) {
			session, ok := auth.FromContext(ctx)
			return session.Profile, ok
		},
		Refresh: s.refresh, Links: s.links, Fail: auth.WriteError, Origins: s.app.config.CORSOrigins,
	}
}

// Profile implements auth.Profiles.
func (s *sessions) Profile(ctx context.Context, userID string) (lockstep.Profile, error) {
	p, err := s.store.Profile(ctx, userID)
	if errors.Is(err, postgres.ErrNoProfile) {
		return p, auth.ErrNoProfile
	}
	return p, postgres.Redact(err)
}

// clerkPatience bounds a caller's wait for Clerk, well below the server's own
// limit, so that an outage is answered with 503.
const clerkPatience = 10 * time.Second

// fetch makes the profile of a user that no webhook has told of yet.
func (s *sessions) fetch(ctx context.Context, userID string) (lockstep.Profile, error) {
	u, err := s.clerk.GetUser(ctx, userID)
	return s.keep(ctx, u, err)
}

// refresh reads a user who has just changed.
func (s *sessions) refresh(ctx context.Context, userID string) (lockstep.Profile, error) {
	ctx, cancel := context.WithTimeout(ctx, clerkPatience)
	defer cancel()
	u, err := s.clerk.GetUserNow(ctx, userID)
	p, err := s.keep(ctx, u, err)
	s.guard.Forget(userID)
	return p, err
}

func (s *sessions) keep(ctx context.Context, u lockstep.User, err error) (lockstep.Profile, error) {
	if errors.Is(err, clerk.ErrNotFound) {
		return lockstep.Profile{}, auth.ErrNoUser
	}
	if err != nil {
		return lockstep.Profile{}, err
	}
	// Nothing to tell apart: what is read twice is applied twice, harmlessly.
	d := lockstep.Delivery{Source: "clerk-api", ID: rand.Text(), Kind: "user.read", User: u}
	if _, err := s.inbox.Accept(ctx, d); err != nil {
		return lockstep.Profile{}, err
	}
	return s.Profile(ctx, u.ID)
}

// links adds to a user's links the targets that have not heard of the user.
func (s *sessions) links(ctx context.Context, userID string) ([]lockstep.Link, error) {
	links, err := s.app.store.Links(ctx, userID) // not over the connections that sign-in needs
	if err != nil {
		return nil, fmt.Errorf("links: %w", postgres.Redact(err))
	}
	byTarget := map[string]lockstep.Link{}
	for _, l := range links {
		byTarget[l.Target] = l
	}
	all := make([]lockstep.Link, len(s.app.targets))
	for i, t := range s.app.targets {
		l, ok := byTarget[t.Name()]
		if !ok {
			l = lockstep.Link{UserID: userID, Target: t.Name(), Status: lockstep.StatusPending}
		}
		all[i] = l
	}
	return all, nil
}
