package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/app"
	"github.com/spf13/cobra"
)

// failedChecks is the failure of a command that looked and found.
type failedChecks int

func (n failedChecks) Error() string {
	if n == 1 {
		return "1 check failed"
	}
	return fmt.Sprintf("%d checks failed", int(n))
}

func newDoctor() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check settings, database, Clerk and stores, and say what to type",
		Long: `Doctor looks at everything that Lockstep depends on: each setting, how and as whom
the database is reached, the schema and its privileges, the rules of Supabase's
advisor, Clerk, and every store. It writes nothing. Each line is ok, or says what
to type; it exits with 3 if a check failed. What is not set, or cannot be checked
yet, is called so, and is no failure.

With --json it prints {"ok": BOOL, "checks": [{"area", "name", "state", "detail",
"fix"}]}; state is ok, warning, failed, not set or not checked, detail and fix may
be left out.`,
		Args: exactly(0, "doctor [--json]"),
		RunE: func(c *cobra.Command, _ []string) error {
			findings := app.Examine(c.Context(), os.Getenv, newLog(c.ErrOrStderr(), "", quiet))
			failed := app.Failed(findings)
			var err error
			if asJSON {
				err = printJSON(c.OutOrStdout(), map[string]any{"ok": failed == 0, "checks": findings})
			} else {
				err = printFindings(c.OutOrStdout(), findings)
			}
			if err == nil && failed > 0 {
				return failedChecks(failed)
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// printFindings prints a line each, and below those that are not ok what to type.
func printFindings(w io.Writer, findings []lockstep.Finding) error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", f.State, f.Area, f.Name, f.Detail)
		if f.Fix != "" {
			fmt.Fprintf(table, "\t\t\t→ %s\n", f.Fix)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) { // columns that end early leave blanks
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}
