package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// Two users and one customer: the first, who left, lets it go while the second
// finds it held. Whichever commits first, the second must look again.
func TestHolderLetsGoWhileAnotherWaits(t *testing.T) {
	t.Parallel()
	const target, customer = "medusa", "cus_1"
	for name, releasedFirst := range map[string]bool{"released first": true, "held first": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testdb.Pool(t, testdb.New(t), testdb.Role)
			s := postgres.NewStore(pool)
			exec(t, pool, `insert into public.profiles (id, username) values ('user_old', 'o'), ('user_new', 'n')`)
			exec(t, pool, `insert into lockstep.customer_links (clerk_user_id, target, customer_id, status, desired, queued_at) values
				('user_old', 'medusa', 'cus_1', 'linked', 1, now()), ('user_new', 'medusa', null, 'pending', 1, now())`)
			claim := func(user string) postgres.Claim {
				c, err := s.Claim(t.Context(), postgres.Key{UserID: user, Target: target}, time.Minute)
				must(t, err)
				return c
			}
			old, waits := claim("user_old"), claim("user_new")
			released := postgres.Outcome{Status: lockstep.StatusReleased, Action: "release", Wrote: []string{"release"}, Touched: customer}
			held := postgres.Outcome{Status: lockstep.StatusConflict, Action: "conflict", BlockedBy: customer, HeldBy: "user_old"}

			first, second := finishing{old, released}, finishing{waits, held}
			if !releasedFirst {
				first, second = second, first
			}
			tx, err := pool.Begin(t.Context())
			must(t, err)
			defer func() { _ = tx.Rollback(context.Background()) }() // if the test fails before it commits
			firstMore, _, err := s.Finish(t.Context(), tx, first.claim, first.outcome)
			must(t, err)
			answer := make(chan finished, 1)
			go func() { answer <- second.run(t.Context(), pool, s) }()
			waitFor(t, pool, `select count(*) > 0 from pg_locks where locktype = 'advisory' and not granted
				and database = (select oid from pg_database where datname = current_database())`)
			must(t, tx.Commit(t.Context()))
			got := <-answer
			must(t, got.err)
			if again := got.more || len(got.woken) == 1 && got.woken[0].UserID == "user_new"; firstMore || !again {
				t.Errorf("nobody looks again: %+v", got)
			}
			if !testdb.Query[bool](t, pool, `select applied < desired and queued_at is not null from lockstep.customer_links where clerk_user_id = 'user_new'`) {
				t.Error("the link is not due")
			}
		})
	}
}

type finishing struct {
	claim   postgres.Claim
	outcome postgres.Outcome
}

type finished struct {
	more  bool
	woken []postgres.Key
	err   error
}

func (f finishing) run(ctx context.Context, pool *pgxpool.Pool, s *postgres.Store) (got finished) {
	got.err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) (err error) {
		got.more, got.woken, err = s.Finish(ctx, tx, f.claim, f.outcome)
		return err
	})
	return got
}

// waitFor asks until the query answers true.
func waitFor(t *testing.T, pool *pgxpool.Pool, query string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !testdb.Query[bool](t, pool, query) {
		select {
		case <-ctx.Done():
			t.Fatalf("never came true: %s", query)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
