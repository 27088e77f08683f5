package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/targettest"
	"pgregory.net/rapid"
)

const (
	me, living, dead = "user_me", "user_living", "user_dead"
	mail             = "me@example.test"
)

// town is a store, and what Lockstep remembers of three users' customers there.
type town struct {
	accounts bool
	records  []targettest.Record
	links    map[string]string // by user
	profile  lockstep.Profile
}

func drawTown(t *rapid.T) *town {
	w := &town{accounts: rapid.Bool().Draw(t, "accounts"), links: map[string]string{}}
	w.profile = lockstep.Profile{ID: me, FirstName: "Ada", Email: mail, EmailVerified: rapid.Bool().Draw(t, "verified")}
	for i := range rapid.IntRange(0, 4).Draw(t, "customers") {
		w.records = append(w.records, targettest.Record{Customer: lockstep.Customer{
			UserID:    rapid.SampledFrom([]string{"", me, living, dead}).Draw(t, "mark"),
			Email:     rapid.SampledFrom([]string{"", mail, "Me@Example.test", "x@example.test", "y@example.test"}).Draw(t, "email"),
			FirstName: rapid.SampledFrom([]string{"", "Ada", "Eve"}).Draw(t, "first"),
			Account:   rapid.Bool().Draw(t, "account"),
		}})
		if user := rapid.SampledFrom([]string{"", me, living}).Draw(t, "link"); user != "" && w.links[user] == "" {
			w.links[user] = fmt.Sprintf("fake_%08d", i+1)
		}
	}
	return w
}

// open makes the store; the ids are the same each time.
func (w *town) open(t *rapid.T) *targettest.Fake {
	f := targettest.NewFake("fake")
	f.Accounts = w.accounts
	for _, r := range w.records {
		if _, err := f.Put(context.Background(), r); err != nil {
			t.Skip(err)
		}
	}
	return f
}

func (w *town) owners(_ context.Context, _ string, ids []string) (map[string]string, error) {
	owner := map[string]string{}
	for user, id := range w.links {
		if slices.Contains(ids, id) {
			owner[id] = user
		}
	}
	return owner, nil
}

func isDead(_ context.Context, user string) (bool, error) { return user == dead, nil }

// killed is a target whose process dies after, or before, its n-th write.
type killed struct {
	*targettest.Fake
	writes int
	before bool
}

var errKilled = errors.New("killed")

func (k *killed) strike(do func() error) error {
	k.writes--
	if k.writes == 0 && k.before {
		return errKilled
	}
	if err := do(); err != nil || k.writes != 0 {
		return err
	}
	return errKilled
}

func (k *killed) write(do func() (lockstep.Customer, error)) (c lockstep.Customer, err error) {
	err = k.strike(func() error { c, err = do(); return err })
	return c, err
}

func (k *killed) Create(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
	return k.write(func() (lockstep.Customer, error) { return k.Fake.Create(ctx, want) })
}

func (k *killed) Update(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	return k.write(func() (lockstep.Customer, error) { return k.Fake.Update(ctx, now, want) })
}

func (k *killed) Release(ctx context.Context, now lockstep.Customer, how lockstep.OnDelete) (done lockstep.OnDelete, err error) {
	err = k.strike(func() error { done, err = k.Fake.Release(ctx, now, how); return err })
	return done, err
}

func (w *town) link() lockstep.Link {
	return lockstep.Link{UserID: me, Target: "fake", CustomerID: w.links[me], Status: lockstep.StatusPending}
}

// Any store, any conflict in it, any choice, killed at any write: whatever can be
// chosen ends the conflict, once and for all; nobody has two customers, and no
// living user's customer changes hands.
func TestChoicesInAnyStore(t *testing.T) {
	t.Parallel()
	ended := map[lockstep.ChoiceKind]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := drawTown(t)
		f := w.open(t)
		link := w.link()
		res, err := engine.Sync(t.Context(), f, w.profile, link, w.owners, "")
		if err != nil || res.Decision.Status != lockstep.StatusConflict {
			return
		}
		link.Status, link.BlockedBy = res.Decision.Status, res.Decision.BlockedBy
		asks := append([]lockstep.Choice{{Kind: engine.Keep}}, res.Choices...)
		for i := range w.records {
			asks = append(asks, lockstep.Choice{Kind: lockstep.ChoiceUse, Customer: fmt.Sprintf("fake_%08d", i+1)})
		}
		for i, ask := range asks {
			offered := i > 0 && i <= len(res.Choices)
			for writes := range 5 {
				for _, before := range []bool{false, true} {
					if w.carryOut(t, ask, offered, link, writes, before) {
						ended[ask.Kind]++
					}
				}
			}
		}
	})
	t.Logf("conflicts ended: %v", ended)
}

