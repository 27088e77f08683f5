package app_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/internal/watch"
)

// street is an App with emulated shops, and no Clerk.
type street struct {
	*emulator.Shopify
	t    testing.TB
	acme *emulator.Shop
	pool *pgxpool.Pool
	*app.App
}

func newStreet(t testing.TB, o emulator.ShopifyOptions, env map[string]string) *street {
	t.Helper()
	o.Shops, o.Seed = append([]emulator.ShopSpec{{Domain: "acme", Plan: emulator.PlanPlus}}, o.Shops...), 1
	s, err := emulator.NewShopify(o)
	must(t, err)
	t.Cleanup(s.Close)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.SetBaseURL(server.URL)
	db := testdb.New(t)
	w := &street{Shopify: s, t: t, acme: s.Shop("acme"), pool: testdb.Pool(t, db, "")}
	all := map[string]string{"DATABASE_URL": db.URL(standin.Owner)}
	for _, setting := range s.Settings() {
		all[setting.Name] = setting.Value
	}
	for name, value := range env {
		all[name] = value
	}
	config, err := app.LoadConfig(func(name string) string { return all[name] }, app.NeedDatabase)
	must(t, err)
	w.App, err = app.Open(config, watch.Logger(t))
	must(t, err)
	t.Cleanup(w.App.Close)
	return w
}

func (w *street) fill(n int) {
	w.t.Helper()
	for i := range n {
		_, err := w.acme.PutCustomer(emulator.CustomerSpec{Email: fmt.Sprintf("c%d@example.test", i), FirstName: "C", Phone: fmt.Sprintf("+45%08d", 20_000_000+i), Tags: []string{"vip"}})
		must(w.t, err)
	}
	w.acme.IndexNow()
}

func silent(app.Progress) {}

func (w *street) backfill() app.ShopBackfilled {
	w.t.Helper()
	done, err := w.BackfillShopify(w.t.Context(), "", false, silent)
	must(w.t, err)
	return done[0]
}

// checkRows compares the table with the shop, customer by customer.
func (w *street) checkRows() {
	w.t.Helper()
	rows, err := w.pool.Query(w.t.Context(), `select shopify_customer_id || ' ' || coalesce(email, '') || ' ' || coalesce(phone, '') || ' ' || coalesce(first_name, '') || ' ' || tags::text
		from lockstep.shopify_customers where shopify_shop = 'acme.myshopify.com' and deleted_at is null`)
	must(w.t, err)
	have := map[string]bool{}
	for rows.Next() {
		var row string
		must(w.t, rows.Scan(&row))
		have[row] = true
	}
	must(w.t, rows.Err())
	wrong := 0
	for _, c := range w.acme.Customers() {
		tags := "{}"
		if len(c.Tags) == 1 {
			tags = "{" + c.Tags[0] + "}"
		}
		if row := fmt.Sprintf("%s %s %s %s %s", c.ID, c.Email, c.Phone, c.FirstName, tags); !have[row] {
			wrong++
		}
	}
	if n := w.acme.CustomerCount(); wrong > 0 || len(have) != n {
		w.t.Errorf("of %d customers %d have no row like them; %d rows", n, wrong, len(have))
	}
}

func TestBackfillShopify(t *testing.T) {
	t.Parallel()
	w := newStreet(t, emulator.ShopifyOptions{}, nil)
	w.fill(1200)
	must(t, w.acme.SetBulk(emulator.BulkLife{Faults: []emulator.BulkFault{{Status: "FAILED", ErrorCode: "TIMEOUT", After: 10}}}))
	must(t, w.Faults.Set(emulator.Rule{Route: "acme GET storage", Script: []emulator.Fault{{Action: emulator.ActionTruncate}}}))
	if b := w.backfill(); b.Read != 1200 || b.Changed != 1200 || !b.Exact() || b.Pages || b.Resumed {
		t.Errorf("%+v", b)
	}
	w.checkRows()
	if b := w.backfill(); b.Read != 1200 || b.Changed != 1200 || !b.Exact() {
		t.Errorf("again: %+v", b) // captured_at moves
	}
	if n := testdb.Query[int](t, w.pool, `select count(*) from lockstep.checkpoints where name like 'backfill%'`); n != 0 {
		t.Errorf("%d checkpoints are left", n)
	}
	if _, err := w.BackfillShopify(t.Context(), "bolt.myshopify.com", false, silent); err == nil {
		t.Error("a shop that is not in the settings was read")
	}
}

