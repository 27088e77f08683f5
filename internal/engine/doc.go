// Package engine decides what a target must do for a user, and has it done.
//
// It is level-triggered: nothing here knows which event caused the work. Sync
// reads what is (Target.Resolve), decides (Plan, a pure function), writes, and
// looks again whenever the answer to a write leaves room for doubt. It knows no
// SQL, no queue and no HTTP.
package engine
