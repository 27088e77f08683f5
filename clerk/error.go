package clerk

import (
	"fmt"
	"net/http"
	"time"
)

// ErrorKind classes what can go wrong with tokens and with the Backend API. The
// kinds are errors themselves, so errors.Is(err, ErrToken) asks for one. No
// text that wraps them names a claim's value or a person.
type ErrorKind string

// Why a session token was not believed.
const (
	ErrToken           ErrorKind = "invalid session token"                          // missing, malformed, forged, expired, or of another class: 401
	ErrPending         ErrorKind = "the session is pending: its tasks are not done" // genuine, yet not signed in: 403
	ErrImpersonated    ErrorKind = "impersonated sessions are not admitted"         // genuine, refused by TokenConfig: 403
	ErrKeysUnavailable ErrorKind = "Clerk's public keys are unavailable"            // says nothing about the token: 503
)

// Why a call of the Backend API failed; see [APIError] for more.
const (
	ErrNotFound     ErrorKind = "not found in Clerk"
	ErrUnauthorized ErrorKind = "Clerk refused the secret key: check CLERK_SECRET_KEY"
	ErrUnavailable  ErrorKind = "Clerk is unavailable" // away, overloaded or rate limited: try again later
	ErrRequest      ErrorKind = "Clerk refused the request"
)

// Error makes a kind usable with errors.Is.
func (k ErrorKind) Error() string { return string(k) }

// HTTPStatus is the status that a server should answer to whoever sent the
// token. Everything that is not the sender's doing is 503.
func (k ErrorKind) HTTPStatus() int {
	switch k {
	case ErrToken:
		return http.StatusUnauthorized
	case ErrPending, ErrImpersonated:
		return http.StatusForbidden
	}
	return http.StatusServiceUnavailable
}

// APIError is a failed call of the Backend API.
type APIError struct {
	Kind    ErrorKind
	Status  int           // of Clerk's answer; zero without one
	Code    string        // Clerk's code, such as "resource_not_found"
	TraceID string        // what Clerk's support asks for
	After   time.Duration // for ErrUnavailable: how long Clerk, or our own limit, asks to wait; zero if unknown
	Err     error         // the cause, if it is not an answer
}

// Error gives the kind, the status, the code and the trace id. Clerk's messages
// are left out: they repeat what was asked for.
func (e *APIError) Error() string {
	text := e.Kind.Error()
	if e.Status != 0 {
		text += fmt.Sprintf(": status %d", e.Status)
	}
	if e.Code != "" {
		text += ", code " + e.Code
	}
	if e.TraceID != "" {
		text += ", trace " + e.TraceID
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap lets errors.Is and errors.As see both the kind and the cause.
func (e *APIError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// RetryAfter is After, for callers that know this package's errors by their
// methods only.
func (e *APIError) RetryAfter() time.Duration { return e.After }

func tokenError(reason string) error { return fmt.Errorf("%w: %s", ErrToken, reason) }
