package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/lockstephq/lockstep"
)

// RefusedChoice is why a person may not choose so.
type RefusedChoice struct {
	Why   string // names ids only
	First string // the user who is to be unlinked, or synced, first; empty for none
	Gone  bool   // First is deleted, and the customer not released yet
}

func (e *RefusedChoice) Error() string { return e.Why }

// Keep stands for ChoiceUse of the user's own customer, where a person chooses.
const Keep lockstep.ChoiceKind = "keep"

// Deleted tells whether a user is known to be deleted.
type Deleted func(ctx context.Context, userID string) (bool, error)

// Choose looks at what there is and makes the choice that a person asked for, if
// the decision table would carry it out as of now; otherwise it fails with a
// *RefusedChoice. It writes nothing.
func Choose(ctx context.Context, t lockstep.Target, p lockstep.Profile, link lockstep.Link, kind lockstep.ChoiceKind, customerID string,
	owners Owners, deleted Deleted) (lockstep.Choice, error) {
	asked := lockstep.Choice{Kind: kind, Customer: customerID}
	hidden := link.Status == lockstep.StatusConflict && link.BlockedBy == ""
	link.Choice = &asked
	f, err := look(ctx, t, p, link, owners, "")
	if err != nil {
		return lockstep.Choice{}, err
	}
	own := firstOwn(f)
	switch {
	case f.Deleted:
		return lockstep.Choice{}, &RefusedChoice{Why: p.ID + " is deleted, and that is final: there is nothing to choose"}
	case kind == Keep && own == nil:
		return lockstep.Choice{}, &RefusedChoice{Why: p.ID + " has no customer there to keep"}
	case kind == Keep:
		asked.Kind, asked.Customer, f.Chosen = lockstep.ChoiceUse, own.ID, own
	case kind == lockstep.ChoiceCreate && own != nil:
		return lockstep.Choice{}, &RefusedChoice{Why: fmt.Sprintf("%s has customer %s already", p.ID, own.ID)}
	case kind == lockstep.ChoiceUse && f.Chosen == nil:
		return lockstep.Choice{}, &RefusedChoice{Why: fmt.Sprintf("the store has no customer %s", customerID)}
	}
	choice := madeOn(f, asked, hidden)
	if choice.Over, err = mayTake(ctx, t.Name(), f, owners, deleted); err != nil {
		return choice, err
	}
	f.Choice = &choice
	if _, void := planChosen(f); void != "" {
		return choice, &RefusedChoice{Why: void}
	}
	return choice, nil
}

// mayTake returns the deleted user whose mark the chosen customer carries, empty
// for none. What a living user has, or one of whom nobody knows, is not taken.
func mayTake(ctx context.Context, target string, f Facts, owners Owners, deleted Deleted) (over string, err error) {
	if f.Chosen == nil || !isOthers(*f.Chosen, f.UserID) {
		return "", nil
	}
	other := f.Chosen.UserID
	gone, err := deleted(ctx, other)
	if err != nil {
		return "", err
	}
	linked, err := owners(ctx, target, []string{f.Chosen.ID})
	switch {
	case err != nil:
		return "", fmt.Errorf("read links: %w", err)
	case gone && linked[f.Chosen.ID] == other:
		return "", &RefusedChoice{Why: fmt.Sprintf("customer %s is still linked to %s, who is deleted", f.Chosen.ID, other), First: other, Gone: true}
	case !gone:
		return "", &RefusedChoice{Why: fmt.Sprintf("customer %s is %s's", f.Chosen.ID, other), First: other}
	}
	return other, nil
}

// madeOn is the choice with the facts that it is made on.
func madeOn(f Facts, c lockstep.Choice, hidden bool) lockstep.Choice {
	if c.Kind != lockstep.ChoiceUnlink {
		c.Email, c.Hidden = digest(f.UserID, f.Want.Email), hidden
	}
	for _, seen := range everyone(f) {
		c.Seen = append(c.Seen, seen.ID)
	}
	slices.Sort(c.Seen)
	return c
}

// everyone found, each once.
func everyone(f Facts) (all []lockstep.Customer) {
	lists := [][]lockstep.Customer{f.Found.ByUser, f.Found.ByEmail}
	if f.Found.ByLink != nil {
		lists = append([][]lockstep.Customer{{*f.Found.ByLink}}, lists...)
	}
	for _, c := range slices.Concat(lists...) {
		if !slices.ContainsFunc(all, func(has lockstep.Customer) bool { return has.ID == c.ID }) {
			all = append(all, c)
		}
	}
	return all
}

// Choices are what a person may choose by the facts: what the table would carry
// out. Customers of other users are left out, for whoever knows which of those
// are deleted.
func Choices(f Facts, hidden bool) (list []lockstep.Choice) {
	offer := func(c lockstep.Choice) {
		f.Choice, f.Chosen = &c, find(f.Found, c.Customer)
		c = madeOn(f, c, hidden)
		if _, void := planChosen(f); void == "" {
			list = append(list, lockstep.Choice{Kind: c.Kind, Customer: c.Customer})
		}
	}
	own := firstOwn(f)
	for _, c := range everyone(f) {
		offer(lockstep.Choice{Kind: lockstep.ChoiceUse, Customer: c.ID})
	}
	if own == nil {
		offer(lockstep.Choice{Kind: lockstep.ChoiceCreate})
	}
	offer(lockstep.Choice{Kind: lockstep.ChoiceUnlink})
	return list
}
