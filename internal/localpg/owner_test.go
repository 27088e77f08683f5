package localpg

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ownerVariable turns TestOwnerProcess into the process that owns a cluster.
const ownerVariable = "LOCKSTEP_LOCALPG_OWNER"

// TestOwnerProcess is no test: it is what the tests below start and kill.
func TestOwnerProcess(t *testing.T) {
	t.Parallel()
	if os.Getenv(ownerVariable) == "" {
		t.Skip("runs only when another test starts it")
	}
	c, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\nowns %s\n", c.dir)
	_, _ = io.Copy(io.Discard, os.Stdin) // until killed
}

// owner starts a process that owns a cluster, with its directory under tmp.
func owner(t *testing.T, tmp string) (kill func(), output *bufio.Scanner) {
	t.Helper()
	needPostgres(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestOwnerProcess$", "-test.v")
	cmd.Env = append(os.Environ(), ownerVariable+"=1", "TMPDIR="+tmp)
	if _, err := cmd.StdinPipe(); err != nil { // stays open as long as we live
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(kill)
	return kill, bufio.NewScanner(stdout)
}

func TestOwnerKilled(t *testing.T) {
	t.Parallel()
	kill, output := owner(t, openDir(t))
	dir := ""
	for dir == "" && output.Scan() {
		if after, ok := strings.CutPrefix(output.Text(), "owns "); ok {
			dir = after
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "postmaster.pid")); err != nil {
		t.Fatalf("no server in %q: %v", dir, err)
	}
	kill()
	eventuallyGone(t, dir)
}

// TestOwnerKilledWhileStarting kills at several points of the start, which the
// server's files tell apart.
func TestOwnerKilledWhileStarting(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"log", "data/PG_VERSION", "data/postmaster.opts", "data/postmaster.pid"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			tmp := openDir(t)
			kill, _ := owner(t, tmp)
			var found []string
			poll(t, file, func() bool {
				found, _ = filepath.Glob(filepath.Join(tmp, "*", file))
				return len(found) > 0
			})
			kill()
			eventuallyGone(t, filepath.Join(tmp, strings.Split(strings.TrimPrefix(found[0], tmp+"/"), "/")[0]))
		})
	}
}

// openDir is a temporary directory the server's account may write to, with a
// name short enough for a socket.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "lockstep-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil { // and not RemoveAll: it must be empty
			t.Errorf("left behind: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}
