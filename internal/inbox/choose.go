package inbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/internal/postgres"
)

// Ask is what a person asks to be chosen for a user in one target.
type Ask struct {
	User     string
	Target   string
	Kind     lockstep.ChoiceKind // one of lockstep's, or engine.Keep
	Customer string              // of ChoiceUse
	Where    string              // the person chose: "at the command line"
}

// RefusedChoice is why a person may not choose so, and what to type instead.
type RefusedChoice struct{ Text string }

func (e *RefusedChoice) Error() string { return e.Text }

// Choose stores what a person decided about a user's customer, if the decision
// table would carry it out, and queues it: the workers do it, on the one path. A
// job that is under way then goes round again.
func (in *Inbox) Choose(ctx context.Context, a Ask) (lockstep.Choice, error) {
	t, ok := in.targets[a.Target]
	if !ok {
		return lockstep.Choice{}, ErrUnknownTarget
	}
	profile, err := in.store.Profile(ctx, a.User)
	if err != nil {
		return lockstep.Choice{}, postgres.Redact(err)
	}
	links, err := in.store.Links(ctx, a.User)
	if err != nil {
		return lockstep.Choice{}, postgres.Redact(err)
	}
	link := linkTo(links, a.Target)
	link.UserID = a.User
	choice, err := engine.Choose(ctx, t, profile, link, a.Kind, a.Customer, in.store.Owners, in.store.Tombstone)
	if no, ok := errors.AsType[*engine.RefusedChoice](err); ok {
		return choice, &RefusedChoice{Text: no.Why + a.instead(no)}
	}
	if err != nil {
		return choice, fmt.Errorf("nothing is chosen: %s: %w", a.Target, err)
	}
	err = in.inTx(ctx, func(tx pgx.Tx) error {
		k, err := in.store.Choose(ctx, tx, link, choice, "a person chose "+a.Where+": "+a.described(choice))
		if err != nil {
			return err
		}
		return in.enqueue(ctx, tx, []postgres.Key{k})
	})
	return choice, postgres.Redact(err)
}

// described says a choice in the words of the timeline.
func (a Ask) described(c lockstep.Choice) string {
	switch {
	case a.Kind == engine.Keep:
		return "the user keeps customer " + c.Customer
	case c.Kind == lockstep.ChoiceUse:
		return "the user's customer is " + c.Customer
	case c.Kind == lockstep.ChoiceCreate:
		return "the user gets a customer of their own"
	}
	return "the user has no customer here"
}

// instead is what to type before, or in place of, a choice that is refused.
func (a Ask) instead(no *engine.RefusedChoice) string {
	switch {
	case no.Gone:
		return fmt.Sprintf(": type `lockstep sync %s`, then choose again", no.First)
	case no.First != "":
		return fmt.Sprintf(": to take it from that user, type `lockstep conflicts resolve %s --target %s --unlink` first; "+
			"if Lockstep does not know that user, take the mark off in the store", no.First, a.Target)
	}
	return ": type `lockstep conflicts` for what can be chosen"
}
