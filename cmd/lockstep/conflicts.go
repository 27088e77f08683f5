package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/lockstephq/lockstep/app"
	"github.com/spf13/cobra"
)

func newConflicts() *cobra.Command {
	var target string
	var asJSON bool
	c := &cobra.Command{
		Use:   "conflicts",
		Short: "List the users whom only a person can bring in step, and what may be chosen",
		Args:  exactly(0, "conflicts [--target T] [--json]"),
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := open(c, app.NeedDatabase, quiet)
			if err != nil {
				return err
			}
			defer a.Close()
			list, err := a.Conflicts(c.Context(), target)
			if err != nil {
				return unknownTarget(err, target)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), map[string]any{"conflicts": list})
			}
			return printConflicts(c.OutOrStdout(), list)
		},
	}
	c.Flags().StringVar(&target, "target", "", "one store, as `status` names it")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(newResolve())
	return c
}

func printConflicts(w io.Writer, list []app.ConflictBody) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "No conflicts.")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "user\ttarget\tsince\tin the way\twhose\twhy")
	for _, c := range list {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", c.User, c.Target, moment(c.Since), orDash(deref(c.BlockedBy)), orDash(deref(c.HeldBy)), c.Reason)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nTo decide, type one of:")
	for _, c := range list {
		fmt.Fprintf(w, "\n%s in %s\n", c.User, c.Target)
		for _, choice := range c.Choices {
			fmt.Fprintf(w, "  %s\n      %s\n", choice.Command, choice.Does)
		}
	}
	_, err := fmt.Fprintln(w, "\nOr change what is in the way, in Clerk or in the store: a conflict ends with its cause.")
	return err
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
