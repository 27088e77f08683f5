package medusa

import (
	"context"
	"hash/maphash"

	"github.com/lockstephq/lockstep"
)

// Create implements lockstep.Target. A user who has a guest gets that one, as it
// is. An account that holds the e-mail is ErrTaken: Medusa itself would make a
// guest beside it.
func (a *API) Create(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
	op := writing("create")
	if err := op.mayWrite(ctx, want); err != nil {
		return lockstep.Customer{}, err
	}
	done, err := a.users.take(ctx, op, want.UserID)
	if err != nil {
		return lockstep.Customer{}, err
	}
	defer done()
	found, err := a.look(ctx, reading("look before create"), lockstep.Query{UserID: want.UserID, Email: want.Email})
	if err != nil {
		return lockstep.Customer{}, err
	}
	if own := guest(found.ByUser, ""); own != nil {
		return *own, nil
	}
	if len(found.ByEmail) > 0 {
		return lockstep.Customer{}, op.taken("a customer holds the e-mail")
	}
	if wait := a.lost.mayCreate(want.UserID, want.Email); wait > 0 {
		return lockstep.Customer{}, op.throttled(wait, "Medusa may still carry out a request that it did not answer")
	}
	return a.create(ctx, op, want)
}

func (a *API) create(ctx context.Context, op operation, want lockstep.Customer) (lockstep.Customer, error) {
	r, err := a.client.write(ctx, op, "", fields(want, true))
	switch {
	case err == nil:
		a.lost.made(want.UserID)
		a.index.add(r)
	case lockstep.KindOf(err) == lockstep.ErrUnknown:
		a.lost.creation(want.UserID, want.Email)
	}
	return customerOr(r, err)
}

// guest returns the first guest whose id is another, or nil. The mark on an
// account proves nothing: Medusa's Store API lets shoppers write their metadata.
func guest(list []lockstep.Customer, except string) *lockstep.Customer {
	for i := range list {
		if !list[i].Account && list[i].ID != except {
			return &list[i]
		}
	}
	return nil
}

// fields are those that are not empty, with the mark if it is to be written.
// Medusa merges metadata at the top level, so that other keys stay.
func fields(c lockstep.Customer, mark bool) map[string]any {
	set := map[string]any{}
	for name, value := range map[string]string{"email": c.Email, "first_name": c.FirstName, "last_name": c.LastName, "phone": c.Phone} {
		if value != "" {
			set[name] = value
		}
	}
	if mark {
		set["metadata"] = map[string]string{markKey: c.UserID}
	}
	return set
}

func customerOr(r record, err error) (lockstep.Customer, error) {
	if err != nil {
		return lockstep.Customer{}, err
	}
	return r.customer(), nil
}

// Adopt implements lockstep.Target. It fails with ErrTaken, too, if the user has
// another customer already.
func (a *API) Adopt(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	return a.change(ctx, writing("adopt"), now, want, false)
}

// Update implements lockstep.Target. It marks a customer that carries no mark,
// and fails with ErrTaken if it carries another user's, or if the user has
// another customer.
func (a *API) Update(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	return a.change(ctx, writing("update"), now, want, true)
}

// change reads the customer first, since Medusa compares nothing, and writes what
// then still differs: an update without a difference would send
// customer.updated all the same. accounts says whether it may be an account.
func (a *API) change(ctx context.Context, op operation, now, want lockstep.Customer, accounts bool) (lockstep.Customer, error) {
	if err := op.mayWrite(ctx, want); err != nil {
		return lockstep.Customer{}, err
	}
	if now.UserID != "" && now.UserID != want.UserID {
		return lockstep.Customer{}, op.taken("the customer is another user's")
	}
	done, err := a.hold(ctx, op, want.UserID, now.ID)
	if err != nil {
		return lockstep.Customer{}, err
	}
	defer done()
	diff := lockstep.Changes(now, want)
	found, err := a.lookBeforeChange(ctx, now, want, diff.Email)
	if err != nil {
		return lockstep.Customer{}, err
	}
	seen := found.ByLink
	if err := op.mayChange(seen, found, want.UserID); err != nil {
		return lockstep.Customer{}, err
	}
	if err := op.mayAdopt(*seen, now, want); err != nil && !accounts {
		return lockstep.Customer{}, err
	}
	diff = lockstep.Changes(*seen, diff)
	diff.UserID = want.UserID
	set := fields(diff, seen.UserID == "")
	if seen.UserID == "" {
		set["metadata"] = map[string]string{markKey: want.UserID, deletedKey: ""} // which takes the second away
	}
	if len(set) == 0 {
		return *seen, nil
	}
	return a.rewrite(ctx, op, seen.ID, want.UserID, set)
}

