package targettest

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockstephq/lockstep"
)

// TestFlakyFailsBothWays shows that a write whose outcome is unknown was
// sometimes carried out and sometimes not, and that the counters know which.
func TestFlakyFailsBothWays(t *testing.T) {
	t.Parallel()
	fake := NewFake("fake")
	f := NewFlaky(fake, Rates{Seed: 1, Fail: 0.5, After: 0.5})
	stored, lost := 0, 0
	for i := range 100 {
		_, err := f.Create(t.Context(), person(i))
		found, _ := fake.Resolve(t.Context(), lockstep.Query{UserID: person(i).UserID})
		switch done := len(found.ByUser) == 1; {
		case errors.Is(err, lockstep.ErrUnknown) && done:
			stored++
		case errors.Is(err, lockstep.ErrUnknown):
			lost++
		case (err == nil) != done:
			t.Errorf("Create gave %v, stored: %t", err, done)
		}
	}
	got := f.Counts()
	if got.After == 0 || got.Before == 0 || got.Transient == 0 || got.Throttled == 0 {
		t.Errorf("a kind of fault is missing: %+v", got)
	}
	if got.Calls != 100 || got.After != stored || got.Before != lost {
		t.Errorf("counted %+v; saw %d stored and %d lost", got, stored, lost)
	}
}

func TestFlakyReadsAreNeverUnknown(t *testing.T) {
	t.Parallel()
	f := NewFlaky(NewFake("fake"), Rates{Seed: 1, Fail: 1, After: 1, Wait: time.Second})
	for range 50 {
		_, err := f.Resolve(t.Context(), lockstep.Query{UserID: "user_1"})
		te, ok := errors.AsType[*lockstep.TargetError](err)
		if !ok || te.Kind == lockstep.ErrUnknown || te.Kind == lockstep.ErrThrottled && te.After != time.Second {
			t.Errorf("Resolve: %v", err)
		}
	}
	if f.Check(t.Context()) == nil {
		t.Error("Check did not fail")
	}
}

func TestFlakyRepeatsBySeed(t *testing.T) {
	t.Parallel()
	run := func() (c Counts) {
		f := NewFlaky(NewFake("fake"), Rates{Seed: 7, Fail: 0.3, After: 0.3})
		for i := range 50 {
			_, _ = f.Create(t.Context(), person(i))
		}
		return f.Counts()
	}
	if a, b := run(), run(); a != b {
		t.Errorf("one seed gave %+v and %+v", a, b)
	}
}

func TestFlakyAtRestPasses(t *testing.T) {
	t.Parallel()
	Run(t, func(*testing.T) Subject {
		s := NewFake("fake").Subject()
		s.Target = NewFlaky(s.Target, Rates{})
		return s
	})
}

func TestFlakyDelays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := NewFlaky(NewFake("fake"), Rates{Delay: time.Hour})
		start := time.Now()
		if err := f.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != time.Hour {
			t.Errorf("took %v of the bubble's time", took)
		}
	})
}
