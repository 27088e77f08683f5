package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// Whom a shop was asked to forget, no backfill brings back, and no reconcile run
// makes again: only a person who names the user does.
func TestForgottenStaysForgotten(t *testing.T) {
	t.Parallel()
	c := newCaptures(t)
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := c.pool.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(`insert into lockstep.privacy_requests (target, kind, customer_id, delivery_id) values ($1, 'erase customer', $2, 'w')`, shopTarget, customer1)
	merge := func() (n int, err error) {
		err = pgx.BeginFunc(t.Context(), c.pool, func(tx pgx.Tx) error {
			n, err = c.MergeShopCustomers(t.Context(), tx, "acme.myshopify.com", time.Now(), []postgres.ShopCustomer{{ID: customer1}, {ID: customer1 + "0"}})
			return err
		})
		return n, err
	}
	if n, err := merge(); n != 1 || err != nil {
		t.Errorf("merged %d, %v", n, err)
	}
	if id := testdb.Query[string](t, c.pool, `select string_agg(shopify_customer_id, ' ') from lockstep.shopify_customers`); id != customer1+"0" {
		t.Errorf("kept %s", id)
	}

	exec(`insert into public.profiles (id, username) values ('user_1', 'u'), ('user_2', 'u')`)
	exec(`insert into lockstep.customer_links (clerk_user_id, target, customer_id, status, desired, applied) values
		('user_1', $1, $2, 'linked', 1, 1), ('user_2', $1, null, 'failed', 1, 1)`, shopTarget, customer1)
	c.tx(func(tx pgx.Tx) error {
		_, err := c.EraseCustomer(t.Context(), tx, shopTarget, customer1)
		return err
	})
	c.tx(func(tx pgx.Tx) error {
		holes, err := c.Holes(t.Context(), tx, postgres.Search{Kind: lockstep.DriftLinkFailed, Target: shopTarget, Limit: 10, Since: time.Now().Add(time.Hour)})
		if len(holes) != 1 || holes[0].UserID != "user_2" {
			t.Errorf("reconciling finds %v", holes)
		}
		return err
	})
	c.tx(func(tx pgx.Tx) error {
		all, err := c.Retry(t.Context(), tx, shopTarget, time.Now().Add(time.Hour), 10)
		if err != nil {
			return err
		}
		named, err := c.RetryUsers(t.Context(), tx, []string{"user_1"}, []string{shopTarget})
		if len(all) != 1 || all[0].UserID != "user_2" || len(named) != 1 {
			t.Errorf("retried %v, and by name %v", all, named)
		}
		return err
	})

	c.tx(func(tx pgx.Tx) error { return c.Disconnect(t.Context(), tx, shopTarget, "test") })
	if n, err := merge(); n != 0 || !errors.Is(err, postgres.ErrDisconnected) {
		t.Errorf("a disconnected shop: merged %d, %v", n, err)
	}
}
