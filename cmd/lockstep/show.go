package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/lockstephq/lockstep/app"
	"github.com/spf13/cobra"
)

func newShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show USER",
		Short: "Show a user's profile, customers, and what happened",
		Args:  exactly(1, "show USER [--json]"),
		RunE: func(c *cobra.Command, args []string) error {
			a, err := open(c, app.NeedDatabase, quiet)
			if err != nil {
				return err
			}
			defer a.Close()
			report, err := a.Show(c.Context(), args[0])
			if err != nil {
				return unknownUser(err, args[0])
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), report.Body())
			}
			return printReport(c.OutOrStdout(), report)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printReport(w io.Writer, r app.UserReport) error {
	p := r.Profile
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "user\t%s\nusername\t%s\nname\t%s %s\n", p.ID, p.Username, p.FirstName, p.LastName)
	fmt.Fprintf(table, "e-mail\t%s\nphone\t%s\n", proved(p.Email, p.EmailVerified), proved(p.Phone, p.PhoneVerified))
	fmt.Fprintf(table, "version\t%s\n", moment(p.ClerkUpdatedAt))
	if p.Banned {
		fmt.Fprintf(table, "banned\tyes\n")
	}
	if p.Deleted() {
		fmt.Fprintf(table, "deleted\t%s\n", moment(p.DeletedAt))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := printLinks(w, r); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if r.Erasure != nil {
		printErasure(w, *r.Erasure)
		fmt.Fprintln(w)
	}
	return printTimeline(w, r.Timeline)
}

func printLinks(w io.Writer, r app.UserReport) error {
	if len(r.Links) == 0 {
		_, err := fmt.Fprintln(w, "No store has heard of this user yet.")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "target\tcustomer\tstatus\twhy")
	for _, l := range r.Links {
		status := string(l.Status)
		if l.Pending && l.Status != "pending" && l.Status != "failed" {
			status += " (a change is pending)"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", l.Target, orDash(l.CustomerID), status, orDash(l.Reason))
	}
	return table.Flush()
}

func printTimeline(w io.Writer, entries []app.TimelineEntry) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range entries {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", moment(e.At), e.What, orDash(e.Target), orDash(e.ID), e.Why)
	}
	return table.Flush()
}

func proved(value string, verified bool) string {
	switch {
	case value == "":
		return "-"
	case verified:
		return value + " (verified)"
	}
	return value + " (not verified)"
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05.000Z")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
