package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lockstephq/lockstep/app"
	"github.com/spf13/cobra"
)

func newBackfillShopify() *cobra.Command {
	var shop string
	var restart, push, asJSON bool
	c := &cobra.Command{
		Use:   "shopify",
		Short: "Capture all customers of the shops",
		Long: `Backfill has Shopify export the customers of each shop and captures them in
lockstep.shopify_customers, newer over older, so that webhooks may arrive
meanwhile. A shop that refuses bulk operations is read page by page.

Stopped at any point, the same command goes on where it was. At the end each
row whose customer was not shown is asked for by its id: the webhook of a
deletion may have been lost. Then customers and rows are counted; if the numbers
differ, it says so and exits with 3.

With --push it goes the other way: users who have no customer in a shop get one,
by an export, the rules that every change goes by, and an import. That is for a
shop that is new to Lockstep; changes that come meanwhile go before it. Who needs
more than an import can do is left to lockstep serve. It may be called again.`,
		Args: exactly(0, "backfill shopify [--shop S] [--push] [--restart] [--json]"),
		RunE: func(c *cobra.Command, _ []string) error {
			if push && restart {
				return usageError{errors.New("--push and --restart do not go together: leave one out")}
			}
			a, err := open(c, app.NeedDatabase, quiet)
			if err != nil {
				return err
			}
			defer a.Close()
			show, end := newProgress(c.ErrOrStderr())
			if push {
				done, err := a.PushShopify(c.Context(), shop, show)
				end()
				return reportPush(c.OutOrStdout(), done, err, asJSON)
			}
			done, err := a.BackfillShopify(c.Context(), shop, restart, show)
			end()
			return reportShops(c.OutOrStdout(), done, err, asJSON)
		},
	}
	c.Flags().StringVar(&shop, "shop", "", "one shop, such as acme.myshopify.com, not all of them")
	c.Flags().BoolVar(&push, "push", false, "make a customer for each user who has none")
	c.Flags().BoolVar(&restart, "restart", false, "begin anew, not where the last call was stopped")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// reportShops tells of the shops that are done, and fails for the others.
func reportShops(w io.Writer, done []app.ShopBackfilled, failed error, asJSON bool) error {
	if asJSON {
		if err := printJSON(w, done); err != nil {
			return err
		}
	}
	var drift error
	for _, b := range done {
		if !asJSON {
			fmt.Fprintf(w, "%s: read %d customers in %v; %d rows were made or renewed.\n", b.Shop, b.Read, b.Took.Round(time.Millisecond), b.Changed)
		}
		if !asJSON && b.Asked > 0 {
			fmt.Fprintf(w, "%s: rows whose customers were not among them: %d. Each was asked for by its id; who is gone is marked as deleted.\n", b.Shop, b.Asked)
		}
		if !b.Exact() {
			drift = errors.Join(drift, describeShop(b))
		} else if !asJSON {
			fmt.Fprintf(w, "%s: the shop has %d customers, and there are as many rows.\n", b.Shop, b.InShop)
		}
	}
	switch {
	case failed != nil:
		return errors.Join(goesOn(failed), drift)
	case drift != nil:
		return driftError{drift}
	}
	return nil
}

// describeShop says what may be behind two numbers that differ.
func describeShop(b app.ShopBackfilled) error {
	if b.AtLeast {
		return fmt.Errorf("%s: Shopify counts %d customers or more, and there are %d rows: nobody can tell whether that is all", b.Shop, b.InShop, b.Held)
	}
	if b.Held > b.InShop {
		return fmt.Errorf("%s: the shop has %d customers, and there are %d rows: customers were deleted meanwhile; type `lockstep backfill shopify --shop %s` again",
			b.Shop, b.InShop, b.Held, b.Shop)
	}
	return fmt.Errorf("%s: the shop has %d customers, and there are %d rows: customers were made meanwhile; type `lockstep backfill shopify --shop %s` again",
		b.Shop, b.InShop, b.Held, b.Shop)
}

func reportPush(w io.Writer, done []app.ShopPushed, failed error, asJSON bool) error {
	if asJSON {
		if err := printJSON(w, done); err != nil {
			return err
		}
	}
	for _, p := range done {
		if asJSON {
			continue
		}
		if p.Users == 0 && p.Created == 0 {
			fmt.Fprintf(w, "%s: nothing to do: no user is without a customer, or without work that is under way.\n", p.Shop)
			continue
		}
		fmt.Fprintf(w, "%s: %d users had no customer: %d were made and %d adopted in %v, %d are left to lockstep serve.\n",
			p.Shop, p.Users, p.Created, p.Adopted, p.Took.Round(time.Millisecond), p.Left)
	}
	if failed != nil {
		return goesOn(failed)
	}
	return nil
}
