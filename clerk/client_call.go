package clerk

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxAttempts    = 5
	attemptTimeout = 10 * time.Second
	firstBackoff   = 100 * time.Millisecond // doubled with each attempt
	maxRetryAfter  = time.Minute            // however long a proxy wants us to wait
	maxAnswer      = 64 << 20               // bytes: 500 users with 24 KB of metadata each
)

// get reads JSON, with retries: reading twice does no harm.
func get[T any](ctx context.Context, c *Client, path string, query url.Values) (value T, err error) {
	address := c.base + path
	if len(query) > 0 {
		address += "?" + query.Encode() // writes + as %2B, without which Clerk sees a space
	}
	backoff, last := firstBackoff, (*APIError)(nil)
	for attempt := 1; ; attempt++ {
		if err := c.limit.wait(ctx); err != nil {
			if last != nil {
				err = last // Clerk's own words say more
			}
			return value, err
		}
		value, last = try[T](ctx, c, address)
		if last == nil {
			return value, nil
		}
		if last.Kind != ErrUnavailable || attempt == maxAttempts || ctx.Err() != nil {
			return value, last
		}
		pause := max(last.After, backoff/2+rand.N(backoff/2))
		backoff *= 2
		if last.Status == http.StatusTooManyRequests {
			c.limit.pause(pause) // all calls wait, this one too
		} else if !sleep(ctx, pause) {
			return value, last
		}
	}
}

// try makes one attempt.
func try[T any](ctx context.Context, c *Client, address string) (value T, failed *APIError) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return value, &APIError{Kind: ErrRequest, Err: errors.New("malformed address")}
	}
	r.Header.Set("Authorization", "Bearer "+c.secret)
	r.Header.Set("Clerk-API-Version", apiVersion)
	r.Header.Set("User-Agent", userAgent)
	r.Header.Set("Accept", "application/json")
	answer, err := c.http.Do(r)
	if err != nil {
		return value, &APIError{Kind: ErrUnavailable, Err: withoutURL(err)}
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return value, &APIError{Kind: ErrUnavailable, Err: err}
	}
	if answer.StatusCode != http.StatusOK {
		return value, answerError(answer, body)
	}
	if json.Unmarshal(body, &value) != nil {
		return value, &APIError{Kind: ErrUnavailable, Status: answer.StatusCode, Err: errors.New("the answer is not what the API describes")}
	}
	return value, nil
}

// withoutURL drops the address, which names users, from an error's text.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// answerError classes an answer by its status; Clerk documents few codes. What
// lacks Clerk's form of errors comes from something in between: a proxy's 404
// must not make a user look deleted.
func answerError(answer *http.Response, body []byte) *APIError {
	var wire struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	fromClerk := json.Unmarshal(body, &wire) == nil && len(wire.Errors) > 0
	e := &APIError{
		Kind: ErrRequest, Status: answer.StatusCode, TraceID: word(answer.Header.Get("Clerk-Trace-Id")),
		After: retryAfter(answer.Header.Get("Retry-After")),
	}
	if fromClerk {
		e.Code = word(wire.Errors[0].Code)
	}
	switch {
	case e.Status == http.StatusTooManyRequests, e.Status >= 500, !fromClerk:
		e.Kind = ErrUnavailable
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		e.Kind = ErrUnauthorized
	case e.Status == http.StatusNotFound:
		e.Kind = ErrNotFound
	}
	return e
}

// word keeps what an error may repeat of an answer: one short identifier.
func word(s string) string {
	strange := strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '_' && r != '-'
	})
	if strange || len(s) > 64 {
		return ""
	}
	return s
}

// retryAfter reads the header in either form of RFC 9110; zero if there is none.
func retryAfter(header string) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil {
		return min(max(0, time.Duration(min(seconds, 3600))*time.Second), maxRetryAfter)
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(0, time.Until(at)), maxRetryAfter)
	}
	return 0
}

// sleep waits, and reports whether there is time left for another attempt: it
// does not begin a wait that the deadline would end.
func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
