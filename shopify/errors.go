package shopify

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lockstephq/lockstep"
)

// fail makes an error of an operation. Its cause must name no person: messages
// of Shopify can quote values, so only codes and field paths of them are used.
func (op operation) fail(kind lockstep.ErrorKind, cause error) error {
	return &lockstep.TargetError{Kind: kind, Err: op.describe(cause)}
}

func (op operation) failf(kind lockstep.ErrorKind, format string, args ...any) error {
	return op.fail(kind, fmt.Errorf(format, args...))
}

func (op operation) throttled(after time.Duration, cause string) error {
	return &lockstep.TargetError{Kind: lockstep.ErrThrottled, After: max(after, minWait), Err: op.describe(errors.New(cause))}
}

// describe names the operation.
func (op operation) describe(cause error) error {
	return fmt.Errorf("shopify: %s: %w", strings.ReplaceAll(op.file, "_", " "), cause)
}

// lost is for an answer that did not come, or cannot be read.
func (op operation) lost(cause error) error {
	if op.writes {
		return op.fail(lockstep.ErrUnknown, cause)
	}
	return op.fail(lockstep.ErrTransient, cause)
}

const (
	minWait     = 50 * time.Millisecond // no use in asking sooner
	maxWait     = 5 * time.Minute       // a limit of Shopify's never asks for more
	defaultWait = time.Second           // for a limit that does not say
)

// errNoDefinition is Shopify's answer when a custom id has no definition: it
// was not made yet, or somebody deleted it. Nothing was read or written.
var errNoDefinition = errors.New("the metafield definition is missing")

// errTooDear is Shopify's answer to a request of more than 1,000 points.
var errTooDear = errors.New("more points than Shopify takes in one request")

// statusError classes an answer by its HTTP status alone; nil means that the
// body tells.
func (op operation) statusError(status int) error {
	switch {
	case status == 200:
		return nil
	case status == 401:
		return op.failf(lockstep.ErrRefused, "Shopify does not know the access token (401): "+
			"install the app in the shop again and set its new token, or correct client id and secret")
	case status == 402:
		return op.failf(lockstep.ErrRefused, "the shop is frozen (402): its owner must settle the plan with Shopify")
	case status == 403:
		return op.failf(lockstep.ErrRefused, "Shopify denies access (403): %s", grantAdvice)
	case status == 404:
		return op.failf(lockstep.ErrRefused, "there is no such shop (404): name it by its address, such as acme.myshopify.com")
	case status == 423:
		return op.failf(lockstep.ErrRefused, "the shop is locked (423): its owner must open it again")
	case status >= 300 && status < 400:
		return op.failf(lockstep.ErrRefused, "the shop answers from another address (%d): "+
			"name it by its permanent address, such as acme.myshopify.com", status)
	case status == 400 || status == 413 || status == 422:
		return op.failf(lockstep.ErrInvalid, "Shopify does not take the request (%d)", status)
	case status >= 500 || status == 408 || status < 300:
		return op.lost(fmt.Errorf("status %d from Shopify", status))
	}
	return op.failf(lockstep.ErrTransient, "status %d from Shopify", status)
}

const (
	grantAdvice = "grant the app the scopes read_customers and write_customers, and approve its access to protected customer data " +
		"(name, address, phone, e-mail)"
	dataAdvice = "Shopify hides e-mails from the app: approve its access to protected customer data (level 2: name, address, phone, " +
		"e-mail; an app made in the shop's admin needs the Grow plan or higher)"
)

// graphError classes a top-level error of the answer by its code.
func (op operation) graphError(e graphError) error {
	where := codeAndPath(e.Extensions.Code, e.path())
	switch e.Extensions.Code {
	case "ACCESS_DENIED":
		return op.failf(lockstep.ErrRefused, "%s: %w: %s", where, errDenied, grantAdvice)
	case "SHOP_INACTIVE":
		return op.failf(lockstep.ErrRefused, "%s: the shop is closed: its owner must open it again", where)
	case "NOT_FOUND":
		return op.fail(lockstep.ErrTransient, errNoDefinition)
	case "MAX_COST_EXCEEDED":
		return op.failf(lockstep.ErrRefused, "%s: %w: upgrade lockstep", where, errTooDear)
	case "undefinedField", "undefinedType", "argumentNotAccepted", "missingRequiredArguments",
		"variableMismatch", "variableNotDefined", "variableNotUsed", "selectionMismatch", "parseError":
		return op.failf(lockstep.ErrRefused, "%s: Shopify no longer takes the request: upgrade lockstep", where)
	case "INVALID_VARIABLE", "argumentLiteralsIncompatible":
		return op.failf(lockstep.ErrInvalid, "%s", where)
	}
	return op.lost(errors.New(where))
}

