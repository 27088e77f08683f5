package inbox

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/internal/watch"
	"github.com/lockstephq/lockstep/medusa"
	"github.com/lockstephq/lockstep/shopify"
)

// mall is an Inbox with a real Medusa database and emulated shops as targets.
type mall struct {
	*box
	*emulator.Shopify
}

// newMall has so few workers that one target with all of them would be noticed.
func newMall(t *testing.T, workers int, shops ...string) *mall {
	t.Helper()
	db := testdb.New(t)
	m := &mall{box: &box{t: t, db: db, pool: testdb.Pool(t, db, "")}}
	var specs []emulator.ShopSpec
	for _, name := range shops {
		specs = append(specs, emulator.ShopSpec{Domain: name, Plan: emulator.PlanPlus})
	}
	var err error
	if m.Shopify, err = emulator.NewShopify(emulator.ShopifyOptions{Shops: specs}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Shopify.Close)
	server := httptest.NewServer(m.Shopify)
	t.Cleanup(server.Close)
	m.SetBaseURL(server.URL)
	pool := testdb.Pool(t, db, standin.Owner)
	m.Inbox = m.work(workers, m.targets(pool))
	return m
}

func (m *mall) targets(pool *pgxpool.Pool) []lockstep.Target {
	m.t.Helper()
	buckets := postgres.NewBuckets(pool, shopify.StandardCapacity, shopify.StandardRate)
	list := []lockstep.Target{medusa.NewDatabase(pool)}
	for _, shop := range m.Shops() {
		target, err := shopify.New(shopify.Options{Shop: shop.Domain(), Tokens: shopify.StaticToken(shop.AccessToken()), APIURL: m.APIURL(), Bucket: buckets})
		if err != nil {
			m.t.Fatal(err)
		}
		list = append(list, target)
	}
	return list
}

// work is box.start for a given number of workers.
func (m *mall) work(workers int, targets []lockstep.Target) *Inbox {
	m.t.Helper()
	in, err := NewWorker(Config{
		Pool: testdb.Pool(m.t, m.db, testdb.Role), JobPool: testdb.Pool(m.t, m.db, testdb.Role),
		Targets: targets, Workers: workers, Log: watch.Logger(m.t),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(m.t.Context()))
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	m.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Errorf("run: %v", err)
		}
	})
	return in
}

// faults makes all requests of one shop suffer a fault.
func (m *mall) faults(shop string, f emulator.Fault) {
	m.t.Helper()
	if err := m.Faults.Set(emulator.Rule{Route: shop + " *", Rate: 1, Fault: f}); err != nil {
		m.t.Fatal(err)
	}
}

// marked counts the customers of each user in a shop.
func marked(shop *emulator.Shop) map[string]int {
	n := map[string]int{}
	for _, c := range shop.Customers() {
		for _, f := range c.Metafields {
			if f.Key == "clerk_user_id" {
				n[f.Value]++
			}
		}
	}
	return n
}

const (
	linkedIn   = `select count(*) = $2 from lockstep.customer_links where target = $1 and status = 'linked' and applied = desired`
	statusIn   = `select coalesce((select status = $3 and applied = desired from lockstep.customer_links where clerk_user_id = $1 and target = $2), false)`
	acme       = "shopify:acme.myshopify.com"
	globex     = "shopify:globex.myshopify.com"
	othersGoOn = "the other targets are in step meanwhile"
)

func (m *mall) checkEach(users int) {
	m.t.Helper()
	for _, shop := range m.Shops() {
		got := marked(shop)
		if len(got) != users || shop.CustomerCount() != users {
			m.t.Errorf("%s: %d users with a customer and %d customers, want %d", shop.Name(), len(got), shop.CustomerCount(), users)
		}
	}
}

// A shop whose calls take two seconds each has its own workers: the others are
// done while most of its work is still to come.
func TestSlowShopDelaysNobodyElse(t *testing.T) {
	t.Parallel()
	const users, workers = 60, 4
	m := newMall(t, workers, "acme", "globex")
	m.faults("acme", emulator.Fault{Action: emulator.ActionPass, Delay: 2 * time.Second})
	for i := range users {
		m.accept(user(string(rune('a'+i%26))+string(rune('a'+i/26)), 1))
	}
	m.eventually(othersGoOn, `select count(*) = 2 from (select target from lockstep.customer_links
		where target in ('medusa', $1) and status = 'linked' and applied = desired group by target having count(*) = $2) t`, globex, users)
	slow := testdb.Query[int](t, m.pool, `select count(*) from lockstep.customer_links where target = $1 and applied = desired`, acme)
	t.Logf("the slow shop had %d of %d users when the others had all", slow, users)
	if slow > users/2 {
		t.Errorf("the slow shop had %d of %d users when the others were done: they waited for it", slow, users)
	}
	if err := m.Faults.Set(); err != nil {
		t.Fatal(err)
	}
	m.eventually("the slow shop is in step as well", linkedIn, acme, users)
	m.checkEach(users)
}

