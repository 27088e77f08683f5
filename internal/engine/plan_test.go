package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lockstephq/lockstep"
	"pgregory.net/rapid"
)

const (
	me    = "user_me"
	other = "user_other"
	mail  = "me@example.test"
)

// The whole input space, up to renaming: everything a fact may be, combined
// with everything else.
func everyFacts(visit func(name string, f Facts)) {
	links := map[string]*lockstep.Customer{
		"no link":   nil, // and the link's customer gone: Resolve shows neither
		"link mine": {ID: "cus_link", UserID: me, Email: "old@example.test"}, "link mine, same mail": {ID: "cus_link", UserID: me, Email: mail},
		"link mine, right": {ID: "cus_link", UserID: me, Email: mail, FirstName: "Ada"},
		"link unmarked":    {ID: "cus_link", Email: mail, FirstName: "Ada"}, "link other's": {ID: "cus_link", UserID: other},
		"link bare account": {ID: "cus_link", Email: mail, Account: true},
		"link account":      {ID: "cus_link", UserID: me, Email: mail, Account: true},
		"link signed in":    {ID: "cus_link", UserID: me, Email: mail, FirstName: "Ada", Account: true, Proven: true},
		"link other's too":  {ID: "cus_link", UserID: other, Account: true, Proven: true},
	}
	marked := map[string][]lockstep.Customer{
		"no mark": nil, "mark on link": {{ID: "cus_link", UserID: me, Email: mail}}, "mark elsewhere": {{ID: "cus_mark", UserID: me}},
		"mark twice": {{ID: "cus_link", UserID: me}, {ID: "cus_mark", UserID: me}}, "mark linked to other": {{ID: "cus_mark", UserID: other}},
		"mark on an account": {{ID: "cus_forged", UserID: me, Account: true}},
		"signed in":          {{ID: "cus_proven", UserID: me, Account: true, Proven: true}},
		"signed in on link":  {{ID: "cus_link", UserID: me, Email: mail, FirstName: "Ada", Account: true, Proven: true}},
		"signed in, forged":  {{ID: "cus_forged", UserID: me, Account: true}, {ID: "cus_proven", UserID: me, Account: true, Proven: true}},
	}
	byEmail := map[string][]lockstep.Customer{
		"nobody": nil, "itself": {{ID: "cus_link", UserID: me, Email: mail}}, "guest": {{ID: "cus_guest", Email: mail}},
		"account": {{ID: "cus_acct", Email: mail, Account: true}}, "other's": {{ID: "cus_other", UserID: other, Email: mail}},
		"guest and account": {{ID: "cus_guest", Email: mail}, {ID: "cus_acct", Email: mail, Account: true}},
		"two guests":        {{ID: "cus_guest", Email: mail}, {ID: "cus_guest2", Email: mail}},
		"itself and guest":  {{ID: "cus_link", UserID: me, Email: mail}, {ID: "cus_guest", Email: mail}},
		"other's account":   {{ID: "cus_other", UserID: other, Email: mail, Account: true}},
		"itself, account":   {{ID: "cus_link", UserID: me, Email: mail}, {ID: "cus_acct", Email: mail, Account: true}},
	}
	for ln, l := range links {
		for mn, m := range marked {
			for en, e := range byEmail {
				for _, policy := range []lockstep.OnDelete{"alive", "", lockstep.OnDeleteKeep, lockstep.OnDeleteAnonymise, lockstep.OnDeleteDelete} {
					deleted := policy != "alive"
					for _, verified := range []string{"none", "unverified", "verified"} {
						for _, accounts := range []bool{false, true} {
							f := Facts{UserID: me, Deleted: deleted, Want: lockstep.Customer{UserID: me, FirstName: "Ada", Account: accounts},
								Found: lockstep.Found{ByLink: l, ByUser: m}, OnDelete: policy}
							switch verified {
							case "verified":
								f.Want.Email, f.Found.ByEmail = mail, e
							case "unverified":
								f.Unverified, f.Found.ByEmail = mail, e
							}
							visit(fmt.Sprintf("%s/%s/%s/%s/%s/accounts=%v", ln, mn, en, policy, verified, accounts), f)
						}
					}
				}
			}
		}
	}
}

