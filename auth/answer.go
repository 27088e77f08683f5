package auth

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// Why a caller was not admitted, besides the Verifier's reasons.
var (
	ErrNoToken = errors.New("no session token")        // 401
	ErrNoUser  = errors.New("the user does not exist") // 401; what Fetch says of one
	ErrBanned  = errors.New("the user is banned")      // 403
)

// ErrNoProfile is what Profiles says of a user it has never heard of.
var ErrNoProfile = errors.New("no profile")

const defaultRetry = 5 * time.Second

// status classes an error. Only errors that say so are the caller's fault.
func status(err error) int {
	switch {
	case errors.Is(err, ErrNoToken), errors.Is(err, ErrNoUser):
		return http.StatusUnauthorized
	case errors.Is(err, ErrBanned):
		return http.StatusForbidden
	}
	if e, ok := errors.AsType[interface {
		error
		HTTPStatus() int
	}](err); ok {
		if s := e.HTTPStatus(); s == http.StatusUnauthorized || s == http.StatusForbidden {
			return s
		}
	}
	return http.StatusServiceUnavailable
}

// WriteError answers a request with an error of Authenticate:
//
//   - 401 UNAUTHORIZED with WWW-Authenticate: Bearer, and error="invalid_token"
//     (RFC 6750) if there was a token;
//   - 403 FORBIDDEN for a user who is banned or a session that is pending;
//   - 503 UPSTREAM_UNAVAILABLE with Retry-After for everything else, such as an
//     outage of Clerk or of the database. Its length is taken from an error
//     with a method RetryAfter() time.Duration.
//
// The body is {"error":{"code","message"}}. It never repeats the error.
func WriteError(w http.ResponseWriter, err error) {
	switch status(err) {
	case http.StatusUnauthorized:
		challenge := `Bearer error="invalid_token"`
		if errors.Is(err, ErrNoToken) {
			challenge = "Bearer"
		}
		w.Header().Set("WWW-Authenticate", challenge)
		write(w, http.StatusUnauthorized, "UNAUTHORIZED", "Authentication required")
	case http.StatusForbidden:
		message := "The session may not be used yet, or not here"
		if errors.Is(err, ErrBanned) {
			message = "The user is banned"
		}
		write(w, http.StatusForbidden, "FORBIDDEN", message)
	default:
		w.Header().Set("Retry-After", strconv.FormatInt(retrySeconds(err), 10))
		write(w, http.StatusServiceUnavailable, "UPSTREAM_UNAVAILABLE", "Temporarily unavailable, try again")
	}
}

// retrySeconds is the wait to ask for, rounded up.
func retrySeconds(err error) int64 {
	wait := defaultRetry
	if e, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](err); ok && e.RetryAfter() > 0 {
		wait = e.RetryAfter()
	}
	return int64((wait + time.Second - 1) / time.Second)
}

func write(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	body := map[string]map[string]string{"error": {"code": code, "message": message}}
	_ = json.NewEncoder(w).Encode(body) // the caller has gone; nobody is left to tell
}
