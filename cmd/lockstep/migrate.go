package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/lockstephq/lockstep/app"
	"github.com/spf13/cobra"
)

func newMigrate() *cobra.Command {
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database up to date, or take Lockstep out of it",
		RunE: func(_ *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("type: lockstep migrate up, down, status or export")}
		},
	}
	c.AddCommand(newMigrateUp(), newMigrateDown(), newMigrateStatus(), newMigrateExport())
	return c
}

const upToDate = "The database is up to date."

func newMigrateUp() *cobra.Command {
	var o app.MigrateOptions
	c := &cobra.Command{
		Use:   "up",
		Short: "Make the tables and functions that Lockstep needs; adopt public.profiles",
		Long: `Make the tables and functions that Lockstep needs, and carry a public.profiles
of another making over: all of it, or nothing, in which case what stands in the
way is named, with what to type. Tables that change are locked meanwhile.

With --role lockstep it also makes the login role of that name, which may do what
Lockstep does and no more, for serve, status, show and sync to use. Later runs
keep its grants up to date by themselves. LOCKSTEP_ROLE_PASSWORD, if set, becomes
its password, of which the server only sees a SCRAM verifier.`,
		Args: exactly(0, "migrate up [--role NAME]"),
		RunE: func(c *cobra.Command, _ []string) error {
			if o.Role == "" && c.Flags().Changed("role") {
				return usageError{fmt.Errorf("--role must be a name, such as lockstep")}
			}
			return migrate(c, migrateUp(c), o, upToDate)
		},
	}
	lockTimeoutFlag(c, &o.LockTimeout)
	c.Flags().StringVar(&o.Role, "role", "", "make this login role, with what Lockstep needs and no more")
	return c
}

func lockTimeoutFlag(c *cobra.Command, d *time.Duration) {
	c.Flags().DurationVar(d, "lock-timeout", 5*time.Second, "give up if a table is in use for longer; whoever wants it meanwhile waits as long")
}

// migrateUp brings the database up to date and, if a role was made, says what to
// do with it.
func migrateUp(c *cobra.Command) func(*app.App, context.Context, app.MigrateOptions) error {
	return func(a *app.App, ctx context.Context, o app.MigrateOptions) error {
		if err := a.MigrateUp(ctx, o); err != nil || o.Role == "" {
			return err
		}
		fmt.Fprintf(c.ErrOrStderr(), "Role %s may do what Lockstep does, and no more: name it in the DATABASE_URL of serve.\n", o.Role)
		if !a.HasRolePassword() {
			fmt.Fprintf(c.ErrOrStderr(), "If it has no password yet, type \\password %s in psql, or set LOCKSTEP_ROLE_PASSWORD and run this again.\n", o.Role)
		}
		return nil
	}
}

func newMigrateDown() *cobra.Command {
	var yes bool
	var lockTimeout time.Duration
	c := &cobra.Command{
		Use:   "down",
		Short: "Remove schema lockstep, with all links; profiles stay",
		Args:  exactly(0, "migrate down --yes"),
		RunE: func(c *cobra.Command, _ []string) error {
			if !yes {
				return usageError{fmt.Errorf("this forgets who is who in every store; if you mean it, type: lockstep migrate down --yes")}
			}
			return migrate(c, (*app.App).MigrateDown, app.MigrateOptions{LockTimeout: lockTimeout}, "Lockstep is out of the database. A public.profiles with rows stays, and so do the customers in your stores.")
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "really remove all links")
	lockTimeoutFlag(c, &lockTimeout)
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

func newMigrateExport() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "export",
		Short: "Write what `migrate up` would do as files for the Supabase CLI",
		Long: `Write what ` + "`migrate up`" + ` would do as files for ` + "`supabase db push`" + `, later than any
that are there. What an earlier export has written is not written again. The
files are listed on standard output; no database is needed.`,
		Args: exactly(0, "migrate export --dir supabase/migrations"),
		RunE: func(c *cobra.Command, _ []string) error {
			if dir == "" {
				return usageError{fmt.Errorf("--dir is missing; type: lockstep migrate export --dir supabase/migrations")}
			}
			config, err := app.LoadConfig(os.Getenv, app.NeedNothing)
			if err != nil {
				return err
			}
			paths, err := app.ExportMigrations(config, dir)
			for _, p := range paths {
				fmt.Fprintln(c.OutOrStdout(), p)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(c.ErrOrStderr(), "%d files are new. To run them, type: supabase db push\n", len(paths))
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the folder of your migrations, supabase/migrations")
	return c
}

func migrate(c *cobra.Command, run func(*app.App, context.Context, app.MigrateOptions) error, o app.MigrateOptions, done string) error {
	if o.LockTimeout < time.Millisecond {
		return usageError{fmt.Errorf("--lock-timeout must be at least 1ms, such as 30s")}
	}
	a, err := open(c, app.NeedDatabase, quiet)
	if err != nil {
		return err
	}
	defer a.Close()
	p := startPhases(c.ErrOrStderr())
	defer p.stop()
	o.Progress = p.next
	if err := run(a, c.Context(), o); err != nil {
		return err
	}
	p.stop()
	fmt.Fprintln(c.ErrOrStderr(), done)
	return nil
}
