package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/app"
	"github.com/spf13/cobra"
)

const forgetUsage = "forget USER [--customers keep|anonymise|delete] [--yes], or forget --list"

// forgetting are the flags of forget.
type forgetting struct {
	customers         string
	yes, list, asJSON bool
	before            int64
}

func newForget() *cobra.Command {
	var f forgetting
	c := &cobra.Command{
		Use:   "forget [USER]",
		Short: "Erase a user who is gone from Clerk, and print the proof",
		Long: `Forget erases a user: what is personal in Lockstep's tables, and in each store
what its policy says, or --customers for this user: keep the customer and take
the mark off, anonymise it, or delete it. Orders stay.

The user must be deleted in Clerk first. What a store cannot do just now the
workers go on with; type it again to see how far they are. --list shows who was
forgotten: ids, times and counts, and nothing personal.`,
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args) },
	}
	c.Flags().StringVar(&f.customers, "customers", "", "keep, anonymise or delete; default each store's own policy")
	c.Flags().BoolVar(&f.yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&f.list, "list", false, "list who was forgotten, the newest first")
	c.Flags().Int64Var(&f.before, "before", 0, "list those with a lower number than this")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	return c
}

func (f forgetting) run(c *cobra.Command, args []string) error {
	if f.list && len(args) == 0 {
		return withApp(c, func(a *app.App) error { return f.printList(c, a) })
	}
	if len(args) != 1 || f.list {
		return usageError{errors.New("type: lockstep " + forgetUsage)}
	}
	var customers lockstep.OnDelete
	if f.customers != "" {
		var err error
		if customers, err = lockstep.ParseOnDelete(f.customers); err != nil {
			return usageError{fmt.Errorf("--customers %w", err)}
		}
	}
	if !f.yes {
		if err := askToForget(c, args[0]); err != nil {
			return err
		}
	}
	a, err := open(c, app.NeedClerk, quiet)
	if err != nil {
		return err
	}
	defer a.Close()
	proof, err := a.Forget(c.Context(), args[0], customers)
	if errors.Is(err, app.ErrStillThere) {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	if proof.UserID == "" {
		return unknownUser(err, args[0])
	}
	if err != nil {
		err = fmt.Errorf("not finished, what is personal in Lockstep's own tables is gone, and the workers go on: %w", err)
	}
	if f.asJSON {
		return errors.Join(err, printJSON(c.OutOrStdout(), proof))
	}
	printErasure(c.OutOrStdout(), proof)
	return err
}

// askToForget asks a person; a script must say it with a flag.
func askToForget(c *cobra.Command, user string) error {
	in, isFile := c.InOrStdin().(*os.File)
	if !isFile || !isTerminal(in) {
		return usageError{fmt.Errorf("this erases %s, and cannot be undone: add --yes", user)}
	}
	fmt.Fprintf(c.ErrOrStderr(), "This erases %s, and cannot be undone. Type yes to go on: ", user)
	line, err := bufio.NewReader(in).ReadString('\n')
	if strings.TrimSpace(line) != "yes" {
		return errors.Join(errors.New("nothing was done: type yes to go on"), err)
	}
	return nil
}

func (f forgetting) printList(c *cobra.Command, a *app.App) error {
	list, err := a.Erasures(c.Context(), f.before)
	if err != nil {
		return err
	}
	if f.asJSON {
		return printJSON(c.OutOrStdout(), map[string]any{"erasures": append([]app.Erasure{}, list...)})
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(c.OutOrStdout(), "Nobody was forgotten.")
		return err
	}
	table := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "id\tuser\tbegan\tdone\tcustomers")
	for _, e := range list {
		done := "not yet"
		if e.Done != nil {
			done = moment(*e.Done)
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\n", e.ID, e.UserID, moment(e.Began), done, orDash(strings.Join(farewells(e), "; ")))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(list) == app.PrivacyPage {
		_, err = fmt.Fprintf(c.OutOrStdout(), "There may be more: type lockstep forget --list --before %d\n", list[len(list)-1].ID)
	}
	return err
}

// printErasure prints the proof.
func printErasure(w io.Writer, e app.Erasure) {
	if e.Done == nil {
		fmt.Fprintf(w, "%s: the erasure began %s and is not finished\n", e.UserID, moment(e.Began))
	} else {
		fmt.Fprintf(w, "%s: forgotten %s\n", e.UserID, moment(*e.Done))
	}
	for _, line := range farewells(e) {
		fmt.Fprintln(w, line)
	}
	var rows []string
	for _, table := range slices.Sorted(maps.Keys(e.Erased)) {
		if n := e.Erased[table]; n > 0 {
			rows = append(rows, fmt.Sprintf("%s %d", table, n))
		}
	}
	fmt.Fprintf(w, "erased in the database: %s\n", orDash(strings.Join(rows, ", ")))
}

// farewells says of each store what became of the user's customers.
func farewells(e app.Erasure) (lines []string) {
	words := map[string]string{
		"release": "kept, without the mark", "anonymise": "anonymised", "delete": "deleted", "left": "left: the store is not connected",
	}
	for _, target := range slices.Sorted(maps.Keys(e.Targets)) {
		var parts []string
		for _, what := range slices.Sorted(maps.Keys(e.Targets[target])) {
			parts = append(parts, fmt.Sprintf("%d %s", e.Targets[target][what], words[what]))
		}
		if len(parts) > 0 {
			lines = append(lines, target+": "+strings.Join(parts, ", "))
		}
	}
	return lines
}
