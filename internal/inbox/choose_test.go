package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/targettest"
)

// desk is a box, its one store, and the person who decides.
type desk struct {
	*box
	store *targettest.Fake
}

func newDesk(t *testing.T, f *targettest.Fake) *desk {
	t.Helper()
	return &desk{newBox(t, hiding{f}), f}
}

// hiding is a store that calls an e-mail with "hidden" in it taken, and shows
// nobody who holds it.
type hiding struct{ *targettest.Fake }

func (h hiding) hides(want lockstep.Customer) error {
	if strings.Contains(want.Email, "hidden") {
		return &lockstep.TargetError{Kind: lockstep.ErrTaken, Err: errors.New("the e-mail")}
	}
	return nil
}

func (h hiding) Create(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
	if err := h.hides(want); err != nil {
		return lockstep.Customer{}, err
	}
	return h.Fake.Create(ctx, want)
}

func (h hiding) Update(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	if err := h.hides(lockstep.Changes(now, want)); err != nil {
		return lockstep.Customer{}, err
	}
	return h.Fake.Update(ctx, now, want)
}

func (d *desk) put(c lockstep.Customer) string {
	d.t.Helper()
	r, err := d.store.Put(d.t.Context(), targettest.Record{Customer: c})
	if err != nil {
		d.t.Fatal(err)
	}
	return r.ID
}

// linked makes a user who has a customer.
func (d *desk) linked(id string) string {
	d.t.Helper()
	d.accept(user(id, 1))
	d.eventually(id+" is linked", isStatus, "user_"+id, "linked")
	return d.customer(id)
}

func (d *desk) customer(id string) string {
	d.t.Helper()
	return testdb.Query[string](d.t, d.pool, `select coalesce(customer_id, '') from lockstep.customer_links where clerk_user_id = $1`, "user_"+id)
}

// moves gives a user another e-mail.
func (d *desk) moves(id, email string) {
	d.t.Helper()
	u := user(id, 2)
	u.User.Email = email
	d.accept(u)
}

