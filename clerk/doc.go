// Package clerk is everything Lockstep knows of Clerk. It verifies session
// tokens ([TokenVerifier]) and webhooks ([WebhookVerifier]), reads users from
// the Backend API ([Client]), and reduces them to the fields Lockstep keeps.
package clerk
