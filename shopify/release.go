package shopify

import (
	"context"
	"errors"
	"slices"

	"github.com/lockstephq/lockstep"
)

// eraseScope is what the app needs to have customers' data erased. What cannot
// be deleted is anonymised, so both policies ask for it.
const eraseScope = "write_customer_data_erasure"

// nameless is the last name of a customer whose data went: Shopify holds none
// without a name, a phone or an e-mail.
const nameless = "(deleted)"

// departing is a customer whose user was deleted.
type departing struct {
	snapshot
	CanDelete bool `json:"canDelete"` // it never had orders
}

// Release implements lockstep.Target. The mark goes last: until then a Release
// that was cut short is done again. Shopify cannot compare before it writes, but
// what carries a user's mark keeps it until that user is released.
func (t *Target) Release(ctx context.Context, now lockstep.Customer, how lockstep.OnDelete) (done lockstep.OnDelete, err error) {
	if err := t.ops["unmark"].storable(now.ID, now.UserID); err != nil {
		return "", err
	}
	c, err := t.departing(ctx, now.ID)
	if err != nil || c == nil || c.owner() != now.UserID {
		return "", err
	}
	switch others := c.account(now.UserID); {
	case now.UserID == "" && c.password():
		return "", nil
	case now.UserID != "" && others && how != lockstep.Unmark:
		how = lockstep.OnDeleteKeep
	}
	if how == lockstep.OnDeleteDelete {
		if deleted, err := t.delete(ctx, *c); deleted || err != nil {
			return how, err
		}
		how = lockstep.OnDeleteAnonymise
	}
	if how == lockstep.OnDeleteAnonymise {
		if err := t.anonymise(ctx, c.snapshot); err != nil {
			return how, gone(err)
		}
	}
	return how, gone(t.unmark(ctx, c.snapshot, how))
}

func (t *Target) departing(ctx context.Context, id string) (*departing, error) {
	if !isID(id) {
		return nil, nil
	}
	var got struct {
		Customer *departing `json:"customer"`
	}
	err := t.client.run(ctx, t.ops["departing"], t.place(map[string]any{"id": id}), &got)
	return got.Customer, err
}

// delete reports false if Shopify keeps the customer, as it does with whoever
// ever had orders.
func (t *Target) delete(ctx context.Context, c departing) (deleted bool, err error) {
	if !c.CanDelete {
		return false, nil
	}
	problems, err := t.part(ctx, "delete", c.ID)
	if err != nil || len(problems) == 0 {
		return err == nil, err
	}
	kind, _ := problems[0].kind()
	if kind != lockstep.ErrGone {
		t.log.Info("Shopify keeps the customer, so it is anonymised", "target", t.name, "customer", c.ID)
	}
	return kind == lockstep.ErrGone, nil
}

// anonymise asks Shopify to erase what it holds of the customer, orders and
// addresses included, which it does by and by; and takes off at once what
// Lockstep wrote. Asking twice does no harm.
func (t *Target) anonymise(ctx context.Context, s snapshot) error {
	op := t.ops["erase"]
	problems, err := t.part(ctx, "erase", s.ID)
	switch {
	case errors.Is(err, errDenied): // all else works, so the shop is not to blame
		return op.failf(lockstep.ErrInvalid, "the app lacks the scope %s: grant it and install the app again, then run lockstep retry", eraseScope)
	case err != nil:
		return err
	case len(problems) > 0:
		return op.refusal(problems)
	case s.Email == nil && s.Phone == nil && s.FirstName == "" && (s.LastName == nameless || s.LastName == ""):
		return nil
	}
	problems, err = t.part(ctx, "blank", s.ID)
	if err == nil && len(problems) > 0 {
		err = t.ops["blank"].stillRefused(problems)
	}
	return err
}

// unmark takes the mark off, if there is one, after the tags told so.
func (t *Target) unmark(ctx context.Context, s snapshot, how lockstep.OnDelete) error {
	if err := t.tagReleased(ctx, s, how); err != nil || s.Mark == nil {
		return err
	}
	op := t.ops["unmark"]
	field := map[string]any{"ownerId": s.ID, "namespace": s.Mark.Namespace, "key": markKey}
	var got struct {
		Payload struct {
			Errors userErrors `json:"userErrors"`
		} `json:"metafieldsDelete"`
	}
	if err := t.client.run(ctx, op, map[string]any{"metafields": []any{field}}, &got); err != nil {
		return err
	}
	return op.refusal(got.Payload.Errors)
}

// part runs a mutation that needs to know nothing but the customer.
func (t *Target) part(ctx context.Context, file, id string) (userErrors, error) {
	type payload struct {
		Errors userErrors `json:"userErrors"`
	}
	var got struct {
		Deleted payload `json:"customerDelete"`
		Erased  payload `json:"customerRequestDataErasure"`
		Blanked payload `json:"customerSet"`
	}
	err := t.client.run(ctx, t.ops[file], map[string]any{"id": id}, &got)
	return slices.Concat(got.Deleted.Errors, got.Erased.Errors, got.Blanked.Errors), err
}

// gone forgives that a customer was deleted before it was released.
func gone(err error) error {
	if lockstep.KindOf(err) == lockstep.ErrGone && err != nil {
		return nil
	}
	return err
}
