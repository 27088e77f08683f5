package shopify

import (
	"context"
	"strings"

	"github.com/lockstephq/lockstep"
)

// definition is what makes the mark unique, as far as it is read.
type definition struct {
	Type struct {
		Name string `json:"name"`
	} `json:"type"`
}

// wrongType refuses a definition under which two customers could carry one mark.
func (op operation) wrongType(d *definition) error {
	if d == nil || d.Type.Name == markType {
		return nil
	}
	return op.failf(lockstep.ErrRefused, "the shop has a metafield definition %s of another type than %q: "+
		"delete that definition, or set another namespace", markKey, markType)
}

// define makes the mark's definition, once per process, before the first mark is
// written. Callers that come meanwhile wait.
func (t *Target) define(ctx context.Context) error {
	op := t.ops["define"]
	if t.defined.Load() {
		return nil
	}
	select {
	case t.defining <- struct{}{}:
		defer func() { <-t.defining }()
	case <-ctx.Done():
		return op.fail(lockstep.ErrTransient, ctx.Err())
	}
	if t.defined.Load() {
		return nil
	}
	exists, err := t.createDefinition(ctx)
	if err == nil && exists {
		err = t.checkDefinition(ctx)
	}
	t.defined.Store(err == nil)
	return err
}

// createDefinition reports whether the definition was there already.
func (t *Target) createDefinition(ctx context.Context) (exists bool, err error) {
	op := t.ops["define"]
	fields := t.place(map[string]any{"ownerType": "CUSTOMER", "type": markType, "name": "Clerk user",
		"description": "The Clerk user whose customer this is. Kept by Lockstep."})
	if t.namespace == "" || strings.HasPrefix(t.namespace, "$app") {
		fields["access"] = map[string]any{"admin": "MERCHANT_READ"} // staff may look
	}
	var got struct {
		Payload struct {
			Errors userErrors `json:"userErrors"`
		} `json:"metafieldDefinitionCreate"`
	}
	if err := t.client.run(ctx, op, map[string]any{"definition": fields}, &got); err != nil {
		return false, err
	}
	if len(got.Payload.Errors) == 0 {
		return false, nil
	}
	e := got.Payload.Errors[0]
	if e.code() == "TAKEN" {
		return true, nil
	}
	return false, op.failf(lockstep.ErrRefused, "%s: Shopify does not take the metafield definition: set another namespace",
		codeAndPath(e.code(), e.Field))
}

func (t *Target) checkDefinition(ctx context.Context) error {
	op := t.ops["definition"]
	var got struct {
		Definition *definition `json:"metafieldDefinition"`
	}
	if err := t.client.run(ctx, op, map[string]any{"definition": t.place(map[string]any{"ownerType": "CUSTOMER"})}, &got); err != nil {
		return err
	}
	return op.wrongType(got.Definition)
}
