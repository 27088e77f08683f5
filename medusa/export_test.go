package medusa

import "time"

// SetClock moves the target's own clock, for its login and for what it waits out.
func (a *API) SetClock(now func() time.Time) {
	a.lost.now = now
	if l, ok := a.client.auth.(*login); ok {
		l.now = now
	}
}

// ReadAgain is the time since which the next look reads changes again.
func (a *API) ReadAgain() time.Time {
	since, _ := a.index.settled()
	return since
}

// Settle is how long lost requests are waited out.
const Settle = settle
