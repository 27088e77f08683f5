package observe

import (
	"context"
	"iter"
	"time"

	"github.com/lockstephq/lockstep"
)

// Target is t with its calls counted and, if traces is not nil, traced. What it
// answers is what t answers. The calls of a lockstep.Lister, a lockstep.Exporter and
// a lockstep.Capturer are seen as well; whatever else t can do, lockstep.As finds.
func (m *Metrics) Target(t lockstep.Target, traces *Traces) lockstep.Target {
	w := watched{Target: t, metrics: m, traces: traces}
	l, lists := lockstep.As[lockstep.Lister](t)
	x, exports := lockstep.As[lockstep.Exporter](t)
	c, captures := lockstep.As[lockstep.Capturer](t)
	switch {
	case exports && captures:
		return struct {
			watched
			watchedExporter
			watchedCapturer
		}{w, watchedExporter{watchedLister{w, l}, x}, watchedCapturer{w, c}}
	case exports:
		return struct {
			watched
			watchedExporter
		}{w, watchedExporter{watchedLister{w, l}, x}}
	case lists && captures:
		return struct {
			watched
			watchedLister
			watchedCapturer
		}{w, watchedLister{w, l}, watchedCapturer{w, c}}
	case lists:
		return struct {
			watched
			watchedLister
		}{w, watchedLister{w, l}}
	case captures:
		return struct {
			watched
			watchedCapturer
		}{w, watchedCapturer{w, c}}
	}
	return w
}

// watched passes Name and Fit on: they ask nobody.
type watched struct {
	lockstep.Target
	metrics *Metrics
	traces  *Traces
}

// Unwrap implements lockstep.Wrapper.
func (w watched) Unwrap() lockstep.Target { return w.Target }

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

func (w watched) Release(ctx context.Context, now lockstep.Customer, how lockstep.OnDelete) (done lockstep.OnDelete, err error) {
	ctx, end := w.begin(ctx, "release")
	defer func() { end(err) }()
	return w.Target.Release(ctx, now, how)
}

type watchedLister struct {
	seen   watched
	lister lockstep.Lister
}

func (w watchedLister) List(ctx context.Context, after string, limit int) (list []lockstep.Customer, err error) {
	ctx, end := w.seen.begin(ctx, "list")
	defer func() { end(err) }()
	return w.lister.List(ctx, after, limit)
}

type watchedExporter struct {
	watchedLister
	exporter lockstep.Exporter
}

// Export is one call, however many pages it yields.
func (w watchedExporter) Export(ctx context.Context, e lockstep.Export) iter.Seq2[lockstep.ExportPage, error] {
	return func(yield func(lockstep.ExportPage, error) bool) {
		ctx, end := w.seen.begin(ctx, "export")
		var err error
		defer func() { end(err) }()
		for page, failed := range w.exporter.Export(ctx, e) {
			if err = failed; !yield(page, failed) {
				return
			}
		}
	}
}

func (w watchedExporter) CancelExport(ctx context.Context, name string) (err error) {
	ctx, end := w.seen.begin(ctx, "cancel_export")
	defer func() { end(err) }()
	return w.exporter.CancelExport(ctx, name)
}

type watchedCapturer struct {
	seen     watched
	capturer lockstep.Capturer
}

func (w watchedCapturer) Look(ctx context.Context, ids []string, prove bool) (l lockstep.Looked, err error) {
	ctx, end := w.seen.begin(ctx, "look")
	defer func() { end(err) }()
	return w.capturer.Look(ctx, ids, prove)
}
