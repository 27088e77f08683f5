package main

import (
	"fmt"
	"log/slog"

	"github.com/lockstephq/lockstep/app"
	"github.com/spf13/cobra"
)

func newServe() *cobra.Command {
	var role string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Take webhooks and bring the stores in step",
		Long: `Serve takes Clerk's webhooks at /webhooks/clerk and works off what they cause.
Run as many processes as you like, in any of the roles; they share the work
through the database. SIGTERM drains: open requests and running jobs finish,
which may take up to 50 seconds.`,
		Args: exactly(0, "serve [--role all|web|worker]"),
		RunE: func(c *cobra.Command, _ []string) error {
			need := app.NeedWeb
			switch app.Role(role) {
			case app.RoleAll, app.RoleWeb:
			case app.RoleWorker:
				need = app.NeedDatabase
			default:
				return usageError{fmt.Errorf("--role must be all, web or worker")}
			}
			a, err := open(c, need, slog.LevelInfo)
			if err != nil {
				return err
			}
			defer a.Close()
			return a.Serve(c.Context(), app.Role(role), nil)
		},
	}
	c.Flags().StringVar(&role, "role", string(app.RoleAll), "what this process does: all, web or worker")
	return c
}
