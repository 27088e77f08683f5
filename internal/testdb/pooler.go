package testdb

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/internal/localpg/pgtest"
)

// PoolerOptions shape a pooler. The zero value is one in transaction mode that
// believes everybody.
type PoolerOptions struct {
	Session bool              // session mode, on a port that is no transaction pooler's
	Port    string            // default 6432, in transaction mode
	Secrets map[string]string // SCRAM verifiers by role: then a password is asked for
}

// Pooler runs Debian's pgbouncer in front of a test's database until the test
// ends, and returns its URL for a role. In transaction mode it stands for
// Supabase's Supavisor: few server connections, which clients share from one
// transaction to the next, and no prepared statements. Without pgbouncer the
// test is skipped, or fails if the environment says CI=true.
func Pooler(t testing.TB, db pgtest.DB, o PoolerOptions) (roleURL func(role string) string) {
	t.Helper()
	binary := pgbouncer(t)
	// An address of the loopback network for each: the port is what tells the mode.
	host, port := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254)), "6432"
	switch {
	case o.Port != "":
		port = o.Port
	case o.Session:
		port = "7655"
	}
	dir, err := os.MkdirTemp("", "lockstep-pgbouncer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	files := map[string]string{"pgbouncer.ini": o.config(t, db, dir, host, port), "users": o.users()}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil { // pgbouncer may run as another user
		t.Fatal(err)
	}
	start(t, binary, filepath.Join(dir, "pgbouncer.ini"), net.JoinHostPort(host, port))
	path, err := url.Parse(db.Superuser())
	if err != nil {
		t.Fatal(err)
	}
	return func(role string) string {
		u := url.URL{Scheme: "postgres", User: url.User(role), Host: net.JoinHostPort(host, port), Path: path.Path, RawQuery: "sslmode=disable"}
		return u.String()
	}
}

func pgbouncer(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("pgbouncer is not installed: type `make test`, which installs it, or apt-get install pgbouncer")
	}
	t.Skip("pgbouncer is not installed: apt-get install pgbouncer")
	return ""
}

func (o PoolerOptions) config(t testing.TB, db pgtest.DB, dir, host, port string) string {
	t.Helper()
	server, err := url.Parse(db.Superuser())
	if err != nil {
		t.Fatal(err)
	}
	to := fmt.Sprintf("host=%s port=%s", server.Hostname(), server.Port())
	if socket := server.Query().Get("host"); socket != "" {
		to = fmt.Sprintf("host=%s port=%s", socket, server.Query().Get("port"))
	}
	mode, auth, size := "transaction", "trust", 5
	if o.Session {
		mode, size = "session", 50 // each client keeps one
	}
	if len(o.Secrets) > 0 {
		auth = "scram-sha-256"
	}
	return fmt.Sprintf(`[databases]
* = %s
[pgbouncer]
listen_addr = %s
listen_port = %s
unix_socket_dir =
auth_type = %s
auth_file = %s
pool_mode = %s
default_pool_size = %d
max_client_conn = 1000
`, to, host, port, auth, filepath.Join(dir, "users"), mode, size)
}

// users is the list of those who may connect.
func (o PoolerOptions) users() string {
	var text strings.Builder
	for role, secret := range o.Secrets {
		fmt.Fprintf(&text, "%q %q\n", role, secret)
	}
	if len(o.Secrets) == 0 {
		fmt.Fprintf(&text, "%q \"\"\n%q \"\"\n%q \"\"\n", Role, "postgres", "supabase_admin")
	}
	return text.String()
}

func start(t testing.TB, binary, config, addr string) {
	t.Helper()
	args := []string{config}
	if os.Geteuid() == 0 { // which it refuses to be
		for _, name := range []string{"nobody", "postgres"} {
			if _, err := user.Lookup(name); err == nil {
				args = []string{"-u", name, config}
			}
		}
	}
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // at once, whoever is connected
		<-ended
	})
	tick, deadline := time.NewTicker(10*time.Millisecond), time.NewTimer(time.Minute)
	defer tick.Stop()
	defer deadline.Stop()
	for {
		if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("pgbouncer ended: %v", err)
		case <-deadline.C:
			t.Fatal("pgbouncer does not listen")
		case <-tick.C:
		}
	}
}
