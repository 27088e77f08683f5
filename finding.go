package lockstep

import "context"

// Finding is the outcome of one of `lockstep doctor`'s checks. Its texts name
// settings, objects and ids; never a person, an address or a secret.
type Finding struct {
	Area   string       `json:"area"` // what it is about: "settings", "database", a target's name
	Name   string       `json:"name"`
	State  FindingState `json:"state"`
	Detail string       `json:"detail,omitempty"` // what was found
	Fix    string       `json:"fix,omitempty"`    // what to type, unless all is well
}

// FindingState is what a check came to.
type FindingState string

// The states of a finding. What could not be looked at is never ok.
const (
	FindingOK         FindingState = "ok"
	FindingWarning    FindingState = "warning"     // works, and could be better
	FindingFailed     FindingState = "failed"      // does not work, or is not safe
	FindingNotSet     FindingState = "not set"     // there is nothing to check
	FindingNotChecked FindingState = "not checked" // something else must be mended first
)

// Examiner is a Target that has more to say to `lockstep doctor` than Check.
type Examiner interface {
	// Examine looks at the target and writes nothing. The caller sets Area.
	Examine(ctx context.Context) []Finding
}
