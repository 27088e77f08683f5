package web

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/lockstephq/lockstep"
)

// maxWait bounds ?wait=, so that a request ends before proxies give up on it.
const maxWait = 10 * time.Second

// minWait is how long reading the links may take at least.
const minWait = time.Second

// waitStep is how soon a waiting request looks at the links again; later looks
// are further apart.
const waitStep = 50 * time.Millisecond

// Me answers signed-in users about themselves.
type Me struct {
	// Require admits callers with a session and makes their profile.
	Require func(http.Handler) http.Handler
	// Caller is the profile of a request that Require admitted.
	Caller func(context.Context) (lockstep.Profile, bool)
	// Refresh reads the user from Clerk now, and returns the new profile.
	Refresh func(ctx context.Context, userID string) (lockstep.Profile, error)
	// Links has one link per target of the settings, pending if none is made.
	Links func(ctx context.Context, userID string) ([]lockstep.Link, error)
	// Fail answers for an error of Refresh.
	Fail func(http.ResponseWriter, error)
	// Origins are the browser origins that may call, besides the same origin.
	Origins []string
}

func (m *Me) register(mux *http.ServeMux) {
	route(mux, http.MethodGet, "/v1/me", m.cors(m.signedIn(m.answer)).ServeHTTP)
	route(mux, http.MethodPost, "/v1/me/sync", m.cors(m.signedIn(m.sync)).ServeHTTP)
	mux.Handle("OPTIONS /v1/me", m.cors(http.HandlerFunc(preflight)))
	mux.Handle("OPTIONS /v1/me/sync", m.cors(http.HandlerFunc(preflight)))
	// Envoy appends the path of the request it asks about, and keeps its method.
	mux.Handle("/v1/auth", m.signedIn(auth))
	mux.Handle("/v1/auth/", m.signedIn(auth))
}

// signedIn hands the caller's profile to h.
func (m *Me) signedIn(h func(http.ResponseWriter, *http.Request, lockstep.Profile)) http.Handler {
	return m.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := m.Caller(r.Context())
		if !ok {
			panic("web: Require let a request pass without a caller")
		}
		h(w, r, p)
	}))
}

func (m *Me) sync(w http.ResponseWriter, r *http.Request, p lockstep.Profile) {
	p, err := m.Refresh(r.Context(), p.ID)
	if err != nil {
		m.Fail(w, err)
		return
	}
	m.answer(w, r, p)
}

// auth answers a reverse proxy: the status decides, the headers tell who.
func auth(w http.ResponseWriter, _ *http.Request, p lockstep.Profile) {
	w.Header().Set("X-User-Id", p.ID)
	w.Header().Set("X-Profile-Id", p.ID)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

type meBody struct {
	UserID    string         `json:"userId"`
	ProfileID string         `json:"profileId"`
	Profile   profileBody    `json:"profile"`
	Customers []customerBody `json:"customers"`
}

type profileBody struct {
	ID               string    `json:"id"`
	Username         string    `json:"username"`
	AvatarURL        *string   `json:"avatarUrl"`
	Email            *string   `json:"email"`
	EmailVerified    bool      `json:"emailVerified"`
	FirstName        *string   `json:"firstName"`
	LastName         *string   `json:"lastName"`
	Phone            *string   `json:"phone"`
	MedusaCustomerID *string   `json:"medusaCustomerId"`
	CreatedAt        time.Time `json:"createdAt"`
	UpdatedAt        time.Time `json:"updatedAt"`
}

type customerBody struct {
	Target     string          `json:"target"`
	CustomerID *string         `json:"customerId"`
	Status     lockstep.Status `json:"status"`
}

// answer writes a user's own view. The stores never make it fail.
func (m *Me) answer(w http.ResponseWriter, r *http.Request, p lockstep.Profile) {
	wait, err := waitFor(r.URL.Query().Get("wait"))
	if err != nil {
		writeError(w, http.StatusBadRequest, "BAD_REQUEST", "wait must be a duration such as 2s")
		return
	}
	body := meBody{p.ID, p.ID, newProfileBody(p), []customerBody{}}
	for _, l := range m.linksWithin(r.Context(), p.ID, wait) {
		if l.Target == "medusa" {
			body.Profile.MedusaCustomerID = orNull(l.CustomerID)
		}
		body.Customers = append(body.Customers, customerBody{l.Target, orNull(l.CustomerID), l.Status})
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, body)
}

func newProfileBody(p lockstep.Profile) profileBody {
	return profileBody{
		ID: p.ID, Username: p.Username, AvatarURL: orNull(p.AvatarURL), Email: orNull(p.Email), EmailVerified: p.EmailVerified,
		FirstName: orNull(p.FirstName), LastName: orNull(p.LastName), Phone: orNull(p.Phone),
		MedusaCustomerID: orNull(p.MedusaCustomerID), CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
	}
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func waitFor(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	return min(d, maxWait), err
}

// linksWithin reads the links, again and again until none is pending or the
// time is up; the last that could be read count.
func (m *Me) linksWithin(ctx context.Context, userID string, wait time.Duration) (links []lockstep.Link) {
	ctx, cancel := context.WithTimeout(ctx, max(wait, minWait))
	defer cancel()
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	for pause := waitStep; ; pause = min(2*pause, 10*waitStep) {
		if read, err := m.Links(ctx, userID); err == nil {
			links = read
			if !slices.ContainsFunc(links, unsettled) {
				return links
			}
		}
		if wait <= 0 {
			return links
		}
		select {
		case <-time.After(pause):
		case <-deadline.C:
			return links
		case <-ctx.Done():
			return links
		}
	}
}

func unsettled(l lockstep.Link) bool {
	return l.Status != lockstep.StatusFailed && (l.Pending || l.Status == lockstep.StatusPending)
}

// cors lets the configured origins call from a browser, and no other.
func (m *Me) cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		if origin := r.Header.Get("Origin"); slices.Contains(m.Origins, origin) {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Allow-Credentials", "true")
			h.Set("Access-Control-Allow-Methods", "GET, POST")
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
			h.Set("Access-Control-Max-Age", "600")
		}
		next.ServeHTTP(w, r)
	})
}

func preflight(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
