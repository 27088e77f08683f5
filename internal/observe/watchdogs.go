package observe

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lockstephq/lockstep/internal/postgres"
)

// State is what one watchdog says of one subject.
type State struct {
	Watchdog string `json:"watchdog"`
	Subject  string `json:"subject"` // a source, a target, or "all"
	Alarm    bool   `json:"alarm"`
	Message  string `json:"message"` // what is wrong, and what to do; empty without an alarm
}

// Scope says what is watched, and from when on it is wrong. A limit of zero
// switches its watchdog off.
type Scope struct {
	Targets []string      // of the settings
	Sources []string      // that send webhooks
	Silence time.Duration // without a delivery of a source
	Pending time.Duration // of the oldest change not yet applied
	Overdue time.Duration // since everything was compared as a whole
}

// watchdog looks at one thing that can go wrong unseen.
type watchdog struct {
	name string
	look func(postgres.Vitals, Scope) []State
}

// watchdogs is the list: each appears in `status`, in /readyz, in the operator
// API and as the metric lockstep_watchdog_alarm.
func watchdogs() []watchdog {
	return []watchdog{
		{"silence", silence},
		{"oldest_pending", oldestPending},
		{"target_paused", targetPaused},
		{"dead_jobs", deadJobs},
		{"no_worker", noWorker},
		{"reconcile_overdue", reconcileOverdue},
		{"deletions_held", deletionsHeld},
	}
}

// look asks every watchdog.
func look(v postgres.Vitals, s Scope) []State {
	states := []State{}
	for _, dog := range watchdogs() {
		for _, state := range dog.look(v, s) {
			state.Watchdog, state.Alarm = dog.name, state.Message != ""
			states = append(states, state)
		}
	}
	return states
}

// silence finds a source that has stopped sending: an endpoint that was
// disabled, or a route that is gone, fails without any error of ours.
func silence(v postgres.Vitals, s Scope) (states []State) {
	if s.Silence == 0 {
		return nil
	}
	for _, source := range s.Sources {
		state, quiet, last := State{Subject: source}, v.Installed, "nothing ever came"
		for _, seen := range v.Sources {
			if seen.Source == source {
				quiet, last = seen.Age, fmt.Sprintf("nothing came for %s", rough(seen.Age))
			}
		}
		if quiet > s.Silence {
			state.Message = last + ": check that the endpoint is enabled at the sender, and what it was answered"
		}
		states = append(states, state)
	}
	return states
}

func oldestPending(v postgres.Vitals, s Scope) (states []State) {
	if s.Pending == 0 {
		return nil
	}
	state := State{Subject: "all"}
	if v.DispatchAge > s.Pending {
		state.Message = fmt.Sprintf("an accepted change waits for %s and no target has heard of it: check that `lockstep serve` runs as all or worker", rough(v.DispatchAge))
	}
	states = append(states, state)
	for _, name := range s.Targets {
		state, t := State{Subject: name}, targetVitals(v, name)
		if t.PendingAge > s.Pending {
			state.Message = fmt.Sprintf("the oldest change waits for %s: `lockstep show USER` says why, `lockstep status` if the target is paused", rough(t.PendingAge))
		}
		states = append(states, state)
	}
	return states
}

func targetPaused(v postgres.Vitals, s Scope) (states []State) {
	for _, name := range s.Targets {
		state, t := State{Subject: name}, targetVitals(v, name)
		if t.Paused {
			state.Message = fmt.Sprintf("paused for %s, since it refused everything: `lockstep status` says why", rough(t.PausedFor))
		}
		states = append(states, state)
	}
	return states
}

func deadJobs(v postgres.Vitals, _ Scope) []State {
	state := State{Subject: "all"}
	if v.Discarded > 0 {
		state.Message = fmt.Sprintf("%d jobs were given up: mend the cause, then run `lockstep retry`", v.Discarded)
	}
	return []State{state}
}

// noWorker finds that nobody works: webhooks are still answered with 200.
func noWorker(v postgres.Vitals, _ Scope) []State {
	state := State{Subject: "all"}
	if !v.Leader {
		state.Message = "no process works: run `lockstep serve` as all or worker"
	}
	return []State{state}
}

// reconcileOverdue finds that what webhooks lost is no longer looked for: no
// process has Clerk's key, say, or each run is cut short.
func reconcileOverdue(v postgres.Vitals, s Scope) []State {
	if s.Overdue == 0 {
		return nil
	}
	state := State{Subject: "all"}
	if v.Reconciled > s.Overdue {
		state.Message = fmt.Sprintf("no deep reconcile run has ended for %s: run `lockstep reconcile --deep`, and see in the log of serve why it does not", rough(v.Reconciled))
	}
	return []State{state}
}

// deletionsHeld finds deletions that wait for a person, since they were too many
// for one run to believe.
func deletionsHeld(v postgres.Vitals, _ Scope) []State {
	state := State{Subject: "all"}
	if v.Held > 0 {
		state.Message = fmt.Sprintf("%d users are gone from Clerk, more than one run may delete: if Clerk is right, run `lockstep reconcile --deep --full --allow-deletions %d`", v.Held, v.Held)
	}
	return []State{state}
}

func targetVitals(v postgres.Vitals, name string) postgres.TargetVitals {
	for _, t := range v.Targets {
		if t.Target == name {
			return t
		}
	}
	return postgres.TargetVitals{Target: name}
}

// rough is an age for people.
func rough(d time.Duration) time.Duration {
	if d < time.Minute {
		return d.Round(time.Second)
	}
	return d.Round(time.Minute)
}

// Report is how everything is.
type Report struct {
	Vitals    postgres.Vitals
	Watchdogs []State
}

// Watch reads how things are for whoever asks, not more often than freshness
// allows: probes, scrapes and people may all ask at once.
type Watch struct {
	read  func(context.Context) (postgres.Vitals, error)
	scope Scope
	now   func() time.Time

	mu   sync.Mutex // held while reading, so that others get the same answer
	last Report
}

// freshness is how old an answer may be.
const freshness = 5 * time.Second

// NewWatch reads by read.
func NewWatch(read func(context.Context) (postgres.Vitals, error), s Scope) *Watch {
	return &Watch{read: read, scope: s, now: time.Now}
}

// Look reports how things are, or were a few seconds ago.
func (w *Watch) Look(ctx context.Context) (Report, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.last.Vitals.At.IsZero() && w.now().Sub(w.last.Vitals.At) < freshness {
		return w.last, nil
	}
	v, err := w.read(ctx)
	if err != nil {
		return Report{}, err
	}
	w.last = Report{v, look(v, w.scope)}
	return w.last, nil
}
