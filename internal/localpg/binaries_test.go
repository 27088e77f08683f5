package localpg

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFindInTakesTheFirstThatWillDo(t *testing.T) {
	t.Parallel()
	empty, old, good, better := t.TempDir(), fakeInstall(t, 14), fakeInstall(t, 15), fakeInstall(t, 18)
	got, err := findIn([]string{empty, filepath.Join(empty, "absent"), old, good, better})
	if err != nil || got != good {
		t.Errorf("got %s, %v, want %s", got, err, good)
	}
}

func TestFindInMissing(t *testing.T) {
	t.Parallel()
	old := fakeInstall(t, 14)
	_, err := findIn([]string{t.TempDir(), old})
	missing, ok := errors.AsType[*MissingError](err)
	if !ok {
		t.Fatalf("got %v, want a MissingError", err)
	}
	if diff := cmp.Diff([]string{old}, missing.TooOld); diff != "" {
		t.Errorf("too old (-want +got):\n%s", diff)
	}
	for _, hint := range []string{"apt-get install postgresql", "brew install", "DATABASE_URL", old} {
		if !strings.Contains(err.Error(), hint) {
			t.Errorf("%q does not mention %s", err, hint)
		}
	}
}

func TestFindInIgnoresHalfAnInstallation(t *testing.T) {
	t.Parallel()
	dir := fakeInstall(t, 17)
	if err := os.Remove(filepath.Join(dir, "initdb")); err != nil {
		t.Fatal(err)
	}
	if got, err := findIn([]string{dir}); err == nil {
		t.Errorf("got %s", got)
	}
}

func TestNewestFirst(t *testing.T) {
	t.Parallel()
	got := newestFirst([]string{
		"/opt/homebrew/opt/postgresql/bin", "/usr/lib/postgresql/9.6/bin", "/usr/lib/postgresql/15/bin",
		"/opt/homebrew/opt/postgresql@17/bin", "/usr/pgsql-16/bin",
	})
	want := []string{
		"/opt/homebrew/opt/postgresql@17/bin", "/usr/pgsql-16/bin", "/usr/lib/postgresql/15/bin",
		"/usr/lib/postgresql/9.6/bin", "/opt/homebrew/opt/postgresql/bin",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// fakeInstall is a directory with programs that only tell a version.
func fakeInstall(t *testing.T, major int) string {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\necho 'postgres (PostgreSQL) %d.4 (Debian %d.4-1)'\n", major, major)
	for _, program := range []string{"initdb", "postgres"} {
		if err := os.WriteFile(filepath.Join(dir, program), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
