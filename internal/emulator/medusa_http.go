package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// MedusaError is an error as Medusa answers it.
type MedusaError struct {
	Status  int
	Type    string // "invalid_data"; empty for a refused login
	Message string
}

// Error gives the type and the message.
func (e *MedusaError) Error() string { return e.Type + ": " + e.Message }

func invalidData(format string, args ...any) error {
	return &MedusaError{http.StatusBadRequest, "invalid_data", fmt.Sprintf(format, args...)}
}

// unknownError is Medusa's answer to whatever its database or its query builder
// refuses: a NUL, a negative limit, an unknown order.
func unknownError() error {
	return &MedusaError{http.StatusInternalServerError, "unknown_error", "An unknown error occurred."}
}

func writeMedusaError(w http.ResponseWriter, err error) {
	var e *MedusaError
	if !errors.As(err, &e) {
		e = &MedusaError{http.StatusInternalServerError, "unknown_error", err.Error()}
	}
	body := map[string]string{"message": e.Message}
	if e.Type != "" {
		body["type"] = e.Type
	}
	if e.Status == http.StatusInternalServerError {
		body["code"] = e.Type
	}
	writeMedusa(w, e.Status, body)
}

// keepAlive names the time after which Medusa closes an idle connection.
func keepAlive(w http.ResponseWriter) {
	w.Header().Set("Connection", "keep-alive")
	w.Header().Set("Keep-Alive", "timeout=5")
}

func writeMedusa(w http.ResponseWriter, status int, body any) {
	keepAlive(w)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that left is no error of ours
}

// writeMedusaFault answers a refusal that was asked for; a limit is a proxy's,
// for Medusa has none.
func writeMedusaFault(w http.ResponseWriter, fault Fault) {
	if fault.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(retryAfterSeconds(fault.RetryAfter), 10))
	}
	switch {
	case fault.Status == http.StatusUnauthorized:
		writeMedusaError(w, &MedusaError{Status: fault.Status, Message: "Unauthorized"})
	case fault.Status >= 500:
		writeMedusaError(w, &MedusaError{fault.Status, "unknown_error", "An unknown error occurred."})
	default:
		writeMedusaError(w, &MedusaError{fault.Status, "not_allowed", "Refused by the emulator's fault injection"})
	}
}

// medusaBodyLimit is the largest body in bytes (Express's default, "100kb").
const medusaBodyLimit = 100 << 10

// readMedusaBody reads a JSON object. A body that does not say that it is JSON
// is not looked at.
func readMedusaBody(w http.ResponseWriter, r *http.Request) (map[string]json.RawMessage, error) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, medusaBodyLimit))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, &MedusaError{http.StatusRequestEntityTooLarge, "unknown_error", "request entity too large"}
	}
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") || len(data) == 0 {
		return map[string]json.RawMessage{}, nil
	}
	var object map[string]json.RawMessage
	if json.Valid(data) && json.Unmarshal(data, &object) != nil {
		return nil, invalidData("Invalid request: Field '' is required")
	}
	if object == nil {
		return nil, invalidData("Unexpected token in JSON")
	}
	return object, nil
}

func (m *Medusa) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /auth/user/emailpass", m.logIn)
	mux.HandleFunc("POST /auth/token/refresh", m.refreshLogin)
	mux.HandleFunc("GET /admin/customers", m.admitted(m.list))
	mux.HandleFunc("POST /admin/customers", m.admitted(m.create))
	mux.HandleFunc("GET /admin/customers/{id}", m.admitted(m.retrieve))
	mux.HandleFunc("POST /admin/customers/{id}", m.admitted(m.update))
	mux.HandleFunc("DELETE /admin/customers/{id}", m.admitted(m.remove))
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		keepAlive(w)
		_, _ = io.WriteString(w, "OK") // a client that left is no error of ours
	})
	mux.HandleFunc("/", noRoute)
	m.controlRoutes(mux)
	return mux
}

// noRoute answers as Express does: with a page.
func noRoute(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusNotFound)
	_, _ = fmt.Fprintf(w, "<!DOCTYPE html>\n<pre>Cannot %s</pre>\n", r.Method)
}

// admitted serves a route of the Admin API to whoever is let in.
func (m *Medusa) admitted(serve func(w http.ResponseWriter, r *http.Request, actor string) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		actor, err := m.admit(r)
		var body any
		if err == nil {
			body, err = serve(w, r, actor)
		}
		if err != nil {
			writeMedusaError(w, err)
			return
		}
		writeMedusa(w, http.StatusOK, body)
	}
}
