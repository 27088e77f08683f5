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

func newBackfill() *cobra.Command {
	c := &cobra.Command{
		Use:   "backfill",
		Short: "Bring in what was there before Lockstep",
		RunE: func(_ *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("type: lockstep backfill clerk, or lockstep backfill shopify")}
		},
	}
	c.AddCommand(newBackfillClerk(), newBackfillShopify())
	return c
}

func newBackfillClerk() *cobra.Command {
	var restart, asJSON bool
	c := &cobra.Command{
		Use:   "clerk",
		Short: "Bring in all of Clerk's users",
		Long: `Backfill reads all users from Clerk, within Clerk's limits, and makes or renews
their profiles: newer over older, never a user who was deleted. Customers follow
behind live changes, worked off by lockstep serve.

Stopped at any point, the same command goes on where it was. At the end users
and profiles are counted; if the numbers differ, it says so and exits with 3.`,
		Args: exactly(0, "backfill clerk [--restart] [--json]"),
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := open(c, app.NeedClerk, quiet)
			if err != nil {
				return err
			}
			defer a.Close()
			show, end := newProgress(c.ErrOrStderr())
			done, err := a.BackfillClerk(c.Context(), restart, show)
			end()
			if err != nil {
				return goesOn(err)
			}
			return reportBackfill(c.OutOrStdout(), done, asJSON)
		},
	}
	c.Flags().BoolVar(&restart, "restart", false, "begin at the first user, not where the last call was stopped")
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

func reportBackfill(w io.Writer, b app.Backfilled, asJSON bool) error {
	if asJSON {
		if err := printJSON(w, b); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(w, "Read %d users from Clerk in %v; %d profiles were made or renewed, work for %d customers waits behind live changes.\n",
			b.Read, b.Took.Round(time.Millisecond), b.Changed, b.Queued)
	}
	if !b.Exact() {
		return driftError{describeCounts(b)}
	}
	if !asJSON {
		fmt.Fprintf(w, "Clerk has %d users, and there are as many living profiles.\n", b.After)
	}
	return nil
}

// describeCounts says what may be behind two numbers that differ.
func describeCounts(b app.Backfilled) error {
	text := fmt.Sprintf("Clerk has %d users, and there are %d living profiles", b.After, b.Profiles)
	if b.Before != b.After {
		text += fmt.Sprintf("; users came or went meanwhile (Clerk had %d at the start)", b.Before)
	}
	return fmt.Errorf("%s: webhooks may still be under way; type `lockstep reconcile --deep --full` to see who", text)
}
