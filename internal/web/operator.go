package web

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/lockstephq/lockstep/docs"
)

// MinOperatorToken is the least length of an operator's token, in bytes.
const MinOperatorToken = 32

// Operator answers the people who run Lockstep, and their scripts. What each
// function returns is written as JSON; docs/openapi.yaml describes it.
type Operator struct {
	Token string // of at least MinOperatorToken bytes

	Status    func(ctx context.Context) (any, error)
	Watchdogs func(ctx context.Context) (any, error)
	Conflicts func(ctx context.Context, target string) (any, error) // empty: of all targets
	Choose    func(ctx context.Context, userID, target, choice, customerID string) (any, error)
	User      func(ctx context.Context, userID string) (any, error)
	Timeline  func(ctx context.Context, userID string) (any, error)
	Sync      func(ctx context.Context, userID string) (any, error)
	Retry     func(ctx context.Context, target string, users []string) (any, error)

	Forget   func(ctx context.Context, userID, customers string) (any, error) // empty: as each target's policy says
	Erasures func(ctx context.Context, before int64) (any, error)             // zero: from the newest
}

// What an Operator's function may object to. The text of either is answered;
// that of any other error is not.
var (
	ErrNotFound   = errors.New("not found")
	ErrBadRequest = errors.New("bad request")
)

// RefusedError is why a function cannot do what was asked, in words that may be
// answered.
type RefusedError struct {
	Kind error // ErrNotFound, ErrBadRequest, or nil for what may work later
	Text string
}

func (e *RefusedError) Error() string { return e.Text }
func (e *RefusedError) Unwrap() error { return e.Kind }

// operatorTime bounds a request, below the server's own limit.
const operatorTime = 15 * time.Second

// operatorRoute is one of the routes that docs/openapi.yaml describes.
type operatorRoute struct {
	method, path string
	answer       func(ctx context.Context, r *http.Request) (any, error)
}

func (o *Operator) routes() []operatorRoute {
	return []operatorRoute{
		{http.MethodGet, "/v1/operator/status", func(ctx context.Context, _ *http.Request) (any, error) { return o.Status(ctx) }},
		{http.MethodGet, "/v1/operator/watchdogs", func(ctx context.Context, _ *http.Request) (any, error) { return o.Watchdogs(ctx) }},
		{http.MethodGet, "/v1/operator/conflicts", func(ctx context.Context, r *http.Request) (any, error) {
			return o.Conflicts(ctx, r.URL.Query().Get("target"))
		}},
		{http.MethodPost, "/v1/operator/conflicts/resolve", o.resolve},
		{http.MethodGet, "/v1/operator/users/{id}", ofUser(o.User)},
		{http.MethodGet, "/v1/operator/users/{id}/timeline", ofUser(o.Timeline)},
		{http.MethodPost, "/v1/operator/users/{id}/sync", ofUser(o.Sync)},
		{http.MethodPost, "/v1/operator/users/{id}/forget", o.forget},
		{http.MethodGet, "/v1/operator/erasures", o.erasures},
		{http.MethodPost, "/v1/operator/retry", o.retry},
	}
}

func ofUser(f func(context.Context, string) (any, error)) func(context.Context, *http.Request) (any, error) {
	return func(ctx context.Context, r *http.Request) (any, error) { return f(ctx, r.PathValue("id")) }
}

func (o *Operator) register(mux *http.ServeMux, log *slog.Logger) {
	for _, r := range o.routes() {
		route(mux, r.method, r.path, o.admitted(answered(r.answer, log)))
	}
	route(mux, http.MethodGet, "/v1/operator/openapi.yaml", o.admitted(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write(docs.OpenAPI()) // the caller has gone; nobody is left to tell
	}))
}

