package inbox

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/internal/postgres"
	"golang.org/x/sync/errgroup"
)

const (
	listPage   = 250 // customers that a target lists at once
	goneAtOnce = 8   // customers that are looked for at once
)

const cannotList = "not walked: this target cannot list its customers"

// walkCustomers compares all of a target's customers with the links: those of an
// export where there is one, else page by page.
func (r *reconciling) walkCustomers(ctx context.Context, step *postgres.RunStep) error {
	if exporter, ok := lockstep.As[lockstep.Exporter](r.targets[step.Target]); ok && (step.Cursor == "" || isExport(step.Cursor)) {
		if err := r.walkExport(ctx, step, exporter); !errors.Is(err, lockstep.ErrNoExport) {
			return err
		}
	}
	lister, ok := lockstep.As[lockstep.Lister](r.targets[step.Target])
	if !ok {
		return r.skip(ctx, step, cannotList)
	}
	return r.walkList(ctx, step, lister)
}

func (r *reconciling) walkList(ctx context.Context, step *postgres.RunStep, lister lockstep.Lister) error {
	for step.State == postgres.StepTodo {
		began, err := r.store.DatabaseTime(ctx)
		if err != nil {
			return err
		}
		var customers []lockstep.Customer
		err = patiently(ctx, func(ctx context.Context) (err error) {
			customers, err = lister.List(ctx, step.Cursor, listPage)
			return err
		})
		if err != nil {
			return r.unlessStopped(ctx, step, err)
		}
		err = r.page(ctx, step, func(tx pgx.Tx, next *postgres.RunStep) error {
			next.LookedAt += int64(len(customers))
			if len(customers) < listPage {
				next.State = postgres.StepDone
			}
			if len(customers) == 0 {
				return nil
			}
			next.Cursor = customers[len(customers)-1].ID
			return r.compare(ctx, tx, *next, customers, began)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// unlessStopped lets one target's outage not end the run: the others are walked.
func (r *reconciling) unlessStopped(ctx context.Context, step *postgres.RunStep, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return r.skip(ctx, step, "not walked: "+err.Error())
}

// compare looks at a page of customers that was read after began.
func (r *reconciling) compare(ctx context.Context, tx pgx.Tx, step postgres.RunStep, customers []lockstep.Customer, began time.Time) error {
	sights, users, err := r.sights(ctx, tx, step.Target, customers)
	if err != nil {
		return err
	}
	noted, err := r.store.Noted(ctx, tx, r.run, step.No, step.Target, users)
	if err != nil {
		return err
	}
	fit := r.targets[step.Target].Fit
	var found []postgres.Finding
	ids := make([]string, len(customers))
	for i, s := range sights {
		ids[i] = s.Customer.ID
		if noted[s.UserID()] || s.Owner != nil && !s.Owner.Since.Before(began) || s.Marked != nil && !s.Marked.Since.Before(began) {
			continue // found before, or worked on meanwhile
		}
		if kind := engine.Compare(s, fit); kind != "" {
			f := postgres.Finding{Target: step.Target, Kind: kind, UserID: s.UserID(), CustomerID: s.Customer.ID}
			if s.Profile == nil {
				f.Fate, f.Reason = postgres.FateLeft, "Lockstep knows no such user: take the mark off"
			}
			found = append(found, f)
		}
	}
	if err := r.store.See(ctx, tx, r.run, step.Target, ids); err != nil {
		return err
	}
	return r.repair(ctx, tx, step, found)
}

// sights puts a page of customers beside what the tables say of them.
func (r *reconciling) sights(ctx context.Context, tx pgx.Tx, target string, customers []lockstep.Customer) (sights []engine.Sight, users []string, err error) {
	var ids, marks []string
	for _, c := range customers {
		ids = append(ids, c.ID)
		if c.UserID != "" {
			marks = append(marks, c.UserID)
		}
	}
	links, err := r.store.LinksOf(ctx, tx, target, ids, marks)
	if err != nil {
		return nil, nil, err
	}
	byCustomer, byUser := map[string]*lockstep.Link{}, map[string]*lockstep.Link{}
	for i := range links {
		byCustomer[links[i].CustomerID], byUser[links[i].UserID] = &links[i], &links[i]
		users = append(users, links[i].UserID)
	}
	users = append(users, marks...)
	profiles, err := r.store.Profiles(ctx, tx, users)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range customers {
		s := engine.Sight{Customer: c, Owner: byCustomer[c.ID]}
		if s.Owner == nil && c.UserID != "" {
			s.Marked = byUser[c.UserID]
		}
		if p, ok := profiles[s.UserID()]; ok {
			s.Profile = &p
		}
		sights = append(sights, s)
	}
	return sights, users, nil
}

// walkGone looks for the customers that links name and the walk did not see, one
// by one: a list may lag behind.
func (r *reconciling) walkGone(ctx context.Context, step *postgres.RunStep) error {
	walked, err := r.customersStep(ctx, step.Target)
	if err != nil {
		return err
	}
	if walked.State != postgres.StepDone {
		return r.skip(ctx, step, walked.Reason)
	}
	for step.State == postgres.StepTodo {
		links, err := r.store.UnseenLinks(ctx, r.run, step.No, step.Target, step.Cursor, walked.Began, bulkPage)
		if err != nil {
			return err
		}
		gone, err := r.lookFor(ctx, step.Target, links)
		if err != nil {
			return r.unlessStopped(ctx, step, err)
		}
		err = r.page(ctx, step, func(tx pgx.Tx, next *postgres.RunStep) error {
			next.LookedAt += int64(len(links))
			if len(links) < bulkPage {
				next.State = postgres.StepDone
			} else {
				next.Cursor = links[len(links)-1].UserID
			}
			return r.repair(ctx, tx, *next, gone)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *reconciling) customersStep(ctx context.Context, target string) (postgres.RunStep, error) {
	steps, err := r.store.Steps(ctx, r.run.ID)
	for _, s := range steps {
		if s.Name == stepCustomers && s.Target == target {
			return s, err
		}
	}
	return postgres.RunStep{Reason: cannotList}, err
}

// lookFor returns the links whose customer the target does not have.
func (r *reconciling) lookFor(ctx context.Context, target string, links []lockstep.Link) (gone []postgres.Finding, err error) {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(goneAtOnce)
	for _, l := range links {
		group.Go(func() error {
			return patiently(ctx, func(ctx context.Context) error {
				found, err := r.targets[target].Resolve(ctx, lockstep.Query{UserID: l.UserID, CustomerID: l.CustomerID})
				if err != nil || found.ByLink != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				gone = append(gone, postgres.Finding{Target: target, Kind: lockstep.DriftCustomerGone, UserID: l.UserID, CustomerID: l.CustomerID})
				return nil
			})
		})
	}
	return gone, group.Wait()
}
