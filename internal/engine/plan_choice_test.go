package engine

import (
	"fmt"
	"slices"
	"testing"

	"github.com/lockstephq/lockstep"
)

// everyChoice combines the facts with every choice that there can be about them:
// of each customer that was found and of one that was not, on facts that the
// person saw or that are news.
func everyChoice(f Facts, visit func(name string, f Facts)) {
	all := everyone(f)
	var ids []string
	for _, c := range all {
		ids = append(ids, c.ID)
	}
	with := func(name string, c lockstep.Choice, chosen *lockstep.Customer) {
		for _, news := range []string{"", "another e-mail", "unseen customers", "hidden"} {
			c := c
			c.Email, c.Seen = digest(f.UserID, f.Want.Email), append([]string{c.Customer}, ids...)
			switch news {
			case "another e-mail":
				c.Email = digest(f.UserID, "past@example.test")
			case "unseen customers":
				c.Seen = []string{c.Customer}
			case "hidden":
				c.Hidden = true
			}
			f.Choice, f.Chosen = &c, chosen
			visit(name+"/"+news, f)
		}
	}
	with("unlink", lockstep.Choice{Kind: lockstep.ChoiceUnlink}, nil)
	with("create", lockstep.Choice{Kind: lockstep.ChoiceCreate}, nil)
	with("use what is gone", lockstep.Choice{Kind: lockstep.ChoiceUse, Customer: "cus_gone"}, nil)
	for _, c := range append(all, lockstep.Customer{ID: "cus_far", Email: "far@example.test"},
		lockstep.Customer{ID: "cus_far", Email: "far@example.test", Account: true}, lockstep.Customer{ID: "cus_far", UserID: me, Account: true},
		lockstep.Customer{ID: "cus_far", UserID: other}, lockstep.Customer{ID: "cus_far", UserID: other, Account: true, Proven: true}) {
		with("use "+c.ID+" of "+c.UserID, lockstep.Choice{Kind: lockstep.ChoiceUse, Customer: c.ID}, &c)
		if isOthers(c, me) {
			with("use "+c.ID+" of a deleted user", lockstep.Choice{Kind: lockstep.ChoiceUse, Customer: c.ID, Over: other}, &c)
		}
	}
}

// checkChosen holds what must be true of every decision that carries out a choice.
func checkChosen(f Facts, d Decision) error {
	c := f.Choice
	switch {
	case d.Status == lockstep.StatusConflict:
		return fmt.Errorf("asks again: %+v", d)
	case d.Want.Email != "" && d.Want.Email != f.Want.Email || d.Reason == "":
		return fmt.Errorf("not by its facts: %+v", d)
	case d.Action == Release:
		mine := d.Now.UserID == me && (f.Found.ByLink != nil && f.Found.ByLink.ID == d.Now.ID || slices.ContainsFunc(f.Found.ByUser, func(u lockstep.Customer) bool { return u.ID == d.Now.ID }))
		past := c.Over != "" && d.Now.UserID == c.Over && d.Now.ID == c.Customer
		if !mine && !past || mine && c.Kind == lockstep.ChoiceUse && d.Now.ID == c.Customer {
			return fmt.Errorf("releases %+v", d.Now)
		}
		return nil
	case c.Kind == lockstep.ChoiceUnlink:
		if d.Action != Nothing || d.Status != lockstep.StatusWaiting || firstOwn(f) != nil && firstOwn(f).UserID == me {
			return fmt.Errorf("unlink: %+v", d)
		}
		return nil
	case isOthers(d.Now, me):
		return fmt.Errorf("takes another user's customer: %+v", d)
	case f.Unverified != "" && d.Action == Update && d.Now.UserID != me && lockstep.NormalEmail(d.Now.Email) == f.Unverified && (f.Found.ByLink == nil || f.Found.ByLink.ID != d.Now.ID):
		return fmt.Errorf("takes %s by an unverified e-mail", d.Now.ID)
	case c.Kind == lockstep.ChoiceUse && (d.Action == Create || d.Now.ID != c.Customer):
		return fmt.Errorf("not the customer that was chosen: %+v", d)
	case d.Action == Create && firstOwn(f) != nil:
		return fmt.Errorf("creates beside %+v", firstOwn(f))
	case d.Action == Create && d.Want.Email != "" && len(f.Found.ByEmail) > 0:
		return fmt.Errorf("creates with an e-mail that somebody holds")
	case d.Action == Nothing && Differs(d.Now, d.Want), d.Action == Update && !Differs(d.Now, d.Want):
		return fmt.Errorf("%s, but %+v is wanted of %+v", d.Action, d.Want, d.Now)
	case d.Action != Create && d.Action != Update && d.Action != Nothing:
		return fmt.Errorf("%s by a choice", d.Action)
	}
	for _, second := range f.Found.ByUser {
		if second.ID != d.Now.ID && (!second.Account || second.Proven) {
			return fmt.Errorf("%s, while %s carries the user as well", d.Action, second.ID)
		}
	}
	for _, holder := range f.Found.ByEmail {
		if holder.ID != d.Now.ID && d.Want.Email != "" && d.Want.Email != d.Now.Email {
			return fmt.Errorf("takes the e-mail of %s", holder.ID)
		}
		if holder.ID != d.Now.ID && holder.Account && d.Want.Account && !d.Now.Account && holder.Email == d.Now.Email {
			return fmt.Errorf("makes a second account beside %s", holder.ID)
		}
	}
	return nil
}

