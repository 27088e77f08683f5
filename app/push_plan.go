package app

import (
	"context"
	"maps"
	"slices"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/internal/inbox"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/shopify"
)

// pushPlan is what is to be done for a block of users.
type pushPlan struct {
	lines     []byte // of the import
	creates   []string
	adoptions []shopify.Adoption
	left      []string // to the workers
}

// plan has the engine's table decide for each user by what the export showed.
func (p *shopPush) plan(ctx context.Context, shop *shopify.Exported, users []postgres.Unlinked) (plan pushPlan, err error) {
	owners, err := p.owners(ctx, shop, users)
	if err != nil {
		return plan, err
	}
	for _, u := range users {
		d, err := engine.Decide(ctx, shop, u.Profile, u.Link, owners, "")
		if err != nil {
			return plan, err
		}
		switch d.Action {
		case engine.Create:
			line, err := p.target.Line(d.Want)
			if err != nil { // it cannot be written at all: the workers say so
				plan.left = append(plan.left, u.Profile.ID)
				continue
			}
			plan.lines, plan.creates = append(plan.lines, line...), append(plan.creates, u.Profile.ID)
		case engine.Adopt:
			plan.adoptions = append(plan.adoptions, shopify.Adoption{Now: d.Now, Want: d.Want})
		default:
			plan.left = append(plan.left, u.Profile.ID)
		}
	}
	return plan, nil
}

// owners reads all links that the decisions about users may ask for, at once.
func (p *shopPush) owners(ctx context.Context, shop *shopify.Exported, users []postgres.Unlinked) (engine.Owners, error) {
	var customers []string
	for _, u := range users {
		found, err := shop.Resolve(ctx, query(p.target, u))
		if err != nil {
			return nil, err
		}
		for _, c := range slices.Concat(found.ByUser, found.ByEmail) {
			customers = append(customers, c.ID)
		}
	}
	owner, err := p.store.Owners(ctx, p.target.Name(), customers)
	return func(context.Context, string, []string) (map[string]string, error) { return owner, nil }, err
}

// query asks for whatever a decision about the user asks for.
func query(t lockstep.Target, u postgres.Unlinked) lockstep.Query {
	return lockstep.Query{UserID: u.Profile.ID, Email: t.Fit(lockstep.Customer{Email: u.Profile.Email}).Email}
}

// adopt marks guests, as many at once as Shopify takes. Who is then as it should
// be is linked; who needs more, or was refused, is left to the workers.
func (p *shopPush) adopt(ctx context.Context, shop *shopify.Exported, all []shopify.Adoption) error {
	for batch := range slices.Chunk(all, shopify.MaxAdoptions) {
		err := inbox.Patiently(ctx, func() error { return shop.AdoptAll(ctx, batch) })
		if kind := lockstep.KindOf(err); err != nil && (ctx.Err() != nil || kind == lockstep.ErrRefused) {
			return err
		}
		var users []string
		for _, a := range batch {
			users = append(users, a.Want.UserID)
		}
		linked, err := p.settle(ctx, shop, "adopt", "adopted in bulk: a guest holds the verified e-mail", users)
		if err != nil {
			return err
		}
		p.done.Adopted += len(linked)
		users = slices.DeleteFunc(users, func(user string) bool { return slices.Contains(linked, user) })
		if err := p.leave(ctx, users); err != nil {
			return err
		}
	}
	return nil
}

// settle links the users whose customer is now as it should be, by the engine's
// table and by their profiles as they are now, and returns them.
func (p *shopPush) settle(ctx context.Context, shop *shopify.Exported, action, reason string, all []string) (linked []string, err error) {
	for users := range slices.Chunk(all, pushPage) {
		now, err := p.store.Unlinked(ctx, p.target.Name(), "", len(users), users...)
		if err != nil {
			return linked, err
		}
		owners, err := p.owners(ctx, shop, now)
		if err != nil {
			return linked, err
		}
		var right []postgres.Made
		for _, u := range now {
			d, err := engine.Decide(ctx, shop, u.Profile, u.Link, owners, "")
			if err != nil {
				return linked, err
			}
			if d.Action == engine.Nothing && d.Status == lockstep.StatusLinked {
				right = append(right, postgres.Made{UserID: u.Profile.ID, CustomerID: d.Now.ID, Email: d.Now.Email, Seen: u.Seen})
			}
		}
		done, err := p.in.LinkMade(ctx, p.target.Name(), action, reason, right)
		if err != nil {
			return linked, err
		}
		linked = append(linked, done...)
		p.progress(Progress{What: p.shop + ": linking", Done: len(linked), Total: len(all)})
	}
	return linked, nil
}

// leave hands users to the workers.
func (p *shopPush) leave(ctx context.Context, users []string) error {
	for page := range slices.Chunk(users, pushPage) {
		if err := p.in.Leave(ctx, p.target.Name(), page); err != nil {
			return err
		}
	}
	p.done.Left += len(users)
	return nil
}

func ids(users []postgres.Unlinked) (list []string) {
	for _, u := range users {
		list = append(list, u.Profile.ID)
	}
	return list
}

func keys(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
