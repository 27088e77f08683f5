package shopify

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/lockstephq/lockstep"
)

// tagTries bounds how often tags are tried at once; afterwards the customer is
// Untidy until the next look.
const tagTries = 3

// tagLinked gives a linked customer the tags that it should have. It looks
// before it tries again; adding a tag twice would do no harm, though.
func (t *Target) tagLinked(ctx context.Context, s snapshot) (err error) {
	for range tagTries {
		if err = t.tidy(ctx, s); err == nil || ctx.Err() != nil {
			return err
		}
		switch te, _ := errors.AsType[*lockstep.TargetError](err); lockstep.KindOf(err) {
		case lockstep.ErrThrottled:
			if te.After > t.client.finishing() || sleep(ctx, te.After) != nil {
				return err
			}
		case lockstep.ErrUnknown, lockstep.ErrTransient:
		default:
			return err
		}
		if seen, readErr := t.read(ctx, s.ID); readErr == nil && seen != nil {
			s = *seen
		}
	}
	return err
}

func (t *Target) tidy(ctx context.Context, s snapshot) error {
	if err := t.tag(ctx, "tags_add", s.ID, pick(s, t.tags, false)); err != nil {
		return err
	}
	return t.tag(ctx, "tags_remove", s.ID, pick(s, []string{t.released}, true))
}

// tagReleased is the reverse of tagLinked, and says of a user who was deleted so.
func (t *Target) tagReleased(ctx context.Context, s snapshot, how lockstep.OnDelete) error {
	if how != lockstep.Unmark {
		if err := t.tag(ctx, "tags_add", s.ID, pick(s, []string{t.released}, false)); err != nil {
			return err
		}
	}
	return t.tag(ctx, "tags_remove", s.ID, pick(s, t.tags, true))
}

// tag adds or removes tags; no others are touched.
func (t *Target) tag(ctx context.Context, file, id string, tags []string) error {
	if len(tags) == 0 {
		return nil
	}
	type payload struct {
		Errors userErrors `json:"userErrors"`
	}
	var got struct {
		Added   payload `json:"tagsAdd"`
		Removed payload `json:"tagsRemove"`
	}
	op := t.ops[file]
	if err := t.client.run(ctx, op, map[string]any{"id": id, "tags": tags}, &got); err != nil {
		return err
	}
	return op.refusal(slices.Concat(got.Added.Errors, got.Removed.Errors))
}

// pick returns those of the tags that the customer has, or has not.
func pick(s snapshot, tags []string, has bool) (list []string) {
	for _, tag := range tags {
		if hasTag(s, tag) == has {
			list = append(list, tag)
		}
	}
	return list
}

// hasTag compares as Shopify does, which keeps one of two cases of a tag.
func hasTag(s snapshot, tag string) bool {
	return slices.ContainsFunc(s.Tags, func(has string) bool { return strings.EqualFold(has, tag) })
}