// userErrors are what a mutation did not like; with any of them it did nothing.
type userErrors []userError

type userError struct {
	Code    string   `json:"code"`
	Field   []string `json:"field"`
	Message string   `json:"message"` // for kind alone, see fail
}

// refusal turns the errors that are not about the phone into one error, nil if
// there are none.
func (op operation) refusal(all userErrors) error {
	for _, e := range all {
		if e.about("phone") {
			continue
		}
		kind, advice := e.kind()
		return op.failf(kind, "%s%s", codeAndPath(e.code(), e.Field), advice)
	}
	return nil
}

// about reports whether the error is about an input field of that name.
func (e userError) about(field string) bool {
	return len(e.Field) > 0 && e.Field[len(e.Field)-1] == field
}

// ofDefinition reports an error that the lack of the mark's definition explains.
func (e userError) ofDefinition() bool {
	code := e.code()
	return (code == "CAPABILITY_VIOLATION" || code == "INVALID_TYPE") && !strings.Contains(e.Message, "already assigned")
}

// code is the error's code or, where the API gives none, what the message says.
func (e userError) code() string {
	if e.Code != "" {
		return e.Code
	}
	for text, code := range map[string]string{
		"already been taken": "TAKEN", "already assigned": "TAKEN", "does not exist": "NOT_FOUND", "be found": "NOT_FOUND",
		"must be present": "BLANK",
	} {
		if strings.Contains(e.Message, text) {
			return code
		}
	}
	return "INVALID"
}

// kind classes the error. Codes it does not know are about the user's values.
func (e userError) kind() (kind lockstep.ErrorKind, advice string) {
	switch code := e.code(); {
	case code == "TAKEN" || code == "STALE_OBJECT" || code == "CAPABILITY_VIOLATION" || strings.Contains(e.Message, "already assigned"):
		return lockstep.ErrTaken, "" // the capability is that values are unique
	case code == "NOT_FOUND" || code == "DOES_NOT_EXIST" || e.about("ownerId") || e.about("id") && strings.Contains(e.Message, "not exist"):
		return lockstep.ErrGone, ""
	case code == "BLANK" && len(e.Field) == 0 || strings.Contains(e.Message, "must be present"):
		return lockstep.ErrInvalid, ": Shopify holds no customer without a name, a phone or an e-mail: the user must give one"
	case code == "APP_NOT_AUTHORIZED":
		return lockstep.ErrRefused, ": another app owns the metafield: set another namespace"
	case code == "FAILED_TO_REQUEST": // an erasure
		return lockstep.ErrTransient, ""
	case code == "INTERNAL_ERROR":
		return lockstep.ErrUnknown, ""
	case code == "INVALID_TYPE":
		return lockstep.ErrRefused, ": the metafield's definition is of another type: set another namespace"
	}
	return lockstep.ErrInvalid, ""
}

// codeAndPath is what may be repeated of an error: its code and the names of
// the fields it is about.
func codeAndPath(code string, path []string) string {
	text := name(code)
	if text == "" {
		text = "an error without code"
	}
	var fields []string
	for _, field := range path {
		fields = append(fields, name(field))
	}
	if len(fields) > 0 {
		text += " (" + strings.Join(fields, ".") + ")"
	}
	return text
}

// name keeps a text only if it is a name of the API: anything else could be a
// value.
func name(s string) string {
	const limit = 60
	for _, r := range s {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (r < '0' || r > '9' || len(s) > 3) { // a short number is a place in a list
			return "…"
		}
	}
	if len(s) > limit {
		return "…"
	}
	return s
}
