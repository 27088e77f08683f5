package shopify

import (
	"context"
	"errors"

	"github.com/lockstephq/lockstep"
)

// mayWrite refuses what cannot be written before anything is sent.
func (op operation) mayWrite(want lockstep.Customer) error {
	if want.UserID == "" {
		return op.failf(lockstep.ErrInvalid, "a user id is needed")
	}
	return op.storable(want.UserID, want.Email, want.FirstName, want.LastName, want.Phone)
}

// set writes the fields that are set, by id or mark. A phone that Shopify does
// not take is refused with all the rest, and then left out: another customer
// may have it, which is no reason to do without this one.
func (t *Target) set(ctx context.Context, by map[string]any, want lockstep.Customer) (s snapshot, refused string, err error) {
	s, problems, err := t.trySet(ctx, by, want)
	op := t.ops["set"]
	if err != nil || len(problems) == 0 {
		return s, "", err
	}
	if err := op.refusal(problems); err != nil {
		return s, "", err
	}
	refused, want.Phone = want.Phone, ""
	t.log.Warn("phone left out: Shopify refuses the number, or another customer has it", "target", t.name, "user", want.UserID)
	if by["id"] != nil && lockstep.Changes(lockstep.Customer{}, want) == (lockstep.Customer{}) {
		return snapshot{}, refused, nil
	}
	s, problems, err = t.trySet(ctx, by, want)
	if err == nil && len(problems) > 0 {
		err = op.stillRefused(problems)
	}
	return s, refused, err
}

// stillRefused is for a phone that is refused although none was sent.
func (op operation) stillRefused(problems userErrors) error {
	if err := op.refusal(problems); err != nil {
		return err
	}
	return op.failf(lockstep.ErrInvalid, "%s", codeAndPath(problems[0].code(), problems[0].Field))
}

// input holds the fields that are set. Absent ones are left as they are; null
// would clear them.
func input(want lockstep.Customer) map[string]any {
	input := map[string]any{}
	for field, value := range map[string]string{
		"email": want.Email, "firstName": want.FirstName, "lastName": want.LastName, "phone": want.Phone,
	} {
		if value != "" {
			input[field] = value
		}
	}
	return input
}

// trySet writes once.
func (t *Target) trySet(ctx context.Context, by map[string]any, want lockstep.Customer) (snapshot, userErrors, error) {
	var got struct {
		Payload struct {
			Customer *snapshot  `json:"customer"`
			Errors   userErrors `json:"userErrors"`
		} `json:"customerSet"`
	}
	op := t.ops["set"]
	err := t.client.run(ctx, op, t.place(map[string]any{"identifier": by, "input": input(want)}), &got)
	switch s := got.Payload.Customer; {
	case err != nil || len(got.Payload.Errors) > 0:
		return snapshot{}, got.Payload.Errors, err
	case s == nil:
		return snapshot{}, nil, op.fail(lockstep.ErrUnknown, errors.New("the answer holds no customer"))
	case want.Email != "" && s.Email == nil:
		return snapshot{}, nil, t.hiddenData("set", s.ID)
	default:
		return *s, nil, nil
	}
}