// admitted lets those pass who know the token. Sums of equal length are
// compared, so that the time tells nothing of it.
func (o *Operator) admitted(next http.HandlerFunc) http.HandlerFunc {
	want := sha256.Sum256([]byte(o.Token))
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(token))
		if !strings.EqualFold(scheme, "Bearer") || len(o.Token) < MinOperatorToken || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="lockstep operator"`)
			writeError(w, http.StatusUnauthorized, "UNAUTHORIZED", "Send the operator's token as Authorization: Bearer")
			return
		}
		next(w, r)
	}
}

func answered(answer func(context.Context, *http.Request) (any, error), log *slog.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), operatorTime)
		defer cancel()
		body, err := answer(ctx, r)
		if err == nil {
			writeJSON(w, http.StatusOK, body)
			return
		}
		refused, ok := errors.AsType[*RefusedError](err)
		switch {
		case ok && errors.Is(err, ErrNotFound):
			writeError(w, http.StatusNotFound, "NOT_FOUND", refused.Text)
		case ok && errors.Is(err, ErrBadRequest):
			writeError(w, http.StatusBadRequest, "BAD_REQUEST", refused.Text)
		default:
			log.Error("operator request failed", "route", r.Pattern, "error", err)
			text := "Not done, try again: the log says why"
			if ok {
				text = refused.Text
			}
			w.Header().Set("Retry-After", "5")
			writeError(w, http.StatusServiceUnavailable, "UPSTREAM_UNAVAILABLE", text)
		}
	}
}

// maxOperatorBody bounds a request's body, in bytes.
const maxOperatorBody = 64 << 10

// retry reads {"target": …, "users": […]}; both may be left out. An empty list
// is neither: who filters users and finds none must not retry them all.
func (o *Operator) retry(ctx context.Context, r *http.Request) (any, error) {
	var ask struct {
		Target string    `json:"target"`
		Users  *[]string `json:"users"`
	}
	if err := decode(r, &ask); err != nil && !errors.Is(err, io.EOF) {
		return nil, &RefusedError{ErrBadRequest, `Send {"target": "medusa", "users": ["user_…"]}; leave out either, or both, for all`}
	}
	if ask.Users == nil {
		return o.Retry(ctx, ask.Target, nil)
	}
	if len(*ask.Users) == 0 {
		return nil, &RefusedError{ErrBadRequest, `"users" is an empty list, and nothing was retried: name users, or leave "users" out to retry all`}
	}
	return o.Retry(ctx, ask.Target, *ask.Users)
}

// resolve reads {"user": …, "target": …, "choice": …, "customer_id": …}; the
// last is for the choice "use".
func (o *Operator) resolve(ctx context.Context, r *http.Request) (any, error) {
	var ask struct {
		User       string `json:"user"`
		Target     string `json:"target"`
		Choice     string `json:"choice"`
		CustomerID string `json:"customer_id"`
	}
	if err := decode(r, &ask); err != nil || ask.User == "" || ask.Target == "" {
		return nil, &RefusedError{ErrBadRequest, `Send {"user": "user_…", "target": "medusa", "choice": "use", "customer_id": "…"}, ` +
			`as GET /v1/operator/conflicts lists the choices; "keep", "create" and "unlink" take no customer`}
	}
	return o.Choose(ctx, ask.User, ask.Target, ask.Choice, ask.CustomerID)
}

// decode reads a small JSON body of known fields; io.EOF for none.
func decode(r *http.Request, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxOperatorBody)) // cut short, it would ask for more
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// decodes reads a request's body, which may be none at all.
func decodes(r *http.Request, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxOperatorBody)) // cut short, it would ask for more
	d.DisallowUnknownFields()
	err := d.Decode(into)
	return err == nil || errors.Is(err, io.EOF)
}

// forget reads {"customers": …}, which may be left out.
func (o *Operator) forget(ctx context.Context, r *http.Request) (any, error) {
	var ask struct {
		Customers string `json:"customers"`
	}
	if !decodes(r, &ask) {
		return nil, &RefusedError{ErrBadRequest, `Send {"customers": "anonymise"}, or "keep" or "delete"; leave it out for each target's own policy`}
	}
	return o.Forget(ctx, r.PathValue("id"), ask.Customers)
}

func (o *Operator) erasures(ctx context.Context, r *http.Request) (any, error) {
	before, err := int64(0), error(nil)
	if text := r.URL.Query().Get("before"); text != "" {
		before, err = strconv.ParseInt(text, 10, 64)
	}
	if err != nil || before < 0 {
		return nil, &RefusedError{ErrBadRequest, "before must be the number of an erasure: leave it out for the newest"}
	}
	return o.Erasures(ctx, before)
}
