package postgres_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
)

const (
	shop = "shopify:acme.myshopify.com"
	slow = 1e-6 // tokens per second: none come back within a test
)

// bucketPools are connections to one database, as several
// processes have them; the last goes through a pooler's mode of asking.
func bucketPools(t *testing.T, n int) (pools []*pgxpool.Pool) {
	t.Helper()
	db := testdb.New(t)
	for i := range n {
		config, err := pgxpool.ParseConfig(db.URL(standin.Owner))
		must(t, err)
		config.MaxConns = 4
		if i == n-1 {
			config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
		}
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		must(t, err)
		t.Cleanup(pool.Close)
		pools = append(pools, pool)
	}
	return pools
}

func take(t *testing.T, b *postgres.Buckets, cost float64, live bool) time.Duration {
	t.Helper()
	wait, err := b.Take(t.Context(), shop, cost, live)
	must(t, err)
	return wait
}

func tokens(t *testing.T, pool *pgxpool.Pool) float64 {
	t.Helper()
	return testdb.Query[float64](t, pool, `select tokens from lockstep.buckets where target = '`+shop+`'`)
}

func TestBucketsTake(t *testing.T) {
	t.Parallel()
	pool := bucketPools(t, 1)[0]
	b := postgres.NewBuckets(pool, 100, slow)
	if wait := take(t, b, 60, true); wait != 0 {
		t.Errorf("a full bucket makes wait %s", wait)
	}
	if wait := take(t, b, 60, true); wait < 19_000_000*time.Second || wait > 20_000_000*time.Second {
		t.Errorf("20 tokens short at one in %g s: wait %s", 1/slow, wait)
	}
	if wait := take(t, b, 20, false); wait == 0 {
		t.Error("bulk work took of the reserve")
	}
	if wait := take(t, b, 10, false); wait != 0 {
		t.Errorf("bulk work waits %s above the reserve", wait)
	}
	if wait := take(t, b, 30, true); wait != 0 {
		t.Errorf("live work waits %s for the reserve", wait)
	}
	if got := tokens(t, pool); math.Abs(got) > 0.01 {
		t.Errorf("%g tokens are left, want 0", got)
	}
	if wait, err := b.Take(t.Context(), "shopify:other.myshopify.com", 100, true); wait != 0 || err != nil {
		t.Errorf("another shop waits %s, %v", wait, err)
	}
}

func TestBucketsLearn(t *testing.T) {
	t.Parallel()
	pool := bucketPools(t, 1)[0]
	b := postgres.NewBuckets(pool, 2000, slow)
	for _, step := range []struct {
		name                              string
		refund, available, capacity, rate float64
		want                              float64
	}{
		{"unseen: the target's own", 5, 1500, 2000, slow, 1500},
		{"never raised beyond the refund", 4, 1900, 2000, slow, 1504},
		{"lowered when others spend", 0, 40, 2000, slow, 40},
		{"a refund alone", 10, 0, 0, 0, 50},
		{"a negative refund is none", -10, 1000, 1000, slow, 50},
		{"a smaller plan", 2000, 5000, 1000, slow, 1000},
	} {
		must(t, b.Learn(t.Context(), shop, step.refund, step.available, step.capacity, step.rate))
		if got := tokens(t, pool); math.Abs(got-step.want) > 0.01 {
			t.Errorf("%s: %g tokens, want %g", step.name, got, step.want)
		}
	}
	must(t, b.Learn(t.Context(), "shopify:unseen.myshopify.com", 10, 0, 0, 0))
}

