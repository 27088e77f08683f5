package observe

import (
	"context"
	"time"

	"github.com/lockstephq/lockstep"
)

// Target is t with its calls counted and, if traces is not nil, traced. What it
// answers is what t answers; it is a lockstep.Lister if t is one.
func (m *Metrics) Target(t lockstep.Target, traces *Traces) lockstep.Target {
	w := watched{Target: t, metrics: m, traces: traces}
	if l, ok := t.(lockstep.Lister); ok {
		return watchedLister{w, l}
	}
	return w
}

// watched passes Name and Fit on: they ask nobody.
type watched struct {
	lockstep.Target
	metrics *Metrics
	traces  *Traces
}

// begin notes the start of a call; the function it returns notes the end.
func (w watched) begin(ctx context.Context, call string) (context.Context, func(error)) {
	begin, name := time.Now(), w.Name()
	ctx, end := w.traces.call(ctx, name, call)
	return ctx, func(err error) {
		w.metrics.called(name, call, begin, err)
		end(err)
	}
}

func (w watched) Check(ctx context.Context) (err error) {
	ctx, end := w.begin(ctx, "check")
	defer func() { end(err) }()
	return w.Target.Check(ctx)
}

func (w watched) Resolve(ctx context.Context, q lockstep.Query) (f lockstep.Found, err error) {
	ctx, end := w.begin(ctx, "resolve")
	defer func() { end(err) }()
	return w.Target.Resolve(ctx, q)
}

func (w watched) Create(ctx context.Context, want lockstep.Customer) (c lockstep.Customer, err error) {
	ctx, end := w.begin(ctx, "create")
	defer func() { end(err) }()
	return w.Target.Create(ctx, want)
}

func (w watched) Adopt(ctx context.Context, now, want lockstep.Customer) (c lockstep.Customer, err error) {
	ctx, end := w.begin(ctx, "adopt")
	defer func() { end(err) }()
	return w.Target.Adopt(ctx, now, want)
}

func (w watched) Update(ctx context.Context, now, want lockstep.Customer) (c lockstep.Customer, err error) {
	ctx, end := w.begin(ctx, "update")
	defer func() { end(err) }()
	return w.Target.Update(ctx, now, want)
}

func (w watched) Release(ctx context.Context, now lockstep.Customer) (err error) {
	ctx, end := w.begin(ctx, "release")
	defer func() { end(err) }()
	return w.Target.Release(ctx, now)
}

type watchedLister struct {
	watched
	lister lockstep.Lister
}

func (w watchedLister) List(ctx context.Context, after string, limit int) (list []lockstep.Customer, err error) {
	ctx, end := w.begin(ctx, "list")
	defer func() { end(err) }()
	return w.lister.List(ctx, after, limit)
}
