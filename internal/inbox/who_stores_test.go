package inbox

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
)

const ownTag = "lockstep:linked" // the shop's option

// held is a customer as the store itself holds it.
type held struct {
	id, email, first, mark string
	account                bool // somebody has a password for it, and never proved the e-mail
	tidy                   bool // has the tags that a linked customer should
	rest                   string
}

// hands are those of who works in a store, or shops there.
type hands interface {
	look() ([]held, error)
	checkOut(email string, account bool, n int) (id string, err error)
	setEmail(id, email string) error
	setRest(id string, n int) error
	remove(id string) error
}

// store is a target as the story sees it: between the worker and the real one.
type store struct {
	lockstep.Target
	hands
	story *story
	title string
	scene *scene
	lose  func() // the answer to a write to come; nil if the scene does that
	sure  bool   // no answer may be lost
	wrong string // what a write must not have done

	names   map[string]string   // of customers, for the story
	marks   map[string][]string // the users whom a customer ever carried
	changed []string            // customers whose webhooks are on their way
	notices int
	edits   int
}

func newStore(s *story, t lockstep.Target, h hands) *store {
	title, _, _ := strings.Cut(t.Name(), ":")
	if title == "medusa" {
		title = "Medusa"
	}
	return &store{Target: t, hands: h, story: s, title: title, scene: &scene{}, names: map[string]string{}, marks: map[string][]string{}}
}

func (st *store) Unwrap() lockstep.Target { return st.Target }

func (s *story) store(name string) *store {
	return s.stores[slices.IndexFunc(s.stores, func(st *store) bool { return st.Name() == name })]
}

func (st *store) Resolve(ctx context.Context, q lockstep.Query) (lockstep.Found, error) {
	st.scene.doubt = false
	return st.Target.Resolve(ctx, q)
}

func (st *store) Create(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
	return st.play(ctx, "create", want.UserID, func() (lockstep.Customer, error) { return st.Target.Create(ctx, want) })
}

func (st *store) Adopt(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	return st.play(ctx, "adopt", want.UserID, func() (lockstep.Customer, error) { return st.Target.Adopt(ctx, now, want) })
}

func (st *store) Update(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	return st.play(ctx, "update", want.UserID, func() (lockstep.Customer, error) { return st.Target.Update(ctx, now, want) })
}

func (st *store) Release(ctx context.Context, now lockstep.Customer, how lockstep.OnDelete) (done lockstep.OnDelete, err error) {
	_, err = st.play(ctx, "release", now.UserID, func() (lockstep.Customer, error) {
		done, err = st.Target.Release(ctx, now, how)
		return now, err
	})
	return done, err
}

// look reads what the store holds, by its own hands.
func (st *store) look() []held {
	all, err := st.hands.look()
	st.story.must(err)
	for _, h := range all {
		st.name(h.id)
		if h.mark != "" && !slices.Contains(st.marks[h.id], h.mark) {
			st.marks[h.id] = append(st.marks[h.id], h.mark)
		}
	}
	return all
}

// name is short, and the same in every telling of a story.
func (st *store) name(id string) string {
	if id == "" {
		return "nobody"
	}
	if st.names[id] == "" {
		st.names[id] = fmt.Sprintf("%s#%d", st.title, len(st.names)+1)
	}
	return st.names[id]
}

// judge says what a write for a user must not have done. It is called in the
// worker, whose recover would eat a failure: the story fails after the round.
func (st *store) judge(what, user string, before, after []held) {
	was := map[string]held{}
	for _, h := range before {
		was[h.id] = h
	}
	for _, now := range after {
		old, there := was[now.id]
		delete(was, now.id)
		if there && old == now {
			continue
		}
		st.story.stage.wrote[what]++
		st.story.tell("It does %s %s, which now has %q, %s, marked %q; it had %q, %s, marked %q.", what, st.name(now.id),
			now.email, now.first, now.mark, old.email, old.first, old.mark)
		if st.changed = append(st.changed, now.id); st.title == "Medusa" {
			st.changed = nil
		}
		if why := st.objection(user, old, now, there); why != "" && st.wrong == "" {
			st.wrong = fmt.Sprintf("to %s for %s in %s is wrong: %s %s", what, user, st.title, st.name(now.id), why)
		}
	}
	for id := range was {
		st.wrong = st.name(id) + " is gone: Lockstep deletes nobody's customer"
	}
	if n := len(withMark(after, user)); n > 1 {
		st.wrong = fmt.Sprintf("%s has %d customers in %s", user, n, st.title)
	}
}

// objection says why a customer must not have been changed from old to now.
func (st *store) objection(user string, old, now held, there bool) string {
	clerk := st.story.clerk
	switch {
	case old.mark != "" && old.mark != user:
		return "was another's"
	case now.mark != user && (now.mark != "" || old.mark != user):
		return "is not the user's"
	case now.mark == "" && clerk.isAlive(user):
		return "was the user's, who is alive"
	case there && now.rest != old.rest:
		return fmt.Sprintf("changed where Lockstep owns nothing: %s, was %s", now.rest, old.rest)
	case now.email != old.email && !clerk.hasProved(user, now.email):
		return "got an e-mail that the user never proved"
	case there && old.mark == "" && now.mark == user && !slices.Contains(st.marks[now.id][:len(st.marks[now.id])-1], user) && !st.adoptable(user, old):
		return "was not the user's to adopt"
	}
	return ""
}

