package emulator

import (
	"net/http"
	"sync"
	"time"
)

const (
	limitWindow    = 10 * time.Second
	userWriteLimit = 10 // PATCH and PUT of one user or its metadata, per window
	codeTooMany    = "too_many_requests"
)

// rateLimit counts requests in fixed windows. Clerk documents the numbers, not
// how its windows move.
type rateLimit struct {
	perWindow int // zero for no limits at all
	now       func() time.Time

	mu     sync.Mutex
	start  time.Time
	total  int
	byUser map[string]int
}

func newRateLimit(perWindow int, now func() time.Time) *rateLimit {
	return &rateLimit{perWindow: perWindow, now: now, byUser: map[string]int{}}
}

// take spends one request of the instance.
func (l *rateLimit) take() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.roll()
	l.total++
	return l.check(l.total, l.perWindow)
}

// takeWrite spends one write of a user.
func (l *rateLimit) takeWrite(userID string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.roll()
	l.byUser[userID]++
	return l.check(l.byUser[userID], userWriteLimit)
}

func (l *rateLimit) roll() {
	if now := l.now(); now.Sub(l.start) >= limitWindow {
		l.start, l.total = now, 0
		clear(l.byUser)
	}
}

func (l *rateLimit) check(used, allowed int) error {
	if l.perWindow == 0 || used <= allowed {
		return nil
	}
	return &ClerkError{
		Status: http.StatusTooManyRequests, Code: codeTooMany, Message: "Too many requests",
		RetryAfter: max(time.Second, limitWindow-l.now().Sub(l.start)),
	}
}
