package medusa

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/lockstephq/lockstep"
)

// deletedKey is the key of the metadata that says that the user was deleted.
const deletedKey = "clerk_user_deleted"

// Release implements lockstep.Target. Medusa does not tell over its API who signs
// in as a customer, so that an account is never more than let go.
func (a *API) Release(ctx context.Context, now lockstep.Customer, how lockstep.OnDelete) (done lockstep.OnDelete, err error) {
	op := writing("release")
	if err := op.mayStart(ctx, []any{now.ID, now.UserID}); err != nil {
		return "", err
	}
	free, err := a.hold(ctx, op, now.UserID, now.ID)
	if err != nil {
		return "", err
	}
	defer free()
	seen, err := a.live(ctx, now.ID)
	switch {
	case err != nil || seen == nil || seen.UserID != now.UserID || seen.Account && now.UserID == "":
		return "", err
	case seen.Account && how != lockstep.Unmark:
		how = lockstep.OnDeleteKeep
	case how == lockstep.OnDeleteDelete:
		return a.deleteCustomer(ctx, op, now.ID)
	}
	return how, a.letGo(ctx, op, now.ID, how)
}

// letGo takes the mark off and, to anonymise, what Lockstep wrote of the person,
// in one request.
func (a *API) letGo(ctx context.Context, op operation, id string, how lockstep.OnDelete) error {
	set := map[string]any{}
	if how == lockstep.OnDeleteAnonymise {
		set = blank(id)
	}
	metadata := map[string]any{markKey: ""} // an empty text takes a key away
	if how != lockstep.Unmark {
		metadata[deletedKey] = true
	}
	set["metadata"] = metadata
	r, err := a.client.write(ctx, op, id, set)
	if lockstep.KindOf(err) == lockstep.ErrGone {
		return nil
	}
	if err == nil {
		a.index.add(r)
	}
	return err
}

// blank are the fields of nobody, with an address in place of the e-mail that
// leads nowhere (RFC 2606) and is no other's.
func blank(id string) map[string]any {
	return map[string]any{"email": strings.ToLower(id) + "@deleted.invalid", "first_name": nil, "last_name": nil, "phone": nil}
}

// deleteCustomer takes away what Lockstep wrote first: Medusa only hides the row.
// The mark stays until it is hidden, so that what was cut short is done again.
// Medusa says that it deleted what it did not, so it is asked.
func (a *API) deleteCustomer(ctx context.Context, op operation, id string) (done lockstep.OnDelete, err error) {
	switch _, err := a.client.write(ctx, op, id, blank(id)); {
	case lockstep.KindOf(err) == lockstep.ErrGone && err != nil:
		return lockstep.OnDeleteDelete, nil
	case err != nil:
		return "", err
	}
	if err := a.client.remove(ctx, op, id); err != nil && lockstep.KindOf(err) != lockstep.ErrGone {
		return "", err
	}
	seen, err := a.live(ctx, id)
	if err != nil || seen == nil {
		return lockstep.OnDeleteDelete, err
	}
	return lockstep.OnDeleteAnonymise, a.letGo(ctx, op, id, lockstep.OnDeleteAnonymise)
}

// live reads one customer; nil if it is gone.
func (a *API) live(ctx context.Context, id string) (*lockstep.Customer, error) {
	found, err := a.fetch(ctx, reading("look before release"), lockstep.Query{CustomerID: id}, "", time.Time{})
	return found.ByLink, err
}

// remove deletes a customer, softly.
func (c *client) remove(ctx context.Context, op operation, id string) error {
	var answer struct{}
	_, err := c.call(ctx, op, http.MethodDelete, customersPath+"/"+url.PathEscape(id), nil, &answer)
	return err
}