// adoptable: who proved the e-mail may have the guest, unless somebody signs in
// as it, or another living user had it.
func (st *store) adoptable(user string, guest held) bool {
	for _, had := range st.marks[guest.id] {
		if had != user && st.story.clerk.isAlive(had) {
			return false
		}
	}
	return !guest.account && st.story.clerk.hasProved(user, guest.email)
}

// anywhere draws a store, and one of its customers if it has any.
func (s *story) anywhere() (st *store, all []held) {
	st = pick(s, "store", s.stores)
	return st, st.look()
}

func (st *store) edited(id string) {
	st.edits++
	if st.title != "Medusa" {
		st.changed = append(st.changed, id)
	}
}

func (s *story) checkOut() bool {
	st, all := s.anywhere()
	email, account := lockstep.NormalEmail(pick(s, "e-mail", addresses())), s.number("account", 0, 4) == 4
	if slices.ContainsFunc(all, func(h held) bool { return h.email == email && (h.account == account || st.title != "Medusa") }) || len(all) > 5 {
		return false
	}
	id, err := st.checkOut(email, account, st.edits)
	s.must(err)
	s.tell("Somebody checks out in %s with %s, which makes %s, an account: %v.", st.title, email, st.name(id), account)
	st.edited(id)
	return true
}

func (s *story) editEmail() bool {
	st, all := s.anywhere()
	email := lockstep.NormalEmail(pick(s, "e-mail", append(addresses(), "other@example.test", "")))
	if len(all) == 0 || email != "" && slices.ContainsFunc(all, func(h held) bool { return h.email == email }) {
		return false
	}
	c := pick(s, "customer", all)
	s.tell("A merchant changes the e-mail of %s from %q to %q.", st.name(c.id), c.email, email)
	s.must(st.setEmail(c.id, email))
	st.edited(c.id)
	return true
}

func (s *story) editRest() bool {
	st, all := s.anywhere()
	if len(all) == 0 {
		return false
	}
	c := pick(s, "customer", all)
	st.edited(c.id)
	s.tell("A merchant changes note, tags, addresses and consent of %s.", st.name(c.id))
	s.must(st.setRest(c.id, st.edits))
	return true
}

func (s *story) deleteCustomer() bool {
	st, all := s.anywhere()
	if len(all) == 0 {
		return false
	}
	c := pick(s, "customer", all)
	s.tell("A merchant deletes %s, marked %q.", st.name(c.id), c.mark)
	s.must(st.remove(c.id))
	st.edited(c.id)
	return true
}

// shopHands work in an emulated shop.
type shopHands struct{ *emulator.Shop }

func (h *shopHands) look() (all []held, err error) {
	for _, c := range h.Customers() {
		one := held{id: c.ID, email: c.Email, first: c.FirstName, account: c.State == emulator.CustomerEnabled && !c.VerifiedEmail}
		for _, m := range c.Metafields {
			if m.Key == "clerk_user_id" {
				one.mark = m.Value
			}
		}
		one.tidy = slices.Contains(c.Tags, ownTag)
		c.Tags = slices.DeleteFunc(c.Tags, func(tag string) bool { return tag == ownTag || tag == "clerk:deleted" })
		rest, err := json.Marshal([]any{c.LastName, c.Phone, c.Note, c.Tags, c.Addresses, c.EmailConsent, c.SMSConsent, c.Orders, c.State, c.Locale, c.TaxExempt, c.Subject})
		if err != nil {
			return nil, err
		}
		one.rest = string(rest)
		all = append(all, one)
	}
	return all, nil
}

func (h *shopHands) checkOut(email string, account bool, n int) (string, error) {
	spec := emulator.CustomerSpec{Email: email, FirstName: "Guest", Tags: []string{fmt.Sprint("t", n)}, VerifiedEmail: !account,
		EmailConsent: emulator.ShopConsent{State: "SUBSCRIBED"}, Addresses: []emulator.ShopAddress{{City: "Ribe", CountryCode: "DK"}}}
	if account {
		spec.State = emulator.CustomerEnabled
	}
	c, err := h.PutCustomer(spec)
	return c.ID, err
}

func (h *shopHands) setEmail(id, email string) error {
	_, err := h.EditCustomer(id, emulator.CustomerEdit{Email: &email})
	return err
}

// setRest keeps Lockstep's own tag, as a merchant does who adds another.
func (h *shopHands) setRest(id string, n int) error {
	c, err := h.Customer(id)
	if err != nil {
		return err
	}
	note, tags := fmt.Sprint("note ", n), append(c.Tags, fmt.Sprint("t", n))
	consent := emulator.ShopConsent{State: []string{"SUBSCRIBED", "UNSUBSCRIBED"}[n%2]}
	_, err = h.EditCustomer(id, emulator.CustomerEdit{Note: &note, Tags: &tags, EmailConsent: &consent,
		Addresses: &[]emulator.ShopAddress{{City: fmt.Sprint("City ", n), CountryCode: "DK"}}})
	return err
}

func (h *shopHands) remove(id string) error { return h.DeleteCustomer(id) }
