// Command find succeeds if PostgreSQL's server binaries are installed, and says
// what to type if not. The Makefile asks it.
package main

import (
	"fmt"
	"os"

	"github.com/lockstephq/lockstep/internal/localpg"
)

func main() {
	if os.Getenv("LOCKSTEP_TEST_DATABASE_URL") != "" {
		return
	}
	if _, err := localpg.FindBinaries(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