// lookBeforeChange reads the customer and whoever may object. For a name on the
// user's own customer nobody can.
func (a *API) lookBeforeChange(ctx context.Context, now, want lockstep.Customer, email string) (lockstep.Found, error) {
	op := reading("look before update")
	q := lockstep.Query{UserID: want.UserID, CustomerID: now.ID, Email: email}
	if email == "" && now.UserID == want.UserID {
		return a.Resolve(ctx, q)
	}
	return a.look(ctx, op, q)
}

// mayChange refuses to write a customer that is not there any more, or not the
// user's to have.
func (o operation) mayChange(seen *lockstep.Customer, found lockstep.Found, userID string) error {
	switch {
	case seen == nil:
		return o.gone()
	case seen.UserID != "" && seen.UserID != userID:
		return o.taken("the customer carries another user's mark")
	case seen.UserID == "" && guest(found.ByUser, seen.ID) != nil:
		return o.taken("another customer carries the user's mark")
	}
	for _, holder := range found.ByEmail {
		if holder.ID != seen.ID {
			return o.taken("another customer holds the e-mail")
		}
	}
	return nil
}

// mayAdopt refuses a guest that is none any more, or has moved.
func (o operation) mayAdopt(seen, now, want lockstep.Customer) error {
	had, has := lockstep.NormalEmail(now.Email), lockstep.NormalEmail(seen.Email)
	switch {
	case seen.Account:
		return o.taken("the customer is an account")
	case seen.UserID == "" && had != has && has != want.Email:
		return o.taken("the customer has another e-mail by now")
	}
	return nil
}

// rewrite updates a customer. Medusa answers with what it then reads, so another
// mark in it is somebody's who was as fast.
func (a *API) rewrite(ctx context.Context, op operation, id, userID string, set map[string]any) (lockstep.Customer, error) {
	r, err := a.client.write(ctx, op, id, set)
	if err == nil {
		a.index.add(r)
		if r.mark() != userID {
			err = op.taken("somebody else marked the customer at the same time")
		}
	}
	return customerOr(r, err)
}

// hold takes the user's turn and then the customer's.
func (a *API) hold(ctx context.Context, op operation, userID, customerID string) (done func(), err error) {
	user, err := a.users.take(ctx, op, userID)
	if err != nil {
		return nil, err
	}
	customer, err := a.customers.take(ctx, op, customerID)
	if err != nil {
		user()
		return nil, err
	}
	return func() { customer(); user() }, nil
}

// turns let those who hash alike write one after the other.
type turns struct {
	seed  maphash.Seed
	slots [64]chan struct{}
}

func newTurns() (t turns) {
	t.seed = maphash.MakeSeed()
	for i := range t.slots {
		t.slots[i] = make(chan struct{}, 1)
	}
	return t
}

func (t *turns) take(ctx context.Context, op operation, key string) (done func(), err error) {
	slot := t.slots[maphash.String(t.seed, key)%uint64(len(t.slots))]
	select {
	case slot <- struct{}{}:
		return func() { <-slot }, nil
	case <-ctx.Done():
		return nil, op.fail(lockstep.ErrTransient, ctx.Err())
	}
}
