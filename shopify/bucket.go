package shopify

import (
	"context"
	"sync"
	"time"
)

// Bucket limits what all processes together ask of each shop, in the points
// that Shopify counts. Shopify fills a shop's bucket at a steady rate and wants
// a request's whole cost to be in it; a Bucket keeps the same account, so that
// a request which would be throttled is not sent. It is safe for concurrent use.
type Bucket interface {
	// Take takes cost points of a target's bucket and returns zero, or takes
	// nothing and returns how long it will take until they are there. Work
	// that is not live leaves a reserve for that which is.
	Take(ctx context.Context, target string, cost float64, live bool) (wait time.Duration, err error)

	// Learn gives back refund points, which were taken and not spent, and takes
	// over what Shopify says: the points available to it when it answered, how
	// many there can be, and how many it adds each second.
	Learn(ctx context.Context, target string, refund, available, capacity, rate float64) error
}

// The bucket of a Shopify shop on the Standard plan, to begin with. Answers
// tell the real one.
const (
	StandardCapacity = 2000 // points
	StandardRate     = 100  // points per second
)

// reserve is the share of a bucket's capacity that only live changes may use.
const reserve = 0.3

// MemoryBucket is a Bucket for one process.
type MemoryBucket struct {
	now func() time.Time

	mu      sync.Mutex
	buckets map[string]*account
}

type account struct {
	tokens, capacity, rate float64
	updated                time.Time
}

// NewMemoryBucket makes a Bucket in which every target begins as a full one of
// the Standard plan.
func NewMemoryBucket() *MemoryBucket {
	return &MemoryBucket{now: time.Now, buckets: map[string]*account{}}
}

// Take implements Bucket.
func (m *MemoryBucket) Take(_ context.Context, target string, cost float64, live bool) (time.Duration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.account(target)
	need := cost
	if !live {
		need += reserve * a.capacity
	}
	need = min(need, a.capacity)
	if a.tokens >= need {
		a.tokens -= cost
		return 0, nil
	}
	seconds := (need - a.tokens) / a.rate
	return max(time.Duration(seconds*float64(time.Second)), 1), nil
}

// Learn implements Bucket. What makes no sense is not taken over.
func (m *MemoryBucket) Learn(_ context.Context, target string, refund, available, capacity, rate float64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.account(target)
	a.tokens += max(refund, 0)
	if capacity > 0 && rate > 0 {
		a.capacity, a.rate = capacity, rate
		a.tokens = min(a.tokens, available) // somebody else may spend, too
	}
	a.tokens = min(a.tokens, a.capacity)
	return nil
}

// account returns a target's account as of now.
func (m *MemoryBucket) account(target string) *account {
	now := m.now()
	a, ok := m.buckets[target]
	if !ok {
		a = &account{tokens: StandardCapacity, capacity: StandardCapacity, rate: StandardRate, updated: now}
		m.buckets[target] = a
	}
	a.tokens = min(a.capacity, a.tokens+a.rate*max(0, now.Sub(a.updated).Seconds()))
	a.updated = now
	return a
}
