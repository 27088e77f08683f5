package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/lockstephq/lockstep/app"
	"github.com/spf13/cobra"
)

func newSync() *cobra.Command {
	var explain bool
	c := &cobra.Command{
		Use:   "sync USER",
		Short: "Bring every store in step for one user, now",
		Args:  exactly(1, "sync USER [--explain]"),
		RunE: func(c *cobra.Command, args []string) error {
			a, err := open(c, app.NeedDatabase, quiet)
			if err != nil {
				return err
			}
			defer a.Close()
			if explain {
				return explainUser(c, a, args[0])
			}
			if err := a.Sync(c.Context(), args[0]); err != nil {
				return unknownUser(err, args[0])
			}
			report, err := a.Show(c.Context(), args[0])
			if err != nil {
				return err
			}
			return printLinks(c.OutOrStdout(), report)
		},
	}
	c.Flags().BoolVar(&explain, "explain", false, "say what would be done, and why, and do nothing")
	return c
}

func explainUser(c *cobra.Command, a *app.App, user string) error {
	all, err := a.Explain(c.Context(), user)
	if err != nil {
		return unknownUser(err, user)
	}
	var failed []error
	for _, e := range all {
		if e.Err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", e.Target, e.Err))
			continue
		}
		printDecision(c.OutOrStdout(), e)
	}
	return errors.Join(failed...)
}

func printDecision(w io.Writer, e app.Explanation) {
	d := e.Decision
	fmt.Fprintf(w, "%s: %s", e.Target, d.Action)
	if d.Now.ID != "" {
		fmt.Fprintf(w, " %s", d.Now.ID)
	}
	fmt.Fprintf(w, ", then %s: %s\n", d.Status, d.Reason)
}

// unknownUser adds what to do about a user Lockstep has not heard of.
func unknownUser(err error, user string) error {
	if errors.Is(err, app.ErrUnknownUser) {
		return fmt.Errorf("%s: %w; in Clerk's dashboard, resend the user's webhook", user, err)
	}
	return err
}
