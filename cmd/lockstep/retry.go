package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/lockstephq/lockstep/app"
	"github.com/spf13/cobra"
)

func newRetry() *cobra.Command {
	var target string
	var asJSON bool
	c := &cobra.Command{
		Use:   "retry [USER…]",
		Short: "Queue anew what was given up, and resume paused stores that work",
		Long: `Retry queues the links that failed, for the workers to try again; of named users
also those that wait for their next attempt. A paused store is asked first, and
resumed if it works. Without users, jobs that the engine gave up start again too.`,
		RunE: func(c *cobra.Command, users []string) error {
			a, err := open(c, app.NeedDatabase, quiet)
			if err != nil {
				return err
			}
			defer a.Close()
			r, err := a.Retry(c.Context(), target, users)
			if err != nil {
				return unknownTarget(unknownUser(err, "retry"), target)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), r)
			}
			return printRetried(c.OutOrStdout(), r)
		},
	}
	c.Flags().StringVar(&target, "target", "", "one store, as `status` names it")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printRetried(w io.Writer, r app.Retried) error {
	for _, t := range r.Targets {
		fmt.Fprintf(w, "%s: %d queued anew", t.Target, t.Links)
		switch {
		case t.Resumed:
			fmt.Fprint(w, "; it works again, and is resumed")
		case t.Paused:
			fmt.Fprintf(w, "; it stays paused, and all of it waits: %s", t.Reason)
		}
		fmt.Fprintln(w)
	}
	if r.Jobs > 0 {
		fmt.Fprintf(w, "jobs given up: %d start again\n", r.Jobs)
	}
	_, err := fmt.Fprintln(w, "The workers do the rest: `lockstep status` shows how far they are.")
	return err
}

// unknownTarget names the target that is not there.
func unknownTarget(err error, target string) error {
	if errors.Is(err, app.ErrUnknownTarget) {
		return fmt.Errorf("%q: %w", target, err)
	}
	return err
}
