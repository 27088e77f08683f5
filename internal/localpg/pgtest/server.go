package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/lockstephq/lockstep/internal/localpg"
)

// prefix begins the name of every database made here and, with the process's
// token, the application_name that keeps them from being swept.
const prefix = "lockstep_test_"

// server is where a process makes its databases.
type server struct {
	cluster *localpg.Cluster // nil if given; kept, for its server ends with it
	base    url.URL          // for the superuser
	owner   string           // prefix and a random token: this process
	keeper  *pgx.Conn        // marks this process as alive
	count   atomic.Int64     // databases named so far

	mu        sync.Mutex // held while a template is prepared
	templates map[string]result
}

type result struct {
	database string
	err      error // kept, so that one failing preparation is run once
}

// open uses the given server, or starts one if given is empty.
func open(ctx context.Context, given string) (*server, error) {
	s := &server{
		owner:     prefix + strings.ToLower(rand.Text()[:10]),
		templates: map[string]result{},
	}
	if given == "" {
		cluster, err := localpg.Start(ctx, localpg.Options{})
		if err != nil {
			return nil, err
		}
		s.cluster, given = cluster, cluster.URL("", "")
	}
	base, err := url.Parse(given)
	if err != nil || !strings.HasPrefix(base.Scheme, "postgres") {
		// The parser's error would print the password.
		return nil, fmt.Errorf("%s is not a URL: write postgres://superuser@host/postgres", variable)
	}
	s.base = *base
	if err := s.announce(ctx); err != nil {
		return nil, fmt.Errorf("test server: %w", err)
	}
	s.sweep(ctx)
	return s, nil
}

// announce marks this process as alive on the server.
func (s *server) announce(ctx context.Context) error {
	config, err := pgx.ParseConfig(s.base.String())
	if err != nil {
		return err
	}
	config.RuntimeParams["application_name"] = s.owner
	s.keeper, err = pgx.ConnectConfig(ctx, config)
	return err
}

// sweep drops the databases of processes that are gone. Others may sweep at
// the same time, so an error means nothing; what stays is swept next time.
func (s *server) sweep(ctx context.Context) {
	_ = s.admin(ctx, func(conn *pgx.Conn) error {
		rows, _ := conn.Query(ctx, `
			select datname from pg_database d
			where starts_with(datname, $1) and not exists (
				select from pg_stat_activity
				where application_name <> '' and starts_with(d.datname, application_name || '_'))`, prefix)
		stale, err := pgx.CollectRows(rows, pgx.RowTo[string])
		for _, database := range stale {
			_, _ = conn.Exec(ctx, dropStatement(database))
		}
		return err
	})
}

// template returns the template database called name, preparing it first if
// this is its first use.
func (s *server) template(ctx context.Context, name string, prepare func(context.Context, string) error) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.templates[name]
	if !ok {
		known.database = s.nextName()
		known.err = s.build(ctx, known.database, prepare)
		s.templates[name] = known
	}
	return known.database, known.err
}

// build makes a template database: filled by prepare and then closed to
// everyone, since PostgreSQL copies only databases nobody is connected to.
func (s *server) build(ctx context.Context, database string, prepare func(context.Context, string) error) error {
	return s.admin(ctx, func(conn *pgx.Conn) error {
		// One at a time on this server; the lock goes with the connection.
		if _, err := conn.Exec(ctx, "select pg_advisory_lock(hashtext($1))", prefix); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, "create database "+quote(database)+" template template0"); err != nil {
			return err
		}
		if err := prepare(ctx, DB{base: s.base, name: database}.Superuser()); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
		if _, err := conn.Exec(ctx, "alter database "+quote(database)+" allow_connections false"); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = $1", database)
		return err
	})
}

// copyOf makes a database from a template, with the template's owner.
func (s *server) copyOf(ctx context.Context, template string) (string, error) {
	database := s.nextName()
	return database, s.admin(ctx, func(conn *pgx.Conn) error {
		var owner string
		err := conn.QueryRow(ctx, "select pg_get_userbyid(datdba) from pg_database where datname = $1", template).Scan(&owner)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, fmt.Sprintf("create database %s template %s owner %s",
			quote(database), quote(template), quote(owner)))
		return err
	})
}

func (s *server) drop(ctx context.Context, database string) error {
	return s.admin(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, dropStatement(database))
		return err
	})
}

// admin runs do on a superuser's connection of its own.
func (s *server) admin(ctx context.Context, do func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, s.base.String())
	if err != nil {
		return err
	}
	return errors.Join(do(conn), conn.Close(context.WithoutCancel(ctx)))
}

func (s *server) nextName() string {
	return fmt.Sprintf("%s_%d", s.owner, s.count.Add(1))
}

// dropStatement drops a database even if a test left connections open.
func dropStatement(database string) string {
	return "drop database if exists " + quote(database) + " with (force)"
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
