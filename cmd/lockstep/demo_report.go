package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/lockstephq/lockstep/internal/emulator"
)

// report prints the parity table and every expectation, and fails if one does
// not hold.
func (d *demo) report(ctx context.Context, people []*person) error {
	status, err := d.app.Status(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(d.out)
	if err := printStatus(d.out, status); err != nil {
		return err
	}
	c := d.flaky.Counts()
	fmt.Fprintf(d.out, "\n%d calls to Medusa, of which %d failed: %d were refused for a while, %d hit a limit,\n%d were lost on the way there and %d on the way back, after the commit.\n",
		c.Calls, c.After+c.Before+c.Transient+c.Throttled, c.Transient, c.Throttled, c.Before, c.After)
	d.reportShops()
	if err := d.copyMedusa(ctx); err != nil {
		return err
	}
	failed := 0
	for _, check := range []func(context.Context, []*person) (int, error){d.checkParts, d.checkShops, d.checkWhole} {
		n, err := check(ctx, people)
		if err != nil {
			return err
		}
		failed += n
	}
	if failed > 0 {
		return fmt.Errorf("%d expectations do not hold", failed)
	}
	return nil
}

// checkParts asks the tables about each person, and prints a line per part.
func (d *demo) checkParts(ctx context.Context, people []*person) (failed int, err error) {
	wrong := map[*part][]string{}
	for _, p := range people {
		var right bool
		err := d.db.QueryRow(ctx, `
			select coalesce(`+p.right+`, false)
			  from (select $1::text as id, lower($2::text) as email, $3::text as seeded) q
			  left join public.profiles p on p.id = q.id
			  left join lockstep.customer_links l on l.clerk_user_id = q.id and l.target = 'medusa' and l.applied = l.desired
			  left join medusa.customer c on c.id = l.customer_id and c.deleted_at is null
			  left join medusa.customer s on s.id = q.seeded
			 cross join lateral (select count(*) as marks from medusa.customer m where m.metadata ->> 'clerk_user_id' = q.id and m.deleted_at is null) m`,
			p.id, p.email, p.seeded).Scan(&right)
		if err != nil {
			return 0, fmt.Errorf("check %s: %w", p.id, err)
		}
		if !right {
			wrong[p.part] = append(wrong[p.part], p.id)
		}
	}
	for i, p := range people {
		if i == 0 || people[i-1].part != p.part {
			failed += d.line(len(wrong[p.part]) == 0, fmt.Sprintf("%3d  %s", p.count, p.title), strings.Join(wrong[p.part], " "))
		}
	}
	return failed, nil
}

// checkWhole holds the whole against Clerk's emulator.
func (d *demo) checkWhole(ctx context.Context, _ []*person) (failed int, err error) {
	messages, lost := d.clerk.Webhooks.Messages(), 0
	for _, m := range messages {
		if m.State != emulator.StateAcknowledged {
			lost++
		}
	}
	for _, c := range []struct {
		title, query string
		want         int
	}{
		{"webhooks are on disk, each once", `select count(*) from lockstep.deliveries`, len(messages)},
		{"living users have a profile", `select count(*) from public.profiles where deleted_at is null`, d.clerk.UserCount()},
		{"users have two customers", `select count(*) from (select 1 from medusa.customer where deleted_at is null and metadata ? 'clerk_user_id'
			group by metadata ->> 'clerk_user_id' having count(*) > 1) x`, 0},
		{"e-mails are held by two guests", `select count(*) from (select 1 from medusa.customer where deleted_at is null and not has_account
			and email is not null group by lower(email) having count(*) > 1) x`, 0},
		{"customers are linked to two users of one store", `select count(*) from (select 1 from lockstep.customer_links where customer_id is not null
			group by target, customer_id having count(*) > 1) x`, 0},
		{"links have failed", `select count(*) from lockstep.customer_links where status = 'failed'`, 0},
	} {
		var got int
		if err := d.db.QueryRow(ctx, c.query).Scan(&got); err != nil {
			return failed, err
		}
		failed += d.line(got == c.want, fmt.Sprintf("%3d  %s", c.want, c.title), fmt.Sprintf("%d", got))
	}
	failed += d.line(lost == 0, "  0  webhooks were never acknowledged", fmt.Sprint(lost))
	return failed, nil
}

// line prints an expectation, and what is instead. It returns 1 if it failed.
func (d *demo) line(ok bool, what, instead string) int {
	if ok {
		fmt.Fprintf(d.out, "  ok    %s\n", what)
		return 0
	}
	fmt.Fprintf(d.out, "  FAIL  %s: %s\n", what, instead)
	return 1
}

func (d *demo) reportShops() {
	for _, s := range d.shopify.Shops() {
		all, failed := 0, 0
		for _, c := range d.shopify.Faults.Counts() {
			if strings.HasPrefix(c.Route, s.Name()+" ") {
				all += c.N
				if c.Outcome != "200" {
					failed += c.N
				}
			}
		}
		u := s.Usage()
		fmt.Fprintf(d.out, "%d requests to shop %s, of which %d failed; %.0f points, %d answers THROTTLED.\n", all, s.Name(), failed, u.Used, u.Throttled)
	}
	fmt.Fprintln(d.out)
}
