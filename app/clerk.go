package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/clerk"
	"github.com/lockstephq/lockstep/internal/inbox"
	"github.com/lockstephq/lockstep/internal/web"
)

func newVerifier(c Config) (*clerk.WebhookVerifier, error) {
	return clerk.NewWebhookVerifier(c.ClerkWebhookSecrets, time.Now)
}

// receiveClerk is the way of a Clerk webhook: verify, decode, accept. changed
// hears of users whose profile is new, so that this node forgets the old one;
// the others do within seconds.
func receiveClerk(verifier *clerk.WebhookVerifier, consent string, in *inbox.Inbox, changed func(userIDs ...string)) web.Receive {
	return func(ctx context.Context, h http.Header, body []byte) (lockstep.Receipt, error) {
		id, err := verifier.Verify(h, body)
		if err != nil {
			return "", fmt.Errorf("%w: %w", web.ErrBadSignature, err)
		}
		event, err := clerk.Decoder{Consent: consent}.Event(body)
		if err != nil {
			return "", fmt.Errorf("%w: %w", web.ErrMalformed, err)
		}
		if !clerk.Kept(event.Kind) {
			return lockstep.ReceiptIgnored, nil
		}
		receipt, err := in.Accept(ctx, lockstep.Delivery{
			Source: "clerk", ID: id, Kind: event.Kind, Instance: event.Instance, User: event.User,
		})
		if errors.Is(err, inbox.ErrInstance) {
			return "", fmt.Errorf("%w: %w", web.ErrMalformed, err)
		}
		changed(event.User.ID)
		return receipt, err
	}
}
