package medusa_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
)

// TestLatencyOnRealMedusa measures what a write costs in each mode, all in one
// run, one call at a time and in turns. It asserts nothing about time.
func TestLatencyOnRealMedusa(t *testing.T) {
	w := openWorld(t)
	modes := []struct {
		name   string
		target lockstep.Target
	}{ // the first is what the others are compared with
		{"database", w.guests()},
		{"database, accounts", w.accounts()},
		{"api, login", newAPI(t, w.url, realOptions()["login"])},
		{"api, key", newAPI(t, w.url, realOptions()["key"])},
	}
	const calls = 200
	times := map[string][]time.Duration{}
	timed := func(what string, write func() (lockstep.Customer, error)) lockstep.Customer {
		began := time.Now()
		c, err := write()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		times[what] = append(times[what], time.Since(began))
		return c
	}
	for i := range calls {
		for n, mode := range modes {
			want := w.person(t, fmt.Sprintf("%d-%d", n, i)).Customer()
			made := timed(mode.name+": create", func() (lockstep.Customer, error) { return mode.target.Create(t.Context(), want) })
			want.LastName = "Moved"
			timed(mode.name+": update", func() (lockstep.Customer, error) { return mode.target.Update(t.Context(), made, want) })
		}
	}
	median := func(what string) time.Duration { return slices.Sorted(slices.Values(times[what]))[calls/2] }
	for _, mode := range modes {
		for _, verb := range []string{": create", ": update"} {
			m := median(mode.name + verb)
			t.Logf("%-28s median %8v, %5.1f times database mode's", mode.name+verb, m.Round(10*time.Microsecond),
				float64(m)/float64(median("database"+verb)))
		}
	}
}
