// Package targettest is the exam that every [lockstep.Target] passes, and two
// targets for the tests of everything above them: Fake, which is right, and
// Flaky, which makes another target fail as networks do.
//
// A target's own test opens a store, and hands both the target and the store's
// own hands to [Run]:
//
//	targettest.Run(t, func(t *testing.T) targettest.Subject { … })
//
// The exam looks at the store only through [Shop], so a target cannot pass by
// believing itself.
package targettest
