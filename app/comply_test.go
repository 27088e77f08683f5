package app_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// comply sends a compliance webhook and waits until it is acted on. It returns
// the number of the request.
func (w *shopWorld) comply(topic, customer string) int64 {
	w.t.Helper()
	id, err := w.acme.Comply(topic, customer)
	must(w.t, err)
	w.sentTo(w.acme, id, 200)
	w.eventually(topic+" is done", `select exists (select from lockstep.privacy_requests where delivery_id = $1 and done_at is not null)`, id)
	return testdb.Query[int64](w.t, w.pool, `select id from lockstep.privacy_requests where delivery_id = $1`, id)
}

// holds counts the rows in which a text is found, in any table of Lockstep's own
// but the jobs' and the profiles of the application.
func (w *shopWorld) holds(text string) (tables []string) {
	w.t.Helper()
	rows, err := w.pool.Query(w.t.Context(), `select c.relname from pg_class c where c.relnamespace = 'lockstep'::regnamespace and c.relkind = 'r' order by 1`)
	must(w.t, err)
	var names []string
	for rows.Next() {
		var name string
		must(w.t, rows.Scan(&name))
		names = append(names, name)
	}
	must(w.t, rows.Err())
	for _, name := range names {
		if testdb.Query[bool](w.t, w.pool, `select exists (select from lockstep.`+name+` t where t::text like '%' || $1 || '%')`, text) {
			tables = append(tables, name)
		}
	}
	return tables
}

func TestComplyDataRequest(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	u, c := w.linked("ada")
	r, err := w.command().PrivacyRequest(t.Context(), w.comply("customers/data_request", c.ID))
	must(t, err)
	for _, want := range []string{"ada@example.test", "Lovelace", u.ID, c.ID, `"create"`} {
		if !strings.Contains(string(r.Report), want) {
			t.Errorf("the report lacks %q: %s", want, r.Report)
		}
	}
	if r.Kind != "report" || r.CustomerID != c.ID || r.Reference == "" || r.Requested == nil || r.Outcome["shopify_customers"] != 1 || r.Outcome["customer_links"] != 1 {
		t.Errorf("%+v", r)
	}
	if days := r.Due.Sub(r.Received).Hours() / 24; days < 29 || days > 31 {
		t.Errorf("due after %v days", days)
	}
	list, err := w.command().PrivacyRequests(t.Context(), 0)
	if err != nil || len(list) != 1 || list[0].Report != nil {
		t.Errorf("the list: %+v, %v", list, err)
	}
	if _, err := w.command().PrivacyRequest(t.Context(), 4711); !errors.Is(err, app.ErrNoRequest) {
		t.Errorf("an unknown number: %v", err)
	}
}

// What a customer's erasure leaves is the proof: ids, counts and times.
func TestComplyRedactsACustomer(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	u, c := w.linked("ada")
	other, _ := w.linked("grace")
	w.comply("customers/data_request", c.ID) // the report is to go as well
	r, err := w.command().PrivacyRequest(t.Context(), w.comply("customers/redact", c.ID))
	must(t, err)
	if r.Outcome["shopify_customers"] != 1 || r.Outcome["customer_links"] != 1 || r.Outcome["reports"] != 1 || r.Outcome["marks"] != 1 || r.Done == nil || r.Report != nil {
		t.Errorf("%+v", r)
	}
	w.settle() // the webhooks of taking the mark off
	w.edit(c.ID, emulator.CustomerEdit{LastName: new("Changed")})
	w.settle()
	if tables := w.holds("ada@example.test"); len(tables) > 0 {
		t.Errorf("the e-mail is still in %v", tables)
	}
	if got := w.captured(c.ID, "email"); got != "no row" {
		t.Errorf("captured again: %s", got)
	}
	if n := w.acme.CustomerCount(); n != 2 {
		t.Errorf("%d customers: what was forgotten was made again", n)
	}
	if got, err := w.acme.Customer(c.ID); err != nil || markOf(got) != "" || got.LastName != "Changed" {
		t.Errorf("the shop's customer: %+v, %v", got, err)
	}
	if status := testdb.Query[string](t, w.pool, `select status || ': ' || reason from lockstep.customer_links where clerk_user_id = $1`, u.ID); !strings.Contains(status, "failed: the shop was asked to forget") {
		t.Errorf("the link is %s", status)
	}
	if got := w.customerOf(other.ID); got.Email != "grace@example.test" {
		t.Errorf("another user's customer: %+v", got)
	}
}

func TestComplyRedactsAShop(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, []emulator.ShopSpec{{Domain: "acme", Plan: emulator.PlanPlus}, {Domain: "globex", Plan: emulator.PlanPlus}})
	_, c := w.linked("ada")
	w.comply("customers/data_request", c.ID)
	w.acme.Uninstall()
	w.eventually("acme is paused", `select exists (select from lockstep.targets where target = $1 and paused_at is not null)`, acme)
	r, err := w.command().PrivacyRequest(t.Context(), w.comply("shop/redact", ""))
	must(t, err)
	if r.Kind != "erase store" || r.Outcome["shopify_customers"] != 1 || r.Outcome["customer_links"] != 1 || r.Outcome["reports"] != 1 {
		t.Errorf("%+v", r)
	}
	if n := testdb.Query[int](t, w.pool, `select (select count(*) from lockstep.shopify_customers where shopify_shop = 'acme.myshopify.com')
		+ (select count(*) from lockstep.customer_links where target = $1) + (select count(*) from lockstep.history where target = $1)
		+ (select count(*) from lockstep.privacy_requests where report is not null)`, acme); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if n := testdb.Query[int](t, w.pool, `select count(*) from lockstep.customer_links where status = 'linked'`); n != 1 {
		t.Errorf("%d links to the other shop, want 1", n)
	}
}

// A request whose job was lost is done all the same.
func TestComplyWithoutAJob(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	_, c := w.linked("ada")
	var id int64
	must(t, w.pool.QueryRow(t.Context(), `insert into lockstep.privacy_requests (target, kind, customer_id, delivery_id, received_at)
		values ($1, 'report', $2, 'lost', now() - interval '1 minute') returning id`, acme, c.ID).Scan(&id))
	a := w.command()
	w.waitFor("it is done", func(ctx context.Context) bool {
		r, err := a.PrivacyRequest(ctx, id)
		return err == nil && r.Done != nil
	})
}
