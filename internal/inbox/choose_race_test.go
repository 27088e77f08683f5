package inbox

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/targettest"
)

// gate is a store whose writes stop at a point until they are let through.
type gate struct {
	*targettest.Fake
	mu     sync.Mutex
	before func(method string) // called before a write, if set
	after  func(method string)
}

func (g *gate) set(before, after func(string)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.before, g.after = before, after
}

func (g *gate) pass(method string, do func() error) error {
	g.mu.Lock()
	before, after := g.before, g.after
	g.mu.Unlock()
	if before != nil {
		before(method)
	}
	err := do()
	if after != nil {
		after(method)
	}
	return err
}

func (g *gate) Update(ctx context.Context, now, want lockstep.Customer) (c lockstep.Customer, err error) {
	err = g.pass("Update", func() error { c, err = g.Fake.Update(ctx, now, want); return err })
	return c, err
}

func (g *gate) Release(ctx context.Context, now lockstep.Customer, how lockstep.OnDelete) (done lockstep.OnDelete, err error) {
	err = g.pass("Release", func() error { done, err = g.Fake.Release(ctx, now, how); return err })
	return done, err
}

// twoGuests is a user in conflict about two guests that hold the e-mail.
func twoGuests(t *testing.T) (d *desk, g *gate, first, second string) {
	t.Helper()
	g = &gate{Fake: targettest.NewFake("fake")}
	d = &desk{newBox(t, g), g.Fake}
	first = d.put(lockstep.Customer{Email: "a@example.test"})
	second = d.put(lockstep.Customer{Email: "A@example.test"})
	d.accept(user("a", 1))
	d.eventually("in conflict", isStatus, "user_a", "conflict")
	return d, g, first, second
}

// hasOnly checks who the user is in the end.
func (d *desk) hasOnly(id, customer string) {
	d.t.Helper()
	got := live(d.t, d.store)["user_"+id]
	if d.customer(id) != customer || len(got) != 1 || got[0].ID != customer {
		d.t.Errorf("user_%s is linked to %q, and carried by %+v; want %s alone", id, d.customer(id), got, customer)
	}
}

// A choice that comes while a worker writes is not lost: the worker goes round
// again, and the customer that it had just made the user's is let go.
func TestChoiceWhileAWorkerHoldsTheLink(t *testing.T) {
	t.Parallel()
	d, g, first, second := twoGuests(t)
	writing, chosen := make(chan struct{}), make(chan struct{})
	var once sync.Once
	g.set(func(string) {
		once.Do(func() {
			close(writing)
			<-chosen
		})
	}, nil)
	if err := d.chooses("a", use, first); err != nil {
		t.Fatal(err)
	}
	<-writing
	if err := d.chooses("a", use, second); err != nil {
		t.Fatal(err)
	}
	close(chosen)
	d.eventually("the second choice is carried out", `select coalesce((select customer_id = $1 and applied = desired from lockstep.customer_links where clerk_user_id = 'user_a'), false)`, second)
	d.hasOnly("a", second)
}

// Two persons look at once and choose different things: one is told that the
// other was faster.
func TestTwoPersonsChooseAtOnce(t *testing.T) {
	t.Parallel()
	d, _, first, second := twoGuests(t)
	links, err := d.Inbox.store.Links(t.Context(), "user_a")
	if err != nil {
		t.Fatal(err)
	}
	seen := linkTo(links, "fake") // by both
	choices := []string{first, second}
	failed := make([]error, 2)
	var all sync.WaitGroup
	for i, customer := range choices {
		all.Go(func() {
			failed[i] = d.inTx(t.Context(), func(tx pgx.Tx) error {
				k, err := d.Inbox.store.Choose(t.Context(), tx, seen, madeFor(t, d, seen, customer), "in a test")
				if err != nil {
					return err
				}
				return d.enqueue(t.Context(), tx, []postgres.Key{k})
			})
		})
	}
	all.Wait()
	won := 0
	if failed[0] != nil {
		won = 1
	}
	if failed[won] != nil || !errors.Is(failed[1-won], postgres.ErrChosen) {
		t.Fatalf("%v", failed)
	}
	d.eventually("the faster one's is carried out", isStatus, "user_a", "linked")
	d.hasOnly("a", choices[won])
	if err := d.chooses("a", use, choices[1-won]); err != nil { // who has seen it may decide otherwise
		t.Fatal(err)
	}
	d.eventually("the other one's is carried out", `select customer_id = $1 and applied = desired from lockstep.customer_links where clerk_user_id = 'user_a'`, choices[1-won])
	d.hasOnly("a", choices[1-won])
}

func madeFor(t *testing.T, d *desk, link lockstep.Link, customer string) lockstep.Choice {
	t.Helper()
	profile, err := d.Inbox.store.Profile(t.Context(), link.UserID)
	if err != nil {
		t.Error(err)
	}
	c, err := engine.Choose(t.Context(), d.targets["fake"], profile, link, use, customer, d.Inbox.store.Owners, d.Inbox.store.Tombstone)
	if err != nil {
		t.Error(err)
	}
	return c
}

