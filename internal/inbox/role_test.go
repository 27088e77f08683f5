package inbox

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/internal/watch"
)

// loud fails a test whose worker warns.
type loud struct {
	slog.Handler
	t *testing.T
}

func (h loud) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (h loud) Handle(ctx context.Context, r slog.Record) error {
	h.t.Errorf("the worker logged: %s", r.Message)
	return h.Handler.Handle(ctx, r)
}

// TestJobEngineKeepsHouseAsTheRole has each of River's maintenance services find
// something to do: without its policy a delete would succeed, and find nothing.
func TestJobEngineKeepsHouseAsTheRole(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	b := &box{t: t, db: db, pool: testdb.Pool(t, db, "")}
	_, err := b.pool.Exec(t.Context(), `
		insert into lockstep.river_job (kind, args, queue, state, finalized_at, max_attempts, priority)
		values ('old', '{}', 'upkeep', 'completed', now() - interval '3 days', 5, 1);
		insert into lockstep.river_job (kind, args, queue, state, attempt, attempted_at, attempted_by, max_attempts, priority)
		values ('sync', '{"user":"user_x","target":"gone"}', 'nobody', 'running', 1, now() - interval '1 hour', '{dead}', 5, 1);
		insert into lockstep.river_job (kind, args, queue, state, scheduled_at, max_attempts, priority)
		values ('due', '{}', 'nobody', 'retryable', now() - interval '1 hour', 5, 1);
		insert into lockstep.river_queue (name, created_at, updated_at) values ('forgotten', now() - interval '3 days', now() - interval '3 days');
		insert into lockstep.river_leader (leader_id, elected_at, expires_at) values ('dead', now() - interval '1 hour', now() - interval '1 minute')`)
	if err != nil {
		t.Fatal(err)
	}
	pool := testdb.Pool(t, db, testdb.Role)
	in, err := NewWorker(Config{
		Pool: pool, JobPool: testdb.Pool(t, db, testdb.Role), Log: slog.New(loud{watch.Logger(t).Handler(), t}),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	b.eventually("a leader is elected", `select count(*) = 1 from lockstep.river_leader where leader_id <> 'dead'`)
	b.eventually("the old job is deleted", `select count(*) = 0 from lockstep.river_job where kind = 'old'`)
	b.eventually("the stuck job is rescued", `select count(*) = 1 from lockstep.river_job where kind = 'sync' and state <> 'running'`)
	b.eventually("the due job is scheduled", `select count(*) = 1 from lockstep.river_job where kind = 'due' and state = 'available'`)
	b.eventually("the forgotten queue is deleted", `select count(*) = 0 from lockstep.river_queue where name = 'forgotten'`)
	b.eventually("upkeep is enqueued", `select count(*) > 0 from lockstep.river_job where kind = 'upkeep'`)
	if now := time.Now(); in.reindex.Next(now).Before(now.AddDate(50, 0, 0)) {
		t.Error("would rebuild indexes that another role owns")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOwnerRebuildsIndexes(t *testing.T) {
	t.Parallel()
	var r reindexing
	if err := r.ask(t.Context(), postgres.NewStore(testdb.Pool(t, testdb.New(t), standin.Owner))); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 26, 22, 30, 0, 0, time.FixedZone("", -3600))
	if got, want := r.Next(at), time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("next at %v, want %v", got, want)
	}
}
