package localpg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// foreignError says that a server other than ours answers on the socket.
type foreignError struct{ name string }

func (e *foreignError) Error() string {
	return fmt.Sprintf("another PostgreSQL answers in its place (cluster_name %q)", e.name)
}

// ready waits until our server answers. The supervisor tells if it ends first.
func (c *Cluster) ready(ctx context.Context) error {
	const longest = 100 * time.Millisecond
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, longest) {
		err := identify(ctx, c.URL("", ""), c.name)
		if err == nil || final(err) {
			return err
		}
		select {
		case report := <-c.sup.reports:
			return fmt.Errorf("the server ended while starting (%s)", report)
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w (last: %w)", ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}

// identify connects and checks that the server has the cluster name given to
// ours: a socket path alone does not prove who listens.
func identify(ctx context.Context, target, name string) error {
	conn, err := pgx.Connect(ctx, target)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var answered string
	if err := conn.QueryRow(ctx, "select current_setting('cluster_name')").Scan(&answered); err != nil {
		return err
	}
	if answered != name {
		return &foreignError{name: answered}
	}
	return nil
}

// final tells whether asking again cannot help: a stranger answered, or the
// server refused for another reason than that it is still starting.
func final(err error) bool {
	const cannotConnectNow = "57P03"
	if _, ok := errors.AsType[*foreignError](err); ok {
		return true
	}
	refusal, ok := errors.AsType[*pgconn.PgError](err)
	return ok && refusal.Code != cannotConnectNow
}
