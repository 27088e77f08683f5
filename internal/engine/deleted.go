package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/lockstephq/lockstep"
)

// planDeleted is the part of the table for users who were deleted.
func planDeleted(f Facts) Decision {
	own := f.Found.ByLink
	candidates := f.Found.ByUser
	if own != nil {
		candidates = append([]lockstep.Customer{*own}, candidates...)
	}
	for _, c := range candidates {
		linked := own != nil && c.ID == own.ID || f.chose(c.ID)
		switch {
		case c.UserID != f.UserID:
		case f.refused(c.ID):
			return Decision{Action: Unmark, Now: c, Status: lockstep.StatusReleased,
				Reason: "the user is deleted: a person had said that customer " + c.ID + " is not the user's"}
		case !c.Account || c.Proven:
			return letGo(c, cmp.Or(f.OnDelete, lockstep.OnDeleteKeep))
		case linked:
			return letGo(c, lockstep.OnDeleteKeep)
		}
	}
	d := Decision{Action: Nothing, Status: lockstep.StatusReleased, Reason: "the user is deleted, and no customer carries the mark"}
	switch {
	case own == nil || own.UserID == f.UserID:
		return d
	case own.UserID != "" || own.Account || f.refused(own.ID):
		d.Reason = "the user is deleted: customer " + own.ID + " is not the user's, and is left alone"
		return d
	case f.OnDelete == lockstep.OnDeleteAnonymise || f.OnDelete == lockstep.OnDeleteDelete:
		return letGo(*own, f.OnDelete)
	}
	d.Now, d.Reason = *own, "the user is deleted: the customer stays, unmarked"
	return d
}

// letGo decides for a policy.
func letGo(c lockstep.Customer, how lockstep.OnDelete) Decision {
	d := Decision{Now: c, Status: lockstep.StatusReleased}
	switch how {
	case lockstep.OnDeleteDelete:
		d.Action, d.Reason = Delete, "the user is deleted, and so is the customer"
	case lockstep.OnDeleteAnonymise:
		d.Action, d.Reason = Anonymise, "the user is deleted: the customer stays with its orders, without name, e-mail and phone"
	default:
		d.Action, d.Reason = Release, "the user is deleted: the customer stays, unmarked"
	}
	return d
}

// policy is the one that an action carries out.
func (a Action) policy() (how lockstep.OnDelete, is bool) {
	switch a {
	case Release:
		return lockstep.OnDeleteKeep, true
	case Anonymise:
		return lockstep.OnDeleteAnonymise, true
	case Delete:
		return lockstep.OnDeleteDelete, true
	case Unmark:
		return lockstep.Unmark, true
	}
	return "", false
}

// wentAsFar is the decision as it was carried out, which the store may not have
// allowed in full.
func (d Decision) wentAsFar(done lockstep.OnDelete) Decision {
	asked, _ := d.Action.policy()
	if done == asked || asked == lockstep.Unmark {
		return d
	}
	went := letGo(d.Now, done)
	went.Reason += "; the store does not let it be "
	if asked == lockstep.OnDeleteDelete {
		went.Reason += "deleted"
	} else {
		went.Reason += "anonymised"
	}
	return went
}

// pending is what Sync still has to look at of a deleted user: the customers that
// are the user's by Lockstep's own record, marked or not.
type pending []string

func pendingOf(l lockstep.Link) (p pending) {
	return p.with(append([]string{l.CustomerID}, l.LetGo...)...)
}

func (p pending) with(ids ...string) pending {
	for _, id := range ids {
		if id != "" && !slices.Contains(p, id) {
			p = append(slices.Clone(p), id)
		}
	}
	return p
}

func (p pending) without(id string) pending {
	return slices.DeleteFunc(slices.Clone(p), func(other string) bool { return other == id })
}

// link names the first of them.
func (p pending) link(l lockstep.Link) lockstep.Link {
	l.CustomerID, l.LetGo = "", nil
	if len(p) > 0 {
		l.CustomerID = p[0]
	}
	return l
}

// most bounds how many customers one user may have been given by copied marks.
const most = 25

// part is Sync for a user who was deleted. It goes on until no customer is the
// user's: somebody may have copied the mark, and who was let go before may be
// anonymised or deleted now.
func part(ctx context.Context, t lockstep.Target, p lockstep.Profile, link lockstep.Link, owners Owners, how lockstep.OnDelete) (Result, error) {
	res, todo := Result{Refused: link.RefusedPhone, Unheard: link.RefusedConsent}, pendingOf(link)
	var doubtful Decision // the write whose answer was lost
	for failures, looks := 0, 0; looks < most; looks++ {
		d, err := Decide(ctx, t, p, todo.link(link), owners, how)
		if err != nil {
			return res, err
		}
		if !d.writes() {
			res.saw(d, doubtful)
			if todo = todo.without(todo.link(link).CustomerID); len(todo) == 0 {
				return res, nil
			}
			doubtful = Decision{}
			continue
		}
		asked, _ := d.Action.policy()
		went, err := t.Release(ctx, d.Now, asked)
		if err != nil {
			failures++
			if err = fmt.Errorf("%s: %w", d.Action, err); !lookAgain(err) || failures == rounds {
				return res, err
			}
			if doubtful = (Decision{}); lockstep.KindOf(err) == lockstep.ErrUnknown {
				doubtful = d
			}
			todo = append(pending{d.Now.ID}, todo.without(d.Now.ID)...) // the mark may be off already
			continue
		}
		if went == "" { // somebody was faster: look again
			continue
		}
		res.did(d.wentAsFar(went))
		todo, doubtful = todo.without(d.Now.ID), Decision{}
	}
	return res, fmt.Errorf("customers are %s's after %d looks: look in the store's admin who carries the mark", p.ID, most)
}

// did notes a write.
func (r *Result) did(d Decision) {
	r.Decision, r.Wrote, r.Released = d, append(r.Wrote, d.Action), append(r.Released, d.Now.ID)
	if d.Action == Release {
		r.LetGo = pending(r.LetGo).with(d.Now.ID)
	}
}

// saw notes that there is nothing to write, any more if a write is in doubt.
func (r *Result) saw(d, doubtful Decision) {
	switch {
	case doubtful.Action != "":
		r.did(doubtful)
	case len(r.Wrote) == 0:
		r.Decision = d
	}
	if d.Now.ID != "" {
		r.LetGo = pending(r.LetGo).with(d.Now.ID)
	}
}
