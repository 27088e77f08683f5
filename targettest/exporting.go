package targettest

import (
	"context"
	"iter"
	"slices"
	"strconv"
	"sync"

	"github.com/lockstephq/lockstep"
)

// Exporting is a Fake that is a lockstep.Exporter as well.
type Exporting struct {
	*Fake

	// Page is how many customers a page holds; set it before use.
	Page int

	mu      sync.Mutex
	life    ExportLife
	changed chan struct{} // closed when life or an export changes
	exports map[string]*fakeExport
	begun   []string
}

// ExportLife says how exports go.
type ExportLife struct {
	Refused bool // none may begin
	Held    bool // none comes to its end
	Fail    int  // so many of those to come end in their middle
	Short   int  // so many of those to come lack a customer when they are read
}

type fakeExport struct {
	customers []lockstep.Customer
	short     bool
	over      bool // it ended in its middle, or was cancelled
}

// NewExporting makes an empty store whose target has the given name.
func NewExporting(name string) *Exporting {
	return &Exporting{Fake: NewFake(name), Page: 100, changed: make(chan struct{}), exports: map[string]*fakeExport{}}
}

// Subject is the fake as the exam takes it.
func (x *Exporting) Subject() Subject {
	s := x.Fake.Subject()
	s.Target = x
	return s
}

// Set changes how exports go, those under way included.
func (x *Exporting) Set(life ExportLife) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.life = life
	x.tell()
}

// Begun are the names of the exports that were begun, in their order.
func (x *Exporting) Begun() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.begun)
}

// Cancelled are those that ended in their middle.
func (x *Exporting) Cancelled() (names []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, name := range x.begun {
		if x.exports[name].over {
			names = append(names, name)
		}
	}
	return names
}

func (x *Exporting) tell() {
	close(x.changed)
	x.changed = make(chan struct{})
}

// Export implements lockstep.Exporter. It shows the store as it was when the
// export began.
func (x *Exporting) Export(ctx context.Context, e lockstep.Export) iter.Seq2[lockstep.ExportPage, error] {
	return func(yield func(lockstep.ExportPage, error) bool) {
		from, err := strconv.Atoi("0" + e.Place)
		if err == nil {
			err = x.call(ctx, "Export", "", func() error { return x.begin(e.Name) })
		}
		var export *fakeExport
		if err == nil {
			export, err = x.await(ctx, e)
		}
		if err != nil {
			yield(lockstep.ExportPage{}, err)
			return
		}
		for from < len(export.customers) {
			to := min(from+x.Page, len(export.customers))
			if !yield(lockstep.ExportPage{Customers: slices.Clone(export.customers[from:to]), Place: strconv.Itoa(to)}, nil) {
				return
			}
			from = to
		}
		if export.short {
			yield(lockstep.ExportPage{}, &lockstep.TargetError{Kind: lockstep.ErrGone})
		}
	}
}

// begin is called with the store locked.
func (x *Exporting) begin(name string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.exports[name] != nil {
		return nil
	}
	if x.life.Refused {
		return &lockstep.TargetError{Kind: lockstep.ErrInvalid, Err: lockstep.ErrNoExport}
	}
	export := &fakeExport{over: x.life.Fail > 0, short: x.life.Short > 0}
	x.life.Fail, x.life.Short = max(0, x.life.Fail-1), max(0, x.life.Short-1)
	for _, r := range x.sorted() {
		export.customers = append(export.customers, r.Customer)
	}
	slices.Reverse(export.customers)
	if n := len(export.customers); export.short && n > 0 {
		export.customers = export.customers[:n-1]
	}
	x.exports[name] = export
	x.begun = append(x.begun, name)
	x.tell()
	return nil
}

// await waits for an export's end.
func (x *Exporting) await(ctx context.Context, e lockstep.Export) (*fakeExport, error) {
	for {
		x.mu.Lock()
		export, held, changed := x.exports[e.Name], x.life.Held, x.changed
		over := export.over
		x.mu.Unlock()
		if e.Seen != nil {
			e.Seen(len(export.customers))
		}
		switch {
		case over:
			return nil, &lockstep.TargetError{Kind: lockstep.ErrGone}
		case !held:
			return export, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

// CancelExport implements lockstep.Exporter.
func (x *Exporting) CancelExport(ctx context.Context, name string) error {
	return x.call(ctx, "CancelExport", "", func() error {
		x.mu.Lock()
		defer x.mu.Unlock()
		if export := x.exports[name]; export != nil && x.life.Held {
			export.over = true
			x.tell()
		}
		return nil
	})
}
