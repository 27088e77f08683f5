package observe

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/internal/postgres"
)

func TestWatchdogs(t *testing.T) {
	t.Parallel()
	scope := Scope{Targets: []string{"medusa", "shop"}, Sources: []string{"clerk"}, Silence: 24 * time.Hour, Pending: time.Hour, Overdue: 60 * time.Hour}
	healthy := postgres.Vitals{Installed: 90 * 24 * time.Hour, Leader: true, Sources: []postgres.SourceVitals{{Source: "clerk", Age: time.Hour}}}
	for name, c := range map[string]struct {
		change func(*postgres.Vitals, *Scope)
		want   string // the alarms, in order
	}{
		"healthy":          {func(*postgres.Vitals, *Scope) {}, ""},
		"silent for a day": {func(v *postgres.Vitals, _ *Scope) { v.Sources[0].Age = 25 * time.Hour }, "silence clerk"},
		"never heard of":   {func(v *postgres.Vitals, _ *Scope) { v.Sources[0].Source = "clerk-api" }, "silence clerk"},
		"just installed":   {func(v *postgres.Vitals, _ *Scope) { v.Sources, v.Installed = nil, time.Hour }, ""},
		"silence is off":   {func(v *postgres.Vitals, s *Scope) { v.Sources, s.Silence = nil, 0 }, ""},
		"a change waits": {func(v *postgres.Vitals, _ *Scope) {
			v.Targets = []postgres.TargetVitals{{Target: "shop", PendingAge: 2 * time.Hour}}
		}, "oldest_pending shop"},
		"of a target that is gone": {func(v *postgres.Vitals, _ *Scope) {
			v.Targets = []postgres.TargetVitals{{Target: "gone", PendingAge: 2 * time.Hour, Paused: true}}
		}, ""},
		"nobody hands on": {func(v *postgres.Vitals, _ *Scope) { v.DispatchAge = 2 * time.Hour }, "oldest_pending all"},
		"pending is off":  {func(v *postgres.Vitals, s *Scope) { v.DispatchAge, s.Pending = 2*time.Hour, 0 }, ""},
		"paused": {func(v *postgres.Vitals, _ *Scope) {
			v.Targets = []postgres.TargetVitals{{Target: "medusa", Paused: true, PausedFor: time.Minute}}
		}, "target_paused medusa"},
		"dead":                       {func(v *postgres.Vitals, _ *Scope) { v.Discarded = 1 }, "dead_jobs all"},
		"not reconciled":             {func(v *postgres.Vitals, _ *Scope) { v.Reconciled = 61 * time.Hour }, "reconcile_overdue all"},
		"reconciled by hand":         {func(v *postgres.Vitals, s *Scope) { v.Reconciled, s.Overdue = 61*time.Hour, 0 }, ""},
		"too many deletions":         {func(v *postgres.Vitals, _ *Scope) { v.Held = 11 }, "deletions_held all"},
		"nobody works":               {func(v *postgres.Vitals, _ *Scope) { v.Leader = false }, "no_worker all"},
		"nobody works, and it shows": {func(v *postgres.Vitals, _ *Scope) { v.Leader, v.DispatchAge = false, 2*time.Hour }, "oldest_pending all, no_worker all"},
	} {
		v, s := healthy, scope
		v.Sources = append([]postgres.SourceVitals{}, healthy.Sources...)
		c.change(&v, &s)
		var alarms []string
		for _, state := range look(v, s) {
			if state.Alarm != (state.Message != "") {
				t.Errorf("%s: %+v", name, state)
			}
			if state.Alarm {
				alarms = append(alarms, state.Watchdog+" "+state.Subject)
			}
		}
		if got := strings.Join(alarms, ", "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// Many may ask; the database hears of it every few seconds.
func TestWatchKeepsAnAnswerForSeconds(t *testing.T) {
	t.Parallel()
	now, reads := time.UnixMilli(0), 0
	w := NewWatch(func(context.Context) (postgres.Vitals, error) { reads++; return postgres.Vitals{At: now}, nil }, Scope{})
	w.now = func() time.Time { return now }
	for range 3 {
		if _, err := w.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		now = now.Add(freshness / 2)
	}
	if reads != 2 {
		t.Errorf("%d reads, want 2", reads)
	}
}
