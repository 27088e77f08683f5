package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lockstephq/lockstep/app"
	"github.com/spf13/cobra"
)

func newBackfillShopify() *cobra.Command {
	var shop string
	var restart, asJSON bool
	c := &cobra.Command{
		Use:   "shopify",
		Short: "Capture all customers of the shops",
		Long: `Backfill has Shopify export the customers of each shop and captures them in
lockstep.shopify_customers, newer over older, so that webhooks may arrive
meanwhile. A shop that refuses bulk operations is read page by page.

Stopped at any point, the same command goes on where it was. At the end
customers and rows are counted; if the numbers differ, it says so and exits
with 3.`,
		Args: exactly(0, "backfill shopify [--shop S] [--restart] [--json]"),
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := open(c, app.NeedDatabase, quiet(c))
			if err != nil {
				return err
			}
			defer a.Close()
			show, end := newProgress(c.ErrOrStderr())
			done, err := a.BackfillShopify(c.Context(), shop, restart, show)
			end()
			return reportShops(c.OutOrStdout(), done, err, asJSON)
		},
	}
	c.Flags().StringVar(&shop, "shop", "", "one shop, such as acme.myshopify.com, not all of them")
	c.Flags().BoolVar(&restart, "restart", false, "begin anew, not where the last call was stopped")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// goesOn adds to an error that nothing done was lost.
func goesOn(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("stopped: the same command goes on where it was")
	}
	return fmt.Errorf("%w; the same command goes on where it was", err)
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
		return fmt.Errorf("%s: the shop has %d customers, and there are %d rows: the webhook of a deletion was lost, or is under way",
			b.Shop, b.InShop, b.Held)
	}
	return fmt.Errorf("%s: the shop has %d customers, and there are %d rows: customers were made meanwhile; type `lockstep backfill shopify --shop %s` again",
		b.Shop, b.InShop, b.Held, b.Shop)
}
