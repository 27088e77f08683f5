package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
)

const (
	shopTarget = "shopify:acme.myshopify.com"
	customer1  = "gid://shopify/Customer/1"
)

// captures is a store with a shop's captured customers.
type captures struct {
	*postgres.Store
	t    *testing.T
	pool *pgxpool.Pool
	seq  int
}

func newCaptures(t *testing.T) *captures {
	t.Helper()
	pool := testdb.Pool(t, testdb.New(t), standin.Owner)
	return &captures{Store: postgres.NewStore(pool), t: t, pool: pool}
}

func (c *captures) tx(f func(pgx.Tx) error) {
	c.t.Helper()
	if err := pgx.BeginFunc(c.t.Context(), c.pool, f); err != nil {
		c.t.Fatal(err)
	}
}

// changed notes that a customer changed.
func (c *captures) changed(id string) {
	c.t.Helper()
	c.seq++
	c.tx(func(tx pgx.Tx) error {
		_, err := c.AcceptNotices(c.t.Context(), tx, []lockstep.Notice{{Source: "shopify", ID: fmt.Sprint("w", c.seq), Target: shopTarget, Kind: "customers/update", Customers: []string{id}}})
		return err
	})
}

func (c *captures) claim() postgres.Changed {
	c.t.Helper()
	claimed, err := c.ClaimChanges(c.t.Context(), shopTarget, 250, time.Minute)
	if err != nil {
		c.t.Fatal(err)
	}
	return claimed
}

// A customer that is gone is a live change: it does not wait behind the bulk work
// that is queued for its link.
func TestUnlinkOvertakesBulk(t *testing.T) {
	t.Parallel()
	for _, bulk := range []bool{false, true} {
		c := newCaptures(t)
		c.tx(func(tx pgx.Tx) error {
			bump := c.Bump
			if bulk {
				bump = c.BumpBulk
			}
			_, err := bump(t.Context(), tx, []string{"user_a"}, []string{shopTarget})
			return err
		})
		if _, err := c.pool.Exec(t.Context(), `update lockstep.customer_links set customer_id = $1, status = 'linked'`, customer1); err != nil {
			t.Fatal(err)
		}
		want := map[bool]int{false: 0, true: 1}[bulk] // a live job is there already
		c.tx(func(tx pgx.Tx) error {
			keys, err := c.Unlink(t.Context(), tx, shopTarget, []string{customer1})
			if len(keys) != want {
				t.Errorf("bulk %v: %d jobs, want %d", bulk, len(keys), want)
			}
			return err
		})
		if testdb.Query[bool](t, c.pool, `select queued_bulk from lockstep.customer_links`) {
			t.Errorf("bulk %v: the link passes for bulk work", bulk)
		}
	}
}

// versionOf is a customer of the given second, seen by a read.
func versionOf(second int, name string, unproven ...string) postgres.Capture {
	s := lockstep.Snapshot{Customer: lockstep.Customer{ID: customer1, FirstName: name}, UpdatedAt: time.Unix(int64(second), 0)}
	return postgres.Capture{Snapshot: s, Unproven: unproven}
}

// store keeps what a read that began at a second showed; no version: it is gone.
func (c *captures) store(began int, seen ...postgres.Capture) {
	c.t.Helper()
	c.tx(func(tx pgx.Tx) error {
		var gone []string
		if len(seen) == 0 {
			gone = []string{customer1}
		}
		return c.Capture(c.t.Context(), tx, postgres.Changed{Target: shopTarget, Began: time.Now().Add(time.Duration(began) * time.Second)}, seen, gone)
	})
}

