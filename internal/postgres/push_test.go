package postgres_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// Bulk work links whom nobody else has touched since it looked, and nobody else.
func TestLinkMade(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t, testdb.New(t), standin.Owner)
	s := postgres.NewStore(pool)
	const target = "shopify:acme.myshopify.com"
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range []string{"new", "known", "changed", "appeared", "leased", "conflict", "deleted", "waiting"} {
		exec(`insert into public.profiles (id, username) values ('user_' || $1, 'u')`, user)
	}
	exec(`insert into public.profiles (id, username) values ('of another kind', 'u')`)
	exec(`insert into lockstep.customer_links (clerk_user_id, target, desired, queued_at, queued_bulk) values ('user_known', $1, 3, now(), true), ('user_changed', $1, 1, null, false), ('user_leased', $1, 1, null, false)`, target)
	exec(`insert into lockstep.customer_links (clerk_user_id, target, desired, applied, status, blocked_by) values ('user_conflict', $1, 1, 1, 'conflict', 'c-new')`, target)
	exec(`update public.profiles set deleted_at = now() where id = 'user_deleted'`)
	exec(`insert into lockstep.customer_links (clerk_user_id, target, customer_id, desired, applied, status) values ('user_waiting', $1, 'c-x', 2, 1, 'pending')`, target)
	seen, err := s.Unlinked(t.Context(), target, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	var made []postgres.Made
	for _, u := range seen {
		name := strings.TrimPrefix(u.Profile.ID, "user_")
		names = append(names, fmt.Sprint(name, u.Seen))
		made = append(made, postgres.Made{UserID: u.Profile.ID, CustomerID: "c-" + name, Email: name + "@example.test", Seen: u.Seen})
	}
	if got := strings.Join(names, " "); got != "appeared0 changed1 known3 leased1 new0" {
		t.Fatalf("without a customer: %s", got)
	}
	exec(`update lockstep.customer_links set desired = 2 where clerk_user_id = 'user_changed'`)
	exec(`insert into lockstep.customer_links (clerk_user_id, target, desired) values ('user_appeared', $1, 1)`, target)
	if _, err := s.Claim(t.Context(), postgres.Key{UserID: "user_leased", Target: target}, time.Minute); err != nil {
		t.Fatal(err)
	}
	var linked []string
	var woken []postgres.Key
	err = pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		linked, woken, err = s.LinkMade(t.Context(), tx, target, "create", "in bulk", made)
		return err
	})
	slices.Sort(linked)
	if err != nil || strings.Join(linked, " ") != "user_known user_new" || len(woken) != 1 || woken[0].UserID != "user_conflict" {
		t.Errorf("linked %v, woken %v: %v", linked, woken, err)
	}
	if n := testdb.Query[int](t, pool, `select count(*) from lockstep.customer_links where status = 'linked' and applied = desired and queued_at is null
		and customer_id = 'c-' || substr(clerk_user_id, 6) and email is not null and first_seen_at is not null`); n != 2 {
		t.Errorf("%d links are whole", n)
	}
	if n := testdb.Query[int](t, pool, `select count(*) from lockstep.history where action = 'create' and reason = 'in bulk'`); n != 2 {
		t.Errorf("%d entries in the history", n)
	}
	for user, want := range map[string]bool{"user_known": false, "user_changed": true, "user_nobody": false} {
		if due, err := s.Due(t.Context(), postgres.Key{UserID: user, Target: target}); err != nil || due != want {
			t.Errorf("%s is due: %t, %v", user, due, err)
		}
	}
	if as, err := s.LinkedAs(t.Context(), target, "in bulk", []string{"user_new", "user_changed"}); err != nil || len(as) != 1 {
		t.Errorf("linked in bulk: %v, %v", as, err)
	}
}