// check holds what must be true of every decision, whatever the facts.
func check(f Facts, d Decision) error {
	if d.Reason == "" || d.Status == "" {
		return fmt.Errorf("no reason or no status: %+v", d)
	}
	if strings.Contains(d.Reason, "@") {
		return fmt.Errorf("reason names an e-mail: %q", d.Reason)
	}
	if d.Want.Email != "" && f.Want.Email == "" {
		return fmt.Errorf("writes an unverified e-mail")
	}
	if _, lets := d.Action.policy(); f.Deleted && !lets && d.Action != Nothing || lets && !f.Deleted {
		return fmt.Errorf("%s, deleted is %v", d.Action, f.Deleted)
	}
	if how, lets := d.Action.policy(); lets && how != lockstep.OnDeleteKeep && how != f.OnDelete {
		return fmt.Errorf("%s, the policy is %s", d.Action, f.OnDelete)
	}
	if d.Action == Anonymise || d.Action == Delete {
		if d.Now.Account && !d.Now.Proven {
			return fmt.Errorf("%s of an account that may be another's", d.Action)
		}
		if d.Now.UserID == "" && (f.Found.ByLink == nil || d.Now.ID != f.Found.ByLink.ID) {
			return fmt.Errorf("%s of a customer that nothing names", d.Action)
		}
	}
	switch d.Action {
	case Adopt:
		if f.Want.Email == "" || d.Now.Account || d.Now.UserID != "" && d.Now.UserID != me || len(f.Found.ByEmail) != 1 {
			return fmt.Errorf("adopts what it must not: %+v", d.Now)
		}
		if own, _ := ownCustomer(f); own != nil {
			return fmt.Errorf("adopts a second customer")
		}
	case Create:
		if len(f.Found.ByEmail) > 0 || f.Found.ByLink != nil || slices.ContainsFunc(f.Found.ByUser, func(c lockstep.Customer) bool { return !c.Account || c.Proven }) {
			return fmt.Errorf("creates beside what is there")
		}
	case Update, Release, Anonymise, Delete:
		if isOthers(d.Now, me) {
			return fmt.Errorf("%s of another's customer", d.Action)
		}
		if d.Now.Account && !d.Now.Proven && (f.Found.ByLink == nil || d.Now.ID != f.Found.ByLink.ID) {
			return fmt.Errorf("%s of an account that nothing but a mark names", d.Action)
		}
		if d.Action == Update && !Differs(d.Now, d.Want) {
			return fmt.Errorf("update that changes nothing")
		}
		for _, c := range f.Found.ByEmail {
			if d.Action == Update && d.Want.Account && !d.Now.Account && c.Account && c.ID != d.Now.ID && c.Email == d.Now.Email {
				return fmt.Errorf("makes a second account beside %s", c.ID)
			}
			if d.Action == Update && d.Want.Email != "" && d.Want.Email != d.Now.Email && c.ID != d.Now.ID {
				return fmt.Errorf("takes the e-mail of %s", c.ID)
			}
		}
	case Conflict, Wait:
		if d.BlockedBy == "" || d.Status == lockstep.StatusLinked {
			return fmt.Errorf("%s names nobody: %+v", d.Action, d)
		}
	case Nothing:
		if d.Status == lockstep.StatusLinked && Differs(d.Now, d.Want) {
			return fmt.Errorf("nothing, but fields differ")
		}
	default:
		return fmt.Errorf("no action %q", d.Action)
	}
	return nil
}