// With any facts and any choice: a choice is carried out as far as its facts hold,
// or it changes nothing of what the table would do without it.
func TestPlanOverEveryChoice(t *testing.T) {
	t.Parallel()
	stands, void := map[string]int{}, map[string]int{}
	everyFacts(func(facts string, f Facts) {
		if f.OnDelete == lockstep.OnDeleteKeep || f.OnDelete == lockstep.OnDeleteAnonymise {
			return // the other policies stand for them: a choice knows of none
		}
		without := Plan(f)
		everyChoice(f, func(name string, f Facts) {
			d := Plan(f)
			switch {
			case f.Deleted:
				_, lets := d.Action.policy()
				if d.Void != "" || !lets && d.Action != Nothing || lets && isOthers(d.Now, me) {
					t.Errorf("%s, %s: a deleted user's choice: %+v", facts, name, d)
				}
			case d.Void == "":
				stands[string(f.Choice.Kind)]++
				if err := checkChosen(f, d); err != nil {
					t.Errorf("%s, %s: %v", facts, name, err)
				}
				if news := f.Choice.Kind != lockstep.ChoiceUnlink && f.Choice.Email != digest(me, f.Want.Email); news {
					t.Errorf("%s, %s: stands on facts that have changed", facts, name)
				}
			default:
				void[string(f.Choice.Kind)]++
				void := d.Void
				d.Void, d.Reason = "", without.Reason
				if d != without {
					t.Errorf("%s, %s: void (%s), and yet %+v, not %+v", facts, name, void, d, without)
				}
			}
		})
	})
	if stands["use"] == 0 || stands["create"] == 0 || stands["unlink"] == 0 || void["use"] == 0 || void["create"] == 0 || void["unlink"] > 0 {
		t.Errorf("standing: %v, void: %v", stands, void)
	}
	t.Logf("standing: %v, void: %v", stands, void)
}

// Whatever is a conflict, a person can end.
func TestEveryConflictLeavesAChoice(t *testing.T) {
	t.Parallel()
	conflicts := 0
	everyFacts(func(name string, f Facts) {
		d := Plan(f)
		if d.Status != lockstep.StatusConflict {
			return
		}
		conflicts++
		offered := map[lockstep.ChoiceKind]bool{}
		for _, c := range Choices(f, false) {
			offered[c.Kind] = true
			if c.Kind == lockstep.ChoiceUse && (find(f.Found, c.Customer) == nil || isOthers(*find(f.Found, c.Customer), me)) {
				t.Errorf("%s: offers %s", name, c.Customer)
			}
		}
		own := firstOwn(f)
		if !offered[lockstep.ChoiceUnlink] || own == nil && !offered[lockstep.ChoiceCreate] || own != nil && offered[lockstep.ChoiceCreate] {
			t.Errorf("%s: offers %v", name, offered)
		}
	})
	if conflicts == 0 {
		t.Error("no conflicts")
	}
}