// A shop that refuses bulk operations, and one whose exports all fail, is read
// page by page.
func TestBackfillShopifyByPages(t *testing.T) {
	t.Parallel()
	for name, life := range map[string]emulator.BulkLife{
		"refused":       {Refused: true},
		"access denied": {Faults: []emulator.BulkFault{{Status: "FAILED", ErrorCode: "ACCESS_DENIED"}}},
		"fails":         {Faults: []emulator.BulkFault{{Status: "FAILED"}, {Status: "CANCELED"}, {Status: "EXPIRED", After: 9}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newStreet(t, emulator.ShopifyOptions{}, nil)
			w.fill(600)
			must(t, w.acme.SetBulk(life))
			if b := w.backfill(); b.Read != 600 || !b.Exact() || !b.Pages {
				t.Errorf("%+v", b)
			}
			w.checkRows()
		})
	}
}

// Stopped in the middle, it goes on from there: nothing is read twice but what
// was not stored.
func TestBackfillShopifyGoesOn(t *testing.T) {
	t.Parallel()
	for _, refused := range []bool{false, true} {
		w, n := newStreet(t, emulator.ShopifyOptions{}, nil), 11_000
		if refused {
			n = 1200
		}
		w.fill(n)
		must(t, w.acme.SetBulk(emulator.BulkLife{Refused: refused}))
		ctx, stop := context.WithCancel(t.Context())
		_, err := w.BackfillShopify(ctx, "", false, func(p app.Progress) {
			if p.Total > 0 {
				stop()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped: %v", err)
		}
		stored := testdb.Query[int](t, w.pool, `select count(*) from lockstep.shopify_customers`)
		if stored == 0 || stored >= n {
			t.Fatalf("%d are stored before it goes on", stored)
		}
		if b := w.backfill(); b.Read != n || b.Changed != n || !b.Resumed || !b.Exact() || len(w.acme.BulkOperations()) > 1 {
			t.Errorf("%+v; %d operations", b, len(w.acme.BulkOperations()))
		}
		w.checkRows()
	}
}

// What a webhook had read since the export began stays, deletions included.
func TestBackfillShopifyBesideLiveChanges(t *testing.T) {
	t.Parallel()
	w := newStreet(t, emulator.ShopifyOptions{}, nil)
	w.fill(30)
	edit, gone := w.acme.Customers()[3], w.acme.Customers()[4]
	live := func(p app.Progress) {
		if p.What != "acme.myshopify.com: Shopify exports" {
			return
		}
		_, err := w.pool.Exec(t.Context(), `insert into lockstep.shopify_customers (shopify_shop, shopify_customer_id, email, first_name, updated_at, captured_at, deleted_at)
			values ('acme.myshopify.com', $1, 'live@example.test', 'Live', date_trunc('second', $2::timestamptz), clock_timestamp(), null), ('acme.myshopify.com', $3, null, null, null, clock_timestamp(), clock_timestamp())
			on conflict do nothing`, edit.ID, edit.UpdatedAt, gone.ID)
		must(t, err)
	}
	done, err := w.BackfillShopify(t.Context(), "acme.myshopify.com", false, live)
	must(t, err)
	if b := done[0]; b.Read != 30 || b.Changed != 28 || b.Exact() || b.Held != 29 || b.InShop != 30 {
		t.Errorf("%+v", b)
	}
	if n := testdb.Query[int](t, w.pool, `select count(*) from lockstep.shopify_customers where first_name = 'Live' or deleted_at is not null`); n != 2 {
		t.Errorf("%d of the live rows are left", n)
	}
}

// A shop that hides its customers' data clears nothing that was known.
func TestBackfillShopifyOfHiddenData(t *testing.T) {
	t.Parallel()
	w := newStreet(t, emulator.ShopifyOptions{}, nil)
	w.fill(10)
	w.backfill()
	w.acme.SetCustomerData(false)
	w.backfill()
	if n := testdb.Query[int](t, w.pool, `select count(*) from lockstep.shopify_customers where email is not null and first_name is not null and phone is not null and unproven = '{email,phone,name}'`); n != 10 {
		t.Errorf("%d of 10 kept what was known", n)
	}
}

// The webhook that another process received ends the wait for a bulk operation,
// which itself asks the shop but once a day.
func TestWebhookEndsTheWaitForBulk(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil, app.WithBulkPoll(24*time.Hour))
	command := w.command()
	must(t, w.acme.SetBulk(emulator.BulkLife{Held: true}))
	backfilled := make(chan error, 1)
	go func() {
		_, err := command.BackfillShopify(t.Context(), "", false, silent)
		backfilled <- err
	}()
	w.waitFor("the export runs, and was looked at", func(context.Context) bool { return w.requests("query bulkOperation") == 1 })
	must(t, w.acme.SetBulk(emulator.BulkLife{}))
	w.waitFor("the wait is over", func(context.Context) bool {
		select {
		case err := <-backfilled:
			must(t, err)
			return true
		default:
			return false
		}
	})
	if n := w.requests("query bulkOperation"); n != 2 {
		t.Errorf("the shop was asked %d times, want once before and once after the webhook", n)
	}
	if n := testdb.Query[int](t, w.pool, `select count(*) from lockstep.deliveries where kind = 'bulk_operations/finish' and operation is not null`); n != 1 {
		t.Errorf("%d webhooks tell of the end", n)
	}
}

// Whoever was deleted while no webhook came is found by a whole read, and by no
// other; the shop is asked before anybody counts as deleted, and the users get
// customers again.
func TestBackfillShopifySettlesLostDeletions(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	command := w.command()
	_, mine := w.linked("ada")
	var guests []string
	for i := range 4 {
		guests = append(guests, w.put(emulator.CustomerSpec{Email: fmt.Sprintf("guest%d@example.test", i), FirstName: "Guest"}).ID)
	}
	w.settle()
	w.quiet() // from now on nothing is told
	for _, id := range append(guests[:2:2], mine.ID) {
		must(t, w.acme.DeleteCustomer(id))
	}
	// One row is newer than what the read will show, and is not renewed by it.
	w.exec(`update lockstep.shopify_customers set updated_at = now() + interval '1 day', captured_at = now() - interval '1 day' where shopify_customer_id = $1`, guests[2])

	must(t, w.shops.Faults.Set(emulator.Rule{Route: "acme GET storage", Rate: 1, Fault: emulator.Fault{Action: emulator.ActionRefuse, Status: 403}}))
	ctx, stop := context.WithCancel(t.Context())
	read := make(chan error, 1)
	go func() { _, err := command.BackfillShopify(ctx, "", false, silent); read <- err }()
	w.waitFor("the result cannot be read", func(context.Context) bool { return w.shops.Faults.Total("acme GET storage") > 0 })
	stop()
	if err := <-read; err == nil {
		t.Fatal("a read without a result succeeded")
	}
	if n := testdb.Query[int](t, w.pool, `select count(*) from lockstep.shopify_customers where deleted_at is not null`); n != 0 {
		t.Errorf("%d count as deleted after half a read", n)
	}
	must(t, w.shops.Faults.Set())

	looks := w.requests("query nodes")
	done, err := command.BackfillShopify(t.Context(), "", false, silent)
	must(t, err)
	if b := done[0]; b.Asked != 4 || w.requests("query nodes") == looks {
		t.Errorf("%+v after %d looks", b, w.requests("query nodes")-looks)
	}
	for id, want := range map[string]string{guests[0]: "false", guests[1]: "false", mine.ID: "false", guests[2]: "true", guests[3]: "true"} {
		w.wantCaptured(id, map[string]string{"deleted_at is null": want, "email is not null": want})
	}
	w.eventually("the user has a customer again", `select count(*) = 1 from lockstep.customer_links where status = 'linked' and applied = desired and customer_id <> $1`, mine.ID)
}
