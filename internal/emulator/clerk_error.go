package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// ClerkError is an error as Clerk answers it.
type ClerkError struct {
	Status     int
	Code       string
	Message    string
	RetryAfter time.Duration // for 429
}

// Error gives the code and the message.
func (e *ClerkError) Error() string { return e.Code + ": " + e.Message }

func notFound(id string) error {
	return &ClerkError{Status: http.StatusNotFound, Code: "resource_not_found", Message: "No resource was found with ID " + id}
}

// invalid is a parameter that Clerk refuses with 422.
func invalid(code, format string, args ...any) error {
	return &ClerkError{Status: http.StatusUnprocessableEntity, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Codes of refused parameters. Of the codes in this package only
// clerk_key_invalid and resource_not_found were found in Clerk's own sources;
// the others are stand-ins, and a client should go by the status.
const (
	codeParamInvalid = "form_param_value_invalid"
	codeParamUnknown = "form_param_unknown"
	codeTaken        = "form_identifier_exists"
)

type errorBody struct {
	Errors  []errorItem `json:"errors"`
	TraceID string      `json:"clerk_trace_id"`
}

type errorItem struct {
	Message     string `json:"message"`
	LongMessage string `json:"long_message"`
	Code        string `json:"code"`
}

// writeError answers with Clerk's error body; any other error is a 500.
func writeError(w http.ResponseWriter, err error, traceID string) {
	var e *ClerkError
	if !errors.As(err, &e) {
		e = &ClerkError{Status: http.StatusInternalServerError, Code: "internal_clerk_error", Message: err.Error()}
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(retryAfterSeconds(e.RetryAfter), 10))
	}
	w.Header().Set("Clerk-Trace-Id", traceID)
	writeJSON(w, e.Status, errorBody{[]errorItem{{e.Message, e.Message, e.Code}}, traceID})
}

// writeFault answers a refusal that was asked for.
func writeFault(w http.ResponseWriter, fault Fault) {
	code := "internal_clerk_error"
	if fault.Status == http.StatusTooManyRequests {
		code = codeTooMany
	}
	writeError(w, &ClerkError{
		Status: fault.Status, Code: code, RetryAfter: fault.RetryAfter,
		Message: "Refused by the emulator's fault injection",
	}, "fault")
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that left is no error of ours
}