// A worker that is killed after one mark went off, and before the other went on,
// leaves a user without a customer for a while, and never with two.
func TestKilledBetweenMarkOffAndMarkOn(t *testing.T) {
	t.Parallel()
	g := &gate{Fake: targettest.NewFake("fake")}
	d := &desk{newBox(t, g), g.Fake}
	own := d.linked("a")
	rival := d.put(lockstep.Customer{Email: "new@example.test", Account: true})
	d.moves("a", "new@example.test")
	d.eventually("in conflict", isStatus, "user_a", "conflict")

	dead := make(chan struct{}) // the killed worker's: it never comes back
	released := make(chan struct{})
	t.Cleanup(func() { close(dead) })
	var stopped atomic.Bool
	g.set(nil, func(method string) {
		if !stopped.CompareAndSwap(false, true) {
			return
		}
		if method != "Release" {
			t.Errorf("%s comes first", method)
		}
		close(released)
		<-dead
	})
	if err := d.chooses("a", use, rival); err != nil {
		t.Fatal(err)
	}
	<-released
	if got := live(t, d.store)["user_a"]; len(got) != 0 {
		t.Errorf("after the mark went off: %+v", got)
	}
	other := user("b", 1) // who would adopt what was let go, if nobody knew whose it was
	other.User.Email = "a@example.test"
	d.accept(other)
	d.eventually("another user finds it held", isStatus, "user_b", "conflict")
	d.exec(`update lockstep.customer_links set lease_until = now() - interval '1 second' where clerk_user_id = 'user_a'`) // as time would
	if err := d.SyncUser(t.Context(), "user_a"); err != nil {
		t.Fatal(err)
	}
	d.hasOnly("a", rival)
	d.eventually("the other user gets what was let go", isStatus, "user_b", "linked")
	d.hasOnly("b", own)
}

// A choice falls away with the facts that it was made on, before it is carried
// out or long after: then the rules decide again, and say so.
func TestChoiceFallsAway(t *testing.T) {
	t.Parallel()
	g := &gate{Fake: targettest.NewFake("fake")}
	d := &desk{newBox(t, g), g.Fake}
	for _, c := range []struct {
		id, void string
		change   func(own, rival string)
	}{
		{"gone", "is not there any more", func(_, rival string) {
			if err := d.store.Delete(t.Context(), rival); err != nil {
				t.Fatal(err)
			}
		}},
		{"taken", "is user_other's", func(_, rival string) { d.mark(rival, "user_other") }},
		{"moved", "another one since", func(_, _ string) {
			u := user("moved", 3)
			u.User.Email = "third@example.test"
			d.accept(u)
			d.eventually("stored", `select email = 'third@example.test' from public.profiles where id = 'user_moved'`)
		}},
		{"second", "as well by now", func(_, _ string) { d.put(lockstep.Customer{UserID: "user_second", Email: "2@example.test"}) }},
	} {
		own := d.linked(c.id)
		rival := d.put(lockstep.Customer{Email: "new." + c.id + "@example.test"})
		d.moves(c.id, "new."+c.id+"@example.test")
		d.eventually("in conflict", isStatus, "user_"+c.id, "conflict")
		d.exec(`update lockstep.customer_links set lease_until = now() + interval '1 hour' where clerk_user_id = $1`, "user_"+c.id) // nobody can carry it out yet
		if err := d.chooses(c.id, use, rival); err != nil {
			t.Fatal(err)
		}
		c.change(own, rival)
		before, _ := d.store.Live(t.Context())
		d.exec(`update lockstep.customer_links set lease_until = null where clerk_user_id = $1`, "user_"+c.id)
		if err := d.SyncUser(t.Context(), "user_"+c.id); err != nil {
			t.Fatal(err)
		}
		reason := testdb.Query[string](t, d.pool, `select status || ' ' || (choice is null) || ': ' || (select reason from lockstep.history h
			where h.clerk_user_id = l.clerk_user_id order by id desc limit 1) from lockstep.customer_links l where clerk_user_id = $1`, "user_"+c.id)
		if !strings.Contains(reason, " true: ") || !strings.Contains(reason, c.void) {
			t.Errorf("%s: %s, want the choice void: %s", c.id, reason, c.void)
		}
		if d.customer(c.id) != own {
			t.Errorf("%s: the user has %q, had %q", c.id, d.customer(c.id), own)
		}
		for _, r := range before { // the rival is as it was
			if now, is, _ := d.store.Get(t.Context(), r.ID); r.ID == rival && is && now.Version != r.Version {
				t.Errorf("%s: %+v became %+v", c.id, r, now)
			}
		}
	}
}

