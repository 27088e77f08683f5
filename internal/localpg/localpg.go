// Package localpg runs a private PostgreSQL cluster for `lockstep demo` and for
// tests: in a directory of its own, on a unix socket only, and gone without a
// trace when the process that started it ends, however it ends.
//
// A supervising shell owns the directory and the server. It lives as long as
// the pipe this process holds open, so even SIGKILL leaves nothing behind.
package localpg

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Superuser is the bootstrap superuser. It has Supabase's name for it, so that
// the role "postgres" is free to be a non-superuser, as it is there.
const Superuser = "supabase_admin"

// port only names the socket file: the directory is what is private.
const port = "5432"

// readyLimit bounds the wait for a server to answer, recovery included.
const readyLimit = 2 * time.Minute

// Options shape a cluster. The zero value is right for tests.
type Options struct {
	// Fsync asks for full durability, for the demo and for measurements.
	// Without it commits survive the server's crash but not the machine's.
	Fsync bool
	// Settings are further postgresql.conf settings by name. They win over
	// the defaults, but not over what keeps the cluster private.
	Settings map[string]string
}

// Cluster is a running private PostgreSQL cluster. Its methods may be called
// from several goroutines.
type Cluster struct {
	dir  string // holds data, log and socket; the supervisor makes and removes it
	name string // random cluster_name, by which the server proves to be ours
	sup  *supervisor

	mu      sync.Mutex
	running bool // as far as we asked; the server may have ended by itself
	closed  bool
}

// Start makes a new cluster and returns when it answers. Canceling ctx gives
// up the start; it does not end a cluster already returned. The error is a
// *MissingError when PostgreSQL is not installed, and otherwise carries the
// end of the server's log.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	bin, err := FindBinaries()
	if err != nil {
		return nil, err
	}
	return start(ctx, bin, o)
}

func start(ctx context.Context, bin string, o Options) (*Cluster, error) {
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	name := "lockstep-pg-" + strings.ToLower(rand.Text()[:10])
	dir, err := place(name, account != nil)
	if err != nil {
		return nil, err
	}
	sup, err := supervise(account, bin, dir, o.arguments(dir, name))
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, name: name, sup: sup, running: true}
	if err := c.awaitServer(ctx); err != nil {
		c.running = false // its end is already in err
		return nil, errors.Join(fmt.Errorf("start PostgreSQL from %s: %w", bin, err), c.Close())
	}
	return c, nil
}

// URL is the connection URL for a role and a database, for pgx and for psql
// alike. An empty user means Superuser, an empty database means "postgres".
func (c *Cluster) URL(user, database string) string {
	// The slashes may stay as they are in a query, and read better so.
	host := strings.ReplaceAll(url.QueryEscape(c.dir), "%2F", "/")
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User(cmp.Or(user, Superuser)),
		Path:     "/" + cmp.Or(database, "postgres"),
		RawQuery: "host=" + host + "&port=" + port,
	}
	return u.String()
}

// Stop ends the server at once, as a crash would, and keeps its data for
// Resume. It does nothing if the server is stopped already. The error is that
// of ctx, or tells that the server had ended by itself.
func (c *Cluster) Stop(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || !c.running {
		return nil
	}
	if err := c.lost(); err != nil {
		return err
	}
	c.running = false
	if err := c.sup.order("stop"); err != nil {
		return err
	}
	return c.sup.expect(ctx, "down")
}

// Resume starts a stopped server again on its data and returns when it
// answers. The error carries the end of the server's log.
func (c *Cluster) Resume(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.running {
		return errors.New("resume PostgreSQL: it is not stopped")
	}
	if err := c.sup.order("start"); err != nil {
		return err
	}
	if err := c.awaitServer(ctx); err != nil {
		return fmt.Errorf("resume PostgreSQL: %w", err)
	}
	c.running = true
	return nil
}

// Restart is Stop and Resume: a crash and the recovery from it.
func (c *Cluster) Restart(ctx context.Context) error {
	if err := c.Stop(ctx); err != nil {
		return err
	}
	return c.Resume(ctx)
}

// Close ends the server and removes every file. The error tells what could not
// be removed, or that the server had ended by itself, with the end of its log.
// Closing again does nothing.
func (c *Cluster) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	lost := c.lost()
	c.sup.end()
	// Nothing is left to remove, unless someone killed the supervisor.
	return errors.Join(lost, os.RemoveAll(c.dir))
}

// lost reports a server that should run and has ended. The lock must be held.
func (c *Cluster) lost() error {
	if !c.running {
		return nil
	}
	select {
	case report := <-c.sup.reports:
		c.running = false
		return c.withLog(fmt.Errorf("PostgreSQL ended by itself (%s)", cmp.Or(report, "supervisor lost")))
	default:
		return nil
	}
}

// awaitServer waits until the server just ordered answers.
func (c *Cluster) awaitServer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	err := c.sup.expect(ctx, "up")
	if err == nil {
		err = c.ready(ctx)
	}
	if err != nil {
		return c.withLog(err)
	}
	return nil
}

// withLog adds the end of the server's log, where the reason usually is.
func (c *Cluster) withLog(err error) error {
	const most = 2000
	log, readErr := os.ReadFile(filepath.Join(c.dir, "log"))
	if readErr != nil || len(log) == 0 {
		return err
	}
	tail := log[max(0, len(log)-most):]
	return fmt.Errorf("%w; its log ends:\n%s", err, strings.TrimSpace(string(tail)))
}
