// Command realmedusa starts a real Medusa for the length of one command:
//
//	realmedusa go test ./medusa -run OnRealMedusa
//
// It makes a private PostgreSQL that looks like a Supabase project, installs
// Medusa from npm (once; it is kept in the user's cache), migrates, makes an
// administrator, a key and a region, and runs the command with LOCKSTEP_MEDUSA_…
// in its environment. Whatever the end, all that it started is stopped. Any
// number may run at once.
//
// Run it at the root of the repository.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

// run returns the command's own exit code, or 1 if it could not be run.
func run(ctx context.Context, command []string) (code int) {
	if len(command) == 0 {
		fmt.Fprintln(os.Stderr, "usage: realmedusa COMMAND [ARGUMENT…]")
		return 2
	}
	began := time.Now()
	m, err := start(ctx, func(step string) {
		fmt.Fprintf(os.Stderr, "%5.1fs  %s\n", time.Since(began).Seconds(), step)
	})
	defer func() {
		if err := m.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "realmedusa: stop:", err)
			code = 1
		}
		fmt.Fprintf(os.Stderr, "%5.1fs  stopped\n", time.Since(began).Seconds())
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "realmedusa:", err)
		return 1
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), m.environment()...)
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1) // -1: by a signal
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "realmedusa:", err)
		return 1
	}
	return 0
}