// carryOut makes a choice in a store of its own, has it carried out by a process
// that is killed at a write, and then by another.
func (w *town) carryOut(t *rapid.T, ask lockstep.Choice, offered bool, link lockstep.Link, writes int, before bool) bool {
	f := w.open(t)
	if _, err := engine.Sync(t.Context(), f, w.profile, link, w.owners, ""); err != nil { // what it does beside finding the conflict
		t.Fatal(err)
	}
	was, _ := f.Live(t.Context())
	choice, err := engine.Choose(t.Context(), f, w.profile, link, ask.Kind, ask.Customer, w.owners, isDead)
	if no, refused := errors.AsType[*engine.RefusedChoice](err); refused && !offered && no.Why != "" {
		return false
	}
	if err != nil {
		t.Fatalf("%s %s: %v", ask.Kind, ask.Customer, err)
	}
	link.Choice = &choice
	if _, err := engine.Sync(t.Context(), &killed{f, writes, before}, w.profile, link, w.owners, ""); err != nil && !errors.Is(err, errKilled) {
		t.Fatalf("%s %s: %v", ask.Kind, ask.Customer, err)
	}
	done, err := engine.Sync(t.Context(), f, w.profile, link, w.owners, "")
	if err != nil || done.Decision.Void != "" || done.Decision.Status == lockstep.StatusConflict {
		t.Fatalf("%s %s, killed at %d: %+v, %v", ask.Kind, ask.Customer, writes, done, err)
	}
	now, _ := f.Live(t.Context())
	w.check(t, choice, done, was, now)
	after := *w
	after.links = map[string]string{living: w.links[living], me: done.Customer.ID}
	link.CustomerID, link.Status, link.BlockedBy = done.Customer.ID, done.Decision.Status, done.Decision.BlockedBy
	again, err := engine.Sync(t.Context(), f, w.profile, link, after.owners, "")
	if err != nil || len(again.Wrote) > 0 || again.Decision.Status != link.Status || again.Decision.Void != "" {
		t.Fatalf("%s %s is not steady: %+v, %v", ask.Kind, ask.Customer, again, err)
	}
	for _, c := range now {
		sight := engine.Sight{Customer: c.Customer, Profile: &w.profile}
		if c.ID == link.CustomerID {
			sight.Owner = &link
		} else if c.UserID == me {
			sight.Marked = &link
		}
		if drift := engine.Compare(sight, f.Fit); drift != "" && (sight.Owner != nil || sight.Marked != nil) {
			t.Fatalf("%s %s leaves %s at %+v", ask.Kind, ask.Customer, drift, c)
		}
	}
	return true
}

func (w *town) check(t *rapid.T, choice lockstep.Choice, done engine.Result, was, now []targettest.Record) {
	if len(now) < len(was) {
		t.Fatalf("customers are gone: %+v", now)
	}
	mine := map[string]bool{}
	for i, r := range now {
		if r.UserID == me && (!r.Account || r.Proven || r.ID == done.Customer.ID) {
			mine[r.ID] = true
		}
		if i >= len(was) {
			continue
		}
		old := was[i]
		if old.UserID == living && r.Version != old.Version {
			t.Fatalf("a living user's customer %+v became %+v", old, r)
		}
		if r.ID != done.Customer.ID && (r.Email != old.Email || r.FirstName != old.FirstName || r.UserID != old.UserID && r.UserID != "") {
			t.Fatalf("customer %+v became %+v", old, r)
		}
	}
	if want := map[string]bool{done.Customer.ID: true}; len(mine) > 1 || choice.Kind != lockstep.ChoiceUnlink && !mine[done.Customer.ID] {
		t.Fatalf("%s: the user has %v, want %v", choice.Kind, mine, want)
	}
	if choice.Kind == lockstep.ChoiceUse && done.Customer.ID != choice.Customer || choice.Kind == lockstep.ChoiceUnlink && done.Customer.ID+w.unlinked(mine) != "" {
		t.Fatalf("%s %s: %+v, %v", choice.Kind, choice.Customer, done.Customer, mine)
	}
}

func (w *town) unlinked(mine map[string]bool) string {
	for id := range mine {
		return id
	}
	return ""
}
