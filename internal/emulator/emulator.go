// Package emulator holds look-alikes of the services Lockstep talks to, as
// plain HTTP servers for tests, demonstrations and development: Clerk, Shopify and
// Medusa.
//
// An emulator is the independent other side. It imports nothing of Lockstep and
// is written from the services' published contracts, so that a mistake in the
// product cannot hide behind the same mistake here. Each is made of
//
//   - the service itself, in memory ([Clerk], [Shopify], [Medusa]);
//   - [Faults], which refuse, delay and drop requests on purpose;
//   - an [Outbox], which sends webhooks and can lose, repeat and reorder them;
//   - control routes under /_control/, for use without Go: docs/EMULATORS.md.
//
// An emulator has no protection of its own: it belongs on a developer's machine.
package emulator

import (
	"fmt"
	"strings"
	"time"
)

// Setting is one of Lockstep's settings, with the value that points it at an
// emulator.
type Setting struct {
	Name  string
	Value string
}

// String gives NAME=VALUE, quoted for a POSIX shell or an env file where the
// value is more than one plain word.
func (s Setting) String() string {
	if !strings.ContainsAny(s.Value, " \t\n'\"$`\\#&;|<>()*?") {
		return s.Name + "=" + s.Value
	}
	return fmt.Sprintf("%s='%s'", s.Name, strings.ReplaceAll(s.Value, "'", `'\''`))
}

// scale multiplies every step of a schedule by factor.
func scale(steps []time.Duration, factor float64) []time.Duration {
	scaled := make([]time.Duration, len(steps))
	for i, step := range steps {
		scaled[i] = time.Duration(float64(step) * factor)
	}
	return scaled
}
