package localpg

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

func TestStart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Options{Settings: map[string]string{"work_mem": "7MB", "port": "1"}})
	got := map[string]string{}
	for _, setting := range []string{
		"is_superuser", "session_authorization", "fsync", "synchronous_commit", "full_page_writes",
		"listen_addresses", "work_mem", "port", "server_encoding", "TimeZone",
	} {
		got[setting] = ask(t, c.URL("", ""), "select current_setting('"+setting+"')")
	}
	want := map[string]string{
		"is_superuser": "on", "session_authorization": Superuser, "fsync": "off", "synchronous_commit": "on",
		"full_page_writes": "off", "listen_addresses": "", "work_mem": "7MB", "port": port,
		"server_encoding": "UTF8", "TimeZone": "UTC",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestFsyncMeansFullDurability(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Options{Fsync: true})
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		if got := ask(t, c.URL("", ""), "show "+setting); got != "on" {
			t.Errorf("%s = %s, want on", setting, got)
		}
	}
}

func TestURLOfAnotherRole(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Options{})
	const role = `odd@ro/le`
	ask(t, c.URL("", ""), `create role "`+role+`" login`)
	ask(t, c.URL("", ""), "create database a_b")
	got := ask(t, c.URL(role, "a_b"), "select current_user || ' ' || current_database()")
	if want := role + " a_b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestClustersAreSeparate(t *testing.T) {
	t.Parallel()
	one, two := newCluster(t, Options{}), newCluster(t, Options{})
	ask(t, one.URL("", ""), "create role only_in_one")
	const count = "select count(*)::text from pg_roles where rolname = 'only_in_one'"
	if got := ask(t, one.URL("", ""), count) + ask(t, two.URL("", ""), count); got != "10" {
		t.Errorf("role counted %s, want 10", got)
	}
}

func TestRestartKeepsCommits(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Options{})
	ask(t, c.URL("", ""), "create table kept (n int)")
	before := ask(t, c.URL("", ""), "select pg_postmaster_start_time()::text")
	for n := range 3 {
		ask(t, c.URL("", ""), "insert into kept values ("+strconv.Itoa(n)+")")
		if err := c.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := ask(t, c.URL("", ""), "select count(*)::text from kept"); got != "3" {
		t.Errorf("%s rows after restarts, want 3", got)
	}
	if after := ask(t, c.URL("", ""), "select pg_postmaster_start_time()::text"); after == before {
		t.Error("the server was not restarted")
	}
}

func TestStopAndResume(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Options{})
	for range 2 { // the second time is a no-op
		if err := c.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if conn, err := pgx.Connect(t.Context(), c.URL("", "")); err == nil {
		_ = conn.Close(t.Context())
		t.Fatal("a stopped server answered")
	}
	if err := c.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Resume(t.Context()); err == nil {
		t.Error("resumed a running server")
	}
	ask(t, c.URL("", ""), "select 'here'")
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]bool{"running": false, "stopped": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, Options{})
			if stop {
				if err := c.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			eventuallyGone(t, c.dir)
			if err := c.Close(); err != nil {
				t.Errorf("closing again: %v", err)
			}
		})
	}
}

func TestStepsDownFromRoot(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Options{})
	info, err := os.Stat(filepath.Join(c.dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if me := os.Getuid(); me != 0 && int(owner) != me {
		t.Errorf("the server runs as %d, want %d", owner, me)
	}
	if owner == 0 {
		t.Error("the server runs as root")
	}
	dir, err := os.Stat(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := dir.Mode().Perm(); got != 0o700 {
		t.Errorf("the directory is open to others: %o", got)
	}
}

func TestBadSettingShowsTheLog(t *testing.T) {
	t.Parallel()
	needPostgres(t)
	_, err := Start(t.Context(), Options{Settings: map[string]string{"no_such_setting": "1"}})
	if err == nil || !strings.Contains(err.Error(), `unrecognized configuration parameter "no_such_setting"`) {
		t.Errorf("got %v, want the server's own words", err)
	}
}

func TestCanceledStart(t *testing.T) {
	t.Parallel()
	needPostgres(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestServerKilledIsReported(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Options{})
	if err := syscall.Kill(serverPID(t, c), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	poll(t, "the server's end", func() bool { return !alive(t, filepath.Join(c.dir, "data")) })
	var err error
	poll(t, "the report", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		err = c.lost()
		return err != nil
	})
	if !strings.Contains(err.Error(), "ended by itself") {
		t.Errorf("got %v, want that the server ended by itself", err)
	}
	// A new server refuses the data while children of the killed one remain.
	poll(t, "the server's return", func() bool { return c.Resume(t.Context()) == nil })
	ask(t, c.URL("", ""), "select 'here'")
}

func TestForeignServer(t *testing.T) {
	t.Parallel()
	ours, theirs := newCluster(t, Options{}), newCluster(t, Options{})
	err := identify(t.Context(), theirs.URL("", ""), ours.name)
	foreign, ok := errors.AsType[*foreignError](err)
	if !ok || foreign.name != theirs.name || !final(err) {
		t.Errorf("got %v, want a final foreignError about %s", err, theirs.name)
	}
}

func TestURLIsReadable(t *testing.T) {
	t.Parallel()
	c := &Cluster{dir: "/tmp/a b&c/d"}
	const want = "postgres://supabase_admin@/postgres?host=/tmp/a+b%26c/d&port=5432"
	got := c.URL("", "")
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if u, err := url.Parse(got); err != nil || u.Query().Get("host") != c.dir {
		t.Errorf("parsed %v, %v", u, err)
	}
}
