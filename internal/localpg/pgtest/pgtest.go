// Package pgtest gives each test a PostgreSQL database of its own, made from a
// template that is prepared once per test binary.
//
// The server is private to the test binary and ends with it, or it is the one
// LOCKSTEP_TEST_DATABASE_URL names. Such a server may serve several binaries at
// once: database names are unique to a process. Its roles are shared by all of
// them, so tests must cope with roles that exist already; preparations run one
// at a time across all processes, so that they do not alter a role together.
//
// Nothing runs when a test binary ends, so on a given server its templates
// stay. The next binary to use that server drops what dead ones left: a process
// holds one connection open under its own application_name, and databases
// whose process has none are fair game.
//
// The private server lives under TMPDIR. On a file system in memory, such as
// /dev/shm, making a database is several times faster.
package pgtest

import (
	"context"
	"errors"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/internal/localpg"
)

// variable names the environment variable with the superuser URL of a server
// to use instead of a private one.
const variable = "LOCKSTEP_TEST_DATABASE_URL"

// limit bounds starting the server and dropping a database.
const limit = 2 * time.Minute

// process is the test binary's one server: starting one takes a second, and
// Go offers no place to hand one from test to test.
var process = sync.OnceValues(func() (*server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return open(ctx, os.Getenv(variable))
})

// running returns the test binary's server, starting it on first use. Without
// PostgreSQL installed the test is skipped, or fails if the environment says
// CI=true.
func running(t testing.TB) *server {
	t.Helper()
	s, err := process()
	if err == nil {
		return s
	}
	if _, ok := errors.AsType[*localpg.MissingError](err); ok && os.Getenv("CI") != "true" {
		t.Skipf("%v; for tests set %s", err, variable)
	}
	t.Fatalf("test server: %v", err)
	return nil
}

// DB is a test's own database.
type DB struct {
	base url.URL // the superuser's URL of the server
	name string
}

// New makes a database for the test from the template called name, and drops
// it when the test ends. The first caller to use a name has prepare fill that
// template: it gets the superuser's URL of an empty database. Tests may call
// New in parallel.
//
// A new database has the template's contents and owner. PostgreSQL copies
// neither grants on the database itself nor ALTER DATABASE … SET.
func New(t testing.TB, name string, prepare func(ctx context.Context, url string) error) DB {
	t.Helper()
	s := running(t)
	template, err := s.template(t.Context(), name, prepare)
	if err != nil {
		t.Fatalf("template database %q: %v", name, err)
	}
	database, err := s.copyOf(t.Context(), template)
	if err != nil {
		t.Fatalf("database from template %q: %v", name, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
		defer cancel()
		if err := s.drop(ctx, database); err != nil {
			t.Errorf("drop database %s: %v", database, err)
		}
	})
	return DB{base: s.base, name: database}
}

// Superuser is the database's URL for the superuser.
func (d DB) Superuser() string { return d.URL("") }

// URL is the database's URL for the given role; "" is the superuser. It holds
// no password for another role: a given server must trust them, or the caller
// adds one.
func (d DB) URL(user string) string {
	u := d.base
	u.Path = "/" + d.name
	if user != "" {
		u.User = url.User(user)
	}
	return u.String()
}