func (d *desk) mark(customer, userID string) {
	d.t.Helper()
	r, _, err := d.store.Get(d.t.Context(), customer)
	if r.UserID = userID; err == nil {
		err = d.store.Edit(d.t.Context(), r)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// look has the workers look at users again, as a change would: at one, or at all.
func (d *desk) look(ids ...string) {
	d.t.Helper()
	err := d.inTx(d.t.Context(), func(tx pgx.Tx) error {
		keys, err := d.Inbox.store.Bump(d.t.Context(), tx, ids, []string{"fake"})
		if err != nil {
			return err
		}
		return d.enqueue(d.t.Context(), tx, keys)
	})
	if err != nil {
		d.t.Fatal(err)
	}
	d.eventually("all are looked at", settled)
}

func (d *desk) chooses(id string, kind lockstep.ChoiceKind, customer string) error {
	d.t.Helper()
	_, err := d.Choose(d.t.Context(), Ask{User: "user_" + id, Target: "fake", Kind: kind, Customer: customer, Where: "in a test"})
	return err
}

// chosen is a choice that is made and carried out.
func (d *desk) chosen(id string, kind lockstep.ChoiceKind, customer string) {
	d.t.Helper()
	if err := d.chooses(id, kind, customer); err != nil {
		d.t.Fatalf("%s %s %s: %v", id, kind, customer, err)
	}
	status := "linked"
	if kind == lockstep.ChoiceUnlink {
		status = "waiting"
	}
	d.eventually(fmt.Sprintf("%s is %s by %s", id, status, kind), isStatus, "user_"+id, status)
}

// row is a row of the decision table that ends in a conflict, and how it comes
// about for a user; it returns the customer in the way.
type row struct {
	name     string
	happens  func(d *desk, id string) (rival string)
	choices  []lockstep.ChoiceKind // that end it
	refused  lockstep.ChoiceKind   // and one that does not, with a part of why
	why      string
	accounts bool
}

const (
	use    = lockstep.ChoiceUse
	create = lockstep.ChoiceCreate
	unlink = lockstep.ChoiceUnlink
	keep   = engine.Keep
)

func conflictRows() []row { return slices.Concat(rowsOfHaving(), rowsOfHavingNone()) }

func mailOf(id string) string { return id + "@example.test" }

// holding has a customer hold the e-mail of a user who is new.
func holding(c lockstep.Customer) func(*desk, string) string {
	return func(d *desk, id string) string {
		c.Email = mailOf(id)
		rival := d.put(c)
		d.accept(user(id, 1))
		return rival
	}
}

// taking has a customer hold the new e-mail of a user who has a customer.
func taking(c lockstep.Customer) func(*desk, string) string {
	return func(d *desk, id string) string {
		c.Email = "new." + mailOf(id)
		d.linked(id)
		rival := d.put(c)
		d.moves(id, c.Email)
		return rival
	}
}

const dead = "user_dead"

// rowsOfHaving are conflicts of users who have a customer, or had one.
func rowsOfHaving() []row {
	all, unknown := []lockstep.ChoiceKind{use, keep, unlink}, []lockstep.ChoiceKind{use, create, unlink}
	return []row{
		{name: "two customers carry the user", choices: all, refused: create, why: "already", happens: func(d *desk, id string) string {
			d.linked(id)
			rival := d.put(lockstep.Customer{UserID: "user_" + id, Email: "second." + mailOf(id)})
			d.look("user_" + id)
			return rival
		}},
		{name: "a customer of another user carries the user", choices: []lockstep.ChoiceKind{keep, unlink}, refused: use, why: "--unlink` first", happens: func(d *desk, id string) string {
			d.linked(id)
			rival := d.linked(id + "other")
			d.mark(rival, "user_"+id)
			d.look("user_" + id)
			return rival
		}},
		{name: "the link's customer carries another user", choices: []lockstep.ChoiceKind{create, unlink}, refused: use, why: "--unlink` first", happens: func(d *desk, id string) string {
			own := d.linked(id)
			d.linked(id + "other")
			d.mark(own, "user_"+id+"other")
			d.look("user_" + id)
			return own
		}},
		{name: "the link's customer carries a deleted user", choices: unknown, happens: func(d *desk, id string) string {
			own := d.linked(id)
			d.mark(own, dead)
			d.look("user_" + id)
			return own
		}},
		{name: "a guest holds the new e-mail", choices: all, happens: taking(lockstep.Customer{})},
		{name: "an account holds the new e-mail", choices: all, happens: taking(lockstep.Customer{Account: true})},
		{name: "a deleted user's customer holds the new e-mail", choices: all, happens: taking(lockstep.Customer{UserID: dead})},
		{name: "another user's customer holds the new e-mail", choices: []lockstep.ChoiceKind{keep, unlink}, refused: use, why: "--unlink` first", happens: func(d *desk, id string) string {
			d.linked(id)
			rival := d.linked(id + "other")
			d.moves(id, mailOf(id+"other"))
			return rival
		}},
		{name: "an account is due, another one holds it", accounts: true, choices: []lockstep.ChoiceKind{use, unlink}, refused: keep, why: "cannot sign in", happens: func(d *desk, id string) string {
			d.put(lockstep.Customer{UserID: "user_" + id, Email: mailOf(id)})
			return holding(lockstep.Customer{Account: true})(d, id)
		}},
		{name: "signs in elsewhere than the link says", accounts: true, choices: all, happens: func(d *desk, id string) string {
			d.linked(id)
			rival := d.put(lockstep.Customer{UserID: "user_" + id, Account: true})
			d.look("user_" + id)
			return rival
		}},
	}
}

// rowsOfHavingNone are conflicts of users who never had a customer, and one more
// about what a store hides.
func rowsOfHavingNone() []row {
	unknown := []lockstep.ChoiceKind{use, create, unlink}
	return []row{
		{name: "an account holds the e-mail", choices: unknown, refused: keep, why: "no customer there to keep", happens: holding(lockstep.Customer{Account: true})},
		{name: "a deleted user's customer holds the e-mail", choices: unknown, happens: holding(lockstep.Customer{UserID: dead})},
		{name: "a deleted user's account holds the e-mail", accounts: true, choices: unknown, happens: holding(lockstep.Customer{UserID: dead, Account: true})},
		{name: "another user's customer holds the e-mail", choices: []lockstep.ChoiceKind{create, unlink}, refused: use, why: "--unlink` first", happens: func(d *desk, id string) string {
			rival := d.linked(id + "other")
			second := user(id, 1)
			second.User.Email = mailOf(id + "other")
			d.accept(second)
			return rival
		}},
		{name: "two guests hold the e-mail", choices: unknown, happens: func(d *desk, id string) string {
			d.put(lockstep.Customer{Email: strings.ToUpper(mailOf(id))})
			return holding(lockstep.Customer{})(d, id)
		}},
		{name: "a hidden customer holds the e-mail", choices: []lockstep.ChoiceKind{create, unlink}, happens: func(d *desk, id string) string {
			d.accept(user(id+"hidden", 1))
			return ""
		}},
		{name: "a hidden customer holds the new e-mail", choices: []lockstep.ChoiceKind{keep, unlink}, happens: func(d *desk, id string) string {
			d.linked(id)
			d.moves(id, "hidden."+mailOf(id))
			return ""
		}},
	}
}

// Every conflict, by the rows of the decision table, is ended by each choice that
// makes sense, once and for all: whatever looks again finds nothing to do.
func TestEveryConflictIsEndedByEveryChoice(t *testing.T) {
	t.Parallel()
	for _, accounts := range []bool{false, true} {
		t.Run(fmt.Sprintf("accounts=%v", accounts), func(t *testing.T) {
			t.Parallel()
			f := targettest.NewFake("fake")
			f.Accounts = accounts
			d := newDesk(t, f)
			d.accept(deleted("dead"))
			d.eventually("dead is released", isStatus, "user_dead", "released")
			for n, r := range conflictRows() {
				for _, kind := range r.choices {
					if accounts == r.accounts {
						d.endsBy(r, kind, fmt.Sprintf("r%d%s", n, kind))
					}
				}
			}
			d.isSteady()
		})
	}
}

func (d *desk) endsBy(r row, kind lockstep.ChoiceKind, id string) {
	d.t.Helper()
	rival := r.happens(d, id)
	if rival == "" && r.choices[0] == create {
		id += "hidden"
	}
	d.eventually(r.name, isStatus, "user_"+id, "conflict")
	own, offered := d.customer(id), d.offered(id)
	if r.refused != "" {
		customer := ""
		if r.refused == use {
			customer = rival
		}
		no, ok := errors.AsType[*RefusedChoice](d.chooses(id, r.refused, customer))
		if !ok || !strings.Contains(no.Text, r.why) {
			d.t.Errorf("%s, %s: %v", r.name, r.refused, no)
		}
	}
	customer := map[lockstep.ChoiceKind]string{use: rival}[kind]
	if want := string(kind) + " " + customer; kind != keep && !strings.Contains(offered, want+"\n") && !strings.Contains(offered, "deleted "+rival) {
		d.t.Errorf("%s: %q is not among the offers:\n%s", r.name, want, offered)
	}
	d.chosen(id, kind, customer)
	got := d.customer(id)
	switch {
	case kind == use && got != rival, kind == keep && got != own, kind == create && (got == "" || got == own || got == rival), kind == unlink && got != "":
		d.t.Errorf("%s, %s: the user has customer %q; before %q, in the way %q", r.name, kind, got, own, rival)
	}
	for _, c := range live(d.t, d.store)["user_"+id] {
		if c.ID != got {
			d.t.Errorf("%s, %s: %s carries the user as well", r.name, kind, c.ID)
		}
	}
	if told := testdb.Query[int](d.t, d.pool, `select count(*) from lockstep.history where clerk_user_id = $1 and action = 'choose' and reason like 'a person chose in a test: %'`, "user_"+id); told != 1 {
		d.t.Errorf("%s, %s: the history tells of %d choices", r.name, kind, told)
	}
	d.otherSettles("user_" + id + "other")
}

// otherSettles lets the user from whom something was taken, or who had two, be
// looked at, and keep what is theirs.
func (d *desk) otherSettles(user string) {
	d.t.Helper()
	if !testdb.Query[bool](d.t, d.pool, `select count(*) > 0 from lockstep.customer_links where clerk_user_id = $1`, user) {
		return
	}
	d.look(user)
	if testdb.Query[bool](d.t, d.pool, `select status = 'conflict' from lockstep.customer_links where clerk_user_id = $1`, user) {
		d.chosen(strings.TrimPrefix(user, "user_"), keep, "")
	}
}

// offered lists what `conflicts` is told for a user.
func (d *desk) offered(id string) string {
	d.t.Helper()
	list, err := d.Inbox.store.Conflicts(d.t.Context(), []string{"fake"}, 100)
	if err != nil {
		d.t.Fatal(err)
	}
	var text strings.Builder
	for _, c := range list {
		if c.User != "user_"+id {
			continue
		}
		for _, choice := range c.Choices {
			fmt.Fprintf(&text, "%s %s\n", choice.Kind, choice.Customer)
		}
		if c.Deleted {
			fmt.Fprintf(&text, "deleted %s", c.BlockedBy)
		}
	}
	return text.String()
}

// isSteady has everybody looked at again, and all compared: nothing is written,
// and nothing found.
func (d *desk) isSteady() {
	d.t.Helper()
	d.look("user_dead") // whose customers that nobody took are let go
	before, _ := d.store.Live(d.t.Context())
	d.look(testdb.Query[[]string](d.t, d.pool, `select array_agg(clerk_user_id) from lockstep.customer_links`)...)
	after, _ := d.store.Live(d.t.Context())
	if diff := cmp.Diff(before, after); diff != "" {
		d.t.Errorf("a second sync wrote (-before +after):\n%s", diff)
	}
	if r := d.reconcile(ReconcileOptions{Deep: true, Target: "fake"}); len(r.Drift) != 0 {
		d.t.Errorf("drift: %+v, open %+v", r.Drift, r.Open)
	}
}
