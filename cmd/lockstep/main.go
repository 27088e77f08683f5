// Command lockstep keeps every customer record in step with Clerk. Each
// subcommand has a file of its own; `lockstep help` lists them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/lockstephq/lockstep/app"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes, part of the contract with scripts.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitUnmet   = 3 // doctor: a check failed; reconcile: drift remains
)

// usageError is a mistake in the command line.
type usageError struct{ error }

// driftError says that not all is as it should be, after a command that worked.
type driftError struct{ error }

func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "lockstep: %v\n", err)
	if _, ok := errors.AsType[usageError](err); ok {
		fmt.Fprintln(stderr, "Type `lockstep help` for the commands.")
		return exitUsage
	}
	_, checks := errors.AsType[failedChecks](err)
	_, drift := errors.AsType[driftError](err)
	if checks || drift {
		return exitUnmet
	}
	return exitFailure
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "lockstep",
		Short:         "Keep every customer record in step with Clerk",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newServe(), newMigrate(), newStatus(), newSync(), newShow(), newDoctor(), newRetry(), newForget(), newConflicts(), newBackfill(), newReconcile(), newShopify(),
		newEmulate(), newDemo(), newVersion())
	root.InitDefaultHelpCmd()
	checkHelp(root)
	return root
}

// checkHelp makes `help` of a command that is none a mistake like any other.
func checkHelp(root *cobra.Command) {
	help, _, err := root.Find([]string{"help"})
	if err != nil {
		return
	}
	help.Args = func(_ *cobra.Command, args []string) error {
		if _, rest, err := root.Find(args); err != nil || len(rest) > 0 {
			return usageError{fmt.Errorf("unknown command %q", strings.Join(args, " "))}
		}
		return nil
	}
}

// exactly is cobra.ExactArgs with our exit code, and the words to type.
func exactly(n int, usage string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("type: lockstep %s", usage)}
		}
		return nil
	}
}

// quiet is for commands that print a report.
const quiet = slog.LevelWarn

// open reads the settings and wires an App up; the caller closes it. It logs
// from level on, unless the settings say otherwise.
func open(c *cobra.Command, need app.Need, level slog.Level) (*app.App, error) {
	config, err := app.LoadConfig(os.Getenv, need)
	if err != nil {
		return nil, err
	}
	if config.LogLevel != nil {
		level = *config.LogLevel
	}
	return app.Open(config, newLog(c.ErrOrStderr(), config.LogFormat, level))
}

// newLog writes in a format or, without one, text for people and JSON for
// collectors.
func newLog(w io.Writer, format string, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "text" || format == "" && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
