package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/lockstephq/lockstep/app"
	"github.com/spf13/cobra"
)

func newReconcile() *cobra.Command {
	var o app.ReconcileOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "reconcile",
		Short: "Find what is out of step, and mend it",
		Long: `Reconcile compares profiles and links in Lockstep's own tables. With --deep it
also compares Clerk's users with the profiles, and the customers of every store
with the links. What differs is mended by the same work that follows a webhook,
behind live changes; the command works it off, waits for it, and reports.

serve does both by itself: the first every few minutes, the second every night.
Exit code 3 says that something is still out of step, or was not looked at.`,
		Args: exactly(0, "reconcile [--deep] [--full] [--dry-run] [--target T] [--no-wait] [--json]"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkReconcile(o); err != nil {
				return err
			}
			need := app.NeedDatabase
			if o.Deep && o.Target == "" {
				need = app.NeedClerk
			}
			a, err := open(c, need, quiet)
			if err != nil {
				return err
			}
			defer a.Close()
			show, end := newProgress(c.ErrOrStderr())
			o.Progress = show
			report, err := a.Reconcile(c.Context(), o)
			end()
			if errors.Is(err, context.Canceled) {
				return errors.New("stopped: what was repaired until then stays; the same command begins anew")
			}
			if err != nil {
				return err
			}
			return printReconcile(c.OutOrStdout(), report, asJSON)
		},
	}
	flags := c.Flags()
	flags.BoolVar(&o.Deep, "deep", false, "ask Clerk and the stores as well")
	flags.BoolVar(&o.Full, "full", false, "with --deep: all of Clerk's users, not only those that changed")
	flags.BoolVar(&o.DryRun, "dry-run", false, "find and report, change nothing")
	flags.StringVar(&o.Target, "target", "", "one store only, such as medusa, and not Clerk")
	flags.BoolVar(&o.NoWait, "no-wait", false, "leave the repairs to serve, and do not wait for them")
	flags.IntVar(&o.Allow, "allow-deletions", 0, "with --deep: how many users the run may take for deleted")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func checkReconcile(o app.ReconcileOptions) error {
	switch {
	case !o.Deep && (o.Full || o.Allow != 0):
		return usageError{errors.New("--full and --allow-deletions go with --deep")}
	case o.Allow < 0:
		return usageError{errors.New("--allow-deletions must be a number of users")}
	case o.Target != "" && (o.Full || o.Allow != 0):
		return usageError{errors.New("--full and --allow-deletions are about Clerk's users: leave --target out")}
	}
	return nil
}

func printReconcile(w io.Writer, r app.ReconcileReport, asJSON bool) error {
	if asJSON {
		if err := printJSON(w, r); err != nil {
			return err
		}
	} else if err := printDrift(w, r); err != nil {
		return err
	}
	if !r.Clean() {
		return driftError{fmt.Errorf("not everything is in step, or was looked at: see the report of run %d", r.ID)}
	}
	return nil
}

// printDrift prints what was looked at, what was found, and what is left.
func printDrift(w io.Writer, r app.ReconcileReport) error {
	took := ""
	if !r.Finished.IsZero() {
		took = " in " + r.Finished.Sub(r.Started).Round(time.Millisecond).String()
	}
	fmt.Fprintf(w, "Reconcile run %d%s%s\n\n", r.ID, took, map[bool]string{true: ", a dry run: nothing was changed", false: ""}[r.DryRun])
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "target\tstep\tlooked at")
	for _, s := range r.Steps {
		looked := fmt.Sprint(s.LookedAt)
		if !s.Walked {
			looked = s.Reason
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", orDash(s.Target), s.Name, looked)
	}
	if len(r.Drift) == 0 {
		fmt.Fprintln(table, "\nNothing is out of step.")
		return table.Flush()
	}
	fmt.Fprintln(table, "\ntarget\tkind\tfound\trepaired\tqueued\tleft")
	for _, d := range r.Drift {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\n", orDash(d.Target), d.Kind, d.Found, d.Repaired, d.Queued, d.Left)
	}
	if len(r.Open) > 0 {
		fmt.Fprintln(table, "\ntarget\tkind\tuser\tcustomer\twhy")
	}
	for _, f := range r.Open {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", orDash(f.Target), f.Kind, f.UserID, orDash(f.CustomerID), orDash(f.Reason))
	}
	return table.Flush()
}
