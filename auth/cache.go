package auth

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lockstephq/lockstep"
)

// cache remembers profiles for a short while, and reads each only once however
// many wait for it. It forgets in two generations: once the young one is full
// it becomes the old one, whose entries go unless somebody asks for them.
type cache struct {
	ttl, timeout time.Duration
	limit        int // of each generation
	now          func() time.Time
	load         func(ctx context.Context, userID string) (lockstep.Profile, error)

	mu         sync.RWMutex
	young, old map[string]*entry
	readings   map[string]*reading
}

// entry is a profile, or that there is no user. It is never changed.
type entry struct {
	profile lockstep.Profile
	err     error
	until   time.Time
}

// reading is one reading of a profile that is under way.
type reading struct {
	done  chan struct{} // closed at its end
	entry *entry
}

func newCache(limit int, load func(context.Context, string) (lockstep.Profile, error)) *cache {
	return &cache{
		limit: max(1, limit/2), load: load,
		young: map[string]*entry{}, readings: map[string]*reading{},
	}
}

func (c *cache) get(ctx context.Context, userID string) (lockstep.Profile, error) {
	c.mu.RLock()
	known, ok := c.young[userID]
	c.mu.RUnlock()
	if !ok || !c.now().Before(known.until) {
		var err error
		if known, err = c.read(ctx, userID); err != nil {
			return lockstep.Profile{}, err
		}
	}
	return known.profile, known.err
}

// read joins the reading that is under way, or starts one. Whoever leaves does
// not end it: others wait too.
func (c *cache) read(ctx context.Context, userID string) (*entry, error) {
	c.mu.Lock()
	if known := c.remembered(userID); known != nil {
		c.mu.Unlock()
		return known, nil
	}
	r, ok := c.readings[userID]
	if !ok {
		r = &reading{done: make(chan struct{})}
		c.readings[userID] = r
		go c.finish(context.WithoutCancel(ctx), userID, r)
	}
	c.mu.Unlock()
	select {
	case <-r.done:
		return r.entry, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// remembered looks into both generations; mu is held.
func (c *cache) remembered(userID string) *entry {
	known, ok := c.young[userID]
	if !ok {
		known, ok = c.old[userID]
	}
	if !ok || !c.now().Before(known.until) {
		return nil
	}
	c.put(userID, known)
	return known
}

// put remembers an entry; mu is held.
func (c *cache) put(userID string, e *entry) {
	if _, ok := c.young[userID]; !ok && len(c.young) >= c.limit {
		c.young, c.old = map[string]*entry{}, c.young
	}
	c.young[userID] = e
}

// finish makes a reading for all who wait. Of failures only that there is no
// such user is remembered.
func (c *cache) finish(ctx context.Context, userID string, r *reading) {
	began := c.now() // what is read is at least as new as this
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	profile, err := c.load(ctx, userID)
	r.entry = &entry{profile, err, began.Add(c.ttl)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readings[userID] == r { // else it was forgotten meanwhile
		delete(c.readings, userID)
		if err == nil || errors.Is(err, ErrNoUser) {
			c.put(userID, r.entry)
		}
	}
	close(r.done)
}

func (c *cache) forget(userIDs []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range userIDs {
		delete(c.young, id)
		delete(c.old, id)
		delete(c.readings, id)
	}
}