// A shop that no longer knows the token is paused alone and by name; it goes on
// once the token is good again, without a restart.
func TestRefusingShopIsPausedAloneAndResumes(t *testing.T) {
	t.Parallel()
	const users = 20
	m := newMall(t, 4, "acme", "globex")
	m.Shop("acme").Revoke()
	for i := range users {
		m.accept(user(string(rune('a'+i)), 1))
	}
	m.eventually(othersGoOn, linkedIn, globex, users)
	m.eventually(othersGoOn, linkedIn, "medusa", users)
	m.eventually("acme is paused", `select count(*) = 1 from lockstep.targets where target = $1 and paused_at is not null and reason like '%401%'`, acme)
	if n := testdb.Query[int](t, m.pool, `select count(*) from lockstep.targets where paused_at is not null`); n != 1 {
		t.Errorf("%d targets are paused, want 1", n)
	}
	m.accept(user("later", 1))
	m.eventually("others go on meanwhile", `select count(*) = 2 from lockstep.customer_links where clerk_user_id = 'user_later' and status = 'linked'`)
	if n := m.Shop("acme").CustomerCount(); n != 0 {
		t.Errorf("the shop that refuses has %d customers", n)
	}
	m.Shop("acme").Restore()
	m.eventually("acme is in step", linkedIn, acme, users+1)
	m.eventually("nothing is paused", `select count(*) = 0 from lockstep.targets where paused_at is not null`)
	m.checkEach(users + 1)
}

// Two users, one e-mail: one link and one conflict in the shop. The conflict,
// kept with the second user, names the first and what to do, and ends when its
// cause does.
func TestTwoUsersOneEmailInAShop(t *testing.T) {
	t.Parallel()
	m := newMall(t, 4, "acme")
	shop := m.Shop("acme")
	m.accept(user("first", 1))
	m.eventually("the first is linked", statusIn, "user_first", acme, "linked")
	second := user("second", 1)
	second.User.Email = "First@Example.Test"
	m.accept(second)
	m.eventually("the second is in conflict", statusIn, "user_second", acme, "conflict")
	m.eventually("the first still is linked", statusIn, "user_first", acme, "linked")
	customers := shop.Customers()
	if len(customers) != 1 || marked(shop)["user_first"] != 1 {
		t.Fatalf("customers of %v, want the first user's alone", marked(shop))
	}
	id := customers[0].ID
	reason := testdb.Query[string](t, m.pool, `select reason from lockstep.customer_links where clerk_user_id = 'user_second' and target = $1`, acme)
	if want := "the e-mail of user_second belongs to customer " + id + " of user user_first: change the e-mail of one, or delete that user"; reason != want {
		t.Errorf("reason %q, want %q", reason, want)
	}
	m.accept(deleted("first"))
	m.eventually("the second has the customer", `select coalesce((select customer_id = $1 and status = 'linked' and applied = desired
		from lockstep.customer_links where clerk_user_id = 'user_second' and target = $2), false)`, id, acme)
	if got := marked(shop); len(got) != 1 || got["user_second"] != 1 {
		t.Errorf("customers of %v, want the second user's alone", got)
	}
}

// A guest of the checkout is nobody's until the e-mail is verified; then the
// user gets that very customer, with everything the shop knows.
func TestUnverifiedGuestOfAShopIsAdoptedOnceVerified(t *testing.T) {
	t.Parallel()
	m := newMall(t, 4, "acme")
	shop, note := m.Shop("acme"), "likes owls"
	guest, err := shop.PutCustomer(emulator.CustomerSpec{
		Email: "A@Example.test", FirstName: "Guest", Orders: 2, Note: &note, Tags: []string{"vip", "wholesale"},
		Addresses: []emulator.ShopAddress{{Address1: "1 Main St", City: "Ribe", CountryCode: "DK"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if guest, err = shop.AddOrder(guest.ID); err != nil {
		t.Fatal(err)
	}
	unverified := user("a", 1)
	unverified.User.EmailVerified = false
	m.accept(unverified)
	m.eventually("waiting", statusIn, "user_a", acme, "waiting")
	if got, err := shop.Customer(guest.ID); err != nil || len(got.Metafields) != 0 || got.FirstName != "Guest" || shop.CustomerCount() != 1 {
		t.Errorf("an unverified e-mail changed the shop: %+v, %d customers, %v", got, shop.CustomerCount(), err)
	}
	m.accept(user("a", 2))
	m.eventually("linked", statusIn, "user_a", acme, "linked")
	got, err := shop.Customer(guest.ID)
	if err != nil || shop.CustomerCount() != 1 || marked(shop)["user_a"] != 1 || got.FirstName != "Name2" {
		t.Fatalf("%d customers, marks %v, the guest is %+v, %v", shop.CustomerCount(), marked(shop), got, err)
	}
	if got.Orders != 3 || got.Note == nil || *got.Note != note || strings.Join(got.Tags, " ") != "vip wholesale" || len(got.Addresses) != 1 || got.Addresses[0].City != "Ribe" {
		t.Errorf("the shop's own data changed: %+v", got)
	}
}
