package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/lockstephq/lockstep/app"
	"github.com/spf13/cobra"
)

func newStatus() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how far each store is in step",
		Args:  exactly(0, "status [--json]"),
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := open(c, app.NeedDatabase, quiet)
			if err != nil {
				return err
			}
			defer a.Close()
			report, err := a.StatusReport(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), report)
			}
			if err := printStatus(c.OutOrStdout(), report.Targets); err != nil {
				return err
			}
			return printAlarms(c.OutOrStdout(), report.Watchdogs)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// printStatus prints the parity table, and below it what needs a person.
func printStatus(w io.Writer, status []app.TargetStatus) error {
	if len(status) == 0 {
		_, err := fmt.Fprintln(w, "No target is configured: set MEDUSA_MODE to database or api, or SHOPIFY_SHOP.")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "target\tusers\tlinked\tpending\twaiting\tconflicts\tfailed\treleased\tlag\t")
	for _, t := range status {
		lag := time.Duration(t.LagSeconds * float64(time.Second)).Round(time.Second)
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t\n",
			t.Target, t.Users, t.Linked, t.Pending, t.Waiting, t.Conflicts, t.Failed, t.Released, lag)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, t := range status {
		if t.PausedAt != nil {
			fmt.Fprintf(w, "\n%s is paused since %s: %s\n", t.Target, t.PausedAt.Format(time.RFC3339), t.PausedReason)
			if !t.Disconnected {
				fmt.Fprintln(w, "It resumes by itself within seconds once that is mended.")
			}
		}
		for _, problem := range t.Problems {
			fmt.Fprintf(w, "\n%s: %s\n", t.Target, problem)
		}
	}
	return nil
}

// printAlarms prints what the watchdogs say, if they say anything. What a pause
// is about stands above already.
func printAlarms(w io.Writer, dogs []app.Watchdog) error {
	for _, d := range dogs {
		if d.Alarm && d.Watchdog != "target_paused" {
			if _, err := fmt.Fprintf(w, "\n%s, %s: %s\n", d.Watchdog, d.Subject, d.Message); err != nil {
				return err
			}
		}
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
