package medusa

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/lockstephq/lockstep"
)

// Resolve implements lockstep.Target. A link whose customer carries the user and
// has the e-mail is read by its id, which costs Medusa least; whoever else may
// carry the same is then looked for among what the index knows already.
// Otherwise a look finds everybody.
func (a *API) Resolve(ctx context.Context, q lockstep.Query) (lockstep.Found, error) {
	op := reading("resolve")
	if err := op.mayStart(ctx, []any{q.UserID, q.CustomerID, q.Email}); err != nil {
		return lockstep.Found{}, err
	}
	if q.CustomerID != "" {
		found, err := a.fetch(ctx, op, q, "", time.Time{})
		if err != nil || asLinked(found, q) {
			return found, err
		}
	}
	return a.look(ctx, op, q)
}

func asLinked(f lockstep.Found, q lockstep.Query) bool {
	c := f.ByLink
	return c != nil && q.UserID != "" && c.UserID == q.UserID && (q.Email == "" || lockstep.NormalEmail(c.Email) == q.Email)
}

// look finds all live customers that the query means, as they were after every
// write that was answered before.
func (a *API) look(ctx context.Context, op operation, q lockstep.Query) (lockstep.Found, error) {
	if err := a.fill(ctx, op); err != nil {
		return lockstep.Found{}, err
	}
	since, _ := a.index.settled()
	found, err := a.fetch(ctx, op, q, q.Email, since)
	if err == nil && guest(found.ByUser, "") != nil {
		a.lost.made(q.UserID)
	}
	return found, err
}

// fetch reads the query's candidates, who holds the e-mail by exact case and,
// unless since is zero, what changed since then; all in one request, but for the
// pages of a long answer.
func (a *API) fetch(ctx context.Context, op operation, q lockstep.Query, email string, since time.Time) (found lockstep.Found, err error) {
	filter := anyOf(a.index.candidates(q), email, since)
	if filter == nil {
		return found, nil
	}
	var began time.Time // of the first page
	quiet := a.lost.quiet()
	for after := ""; ; {
		p, full, err := a.readPage(ctx, op, filter, after)
		if err != nil {
			return lockstep.Found{}, err
		}
		if after == "" {
			began = p.began
		}
		a.index.add(p.Customers...)
		for _, r := range p.Customers {
			sortIn(&found, r.customer(), q)
		}
		if !full {
			break
		}
		after = p.Customers[len(p.Customers)-1].ID
	}
	if quiet && !since.IsZero() {
		a.index.settle(began, a.client.timeout)
	}
	return found, nil
}

// anyOf is the filter "one of these ids, or this e-mail, or changed since"; nil if
// there is nothing to ask. A name that Medusa does not know in such a filter it
// leaves out, and then finds everybody: the exam on a real Medusa would show.
func anyOf(ids []string, email string, since time.Time) url.Values {
	if len(ids) > 0 && email == "" && since.IsZero() {
		return url.Values{"id[]": ids}
	}
	filter := url.Values{}
	add := func(name, value string) {
		filter.Add("$or["+strconv.Itoa(len(filter))+"]"+name, value)
	}
	if len(ids) > 0 {
		filter["$or[0][id][]"] = ids
	}
	if email != "" {
		add("[email]", email)
	}
	if !since.IsZero() {
		add("[updated_at][$gte]", since.UTC().Format(time.RFC3339Nano))
	}
	if len(filter) == 0 {
		return nil
	}
	return filter
}

// sortIn puts a customer where the query means it; one that merely changed lately
// is nowhere.
func sortIn(found *lockstep.Found, c lockstep.Customer, q lockstep.Query) {
	if c.ID == q.CustomerID {
		found.ByLink = &c
	}
	if q.UserID != "" && c.UserID == q.UserID {
		found.ByUser = append(found.ByUser, c)
	}
	if q.Email != "" && lockstep.NormalEmail(c.Email) == q.Email {
		found.ByEmail = append(found.ByEmail, c)
	}
}
