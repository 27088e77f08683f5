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
	Webhooks map[string]Receive              // by source: "clerk"
	Me       *Me                             // nil for none
	Ready    func(ctx context.Context) error // nil when deliveries can be accepted
	Log      *slog.Logger
}

// Handler routes requests.
func (f Front) Handler() http.Handler {
	mux := http.NewServeMux()
	for source, receive := range f.Webhooks {
		route(mux, http.MethodPost, "/webhooks/"+source, f.webhook(source, receive))
	}
	route(mux, http.MethodGet, "/healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	route(mux, http.MethodGet, "/readyz", f.readyz)
	if f.Me != nil {
		f.Me.register(mux)
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
			refuseBody(w, err)
			return
		}
		receipt, err := receive(r.Context(), r.Header, body)
		switch {
		case err == nil:
			writeJSON(w, http.StatusOK, map[string]string{"status": string(receipt)})
		case errors.Is(err, ErrBadSignature):
			f.Log.Warn("webhook refused", "source", source, "error", err)
			w.Header().Set("WWW-Authenticate", "Signature")
			writeError(w, http.StatusUnauthorized, "UNAUTHORIZED", err.Error())
		case errors.Is(err, ErrMalformed):
			f.Log.Warn("webhook refused", "source", source, "error", err)
			writeError(w, http.StatusBadRequest, "BAD_REQUEST", err.Error())
		default:
			f.Log.Error("webhook not accepted", "source", source, "error", err)
			writeUnavailable(w)
		}
	}
}

func refuseBody(w http.ResponseWriter, err error) {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		writeError(w, http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE", "The body has more than "+strconv.FormatInt(tooLarge.Limit, 10)+" bytes")
		return
	}
	writeError(w, http.StatusBadRequest, "BAD_REQUEST", "The body could not be read")
}

func (f Front) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	if err := f.Ready(ctx); err != nil {
		w.Header().Set("Retry-After", "5")
		writeError(w, http.StatusServiceUnavailable, "UPSTREAM_UNAVAILABLE", err.Error())
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
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