// TestBucketsRefill moves the row's time, not the clock.
func TestBucketsRefill(t *testing.T) {
	t.Parallel()
	pool := bucketPools(t, 1)[0]
	b := postgres.NewBuckets(pool, 1000, 1)
	take(t, b, 1000, true)
	must(t, alter(t, pool, `update lockstep.buckets set updated_at = updated_at - interval '600 seconds'`))
	if wait := take(t, b, 600, true); wait != 0 {
		t.Errorf("waits %s after 600 s at one a second", wait)
	}
	must(t, alter(t, pool, `update lockstep.buckets set updated_at = updated_at - interval '1 year'`))
	take(t, b, 1, true)
	if got := tokens(t, pool); got != 999 {
		t.Errorf("%g tokens after a year, want a full bucket less one", got)
	}
	must(t, alter(t, pool, `update lockstep.buckets set updated_at = now() + interval '1 hour'`))
	take(t, b, 99, true)
	if got := tokens(t, pool); got != 900 {
		t.Errorf("%g tokens after the clock was set back, want 900", got)
	}
}

func alter(t *testing.T, pool *pgxpool.Pool, sql string) error {
	_, err := pool.Exec(t.Context(), sql)
	return err
}

// TestBucketsManyProcesses: 16 goroutines over four pools take all there is, and
// not one token more; some of them give back what they did not spend.
func TestBucketsManyProcesses(t *testing.T) {
	t.Parallel()
	pools := bucketPools(t, 4)
	const capacity, cost = 3000, 14
	var spent atomic.Int64
	var all sync.WaitGroup
	for i := range 16 {
		b := postgres.NewBuckets(pools[i%len(pools)], capacity, slow)
		random := rand.New(rand.NewPCG(1, uint64(i)))
		all.Go(func() {
			for {
				wait, err := b.Take(t.Context(), shop, cost, true)
				if err != nil {
					t.Error(err)
				}
				if wait != 0 || err != nil {
					return
				}
				refund := random.IntN(5)
				spent.Add(int64(cost - refund))
				if err := b.Learn(t.Context(), shop, float64(refund), capacity, capacity, slow); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	left := tokens(t, pools[0])
	if got := float64(spent.Load()) + left; math.Abs(got-capacity) > 0.1 || left < -0.01 {
		t.Errorf("spent %d and %g are left: want %d together", spent.Load(), left, capacity)
	}
	if left >= cost+4*16 {
		t.Errorf("%g tokens were left lying", left)
	}
}

// TestBucketsNoWaitForDisk looks, from within the statement, at the setting.
func TestBucketsNoWaitForDisk(t *testing.T) {
	t.Parallel()
	pool := bucketPools(t, 2)[1]
	b := postgres.NewBuckets(pool, 100, slow)
	take(t, b, 1, true)
	must(t, alter(t, pool, `create function lockstep.tell() returns trigger language plpgsql as $$ begin
		new.capacity := case current_setting('synchronous_commit') when 'off' then 555 else 666 end; return new; end $$`))
	must(t, alter(t, pool, `create trigger tell before update on lockstep.buckets for each row execute function lockstep.tell()`))
	for name, use := range map[string]func() error{
		"Take":         func() error { _, err := b.Take(t.Context(), shop, 1, true); return err },
		"Learn":        func() error { return b.Learn(t.Context(), shop, 0, 90, 100, slow) },
		"Learn little": func() error { return b.Learn(t.Context(), shop, 1, 0, 0, 0) },
	} {
		must(t, alter(t, pool, `update lockstep.buckets set capacity = 100`))
		must(t, use())
		if got := testdb.Query[float64](t, pool, `select capacity from lockstep.buckets where target = '`+shop+`'`); got != 555 {
			t.Errorf("%s waits for the disk: %g", name, got)
		}
	}
	if got := testdb.Query[string](t, pool, `select current_setting('synchronous_commit')`); got != "on" {
		t.Errorf("the setting outlives the statement: %s", got)
	}
}

func TestBucketsWithoutTable(t *testing.T) {
	t.Parallel()
	pool := bucketPools(t, 1)[0]
	must(t, alter(t, pool, `drop table lockstep.buckets`))
	b := postgres.NewBuckets(pool, 100, slow)
	_, err := b.Take(t.Context(), shop, 1, true)
	if err == nil || b.Learn(t.Context(), shop, 0, 1, 1, 1) == nil {
		t.Error("no error without the table")
	}
	if text := fmt.Sprint(err); text == "" {
		t.Error("an error without text")
	}
}
