package targettest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lockstephq/lockstep"
)

// Rates say how often a Flaky fails, and how.
type Rates struct {
	Seed  uint64        // equal seeds give equal faults to equal sequences of calls
	Fail  float64       // share of the calls that fail, 0 to 1
	After float64       // share of failing writes that fail after the commit
	Delay time.Duration // added to every call
	Wait  time.Duration // the wait that rate limits ask for; zero means a millisecond
}

// Counts is what a Flaky did. All but Calls are faults.
type Counts struct {
	Calls     int
	After     int // writes carried out whose answer was lost
	Before    int // writes lost on the way, which looks the same
	Transient int
	Throttled int
}

// Flaky makes another target fail at random: before a write, after it, for a
// while, or for a rate limit. Check and Resolve fail too, with nothing unknown
// about them. What else the target can do, lockstep.As finds, and it does not
// fail. It is safe for concurrent use.
type Flaky struct {
	target lockstep.Target
	rates  Rates

	mu     sync.Mutex
	random *rand.Rand
	counts Counts
}

// NewFlaky wraps a target.
func NewFlaky(t lockstep.Target, r Rates) *Flaky {
	if r.Wait <= 0 {
		r.Wait = time.Millisecond
	}
	return &Flaky{target: t, rates: r, random: rand.New(rand.NewPCG(r.Seed, r.Seed))}
}

// Counts returns what happened so far.
func (f *Flaky) Counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts
}

// Unwrap implements lockstep.Wrapper.
func (f *Flaky) Unwrap() lockstep.Target { return f.target }

// Name implements lockstep.Target.
func (f *Flaky) Name() string { return f.target.Name() }

// Fit implements lockstep.Target.
func (f *Flaky) Fit(want lockstep.Customer) lockstep.Customer { return f.target.Fit(want) }

// Check implements lockstep.Target.
func (f *Flaky) Check(ctx context.Context) error {
	return f.call(ctx, false, func() error { return f.target.Check(ctx) })
}

// Resolve implements lockstep.Target.
func (f *Flaky) Resolve(ctx context.Context, q lockstep.Query) (found lockstep.Found, err error) {
	err = f.call(ctx, false, func() error {
		found, err = f.target.Resolve(ctx, q)
		return err
	})
	return found, err
}

// Create implements lockstep.Target.
func (f *Flaky) Create(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
	return f.write(ctx, func() (lockstep.Customer, error) { return f.target.Create(ctx, want) })
}

// Adopt implements lockstep.Target.
func (f *Flaky) Adopt(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	return f.write(ctx, func() (lockstep.Customer, error) { return f.target.Adopt(ctx, now, want) })
}

// Update implements lockstep.Target.
func (f *Flaky) Update(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	return f.write(ctx, func() (lockstep.Customer, error) { return f.target.Update(ctx, now, want) })
}

// Release implements lockstep.Target.
func (f *Flaky) Release(ctx context.Context, now lockstep.Customer, how lockstep.OnDelete) (done lockstep.OnDelete, err error) {
	err = f.call(ctx, true, func() error {
		done, err = f.target.Release(ctx, now, how)
		return err
	})
	if err != nil {
		return "", err
	}
	return done, nil
}

func (f *Flaky) write(ctx context.Context, do func() (lockstep.Customer, error)) (c lockstep.Customer, err error) {
	err = f.call(ctx, true, func() error {
		c, err = do()
		return err
	})
	if err != nil {
		return lockstep.Customer{}, err
	}
	return c, nil
}

// call runs do, or fails in its place, or fails after it.
func (f *Flaky) call(ctx context.Context, writing bool, do func() error) error {
	if err := pause(ctx, f.rates.Delay); err != nil {
		return err
	}
	failure, after := f.draw(writing)
	switch {
	case failure == nil:
		return do()
	case !after:
		return failure
	}
	if err := do(); err != nil {
		return err // nothing was committed whose answer could be lost
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts.After++
	return failure
}

// draw decides how the call fails, nil if it does not, and whether it does so
// after the commit.
func (f *Flaky) draw(writing bool) (failure error, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts.Calls++
	if f.random.Float64() >= f.rates.Fail {
		return nil, false
	}
	if writing && f.random.Float64() < f.rates.After {
		return fault(lockstep.ErrUnknown, 0), true
	}
	switch kind := f.random.IntN(3); {
	case kind == 0 && writing:
		f.counts.Before++
		return fault(lockstep.ErrUnknown, 0), false
	case kind == 1:
		f.counts.Throttled++
		return fault(lockstep.ErrThrottled, f.rates.Wait), false
	default:
		f.counts.Transient++
		return fault(lockstep.ErrTransient, 0), false
	}
}

func fault(kind lockstep.ErrorKind, after time.Duration) error {
	return &lockstep.TargetError{Kind: kind, After: after, Err: errors.New("injected fault")}
}
