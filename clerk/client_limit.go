package clerk

import (
	"context"
	"sync"
	"time"
)

const limitWindow = 10 * time.Second

// limiter spaces requests so that no window of 10 seconds holds more than a
// number of them: a tenth may come at once, the rest evenly. Who comes first
// goes first.
type limiter struct {
	interval time.Duration // between two requests when all of the burst is spent
	burst    time.Duration // how far the schedule may lie behind

	mu   sync.Mutex
	next time.Time // when the next request is due
}

func newLimiter(perWindow int) *limiter {
	burst := max(1, perWindow/10)
	interval := limitWindow / time.Duration(max(1, perWindow-burst))
	return &limiter{interval: interval, burst: time.Duration(burst-1) * interval}
}

// wait takes the next place in the schedule. It fails at once with
// ErrUnavailable if that lies beyond the context's deadline.
func (l *limiter) wait(ctx context.Context) error {
	pause, ok := l.take(ctx)
	if !ok {
		return &APIError{Kind: ErrUnavailable, After: pause, Err: context.DeadlineExceeded}
	}
	if pause > 0 && !sleep(ctx, pause) || ctx.Err() != nil {
		return &APIError{Kind: ErrUnavailable, Err: context.Cause(ctx)}
	}
	return nil
}

func (l *limiter) take(ctx context.Context) (pause time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if earliest := now.Add(-l.burst); l.next.Before(earliest) {
		l.next = earliest
	}
	pause = max(0, l.next.Sub(now))
	if deadline, limited := ctx.Deadline(); limited && pause > 0 && deadline.Sub(now) <= pause {
		return pause, false
	}
	l.next = l.next.Add(l.interval)
	return pause, true
}

// pause lets no request go for a while: Clerk said that we were too many.
func (l *limiter) pause(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := time.Now().Add(d); l.next.Before(until) {
		l.next = until
	}
}