// Who was unlinked stays so, whatever changes, until a person says otherwise.
func TestUnlinkedUntilAPersonSaysOtherwise(t *testing.T) {
	t.Parallel()
	g := &gate{Fake: targettest.NewFake("fake")}
	d := &desk{newBox(t, g), g.Fake}
	own := d.linked("a")
	d.chosen("a", unlink, "")
	d.moves("a", "new@example.test")
	d.look("user_a")
	d.mark(own, "user_a")
	d.look("user_a")
	if got := live(t, d.store); len(got["user_a"]) != 0 || len(got[""]) != 1 || d.customer("a") != "" {
		t.Errorf("unlinked, and yet %+v", got)
	}
	again := user("b", 1) // the customer is there for others
	again.User.Email = "a@example.test"
	d.accept(again)
	d.eventually("another user has it", isStatus, "user_b", "linked")
	d.hasOnly("b", own)
	if err := d.SyncUser(t.Context(), "user_a"); err != nil {
		t.Fatal(err)
	}
	d.eventually("sync makes one again", isStatus, "user_a", "linked")
	d.accept(deleted("a"))
	d.eventually("a deletion is final", isStatus, "user_a", "released")
	for _, kind := range []lockstep.ChoiceKind{use, keep, create, unlink} {
		if no, ok := errors.AsType[*RefusedChoice](d.chooses("a", kind, map[lockstep.ChoiceKind]string{use: own}[kind])); !ok || !strings.Contains(no.Text, "is deleted") {
			t.Errorf("%s for a deleted user: %v", kind, no)
		}
	}
}

// A living user's customer is taken once that user was unlinked.
func TestCustomerOfALivingUserIsTakenInTwoSteps(t *testing.T) {
	t.Parallel()
	d := newDesk(t, targettest.NewFake("fake"))
	theirs := d.linked("b")
	own := d.linked("a")
	d.moves("a", "b@example.test")
	d.eventually("in conflict", isStatus, "user_a", "conflict")
	no, ok := errors.AsType[*RefusedChoice](d.chooses("a", use, theirs))
	if want := "`lockstep conflicts resolve user_b --target fake --unlink` first"; !ok || !strings.Contains(no.Text, want) {
		t.Errorf("%v, want %s", no, want)
	}
	d.chosen("b", unlink, "")
	d.eventually("looked at again", `select blocked_by = $1 and held_by is null and status = 'conflict' and applied = desired from lockstep.customer_links where clerk_user_id = 'user_a'`, theirs)
	d.chosen("a", use, theirs)
	d.hasOnly("a", theirs)
	if got, _, _ := d.store.Get(t.Context(), own); got.UserID != "" || got.Email != "a@example.test" {
		t.Errorf("what the user had: %+v", got)
	}
}

// What is asked of what is not there.
func TestChoiceOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	d := newDesk(t, targettest.NewFake("fake"))
	d.linked("a")
	if _, err := d.Choose(t.Context(), Ask{User: "user_a", Target: "other", Kind: keep}); !errors.Is(err, ErrUnknownTarget) {
		t.Errorf("%v", err)
	}
	if err := d.chooses("nobody", keep, ""); !errors.Is(err, postgres.ErrNoProfile) {
		t.Errorf("%v", err)
	}
	if no, ok := errors.AsType[*RefusedChoice](d.chooses("a", use, "fake_99999999")); !ok || !strings.Contains(no.Text, "no customer fake_99999999") {
		t.Errorf("%v", no)
	}
	guest := d.put(lockstep.Customer{Email: "u@example.test"})
	u := user("u", 1)
	u.User.EmailVerified = false
	d.accept(u)
	d.eventually("waits", isStatus, "user_u", "waiting")
	if no, ok := errors.AsType[*RefusedChoice](d.chooses("u", use, guest)); !ok || !strings.Contains(no.Text, "has not verified") {
		t.Errorf("by an unverified e-mail: %v", no)
	}
	d.store.Break(targettest.FaultRefusal)
	if err := d.chooses("a", keep, ""); !errors.Is(err, lockstep.ErrRefused) {
		t.Errorf("%v", err)
	}
}

// A choice that falls away takes no newer one with it.
func TestVoidChoiceLeavesANewerOne(t *testing.T) {
	t.Parallel()
	g := &gate{Fake: targettest.NewFake("fake")}
	d := &desk{newBox(t, g), g.Fake}
	own := d.linked("a")
	rival := d.put(lockstep.Customer{Email: "new@example.test"})
	d.moves("a", "new@example.test")
	d.eventually("in conflict", isStatus, "user_a", "conflict")
	d.exec(`update lockstep.customer_links set lease_until = now() + interval '1 hour'`) // nobody can carry it out yet
	if err := errors.Join(d.chooses("a", use, rival), d.store.Delete(t.Context(), rival)); err != nil {
		t.Fatal(err)
	}
	writing, chosen := make(chan struct{}), make(chan struct{})
	var once sync.Once
	g.set(func(string) {
		once.Do(func() {
			close(writing)
			<-chosen
		})
	}, nil)
	d.exec(`update lockstep.customer_links set lease_until = null`)
	done := make(chan error, 1)
	go func() { done <- d.SyncUser(t.Context(), "user_a") }()
	<-writing // by the rules: the choice is void
	err := d.chooses("a", keep, "")
	close(chosen)
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	if got := testdb.Query[string](t, d.pool, `select coalesce(choice ->> 'customer', 'none') from lockstep.customer_links where clerk_user_id = 'user_a'`); got != own {
		t.Errorf("the choice is %s, want the newer one: %s", got, own)
	}
}