func (c *captures) want(what, want string) {
	c.t.Helper()
	got := testdb.Query[string](c.t, c.pool, `select coalesce(first_name, '-') || case when deleted_at is null then '' else ' deleted' end from lockstep.shopify_customers`)
	if got != want {
		c.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func TestCaptureNewestWins(t *testing.T) {
	t.Parallel()
	c := newCaptures(t)
	c.store(-50, versionOf(10, "ten"))
	c.store(-40, versionOf(9, "nine"))
	c.want("an older version", "ten")
	c.store(-60, versionOf(10, "early"))
	c.want("the same second, read earlier", "ten")
	c.store(-30, versionOf(10, "late"))
	c.want("the same second, read later", "late")
	c.store(-20, versionOf(11, "", "name"))
	c.want("a name that may be hidden", "late")
	c.store(-10, versionOf(12, ""))
	c.want("a name that is gone", "-")
}

func TestCaptureDeletionStands(t *testing.T) {
	t.Parallel()
	c := newCaptures(t)
	c.store(-50, versionOf(10, "ten"))
	c.store(-60)
	c.want("a deletion that an earlier read saw", "ten")
	c.store(-40)
	c.want("a deletion", "- deleted")
	c.store(-30, versionOf(11, "eleven"))
	c.want("a read that began before the deletion was stored", "- deleted")
	c.store(60, versionOf(11, "eleven"))
	c.want("a read that began after it", "eleven")
}

// A customer is read by one worker at a time, and again if it changed meanwhile.
func TestClaimedChanges(t *testing.T) {
	t.Parallel()
	c := newCaptures(t)
	c.changed(customer1)
	c.changed(customer1)
	first := c.claim()
	if len(first.IDs) != 1 || len(c.claim().IDs) != 0 {
		t.Fatalf("claimed %v, and again", first.IDs)
	}
	c.changed(customer1) // while it is read
	if ids := c.claim().IDs; len(ids) != 0 {
		t.Errorf("claimed %v while it is read", ids)
	}
	finish := func(claimed postgres.Changed, deferred map[string]time.Duration) {
		c.tx(func(tx pgx.Tx) error { return c.FinishChanges(t.Context(), tx, claimed, deferred) })
	}
	finish(first, nil)
	second := c.claim()
	if len(second.IDs) != 1 {
		t.Fatal("the change that came meanwhile is lost")
	}
	finish(second, map[string]time.Duration{customer1: time.Hour})
	if ids := c.claim().IDs; len(ids) != 0 {
		t.Errorf("claimed %v, which was put off", ids)
	}
	c.changed(customer1)
	third := c.claim()
	if err := c.UnclaimChanges(t.Context(), third); err != nil || len(c.claim().IDs) != 1 {
		t.Errorf("given back, it cannot be claimed: %v", err)
	}
	exec(t, c.pool, `update lockstep.shopify_changes set lease_until = now() - interval '1 second'`) // the worker was killed
	last := c.claim()
	finish(last, nil)
	if n := testdb.Query[int](t, c.pool, `select count(*) from lockstep.shopify_changes`); len(last.IDs) != 1 || n != 0 {
		t.Errorf("claimed %v, %d rows are left", last.IDs, n)
	}
}

// What was noted once is not noted again, in one batch or in two.
func TestNoteDuplicates(t *testing.T) {
	t.Parallel()
	c := newCaptures(t)
	n := lockstep.Notice{Source: "shopify", ID: "w1", Target: shopTarget, Kind: "customers/merge", Customers: []string{customer1, "gid://shopify/Customer/2"}}
	for _, want := range []string{"[{true false 0} {false false 0}]", "[{false false 0} {false false 0}]"} {
		c.tx(func(tx pgx.Tx) error {
			got, err := c.AcceptNotices(t.Context(), tx, []lockstep.Notice{n, n})
			if fmt.Sprint(got) != want {
				t.Errorf("noted %v, want %s", got, want)
			}
			return err
		})
	}
	if sum := testdb.Query[int](t, c.pool, `select sum(changes) from lockstep.shopify_changes`); sum != 2 {
		t.Errorf("%d changes, want one of each customer", sum)
	}
}

// A row that was captured since the read began, or is marked as deleted, or is of
// another shop, is not asked for; and one that was read is left no more.
func TestUnseenLeavesOutWhatWasCapturedSince(t *testing.T) {
	t.Parallel()
	c := newCaptures(t)
	began, err := c.DatabaseTime(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.exec(`insert into lockstep.shopify_customers (shopify_shop, shopify_customer_id, captured_at, deleted_at) values
		('acme.myshopify.com', 'a', $1::timestamptz - interval '1 ms', null), ('acme.myshopify.com', 'b', $1::timestamptz - interval '1 hour', null),
		('acme.myshopify.com', 'live', $1::timestamptz + interval '1 ms', null), ('acme.myshopify.com', 'same', $1::timestamptz, null),
		('acme.myshopify.com', 'gone', $1::timestamptz - interval '1 hour', now()), ('globex.myshopify.com', 'c', $1::timestamptz - interval '1 hour', null)`, began)
	for after, want := range map[string]string{"": "[a b]", "a": "[b]"} {
		c.tx(func(tx pgx.Tx) error {
			ids, err := c.NoteUnseen(t.Context(), tx, shopTarget, began, after, 10)
			if got := fmt.Sprint(ids); got != want {
				t.Errorf("after %q: %s, want %s", after, got, want)
			}
			return err
		})
	}
	for _, want := range []int{2, 1} {
		if left, err := c.UnseenLeft(t.Context(), shopTarget, began); err != nil || left != want {
			t.Errorf("%d are left, want %d: %v", left, want, err)
		}
		c.exec(`update lockstep.shopify_customers set captured_at = now() where shopify_customer_id = 'a'`)
	}
}

func (c *captures) exec(sql string, args ...any) {
	c.t.Helper()
	if _, err := c.pool.Exec(c.t.Context(), sql, args...); err != nil {
		c.t.Fatal(err)
	}
}
