// Package clerk is the way in from Clerk: it verifies webhooks, decodes what
// they say, and reduces Clerk's users to the fields Lockstep keeps.
package clerk
