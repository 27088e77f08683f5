package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/schollz/progressbar/v3"
)

// signUp is the first act. Webhooks are held back, so that they can come in
// any order, and a fifth of them comes twice.
func (d *demo) signUp(ctx context.Context, people []*person) error {
	d.clerk.Webhooks.Disturb(0, 0.2)
	d.clerk.Webhooks.Hold()
	for _, p := range people {
		spec := p.user(p)
		if err := errors.Join(d.seed(ctx, p), d.seedShops(p)); err != nil {
			return err
		}
		u, err := d.clerk.CreateUser(spec)
		if err != nil {
			return err
		}
		p.id = u.ID
	}
	d.clerk.Webhooks.ReleaseShuffled()
	return nil
}

// change is the second act.
func (d *demo) change(ctx context.Context, people []*person) error {
	if err := d.copyMedusa(ctx); err != nil {
		return err
	}
	d.clerk.Webhooks.Hold()
	for _, p := range people {
		if p.part.change == nil {
			continue
		}
		if err := p.part.change(ctx, d, p); err != nil {
			return err
		}
	}
	d.clerk.Webhooks.ReleaseShuffled()
	return nil
}

func renameTwice(_ context.Context, d *demo, p *person) error {
	for _, name := range []string{"Older", "Newest" + p.id} {
		if _, err := d.clerk.UpdateUser(p.id, emulator.UserChange{LastName: &name}); err != nil {
			return err
		}
	}
	return nil
}

func verify(_ context.Context, d *demo, p *person) error {
	yes := true
	_, err := d.clerk.UpdateUser(p.id, emulator.UserChange{Verified: &yes})
	return err
}

func move(ctx context.Context, d *demo, p *person) error {
	err := d.db.QueryRow(ctx, `select customer_id from lockstep.customer_links where clerk_user_id = $1 and target = 'medusa'`, p.id).Scan(&p.seeded)
	if err != nil {
		return err
	}
	yes := true
	p.email = "moved." + p.email
	_, err = d.clerk.UpdateUser(p.id, emulator.UserChange{Email: &p.email, Verified: &yes})
	return err
}

// updateAfterDelete sends the deletion first and the update after it.
func updateAfterDelete(ctx context.Context, d *demo, p *person) error {
	name := "Zombie"
	if _, err := d.clerk.UpdateUser(p.id, emulator.UserChange{LastName: &name}); err != nil {
		return err
	}
	if err := d.clerk.DeleteUser(p.id); err != nil {
		return err
	}
	late, deletion := lastTwo(d.clerk.Webhooks.Messages())
	for _, message := range []string{deletion, late} {
		if err := d.clerk.Webhooks.Release(message); err != nil {
			return err
		}
		if err := d.clerk.Webhooks.Wait(ctx); err != nil {
			return err
		}
		d.clerk.Webhooks.Hold()
	}
	return nil
}

func lastTwo(messages []emulator.Message) (before, last string) {
	n := len(messages)
	return messages[n-2].ID, messages[n-1].ID
}

func comeBack(_ context.Context, d *demo, p *person) error {
	if err := d.clerk.DeleteUser(p.id); err != nil {
		return err
	}
	u, err := d.clerk.CreateUser(verified(p))
	p.id = u.ID
	return err
}

func deletedInStore(ctx context.Context, d *demo, p *person) error {
	if err := errors.Join(d.deletedInMedusa(ctx, p), d.deletedInShops(p)); err != nil {
		return err
	}
	return renameTwice(ctx, d, p)
}

// standing is how far the stores are in step, for the live view.
type standing struct {
	links, settled, jobs int
}

func (d *demo) standing(ctx context.Context) (s standing, err error) {
	err = d.db.QueryRow(ctx, `
		select (select count(*) from lockstep.customer_links),
		       (select count(*) from lockstep.customer_links where applied = desired),
		       (select count(*) from lockstep.river_job where kind in ('dispatch', 'sync') and state not in ('completed', 'cancelled', 'discarded'))`).
		Scan(&s.links, &s.settled, &s.jobs)
	return s, err
}

// watch shows the progress until all webhooks are acknowledged and worked off.
func (d *demo) watch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	delivered := make(chan error, 1)
	go func() { delivered <- d.clerk.Webhooks.Wait(ctx) }()
	bar := d.newBar()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for allSent := false; ; {
		s, err := d.standing(ctx)
		if err != nil {
			return err
		}
		bar.show(s, d.flaky.Counts().Calls+d.shopify.Faults.Total("*"))
		if allSent && s.jobs == 0 {
			return bar.finish()
		}
		select {
		case err := <-delivered:
			if err != nil {
				return err
			}
			allSent, delivered = true, nil
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d links are in step, %d jobs are left: %w", s.settled, s.links, s.jobs, ctx.Err())
		}
	}
}

// bar is the live view: a progress bar, or a line now and then without a
// terminal.
type bar struct {
	d     *demo
	bar   *progressbar.ProgressBar
	last  time.Time
	shown standing
}

func (d *demo) newBar() *bar {
	b := &bar{d: d}
	if isTerminal(d.progress) {
		b.bar = progressbar.NewOptions(1, progressbar.OptionSetWriter(d.progress), progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(false), progressbar.OptionSetWidth(30), progressbar.OptionUseANSICodes(true))
	}
	return b
}

func (b *bar) show(s standing, calls int) {
	text := fmt.Sprintf("links in step; %d calls to stores", calls)
	if b.bar != nil {
		b.bar.ChangeMax(max(s.links, 1))
		b.bar.Describe(text)
		_ = b.bar.Set(s.settled) // a terminal that is gone is no reason to stop
		return
	}
	if time.Since(b.last) > 2*time.Second && s != b.shown {
		fmt.Fprintf(b.d.progress, "  %d of %d %s\n", s.settled, s.links, text)
		b.last, b.shown = time.Now(), s
	}
}

func (b *bar) finish() error {
	if b.bar == nil {
		return nil
	}
	err := b.bar.Finish()
	fmt.Fprintln(b.d.progress)
	return err
}
