package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lockstephq/lockstep/internal/localpg"
	"github.com/lockstephq/lockstep/internal/standin"
)

const (
	schema = "medusa"
	issuer = "https://clerk.lockstep.example"
	email  = "admin@lockstep.example"

	startLimit = 3 * time.Minute // for /health to answer, on a busy machine
)

// medusa is a running Medusa and what it stands on. The zero value is nothing,
// and can be stopped.
type medusa struct {
	dir      string // the application: recipe, storefront code, link to node_modules
	pg       *localpg.Cluster
	lifeline io.Closer     // the server ends with it
	ended    chan struct{} // closed when the server is gone
	url      string
	clerkKey string // file of the private key that plays Clerk's
	key      string
	public   string // publishable key
	password string
}

// start brings everything up. What was started before an error is in m.
func start(ctx context.Context, say func(string)) (m *medusa, err error) {
	m = &medusa{password: rand.Text()}
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return m, fmt.Errorf("%w: install Node 20.19 or later, with npm", err)
		}
	}
	modules, err := install(ctx, say)
	if err != nil {
		return m, err
	}
	if m.dir, err = os.MkdirTemp("", "lockstep-medusa-"); err != nil {
		return m, err
	}
	if err := m.layOut(modules); err != nil {
		return m, err
	}
	say("PostgreSQL, as a Supabase project")
	if err := m.database(ctx); err != nil {
		return m, err
	}
	say("medusa db:migrate")
	if err := logged(m.cli(ctx, "db:migrate")); err != nil {
		return m, err
	}
	say("medusa user")
	if err := logged(m.cli(ctx, "user", "-e", email, "-p", m.password)); err != nil {
		return m, err
	}
	say("medusa start")
	if err := m.serve(ctx); err != nil {
		return m, err
	}
	if err := m.furnish(ctx); err != nil {
		return m, err
	}
	say("ready: " + m.url)
	return m, nil
}

// layOut makes the application's directory.
func (m *medusa) layOut(modules string) error {
	err := errors.Join(
		lay(m.dir, recipe, "recipe"),
		lay(m.dir, os.DirFS("."), storefront),
		os.Symlink(modules, filepath.Join(m.dir, "node_modules")))
	if err != nil {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	m.clerkKey = filepath.Join(m.dir, "clerk.pem")
	return errors.Join(
		os.WriteFile(m.clerkKey, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
		os.WriteFile(m.clerkKey+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600))
}

// tenant is what docs/MEDUSA.md tells the user to run. Medusa's migrations fill
// what the role's search_path names first, whatever databaseSchema says; they
// make two extensions.
const tenant = `
create role ` + schema + ` login;
grant ` + schema + ` to postgres;
create schema ` + schema + ` authorization ` + schema + `;
alter role ` + schema + ` set search_path = ` + schema + `;
grant create on database postgres to ` + schema

// database starts PostgreSQL and makes of it what a user has: a Supabase project
// with a role and a schema for Medusa, made by Supabase's non-superuser.
func (m *medusa) database(ctx context.Context) (err error) {
	if m.pg, err = localpg.Start(ctx, localpg.Options{Fsync: true}); err != nil {
		return err
	}
	if err := standin.Load(ctx, m.pg.URL("", ""), standin.Options{}); err != nil {
		return err
	}
	return m.sql(ctx, standin.Owner, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, tenant)
		return err
	})
}

func (m *medusa) sql(ctx context.Context, role string, do func(*pgx.Conn) error) error {
	c, err := pgx.Connect(ctx, m.pg.URL(role, ""))
	if err != nil {
		return err
	}
	return errors.Join(do(c), c.Close(context.WithoutCancel(ctx)))
}

// cli is a command of Medusa's.
func (m *medusa) cli(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "node", append([]string{"node_modules/@medusajs/cli/cli.js"}, args...)...)
	cmd.Dir, cmd.Env = m.dir, m.setting()
	return cmd
}

// setting is the environment of Medusa itself.
func (m *medusa) setting() []string {
	public, _ := os.ReadFile(m.clerkKey + ".pub") // just written; without it Medusa refuses to start
	return append(os.Environ(), "NODE_ENV=production", "MEDUSA_DISABLE_TELEMETRY=true",
		"DATABASE_URL="+m.socketURL(), "MEDUSA_SCHEMA="+schema,
		"CLERK_JWT_KEY="+string(public), "CLERK_ISSUER="+issuer)
}

// socketURL names the socket's directory as the host, since Node's URL refuses
// one without.
func (m *medusa) socketURL() string {
	u, err := url.Parse(m.pg.URL(schema, ""))
	if err != nil {
		panic(err) // localpg made it
	}
	return "postgres://" + u.User.String() + "@" + url.QueryEscape(u.Query().Get("host")) + u.Path
}

// keeper runs a command until file 3 ends, which the kernel sees to when we are
// gone, or until the command ends by itself.
const keeper = `
"$@" </dev/null 3<&- &
server=$!
{ read -r order <&3; kill "$server"; sleep 10; kill -KILL "$server"; } &
watcher=$!
wait "$server"
kill -KILL "$watcher"
`

func (m *medusa) serve(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	m.url = "http://127.0.0.1:" + port
	log, err := os.Create(filepath.Join(m.dir, "log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the server has it
	input, lifeline, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = input.Close() }()
	cmd := exec.Command("/bin/sh", "-c", keeper, "keeper",
		"node", "node_modules/@medusajs/cli/cli.js", "start", "-H", "127.0.0.1", "-p", port, "--types=false")
	cmd.Dir, cmd.Env = m.dir, m.setting()
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{input}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is for us, who then stop it
	if err := cmd.Start(); err != nil {
		return errors.Join(err, lifeline.Close())
	}
	m.lifeline, m.ended = lifeline, make(chan struct{})
	go func() {
		_ = cmd.Wait() // by our signal, or the log says why
		close(m.ended)
	}()
	if err := m.healthy(ctx); err != nil {
		said, _ := os.ReadFile(log.Name()) // the error tells enough without it
		return fmt.Errorf("medusa start: %w\n%s", err, tail(said))
	}
	return nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

func (m *medusa) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.url+"/health", nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close() // its status is all
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-m.ended:
			return errors.New("it ended")
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// stop ends what was started, in reverse.
func (m *medusa) stop() error {
	var errs []error
	if m.lifeline != nil {
		errs = append(errs, m.lifeline.Close())
		<-m.ended
	}
	if m.pg != nil {
		errs = append(errs, m.pg.Close())
	}
	if m.dir != "" {
		errs = append(errs, os.RemoveAll(m.dir))
	}
	return errors.Join(errs...)
}

// environment is what tests read.
func (m *medusa) environment() []string {
	return []string{
		"LOCKSTEP_MEDUSA=required",
		"LOCKSTEP_MEDUSA_URL=" + m.url,
		"LOCKSTEP_MEDUSA_KEY=" + m.key,
		"LOCKSTEP_MEDUSA_PUBLISHABLE_KEY=" + m.public,
		"LOCKSTEP_MEDUSA_EMAIL=" + email,
		"LOCKSTEP_MEDUSA_PASSWORD=" + m.password,
		"LOCKSTEP_MEDUSA_DATABASE_URL=" + m.pg.URL("", ""),
		"LOCKSTEP_MEDUSA_SCHEMA=" + schema,
		"LOCKSTEP_MEDUSA_CLERK_KEY=" + m.clerkKey,
		"LOCKSTEP_MEDUSA_CLERK_ISSUER=" + issuer,
	}
}
