package targettest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockstephq/lockstep"
)

func TestFakePasses(t *testing.T) {
	t.Parallel()
	Run(t, func(*testing.T) Subject { return NewFake("fake").Subject() })
}

func TestFakeWithAccountsPasses(t *testing.T) {
	t.Parallel()
	Run(t, func(*testing.T) Subject {
		f := NewFake("fake")
		f.Accounts = true
		return f.Subject()
	})
}

func TestExportingFakePasses(t *testing.T) {
	t.Parallel()
	Run(t, func(*testing.T) Subject { return NewExporting("fake").Subject() })
}

func TestFakeCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := NewFake("fake")
		f.Delay = time.Second
		for _, user := range []int{1, 1, 2} {
			go func() { _, _ = f.Create(t.Context(), person(user)) }()
		}
		time.Sleep(2 * time.Second) // the bubble's clock
		synctest.Wait()
		if got := f.Overlaps(); got != 1 {
			t.Errorf("%d overlaps, want the one of user 1", got)
		}
		if _, err := f.Resolve(t.Context(), lockstep.Query{UserID: "user_1"}); err != nil {
			t.Error(err)
		}
		if got := f.Calls(); got["Create"] != 3 || got["Resolve"] != 1 {
			t.Errorf("counted %v", got)
		}
	})
}

func TestFakeIsItsOwn(t *testing.T) {
	t.Parallel()
	f := NewFake("fake")
	r, err := f.Put(t.Context(), Record{Customer: person(1), Foreign: map[string]string{"note": "a"}})
	if err != nil {
		t.Fatal(err)
	}
	r.Foreign["note"] = "b"
	if got, _, _ := f.Get(t.Context(), r.ID); got.Foreign["note"] == "b" {
		t.Error("a caller changed a stored record")
	}
}
