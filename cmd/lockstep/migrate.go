package main

import (
	"context"
	"fmt"

	"github.com/lockstephq/lockstep/app"
	"github.com/spf13/cobra"
)

func newMigrate() *cobra.Command {
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database up to date, or take Lockstep out of it",
		RunE: func(_ *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("type: lockstep migrate up, down or status")}
		},
	}
	c.AddCommand(newMigrateUp(), newMigrateDown(), newMigrateStatus())
	return c
}

const upToDate = "The database is up to date."

func newMigrateUp() *cobra.Command {
	var role string
	c := &cobra.Command{
		Use:   "up",
		Short: "Make the tables and functions that Lockstep needs",
		Long: `Up makes, or brings up to date, the tables and functions that Lockstep needs.

With --role lockstep it also makes the login role of that name, which may do what
Lockstep does and no more, for serve, status, show and sync to use. Later runs
keep its grants up to date by themselves. LOCKSTEP_ROLE_PASSWORD, if set, becomes
its password, of which the server only sees a SCRAM verifier.`,
		Args: exactly(0, "migrate up [--role NAME]"),
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case role != "":
				return makeRole(c, role)
			case c.Flags().Changed("role"):
				return usageError{fmt.Errorf("--role must be a name, such as lockstep")}
			}
			return migrate(c, (*app.App).MigrateUp, upToDate)
		},
	}
	c.Flags().StringVar(&role, "role", "", "make this login role, with what Lockstep needs and no more")
	return c
}

// makeRole brings the database up to date for a role that serves.
func makeRole(c *cobra.Command, role string) error {
	return migrate(c, func(a *app.App, ctx context.Context) error {
		if err := a.MigrateUpFor(ctx, role); err != nil {
			return err
		}
		fmt.Fprintf(c.ErrOrStderr(), "Role %s may do what Lockstep does, and no more: name it in the DATABASE_URL of serve.\n", role)
		if !a.HasRolePassword() {
			fmt.Fprintf(c.ErrOrStderr(), "If it has no password yet, type \\password %s in psql, or set LOCKSTEP_ROLE_PASSWORD and run this again.\n", role)
		}
		return nil
	}, upToDate)
}

func newMigrateDown() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "down",
		Short: "Remove schema lockstep, with all links; profiles stay",
		Args:  exactly(0, "migrate down --yes"),
		RunE: func(c *cobra.Command, _ []string) error {
			if !yes {
				return usageError{fmt.Errorf("this forgets who is who in every store; if you mean it, type: lockstep migrate down --yes")}
			}
			return migrate(c, (*app.App).MigrateDown, "Lockstep is out of the database. A public.profiles with rows stays, and so do the customers in your stores.")
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "really remove all links")
	return c
}

func newMigrateStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "List the steps of the schema and whether each is applied",
		Args:  exactly(0, "migrate status"),
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := open(c, app.NeedDatabase, quiet(c))
			if err != nil {
				return err
			}
			defer a.Close()
			steps, err := a.MigrateStatus(c.Context())
			if err != nil {
				return err
			}
			for _, s := range steps {
				state := "pending"
				if s.Applied {
					state = "applied"
				}
				fmt.Fprintf(c.OutOrStdout(), "%-8s %s\n", state, s.Name)
			}
			return nil
		},
	}
}

func migrate(c *cobra.Command, run func(*app.App, context.Context) error, done string) error {
	a, err := open(c, app.NeedDatabase, quiet(c))
	if err != nil {
		return err
	}
	defer a.Close()
	if err := run(a, c.Context()); err != nil {
		return err
	}
	fmt.Fprintln(c.ErrOrStderr(), done)
	return nil
}
