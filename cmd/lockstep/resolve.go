package main

import (
	"errors"
	"fmt"

	"github.com/lockstephq/lockstep/app"
	"github.com/spf13/cobra"
)

const resolveUsage = "conflicts resolve USER --target T, and one of --use CUSTOMER, --keep, --create, --unlink"

func newResolve() *cobra.Command {
	ask := app.Ask{Where: "at the command line"}
	var keep, create, unlink, asJSON bool
	c := &cobra.Command{
		Use:   "resolve USER --target T",
		Short: "Choose who a user is in one store",
		Long: `Resolve stores a person's choice, for the workers to carry out:

  --use CUSTOMER  that customer is the user's, an account too; whatever else
                  carried the user stays in the store, unmarked
  --keep          the user keeps the customer there is, and the other one the
                  e-mail: nobody asks again until one of the two changes
  --create        the user gets a customer of their own, without an e-mail that
                  another holds
  --unlink        the user has no customer there, until ` + "`lockstep sync USER`" + ` or
                  another choice

No customer is deleted or merged. A customer of another living user is not taken:
unlink that user first. A choice stands while the facts do: if the customer goes,
or the user's e-mail changes, the rules decide again.`,
		Args: exactly(1, resolveUsage),
		RunE: func(c *cobra.Command, args []string) error {
			ask.User = args[0]
			if ask.Choice = oneChoice(c, keep, create, unlink); ask.Choice == "" || ask.Target == "" || ask.Choice == "use" && ask.Customer == "" {
				return usageError{errors.New("type: lockstep " + resolveUsage)}
			}
			a, err := open(c, app.NeedDatabase, quiet)
			if err != nil {
				return err
			}
			defer a.Close()
			done, err := a.Choose(c.Context(), ask)
			if err != nil {
				return unknownTarget(unknownUser(err, ask.User), ask.Target)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), done)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "Chosen. The workers do the rest: `lockstep show %s` tells what became of it.\n", ask.User)
			return err
		},
	}
	c.Flags().StringVar(&ask.Target, "target", "", "the store, as `conflicts` names it")
	c.Flags().StringVar(&ask.Customer, "use", "", "the customer's id in the store")
	c.Flags().BoolVar(&keep, "keep", false, "keep the customer there is")
	c.Flags().BoolVar(&create, "create", false, "make a customer of the user's own")
	c.Flags().BoolVar(&unlink, "unlink", false, "have no customer there")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// oneChoice names the one flag that was given; empty for none, or several.
func oneChoice(c *cobra.Command, keep, create, unlink bool) (choice string) {
	n := 0
	for name, given := range map[string]bool{"use": c.Flags().Changed("use"), "keep": keep, "create": create, "unlink": unlink} {
		if given {
			n, choice = n+1, name
		}
	}
	if n != 1 {
		return ""
	}
	return choice
}
