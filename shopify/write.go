package shopify

import (
	"context"
	"errors"
	"slices"

	"github.com/lockstephq/lockstep"
)

// Create implements lockstep.Target. The customer is set by its mark: Shopify
// makes and marks it in one step, or updates the one that carries the mark.
func (t *Target) Create(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
	op := t.ops["set"]
	if err := op.mayWrite(want); err != nil {
		return lockstep.Customer{}, err
	}
	if err := t.define(ctx); err != nil {
		return lockstep.Customer{}, err
	}
	s, refused, err := t.set(ctx, t.byMark(want.UserID), want)
	if errors.Is(err, errNoDefinition) { // somebody deleted it; nothing was written
		t.defined.Store(false)
		if err = t.define(ctx); err == nil {
			s, refused, err = t.set(ctx, t.byMark(want.UserID), want)
		}
	}
	if err != nil {
		return lockstep.Customer{}, err
	}
	return t.finish(ctx, s, want, refused)
}

// Adopt implements lockstep.Target. It reads the guest first, since Shopify
// compares nothing but the mark: a guest that somebody signs in to by now, or
// that moved to another e-mail, fails with ErrTaken.
func (t *Target) Adopt(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	op := t.ops["mark"]
	if err := op.mayWrite(want); err != nil {
		return lockstep.Customer{}, err
	}
	s, err := t.claim(ctx, now, want, func(seen lockstep.Customer) error { return t.adoptable(seen, Adoption{now, want}) })
	if err != nil {
		return lockstep.Customer{}, err
	}
	return t.change(ctx, s, lockstep.Changes(t.customer(s, want.UserID), lockstep.Changes(now, want)), want)
}

// adoptable says what forbids adopting a guest as it is now.
func (t *Target) adoptable(seen lockstep.Customer, a Adoption) error {
	op := t.ops["mark"]
	had, has := lockstep.NormalEmail(a.Now.Email), lockstep.NormalEmail(seen.Email)
	switch {
	case seen.Account:
		return op.failf(lockstep.ErrTaken, "somebody signs in as the customer")
	case had != has && has != a.Want.Email:
		return op.failf(lockstep.ErrTaken, "the customer has another e-mail by now")
	}
	return nil
}

// Update implements lockstep.Target, by id: an e-mail cannot be changed any
// other way. A customer that carries no mark is read and marked first.
func (t *Target) Update(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	op := t.ops["set"]
	if err := op.mayWrite(want); err != nil {
		return lockstep.Customer{}, err
	}
	diff := lockstep.Changes(now, want)
	if now.UserID == want.UserID && diff != (lockstep.Customer{}) {
		return t.change(ctx, snapshot{ID: now.ID}, diff, want)
	}
	s, err := t.claim(ctx, now, want, func(lockstep.Customer) error { return nil })
	if err != nil {
		return lockstep.Customer{}, err
	}
	return t.change(ctx, s, diff, want)
}

// claim makes a customer carry want's mark, unless it does or allowed objects,
// and returns the customer as it was read before, with the mark.
func (t *Target) claim(ctx context.Context, now, want lockstep.Customer, allowed func(lockstep.Customer) error) (snapshot, error) {
	op := t.ops["mark"]
	if now.UserID != "" && now.UserID != want.UserID {
		return snapshot{}, op.failf(lockstep.ErrTaken, "the customer is another user's")
	}
	s, err := t.read(ctx, now.ID)
	switch {
	case err != nil:
		return snapshot{}, err
	case s == nil:
		return snapshot{}, op.failf(lockstep.ErrGone, "it was deleted")
	case s.owner() == want.UserID:
		return *s, nil
	case s.owner() != "":
		return snapshot{}, op.failf(lockstep.ErrTaken, "the customer carries another user's mark")
	}
	if err := allowed(t.customer(*s, want.UserID)); err != nil {
		return snapshot{}, err
	}
	return t.mark(ctx, *s, want.UserID)
}

// mark writes the mark if there is none, making its definition again if somebody
// deleted it.
func (t *Target) mark(ctx context.Context, s snapshot, userID string) (snapshot, error) {
	op := t.ops["mark"]
	for last := false; ; last = true {
		if err := t.define(ctx); err != nil {
			return s, err
		}
		problems, err := t.tryMark(ctx, s.ID, userID)
		if err == nil && !last && slices.ContainsFunc(problems, userError.ofDefinition) {
			t.defined.Store(false)
			continue
		}
		if err == nil {
			err = op.refusal(problems)
		}
		s.Mark = &mark{Value: userID}
		return s, err
	}
}

// markField compares with null, which says "only if there is none"; Shopify
// compares and writes in one step.
func (t *Target) markField(id, userID string) map[string]any {
	return t.place(map[string]any{"ownerId": id, "type": markType, "value": userID, "compareDigest": nil})
}

func (t *Target) tryMark(ctx context.Context, id, userID string) (userErrors, error) {
	return t.setMarks(ctx, []any{t.markField(id, userID)})
}

func (t *Target) setMarks(ctx context.Context, fields []any) (userErrors, error) {
	var got struct {
		Payload struct {
			Errors userErrors `json:"userErrors"`
		} `json:"metafieldsSet"`
	}
	err := t.client.run(ctx, t.ops["mark"], map[string]any{"metafields": fields}, &got)
	return got.Payload.Errors, err
}

// change writes the fields of diff by id, and returns the customer as Shopify
// then holds it; without any the customer is as it was seen.
func (t *Target) change(ctx context.Context, seen snapshot, diff, want lockstep.Customer) (lockstep.Customer, error) {
	if diff == (lockstep.Customer{}) {
		return t.finish(ctx, seen, want, "")
	}
	op := t.ops["set"]
	if !isID(seen.ID) {
		return lockstep.Customer{}, op.failf(lockstep.ErrGone, "no customer of Shopify's has such an id")
	}
	s, refused, err := t.set(ctx, map[string]any{"id": seen.ID}, diff)
	if err == nil && s.ID == "" { // nothing but the phone was to be written
		s, err = t.again(ctx, seen.ID)
	}
	if err == nil && s.owner() != "" && s.owner() != want.UserID {
		err = op.failf(lockstep.ErrTaken, "the customer carries another user's mark")
	}
	if err != nil {
		return lockstep.Customer{}, err
	}
	return t.finish(ctx, s, want, refused)
}

func (t *Target) again(ctx context.Context, id string) (snapshot, error) {
	s, err := t.read(ctx, id)
	if err == nil && s == nil {
		err = t.ops["read"].failf(lockstep.ErrGone, "it was deleted")
	}
	if err != nil {
		return snapshot{}, err
	}
	return *s, nil
}

// finish puts the owned tags on a customer that was written, has it say about
// marketing what the user says, and returns it.
func (t *Target) finish(ctx context.Context, s snapshot, want lockstep.Customer, refused string) (lockstep.Customer, error) {
	if err := t.tagLinked(ctx, s); err != nil {
		return lockstep.Customer{}, err
	}
	c := t.customer(s, want.UserID)
	c.RefusedPhone, c.Untidy = refused, false
	return t.agree(ctx, c, want)
}
