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

func newMigrateUp() *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Make the tables and functions that Lockstep needs",
		Args:  exactly(0, "migrate up"),
		RunE: func(c *cobra.Command, _ []string) error {
			return migrate(c, (*app.App).MigrateUp, "The database is up to date.")
		},
	}
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
			a, err := open(c, app.NeedDatabase, quiet)
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
	a, err := open(c, app.NeedDatabase, quiet)
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