func TestPlanOverItsWholeInputSpace(t *testing.T) {
	seen, cases := map[Action]int{}, 0
	everyFacts(func(name string, f Facts) {
		d := Plan(f)
		seen[d.Action]++
		cases++
		if err := check(f, d); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	for _, a := range []Action{Nothing, Create, Adopt, Update, Release, Anonymise, Delete, Wait, Conflict} {
		if seen[a] == 0 {
			t.Errorf("no facts lead to %s", a)
		}
	}
	t.Logf("%d combinations: %v", cases, seen)
}

// The table of Plan's comment, line by line.
func TestPlanTable(t *testing.T) {
	guest := lockstep.Customer{ID: "cus_g", Email: mail}
	mine := lockstep.Customer{ID: "cus_1", UserID: me, Email: mail, FirstName: "Ada"}
	with := func(c lockstep.Customer, change func(*lockstep.Customer)) lockstep.Customer { change(&c); return c }
	verified := lockstep.Customer{UserID: me, Email: mail, FirstName: "Ada"}
	noEmail := lockstep.Customer{UserID: me, FirstName: "Ada"}
	account := with(verified, func(c *lockstep.Customer) { c.Account = true })
	asAccount := func(c lockstep.Customer) *lockstep.Customer { c.Account = true; return &c }
	signedIn := with(mine, func(c *lockstep.Customer) { c.Account, c.Proven = true, true })
	for _, tt := range []struct {
		name   string
		facts  Facts
		action Action
		status lockstep.Status
		on, by string
	}{
		{"deleted, marked", Facts{Deleted: true, Found: lockstep.Found{ByLink: &mine}}, Release, lockstep.StatusReleased, "cus_1", ""},
		{"deleted, marked, anonymise", Facts{Deleted: true, OnDelete: lockstep.OnDeleteAnonymise, Found: lockstep.Found{ByLink: &mine}}, Anonymise, lockstep.StatusReleased, "cus_1", ""},
		{"deleted, marked, delete", Facts{Deleted: true, OnDelete: lockstep.OnDeleteDelete, Found: lockstep.Found{ByUser: []lockstep.Customer{mine}}}, Delete, lockstep.StatusReleased, "cus_1", ""},
		{"deleted, an account that may be another's", Facts{Deleted: true, OnDelete: lockstep.OnDeleteDelete, Found: lockstep.Found{ByLink: asAccount(mine)}}, Release, lockstep.StatusReleased, "cus_1", ""},
		{"deleted, a mark that a shopper wrote", Facts{Deleted: true, OnDelete: lockstep.OnDeleteDelete, Found: lockstep.Found{ByUser: []lockstep.Customer{*asAccount(mine)}}}, Nothing, lockstep.StatusReleased, "", ""},
		{"deleted, let go before", Facts{Deleted: true, OnDelete: lockstep.OnDeleteKeep, Found: lockstep.Found{ByLink: &guest}}, Nothing, lockstep.StatusReleased, "cus_g", ""},
		{"deleted, let go before, anonymise", Facts{Deleted: true, OnDelete: lockstep.OnDeleteAnonymise, Found: lockstep.Found{ByLink: &guest}}, Anonymise, lockstep.StatusReleased, "cus_g", ""},
		{"deleted, let go before, another's now", Facts{Deleted: true, OnDelete: lockstep.OnDeleteDelete, Found: lockstep.Found{ByLink: &lockstep.Customer{ID: "cus_3", UserID: other}}}, Nothing, lockstep.StatusReleased, "", ""},
		{"deleted, a person had unlinked it", Facts{Deleted: true, OnDelete: lockstep.OnDeleteDelete, Choice: &lockstep.Choice{Kind: lockstep.ChoiceUnlink}, Found: lockstep.Found{ByLink: &mine}}, Unmark, lockstep.StatusReleased, "cus_1", ""},
		{"deleted, a person had unlinked it, unmarked", Facts{Deleted: true, OnDelete: lockstep.OnDeleteDelete, Choice: &lockstep.Choice{Kind: lockstep.ChoiceUnlink}, Found: lockstep.Found{ByLink: &guest}}, Nothing, lockstep.StatusReleased, "", ""},
		{"deleted, a person had chosen another", Facts{Deleted: true, OnDelete: lockstep.OnDeleteDelete, Choice: &lockstep.Choice{Kind: lockstep.ChoiceUse, Customer: "cus_2", Seen: []string{"cus_1", "cus_2"}}, Found: lockstep.Found{ByLink: &mine}}, Unmark, lockstep.StatusReleased, "cus_1", ""},
		{"deleted, a person had chosen it", Facts{Deleted: true, OnDelete: lockstep.OnDeleteDelete, Choice: &lockstep.Choice{Kind: lockstep.ChoiceUse, Customer: "cus_1", Seen: []string{"cus_1", "cus_2"}}, Found: lockstep.Found{ByLink: &mine}}, Delete, lockstep.StatusReleased, "cus_1", ""},
		{"deleted, none", Facts{Deleted: true, OnDelete: lockstep.OnDeleteDelete}, Nothing, lockstep.StatusReleased, "", ""},
		{"two carry the user", Facts{Want: verified, Found: lockstep.Found{ByLink: &mine, ByUser: []lockstep.Customer{{ID: "cus_2", UserID: me}}}}, Conflict, lockstep.StatusConflict, "", "cus_2"},
		{"link carries another", Facts{Want: verified, Found: lockstep.Found{ByLink: &lockstep.Customer{ID: "cus_3", UserID: other}}}, Conflict, lockstep.StatusConflict, "", "cus_3"},
		{"known, differs", Facts{Want: with(verified, func(c *lockstep.Customer) { c.FirstName = "Eve" }), Found: lockstep.Found{ByLink: &mine}}, Update, lockstep.StatusLinked, "cus_1", ""},
		{"known by mark only", Facts{Want: verified, Found: lockstep.Found{ByUser: []lockstep.Customer{mine}}}, Nothing, lockstep.StatusLinked, "cus_1", ""},
		{"a mark that a shopper wrote", Facts{Want: verified, Found: lockstep.Found{ByUser: []lockstep.Customer{{ID: "cus_f", UserID: me, Account: true}}}}, Create, lockstep.StatusLinked, "", ""},
		{"known, beside a mark that a shopper wrote", Facts{Want: verified, Found: lockstep.Found{ByLink: &mine, ByUser: []lockstep.Customer{mine, {ID: "cus_f", UserID: me, Account: true}}}}, Nothing, lockstep.StatusLinked, "cus_1", ""},
		{"known, lost its mark", Facts{Want: verified, Found: lockstep.Found{ByLink: &lockstep.Customer{ID: "cus_1", Email: mail, FirstName: "Ada"}}}, Update, lockstep.StatusLinked, "cus_1", ""},
		{"known, e-mail held by a guest", Facts{Want: with(verified, func(c *lockstep.Customer) { c.Email = "new@example.test" }), Found: lockstep.Found{ByLink: &mine, ByEmail: []lockstep.Customer{{ID: "cus_g", Email: "new@example.test"}}}}, Conflict, lockstep.StatusConflict, "cus_1", "cus_g"},
		{"known, e-mail held, name differs", Facts{Want: lockstep.Customer{UserID: me, Email: "new@example.test", FirstName: "Eve"}, Found: lockstep.Found{ByLink: &mine, ByEmail: []lockstep.Customer{{ID: "cus_g"}}}}, Update, lockstep.StatusConflict, "cus_1", "cus_g"},
		{"known, untidy", Facts{Want: verified, Found: lockstep.Found{ByLink: &lockstep.Customer{ID: "cus_1", UserID: me, Email: mail, FirstName: "Ada", Untidy: true}}}, Update, lockstep.StatusLinked, "cus_1", ""},
		{"known, as it should be", Facts{Want: verified, Found: lockstep.Found{ByLink: &mine}}, Nothing, lockstep.StatusLinked, "cus_1", ""},
		{"known, e-mail no longer verified", Facts{Want: noEmail, Unverified: "new@example.test", Found: lockstep.Found{ByLink: &mine}}, Nothing, lockstep.StatusLinked, "cus_1", ""},
		{"unverified, somebody holds it", Facts{Want: noEmail, Unverified: mail, Found: lockstep.Found{ByEmail: []lockstep.Customer{guest}}}, Wait, lockstep.StatusWaiting, "", "cus_g"},
		{"unverified, nobody holds it", Facts{Want: noEmail, Unverified: mail}, Create, lockstep.StatusLinked, "", ""},
		{"no e-mail", Facts{Want: noEmail}, Create, lockstep.StatusLinked, "", ""},
		{"verified, nobody holds it", Facts{Want: verified}, Create, lockstep.StatusLinked, "", ""},
		{"verified, a guest holds it", Facts{Want: verified, Found: lockstep.Found{ByEmail: []lockstep.Customer{guest}}}, Adopt, lockstep.StatusLinked, "cus_g", ""},
		{"verified, an account holds it", Facts{Want: verified, Found: lockstep.Found{ByEmail: []lockstep.Customer{{ID: "cus_a", Email: mail, Account: true}}}}, Conflict, lockstep.StatusConflict, "", "cus_a"},
		{"verified, another's holds it", Facts{Want: verified, Found: lockstep.Found{ByEmail: []lockstep.Customer{{ID: "cus_o", Email: mail, UserID: other}}}}, Conflict, lockstep.StatusConflict, "", "cus_o"},
		{"an account is due, guest", Facts{Want: account, Found: lockstep.Found{ByLink: &mine, ByEmail: []lockstep.Customer{mine}}}, Update, lockstep.StatusLinked, "cus_1", ""},
		{"an account is due, another one holds it", Facts{Want: account, Found: lockstep.Found{ByLink: &mine, ByEmail: []lockstep.Customer{mine, {ID: "cus_a", Email: mail, Account: true}}}}, Conflict, lockstep.StatusConflict, "cus_1", "cus_a"},
		{"signs in, no link", Facts{Want: account, Found: lockstep.Found{ByUser: []lockstep.Customer{signedIn}, ByEmail: []lockstep.Customer{signedIn}}}, Nothing, lockstep.StatusLinked, "cus_1", ""},
		{"signs in, deleted, no link", Facts{Deleted: true, Found: lockstep.Found{ByUser: []lockstep.Customer{signedIn}}}, Release, lockstep.StatusReleased, "cus_1", ""},
		{"signs in elsewhere than the link says", Facts{Want: account, Found: lockstep.Found{ByLink: &lockstep.Customer{ID: "cus_2", UserID: me}, ByUser: []lockstep.Customer{signedIn}}}, Conflict, lockstep.StatusConflict, "", "cus_1"},
		{"an account, and none is due any more", Facts{Want: verified, Found: lockstep.Found{ByLink: &signedIn}}, Nothing, lockstep.StatusLinked, "cus_1", ""},
		{"verified, two guests hold it", Facts{Want: verified, Found: lockstep.Found{ByEmail: []lockstep.Customer{guest, {ID: "cus_h", Email: mail}}}}, Conflict, lockstep.StatusConflict, "", "cus_h"},
	} {
		tt.facts.UserID = me
		d := Plan(tt.facts)
		if d.Action != tt.action || d.Status != tt.status || d.Now.ID != tt.on || d.BlockedBy != tt.by {
			t.Errorf("%s: got %s, %s, on %q, by %q", tt.name, d.Action, d.Status, d.Now.ID, d.BlockedBy)
		}
	}
}

// Random stores: whatever customers there are, in whatever state.
func TestPlanProperties(t *testing.T) {
	customer := rapid.Custom(func(t *rapid.T) lockstep.Customer {
		return lockstep.Customer{
			ID:        "cus_" + rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "id"),
			UserID:    rapid.SampledFrom([]string{"", me, other}).Draw(t, "mark"),
			Email:     rapid.SampledFrom([]string{"", mail, "Me@Example.test", "x@example.test"}).Draw(t, "email"),
			FirstName: rapid.SampledFrom([]string{"", "Ada", "Eve"}).Draw(t, "first"),
			Account:   rapid.Bool().Draw(t, "account"),
			Proven:    rapid.Bool().Draw(t, "proven"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		f := Facts{UserID: me, Deleted: rapid.Bool().Draw(t, "deleted"), OnDelete: rapid.SampledFrom([]lockstep.OnDelete{"", lockstep.OnDeleteKeep, lockstep.OnDeleteAnonymise, lockstep.OnDeleteDelete}).Draw(t, "policy"), Want: lockstep.Customer{UserID: me, FirstName: "Ada", Account: rapid.Bool().Draw(t, "accounts")}}
		switch rapid.IntRange(0, 2).Draw(t, "verified") {
		case 1:
			f.Unverified = mail
		case 2:
			f.Want.Email = mail
		}
		for _, c := range rapid.SliceOfNDistinct(customer, 0, 4, func(c lockstep.Customer) string { return c.ID }).Draw(t, "store") {
			if rapid.Bool().Draw(t, "linked") && f.Found.ByLink == nil {
				f.Found.ByLink = &c
			}
			if c.UserID == me {
				f.Found.ByUser = append(f.Found.ByUser, c)
			}
			if lockstep.NormalEmail(c.Email) == f.Want.Email+f.Unverified && c.Email != "" {
				f.Found.ByEmail = append(f.Found.ByEmail, c)
			}
		}
		d := Plan(f)
		if err := check(f, d); err != nil {
			t.Fatalf("%v\nfacts: %+v\ndecision: %+v", err, f, d)
		}
		if again := Plan(f); again != d {
			t.Fatalf("not a function of its facts: %+v, then %+v", d, again)
		}
	})
}
