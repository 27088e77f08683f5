package lockstep

import (
	"errors"
	"fmt"
	"time"
)

// TargetError is a target's failure together with what may be done about it.
type TargetError struct {
	Kind  ErrorKind
	After time.Duration // for ErrThrottled: how long the target asked to wait
	Err   error         // the cause; its text names no person
}

// ErrorKind classes the failures of a target. The kinds are errors themselves,
// so errors.Is(err, ErrTaken) asks for one.
type ErrorKind string

// The kinds of failure. An error without a kind counts as ErrTransient.
const (
	ErrTransient ErrorKind = "temporary failure"         // nothing was written; try again later
	ErrUnknown   ErrorKind = "outcome unknown"           // may or may not have been written: look before writing again
	ErrThrottled ErrorKind = "rate limited"              // try again after After; costs no attempt
	ErrTaken     ErrorKind = "taken by another customer" // someone was faster: look again
	ErrGone      ErrorKind = "customer no longer exists" // deleted since it was seen: look again
	ErrInvalid   ErrorKind = "refused for this user"     // retrying cannot help
	ErrRefused   ErrorKind = "refused for all customers" // credentials, schema, shop closed: pause the target
)

// Error makes a kind usable with errors.Is.
func (k ErrorKind) Error() string { return string(k) }

// Error gives the kind and the cause.
func (e *TargetError) Error() string {
	if e.Err == nil {
		return e.Kind.Error()
	}
	return fmt.Sprintf("%s: %v", e.Kind, e.Err)
}

// Unwrap lets errors.Is and errors.As see both the kind and the cause.
func (e *TargetError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// KindOf returns the kind of a target's failure.
func KindOf(err error) ErrorKind {
	if te, ok := errors.AsType[*TargetError](err); ok {
		return te.Kind
	}
	if kind, ok := errors.AsType[ErrorKind](err); ok {
		return kind
	}
	return ErrTransient
}
