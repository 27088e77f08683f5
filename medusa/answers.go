package medusa

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/lockstephq/lockstep"
)

// doubt is the kind of a request without a usable answer.
func (o operation) doubt() lockstep.ErrorKind {
	if o.writes {
		return lockstep.ErrUnknown
	}
	return lockstep.ErrTransient
}

func (o operation) failf(kind lockstep.ErrorKind, format string, args ...any) error {
	return o.fail(kind, fmt.Errorf(format, args...))
}

func (o operation) unreadable(why string) error { return o.fail(o.doubt(), errors.New(why)) }

func (o operation) taken(why string) error { return o.fail(lockstep.ErrTaken, errors.New(why)) }

func (o operation) gone() error { return o.failf(lockstep.ErrGone, "it was deleted") }

// mayWrite refuses what mayStart does, and a write for nobody.
func (o operation) mayWrite(ctx context.Context, want lockstep.Customer) error {
	if want.UserID == "" {
		return o.failf(lockstep.ErrInvalid, "the user has no id")
	}
	return o.mayStart(ctx, []any{want.UserID, want.Email, want.FirstName, want.LastName, want.Phone})
}

func (o operation) throttled(after time.Duration, why string) error {
	return &lockstep.TargetError{Kind: lockstep.ErrThrottled, After: max(after, minWait), Err: fmt.Errorf("medusa: %s: %s", o.verb, why)}
}

const (
	minWait     = 50 * time.Millisecond // no use in asking sooner
	maxWait     = 5 * time.Minute
	defaultWait = time.Second // for a limit that does not say
)

// answeredHTTP classes an answer; nil is success. It goes by status and type, and
// repeats no text of Medusa's: its messages quote e-mails.
func (o operation) answeredHTTP(res response) error {
	switch status := res.status; {
	case status == http.StatusOK || status == http.StatusCreated:
		return nil
	case status == http.StatusTooManyRequests: // Medusa has no limit, but a proxy may
		return o.throttled(retryAfter(res.header), "a proxy before Medusa limits the rate (429)")
	case status == http.StatusUnauthorized:
		return o.failf(lockstep.ErrRefused, "Medusa does not know who asks (401): correct MEDUSA_API_KEY (a secret key, sk_…, "+
			"that is not revoked), or MEDUSA_ADMIN_EMAIL and MEDUSA_ADMIN_PASSWORD")
	case status == http.StatusForbidden:
		return o.failf(lockstep.ErrRefused, "Medusa denies access to customers (403): give the admin user a role that reads and writes them")
	case status >= 300 && status < 400:
		return o.failf(lockstep.ErrRefused, "Medusa answers from another address (%d): correct MEDUSA_API_URL", status)
	case status == http.StatusRequestTimeout || status >= 500:
		return o.failf(o.doubt(), "status %d from Medusa", status)
	}
	return o.refused(res.status, res.body)
}

// refused classes what Medusa says about the request itself (4xx).
func (o operation) refused(status int, body []byte) error {
	var said complaint
	isMedusas := json.Unmarshal(body, &said) == nil && said.Message != ""
	switch {
	case said.duplicate(status):
		return o.taken("a customer of the kind holds the e-mail")
	case status == http.StatusNotFound && said.Type == "not_found":
		return o.gone()
	case status == http.StatusNotFound || !isMedusas && status != http.StatusRequestEntityTooLarge:
		return o.failf(lockstep.ErrRefused, "there is no Medusa 2 at MEDUSA_API_URL, or a proxy is in its way (%d): correct it", status)
	case status == http.StatusConflict:
		return o.failf(o.doubt(), "status 409 from Medusa")
	case status == http.StatusRequestEntityTooLarge:
		return o.failf(lockstep.ErrInvalid, "the user's data are too large for Medusa (413)")
	}
	return o.failf(lockstep.ErrInvalid, "Medusa does not take a value of the user's (%d): most often an e-mail that it holds to be none", status)
}

// complaint is Medusa's error.
type complaint struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

// duplicate tells an e-mail that is taken from one that is none. Medusa 2.21
// answers both with 400 and invalid_data: only the text differs ("Customer with
// email: …, has_account: false, already exists."), so this is the one place where
// a text is read. Its own type for duplicates is understood as well. Were the text
// to change, a race that is lost would end as ErrInvalid: no harm to anybody
// else's customer, for the look before the write finds holders without it.
func (c complaint) duplicate(status int) bool {
	if c.Type == "duplicate_error" {
		return true
	}
	return status == http.StatusBadRequest && c.Type == "invalid_data" &&
		strings.HasPrefix(c.Message, "Customer with email: ") && strings.HasSuffix(c.Message, "already exists.")
}

// retryAfter reads the header of that name, in seconds.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.ParseFloat(h.Get("Retry-After"), 64)
	if err != nil || seconds <= 0 {
		return defaultWait
	}
	return time.Duration(min(seconds, maxWait.Seconds()) * float64(time.Second))
}
