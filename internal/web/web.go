// Package web is the HTTP front: it takes webhooks and answers probes. It
// knows who may call what and which status an outcome deserves; what an outcome
// is, others decide.
package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/lockstephq/lockstep"
)

// MaxBody bounds a webhook's body, in bytes. Clerk sends a few kilobytes.
const MaxBody = 1 << 20

// Receive verifies and accepts one webhook. It may fail with ErrBadSignature
// or ErrMalformed; any other error asks the sender to try again.
type Receive func(ctx context.Context, h http.Header, body []byte) (lockstep.Receipt, error)

// What a Receive may object to.
var (
	ErrBadSignature = errors.New("bad signature")
	ErrMalformed    = errors.New("malformed")
)

// Front is what the handler needs to know.
type Front struct {
	Webhooks map[string]Receive // by source: "clerk"
	Me       *Me                // nil for none
	Operator *Operator          // nil for none
	Metrics  http.Handler       // nil for none
	Counter  Counter            // of deliveries; nil for none

	// Ready fails when deliveries cannot be accepted; else it says how all the
	// rest is. Anybody may read it.
	Ready func(ctx context.Context) (Health, error)
	Log   *slog.Logger
}

// Counter counts deliveries.
type Counter interface {
	Accepted(source string, r lockstep.Receipt)
	Refused(source, reason string)
}

// Why a delivery was refused, for a Counter.
const (
	refusedSignature   = "signature"
	refusedMalformed   = "malformed"
	refusedTooLarge    = "too_large"
	refusedUnreadable  = "unreadable"
	refusedUnavailable = "unavailable"
)

type countNothing struct{}

func (countNothing) Accepted(string, lockstep.Receipt) {}
func (countNothing) Refused(string, string)            {}

// Health is the body of /readyz when deliveries can be accepted.
type Health struct {
	Status        string   `json:"status"` // "ready"
	Database      string   `json:"database"`
	Worker        *bool    `json:"worker"`                 // whether any process works; null if it could not be told
	OldestPending *float64 `json:"oldest_pending_seconds"` // over all targets; null likewise
	Paused        []string `json:"paused"`                 // targets
	Alarms        []string `json:"alarms"`                 // "watchdog subject", without the reason
}

// Handler routes requests.
func (f Front) Handler() http.Handler {
	if f.Counter == nil {
		f.Counter = countNothing{}
	}
	mux := http.NewServeMux()
	for source, receive := range f.Webhooks {
		route(mux, http.MethodPost, "/webhooks/"+source, f.webhook(source, receive))
	}
	route(mux, http.MethodGet, "/healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	route(mux, http.MethodGet, "/readyz", f.readyz)
	if f.Metrics != nil {
		route(mux, http.MethodGet, "/metrics", f.Metrics.ServeHTTP)
	}
	if f.Me != nil {
		f.Me.register(mux)
	}
	if f.Operator != nil {
		f.Operator.register(mux, f.Log)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusNotFound, "NOT_FOUND", "No such route")
	})
	return f.recovered(mux)
}

// route serves a path for one method; the others get a 405 of our form.
func route(mux *http.ServeMux, method, path string, h http.HandlerFunc) {
	mux.HandleFunc(method+" "+path, h)
	mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", method)
		writeError(w, http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "Use "+method)
	})
}

// recovered answers a panic with 500, so that a webhook's sender tries again.
// net/http alone would log the panic's value, which may quote anything.
func (f Front) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			switch {
			case p == nil:
				return
			case p == http.ErrAbortHandler:
				panic(p) // asks for a broken connection, and is not logged
			}
			f.Log.Error("request panicked", "route", r.Pattern, "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			writeError(w, http.StatusInternalServerError, "INTERNAL_SERVER_ERROR", "Not accepted, try again")
		}()
		next.ServeHTTP(w, r)
	})
}

func (f Front) webhook(source string, receive Receive) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
		if err != nil {
			f.Counter.Refused(source, refuseBody(w, err))
			return
		}
		receipt, err := receive(r.Context(), r.Header, body)
		switch {
		case err == nil:
			f.Counter.Accepted(source, receipt)
			writeJSON(w, http.StatusOK, map[string]string{"status": string(receipt)})
		case errors.Is(err, ErrBadSignature):
			f.Counter.Refused(source, refusedSignature)
			f.Log.Warn("webhook refused", "source", source, "error", err)
			w.Header().Set("WWW-Authenticate", "Signature")
			writeError(w, http.StatusUnauthorized, "UNAUTHORIZED", err.Error())
		case errors.Is(err, ErrMalformed):
			f.Counter.Refused(source, refusedMalformed)
			f.Log.Warn("webhook refused", "source", source, "error", err)
			writeError(w, http.StatusBadRequest, "BAD_REQUEST", err.Error())
		default:
			f.Counter.Refused(source, refusedUnavailable)
			f.Log.Error("webhook not accepted", "source", source, "error", err)
			writeUnavailable(w)
		}
	}
}

func refuseBody(w http.ResponseWriter, err error) (reason string) {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		writeError(w, http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE", "The body has more than "+strconv.FormatInt(tooLarge.Limit, 10)+" bytes")
		return refusedTooLarge
	}
	writeError(w, http.StatusBadRequest, "BAD_REQUEST", "The body could not be read")
	return refusedUnreadable
}

func (f Front) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	health, err := f.Ready(ctx)
	if err != nil {
		w.Header().Set("Retry-After", "5")
		writeError(w, http.StatusServiceUnavailable, "UPSTREAM_UNAVAILABLE", err.Error())
		return
	}
	writeJSON(w, http.StatusOK, health)
}

// writeUnavailable asks the sender to come back: nothing was kept.
func writeUnavailable(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "5")
	writeError(w, http.StatusServiceUnavailable, "UPSTREAM_UNAVAILABLE", "Not accepted, try again")
}

func writeError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller has gone; nobody is left to tell
}
