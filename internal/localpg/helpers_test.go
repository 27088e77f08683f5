package localpg

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// needPostgres skips a test on a machine without PostgreSQL, but not in CI.
func needPostgres(t *testing.T) {
	t.Helper()
	if _, err := FindBinaries(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

func newCluster(t *testing.T, o Options) *Cluster {
	t.Helper()
	needPostgres(t)
	c, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

// ask runs a statement and returns the text of its first value, if any.
func ask(t *testing.T, target, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	rows, _ := conn.Query(t.Context(), sql)
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(values, ",")
}

func serverPID(t *testing.T, c *Cluster) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// alive tells whether a process has dir on its command line, as the supervisor
// and the server have. A zombie has none.
func alive(t *testing.T, dir string) bool {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-ww", "-o", "args=").Output()
	if err != nil {
		t.Fatalf("ps (install procps): %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, dir) {
			return true
		}
	}
	return false
}

// eventuallyGone waits until a cluster's directory and processes are gone.
func eventuallyGone(t *testing.T, dir string) {
	t.Helper()
	poll(t, "the end of "+dir, func() bool {
		_, err := os.Lstat(dir)
		return errors.Is(err, fs.ErrNotExist) && !alive(t, dir)
	})
}

// poll waits until done, and fails the test after a generous while.
func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
