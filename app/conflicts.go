package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/internal/inbox"
	"github.com/lockstephq/lockstep/internal/postgres"
)

// ConflictBody is a link that only a person may decide, as `conflicts --json`
// prints it.
type ConflictBody struct {
	User       string       `json:"user"`
	Target     string       `json:"target"`
	Reason     string       `json:"reason"`
	CustomerID *string      `json:"customer_id"` // the user's own, if there is one
	BlockedBy  *string      `json:"blocked_by"`  // the customer that stands in the way
	HeldBy     *string      `json:"held_by"`     // the user who has that one
	Since      time.Time    `json:"since"`
	Choices    []ChoiceBody `json:"choices"`
}

// ChoiceBody is something that a person may choose, and how.
type ChoiceBody struct {
	Does     string  `json:"does"`
	Command  string  `json:"command"`
	User     string  `json:"user"`
	Choice   string  `json:"choice"`      // "use", "keep", "create" or "unlink"
	Customer *string `json:"customer_id"` // of "use"
}

// maxConflicts bounds a list of conflicts.
const maxConflicts = 10_000

// Conflicts lists the links that only a person may decide, oldest first; of all
// targets if target is empty.
func (a *App) Conflicts(ctx context.Context, target string) ([]ConflictBody, error) {
	names := a.targetNames()
	if target != "" {
		if !slices.Contains(names, target) {
			return nil, ErrUnknownTarget
		}
		names = []string{target}
	}
	if err := a.store.Ping(ctx); err != nil {
		return nil, err
	}
	links, err := a.store.Conflicts(ctx, names, maxConflicts)
	list := make([]ConflictBody, len(links))
	for i, l := range links {
		list[i] = ConflictBody{User: l.User, Target: l.Target, Reason: l.Reason, Since: l.Since, Choices: choices(l),
			CustomerID: orNull(l.CustomerID), BlockedBy: orNull(l.BlockedBy), HeldBy: orNull(l.HeldBy)}
	}
	return list, err
}

// choices are what makes sense for a conflict: what the decision table offers, a
// deleted user's customer, or to unlink the living user who has the customer.
func choices(l postgres.ConflictLink) []ChoiceBody {
	list := []ChoiceBody{}
	add := func(user, kind, customer, does string) {
		list = append(list, ChoiceBody{Does: does, Command: resolveCommand(user, l.Target, kind, customer), User: user, Choice: kind, Customer: orNull(customer)})
	}
	for _, c := range l.Choices {
		switch kind := string(c.Kind); {
		case c.Kind == lockstep.ChoiceUse && c.Customer == l.CustomerID:
			add(l.User, string(engine.Keep), "", "the user keeps customer "+c.Customer+", and nobody asks about the other any more")
		case c.Kind == lockstep.ChoiceUse:
			add(l.User, kind, c.Customer, "the user's customer is "+c.Customer+beside(l.CustomerID))
		case c.Kind == lockstep.ChoiceCreate:
			add(l.User, kind, "", "a customer of the user's own is made, without an e-mail that another holds")
		case c.Kind == lockstep.ChoiceUnlink:
			add(l.User, kind, "", "the user has no customer here"+beside(l.CustomerID))
		}
	}
	switch {
	case l.HeldBy == "" || l.HeldBy == l.User || l.BlockedBy == "":
	case l.Deleted:
		add(l.User, string(lockstep.ChoiceUse), l.BlockedBy, "the user's customer is "+l.BlockedBy+", which was the deleted user "+l.HeldBy+"'s"+beside(l.CustomerID))
	default:
		add(l.HeldBy, string(lockstep.ChoiceUnlink), "", "user "+l.HeldBy+" loses customer "+l.BlockedBy+", which "+l.User+" may have then")
	}
	return list
}

// beside says what becomes of the customer that the user has now.
func beside(own string) string {
	if own == "" {
		return ""
	}
	return "; " + own + " stays, unmarked"
}

func resolveCommand(user, target, kind, customer string) string {
	command := fmt.Sprintf("lockstep conflicts resolve %s --target %s --%s", user, target, kind)
	if customer != "" {
		command += " " + customer
	}
	return command
}

// Ask is what a person chooses for a user in one target: Choice is one of those
// of ChoiceBody.
type Ask struct {
	User, Target, Choice, Customer string
	Where                          string // "at the command line"
}

// Chosen is a choice that was stored, for the workers to carry out.
type Chosen struct {
	User     string  `json:"user"`
	Target   string  `json:"target"`
	Choice   string  `json:"choice"`
	Customer *string `json:"customer_id"`
}

// What a person may not choose.
var (
	ErrNoChoice = errors.New("choose one of use, keep, create and unlink; use needs the customer's id, the others take none")
	ErrChosen   = postgres.ErrChosen
)

// RefusedChoice is why a person may not choose so, and what to type instead.
type RefusedChoice = inbox.RefusedChoice

// Choose stores what a person decided. The workers carry it out.
func (a *App) Choose(ctx context.Context, ask Ask) (Chosen, error) {
	in, err := a.syncer(ctx)
	if err != nil {
		return Chosen{}, err
	}
	return choose(ctx, in, ask)
}

func choose(ctx context.Context, in *inbox.Inbox, ask Ask) (Chosen, error) {
	kind := lockstep.ChoiceKind(ask.Choice)
	kinds := []lockstep.ChoiceKind{lockstep.ChoiceUse, engine.Keep, lockstep.ChoiceCreate, lockstep.ChoiceUnlink}
	if !slices.Contains(kinds, kind) || (kind == lockstep.ChoiceUse) != (ask.Customer != "") {
		return Chosen{}, ErrNoChoice
	}
	c, err := in.Choose(ctx, inbox.Ask{User: ask.User, Target: ask.Target, Kind: kind, Customer: ask.Customer, Where: ask.Where})
	return Chosen{User: ask.User, Target: ask.Target, Choice: string(kind), Customer: orNull(c.Customer)}, err
}
