package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// bucketReserve is the share of a bucket's capacity that only live changes may
// use, so that backfill and reconciliation never hold up a sign-up.
const bucketReserve = 0.3

// Buckets are token buckets that all processes share, one row of
// lockstep.buckets per target: what one process takes, no other can. Time is
// the database's, so no two clocks have to agree. It is safe for concurrent use.
type Buckets struct {
	pool           *pgxpool.Pool
	capacity, rate float64
}

// NewBuckets uses pool, which stays the caller's to close. A target that is
// seen for the first time begins with a full bucket of the given capacity,
// filled at rate tokens per second, both above zero.
func NewBuckets(pool *pgxpool.Pool, capacity, rate float64) *Buckets {
	return &Buckets{pool, capacity, rate}
}

// A row is as it was at updated_at; filled is what it holds now. Nothing waits
// for the disk: after a crash of the server some tokens are back that were
// taken, and the next answer of the target corrects that. One statement, so
// that it is one round trip and holds the row no longer than needed.
const (
	filled = `least(b.capacity, b.tokens + b.rate * greatest(0, extract(epoch from clock_timestamp() - b.updated_at)::float8))`

	// What must be there: the cost and, for work that is not live, the reserve;
	// never more than fits in.
	needed = `least($2::float8 + case when $3::boolean then 0 else $4::float8 * b.capacity end, b.capacity)`

	unsynced = `fast as materialized (select set_config('synchronous_commit', 'off', true))`

	takeSQL = `with ` + unsynced + `, taken as (
		update lockstep.buckets b set tokens = ` + filled + ` - $2::float8, updated_at = clock_timestamp()
		  from fast where b.target = $1::text and ` + filled + ` >= ` + needed + `
		returning 0)
		select exists (select from taken), greatest(0, (` + needed + ` - ` + filled + `) / b.rate)
		  from lockstep.buckets b where b.target = $1::text`

	openSQL = `insert into lockstep.buckets (target, tokens, capacity, rate, updated_at)
		values ($1::text, $2::float8, $2::float8, $3::float8, clock_timestamp()) on conflict (target) do nothing`

	learnSQL = `with ` + unsynced + `
		insert into lockstep.buckets as b (target, tokens, capacity, rate, updated_at)
		select $1::text, least($3::float8, $4::float8), $4::float8, $5::float8, clock_timestamp() from fast
		on conflict (target) do update set capacity = $4::float8, rate = $5::float8, updated_at = clock_timestamp(),
		  tokens = least($3::float8, $4::float8, ` + filled + ` + $2::float8)`

	refundSQL = `with ` + unsynced + `
		update lockstep.buckets b set tokens = least(b.capacity, ` + filled + ` + $2::float8), updated_at = clock_timestamp()
		  from fast where b.target = $1::text`
)

// minTokenWait is the shortest wait that is named: less is a lost race for the
// row, after which somebody else must go first.
const minTokenWait = 10 * time.Millisecond

// Take takes cost tokens of a target's bucket and returns zero, or takes nothing
// and returns how long it will take until they are there. Work that is not live
// leaves a reserve for that which is.
func (b *Buckets) Take(ctx context.Context, target string, cost float64, live bool) (wait time.Duration, err error) {
	taken, wait, err := b.take(ctx, target, cost, live)
	if errors.Is(err, pgx.ErrNoRows) {
		if _, err = b.pool.Exec(ctx, openSQL, target, b.capacity, b.rate); err == nil {
			taken, wait, err = b.take(ctx, target, cost, live)
		}
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("take from the bucket of %s: %w", target, Redact(err))
	case taken:
		return 0, nil
	}
	return max(wait, minTokenWait), nil
}

func (b *Buckets) take(ctx context.Context, target string, cost float64, live bool) (taken bool, wait time.Duration, err error) {
	var seconds float64
	err = b.pool.QueryRow(ctx, takeSQL, target, cost, live, bucketReserve).Scan(&taken, &seconds)
	return taken, time.Duration(seconds * float64(time.Second)), err
}

// Learn gives back refund tokens, which were taken and not spent, and takes over
// what the target itself says: the tokens available when it answered, how many
// fit in, and how many come each second. It lowers what is there if the target
// has less, since others may spend too; it never raises it beyond the refund,
// since what was taken meanwhile has not reached the target yet. A capacity or
// rate of zero says nothing.
func (b *Buckets) Learn(ctx context.Context, target string, refund, available, capacity, rate float64) error {
	refund = max(refund, 0)
	sql, args := refundSQL, []any{target, refund}
	if capacity > 0 && rate > 0 {
		sql, args = learnSQL, []any{target, refund, available, capacity, rate}
	}
	if _, err := b.pool.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("correct the bucket of %s: %w", target, Redact(err))
	}
	return nil
}
