package medusa

import (
	"context"
	"errors"
	"hash/maphash"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lockstephq/lockstep"
)

const (
	pageSize = 1000 // customers per request, which takes Medusa some 50 ms

	// How long one caller reads on while the index is filled, and how long others
	// wait for it; the work goes on with the next caller.
	fillTime  = 5 * time.Second
	fillPause = time.Second

	// clockSlack is how far the clocks of Medusa's processes and of its database
	// may be apart.
	clockSlack = 5 * time.Second
)

// index proposes the ids of customers that may carry a user, or an e-mail in any
// case. It holds hashes instead of both, about 110 bytes per customer, and
// forgets nothing: what it proposes is read again before it counts.
type index struct {
	seed maphash.Seed

	filling chan struct{} // held by the one caller that fills
	after   string        // how far it is filled

	mu     sync.Mutex
	filled bool
	since  time.Time         // what changed before is in it, by Medusa's clock
	ids    map[uint64]string // joined by idBreak, where one hash has several
}

const idBreak = "\x00" // no text of PostgreSQL's holds it

func newIndex() *index {
	return &index{seed: maphash.MakeSeed(), filling: make(chan struct{}, 1), ids: map[uint64]string{}}
}

// hash is that of a user or an e-mail in normal form; zero for none.
func (x *index) hash(kind, text string) uint64 {
	if text == "" {
		return 0
	}
	return maphash.String(x.seed, kind+text) | 1
}

// add remembers what customers carry.
func (x *index) add(records ...record) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range records {
		x.put(x.hash("user:", r.mark()), r.ID)
		x.put(x.hash("email:", lockstep.NormalEmail(r.Email)), r.ID)
	}
}

func (x *index) put(hash uint64, id string) {
	have, ok := x.ids[hash]
	switch {
	case hash == 0 || slices.Contains(strings.Split(have, idBreak), id):
	case ok:
		x.ids[hash] = have + idBreak + id
	default:
		x.ids[hash] = id
	}
}

// candidates are the ids that may be meant by a query, the link's included.
func (x *index) candidates(q lockstep.Query) (ids []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if q.CustomerID != "" {
		ids = append(ids, q.CustomerID)
	}
	for _, hash := range []uint64{x.hash("user:", q.UserID), x.hash("email:", q.Email)} {
		if have, ok := x.ids[hash]; ok {
			ids = append(ids, strings.Split(have, idBreak)...)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// settled is the time since which changes must be read again, and whether the
// index is filled at all.
func (x *index) settled() (since time.Time, filled bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.since, x.filled
}

// settle notes that all changes that Medusa had answered before began are in.
// What takes no longer than timeout was stamped after began less timeout.
func (x *index) settle(began time.Time, timeout time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if since := began.Add(-timeout - clockSlack); !began.IsZero() && since.After(x.since) {
		x.since = since
	}
}

// fill reads all customers, once. Whoever does not come to its end in time is
// asked to come again.
func (a *API) fill(ctx context.Context, op operation) error {
	if _, filled := a.index.settled(); filled {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, fillTime)
	defer cancel()
	select {
	case a.index.filling <- struct{}{}:
		defer func() { <-a.index.filling }()
	case <-limited.Done():
		return a.stillFilling(ctx, op)
	}
	for limited.Err() == nil {
		if _, filled := a.index.settled(); filled {
			return nil
		}
		if err := a.fillPage(ctx, op); err != nil {
			return err
		}
	}
	return a.stillFilling(ctx, op)
}

func (a *API) stillFilling(ctx context.Context, op operation) error {
	if err := ctx.Err(); err != nil {
		return op.fail(lockstep.ErrTransient, err)
	}
	return op.throttled(fillPause, "Medusa's customers are being read for the first time")
}

func (a *API) fillPage(ctx context.Context, op operation) error {
	x := a.index
	p, full, err := a.readPage(ctx, op, url.Values{}, x.after)
	if err != nil {
		return err
	}
	if p.began.IsZero() {
		return op.failf(lockstep.ErrRefused, "Medusa's answers carry no Date: let the proxy in its way leave it there")
	}
	if x.after == "" {
		x.settle(p.began, a.client.timeout)
	}
	x.add(p.Customers...)
	if full {
		x.after = p.Customers[len(p.Customers)-1].ID
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.filled = true
	return nil
}

// readPage reads up to pageSize customers, fewer if they are large; full means
// that there may be more.
func (a *API) readPage(ctx context.Context, op operation, filter url.Values, after string) (p page, full bool, err error) {
	filter = afterID(filter, after)
	filter.Set("fields", customerFields)
	for limit := pageSize; ; limit /= 4 {
		p, err = a.client.page(ctx, op, filter, limit)
		if limit == 1 || !errors.Is(err, errTooLarge) {
			return p, err == nil && len(p.Customers) >= limit, err
		}
	}
}
