package app_test

import (
	"context"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/targettest"
)

// city is a world with two stores in memory and an emulated shop.
type city struct {
	*world
	*app.App
	fakes []*targettest.Fake
	shop  *emulator.Shop
	ids   []string // of the users, oldest first

	want  map[string]int      // drift by target and kind
	spent int                 // users that some damage was done to
	left  map[string]int      // what nobody may repair
	names map[string][]string // users by target and kind
}

// soakUsers is how many users a test has that `make soak` runs with more.
func soakUsers(t *testing.T, setting string, few int) int {
	t.Helper()
	text := os.Getenv(setting)
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

func newCity(t *testing.T, users int) *city {
	t.Helper()
	shops, err := emulator.NewShopify(emulator.ShopifyOptions{Shops: []emulator.ShopSpec{{Domain: "acme"}}})
	must(t, err)
	t.Cleanup(shops.Close)
	server := httptest.NewServer(shops)
	t.Cleanup(server.Close)
	shops.SetBaseURL(server.URL)
	c := &city{fakes: []*targettest.Fake{targettest.NewFake("north"), targettest.NewFake("south")}, shop: shops.Shops()[0],
		want: map[string]int{}, left: map[string]int{}, names: map[string][]string{}}
	c.shop.SetRestoreRate(100_000)
	env := map[string]string{"MEDUSA_MODE": "off", "OTEL_TRACES_EXPORTER": "none", // too many
		"LOCKSTEP_RECONCILE_SHALLOW": "off", "LOCKSTEP_RECONCILE_DEEP": "off",
		"SHOPIFY_SHOP": c.shop.Domain(), "SHOPIFY_ACCESS_TOKEN": c.shop.AccessToken(), "SHOPIFY_API_URL": shops.APIURL()}
	c.world = newWorldWith(t, setup{env: env, options: []app.Option{app.WithExtraTargets(c.fakes[0], c.fakes[1])}, log: &buffer{}})
	c.patience = max(3*time.Minute, time.Duration(users)*500*time.Millisecond) // a soak on a busy machine
	c.asked()                                                                  // nothing but the command works in this test
	must(t, c.wait())
	c.App = c.open(nil)
	t.Cleanup(c.Close)
	c.ids = c.populate(users)
	_, err = c.BackfillClerk(t.Context(), false, quietly)
	must(t, err)
	c.waitLinked(users)
	return c
}

// waitLinked works off what the backfill queued.
func (c *city) waitLinked(users int) {
	c.t.Helper()
	c.restart(nil)
	c.clerk.SetWebhookURL("")
	c.eventually("all are linked", `select count(*) = $1 from lockstep.customer_links where status = 'linked' and applied = desired`, 3*users)
	c.asked()
	must(c.t, c.wait())
}

func (c *city) reconcile(o app.ReconcileOptions) app.ReconcileReport {
	c.t.Helper()
	r, err := c.App.Reconcile(c.t.Context(), o)
	must(c.t, err)
	return r
}

// some takes the next users, a share of all, for damage of one kind.
func (c *city) some(percent int) []string {
	n := max(1, len(c.ids)*percent/100)
	c.spent += n
	return c.ids[c.spent-n : c.spent]
}

// damage does harm to users behind Lockstep's back, and notes what must be found.
func (c *city) damage(percent int, target string, kind lockstep.Drift, do func(user string)) {
	c.t.Helper()
	users := c.some(percent)
	key := target + " " + string(kind)
	c.want[key] += len(users)
	c.names[key] = append(c.names[key], users...)
	for _, u := range users {
		do(u)
	}
}

func (c *city) customer(target, user string) string {
	c.t.Helper()
	return testdb.Query[string](c.t, c.pool, `select customer_id from lockstep.customer_links where target = $1 and clerk_user_id = $2`, target, user)
}

func (c *city) record(f *targettest.Fake, user string) targettest.Record {
	c.t.Helper()
	r, live, err := f.Get(c.t.Context(), c.customer(f.Name(), user))
	must(c.t, err)
	if !live {
		c.t.Fatalf("%s has no customer of %s", f.Name(), user)
	}
	return r
}

// everyDamage is all that can go wrong, each to users of its own.
func (c *city) everyDamage() {
	c.t.Helper()
	c.damage(10, "", lockstep.DriftProfileStale, func(u string) { // webhooks lost
		_, err := c.clerk.UpdateUser(u, emulator.UserChange{FirstName: new("Augusta")})
		must(c.t, err)
	})
	c.damage(2, "", lockstep.DriftProfileMissing, func(u string) { c.exec(`delete from public.profiles where id = $1`, u) })
	c.damage(1, "", lockstep.DriftProfileStale, func(u string) { c.exec(`update public.profiles set last_name = 'Edited' where id = $1`, u) })
	c.damage(2, "", lockstep.DriftUserDeleted, func(u string) { must(c.t, c.clerk.DeleteUser(u)) })
	for _, f := range c.fakes {
		c.damageFake(f)
	}
	shop := "shopify:" + c.shop.Domain()
	c.damage(2, shop, lockstep.DriftLinkMissing, func(u string) { c.deleteLink(shop, u) })
	c.damage(2, shop, lockstep.DriftCustomerGone, func(u string) { must(c.t, c.shop.DeleteCustomer(c.customer(shop, u))) })
	c.damage(2, shop, lockstep.DriftCustomerDiffers, func(u string) {
		_, err := c.shop.EditCustomer(c.customer(shop, u), emulator.CustomerEdit{FirstName: new("Renamed")})
		must(c.t, err)
	})
	c.shop.IndexNow()
}

func (c *city) deleteLink(target, user string) {
	c.t.Helper()
	c.exec(`delete from lockstep.customer_links where target = $1 and clerk_user_id = $2`, target, user)
}

func (c *city) damageFake(f *targettest.Fake) {
	c.t.Helper()
	ctx, name := c.t.Context(), f.Name()
	c.damage(2, name, lockstep.DriftLinkMissing, func(u string) { c.deleteLink(name, u) })
	c.damage(1, name, lockstep.DriftLinkFailed, func(u string) {
		c.exec(`update lockstep.customer_links set status = 'failed' where target = $1 and clerk_user_id = $2`, name, u)
	})
	c.damage(1, name, lockstep.DriftLinkStale, func(u string) {
		c.exec(`update lockstep.customer_links set last_seen_at = '2000-01-01' where target = $1 and clerk_user_id = $2`, name, u)
	})
	c.damage(2, name, lockstep.DriftCustomerGone, func(u string) { must(c.t, f.Delete(ctx, c.customer(name, u))) })
	c.damage(2, name, lockstep.DriftCustomerDiffers, func(u string) {
		r := c.record(f, u)
		r.FirstName = "Renamed"
		must(c.t, f.Edit(ctx, r))
	})
	c.damage(1, name, lockstep.DriftMarkLost, func(u string) {
		r := c.record(f, u)
		r.UserID = ""
		must(c.t, f.Edit(ctx, r))
	})
	c.damage(2, name, lockstep.DriftCustomerDuplicate, func(u string) {
		_, err := f.Put(ctx, targettest.Record{Customer: lockstep.Customer{UserID: u, Email: "twin." + strings.ToLower(u) + "@example.test"}})
		must(c.t, err)
	})
	c.left[name+" "+string(lockstep.DriftCustomerDuplicate)] = c.want[name+" "+string(lockstep.DriftCustomerDuplicate)]
	_, err := f.Put(ctx, targettest.Record{Customer: lockstep.Customer{UserID: "user_nobody", Email: "nobody@example.test"}})
	must(c.t, err)
	c.want[name+" "+string(lockstep.DriftMarkOrphan)] = 1
	c.left[name+" "+string(lockstep.DriftMarkOrphan)] = 1
}

// snapshot is everything that a dry run must not change, and a run that finds
// nothing new must not either.
func (c *city) snapshot() map[string]string {
	c.t.Helper()
	all := map[string]string{"clerk": fmt.Sprintf("%+v", c.clerk.Users()), "shop": fmt.Sprintf("%+v", c.shop.Customers())}
	for _, f := range c.fakes {
		records, err := f.Live(c.t.Context())
		must(c.t, err)
		all[f.Name()] = fmt.Sprintf("%+v", records)
	}
	for _, table := range []string{"public.profiles", "lockstep.customer_links", "lockstep.deliveries", "lockstep.history", "lockstep.targets"} {
		all[table] = testdb.Query[string](c.t, c.pool, `select coalesce(md5(string_agg(row, E'\n' order by row)), '')
			from (select (to_jsonb(t) - 'inspected_at')::text as row from `+table+` t) rows`) // a worker inspects, whatever the run does
	}
	all["jobs"] = testdb.Query[string](c.t, c.pool, `select count(*)::text from lockstep.river_job where kind in ('sync', 'dispatch')`)
	return all
}

func (c *city) wantUnchanged(before map[string]string, what string) {
	c.t.Helper()
	after := c.snapshot()
	for _, part := range slices.Sorted(maps.Keys(before)) {
		if before[part] != after[part] {
			c.t.Errorf("%s changed %s", what, part)
		}
	}
}

func counts(r app.ReconcileReport, of func(d int, left int) int) map[string]int {
	all := map[string]int{}
	for _, d := range r.Drift {
		if n := of(d.Found, d.Found-d.Repaired); n > 0 {
			all[d.Target+" "+string(d.Kind)] = n
		}
	}
	return all
}

func found(n, _ int) int { return n }
func left(_, n int) int  { return n }

func (c *city) check(what string, want, got map[string]int) {
	c.t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		c.t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// TestReconcile harms users in every way behind Lockstep's back: a deep run
// finds each by its kind, repairs what the rules allow and names the rest.
func TestReconcile(t *testing.T) {
	t.Parallel()
	c := newCity(t, soakUsers(t, "LOCKSTEP_SOAK_USERS", 500))
	c.check("before any harm", map[string]int{}, counts(c.reconcile(app.ReconcileOptions{Deep: true}), found))
	c.everyDamage()

	before := c.snapshot()
	dry := c.reconcile(app.ReconcileOptions{Deep: true, DryRun: true})
	c.check("a dry run finds", c.want, counts(dry, found))
	c.wantUnchanged(before, "a dry run")

	first := c.reconcile(app.ReconcileOptions{Deep: true})
	t.Logf("%+v\n%+v", first.Steps, first.Drift)
	c.check("the first run finds", c.want, counts(first, found))
	c.check("the first run leaves", c.left, counts(first, left))
	c.checkNames(first)

	before = c.snapshot()
	known := map[string]int{}
	for key, n := range c.left {
		known[strings.Replace(key, string(lockstep.DriftCustomerDuplicate), string(lockstep.DriftConflict), 1)] = n
	}
	second := c.reconcile(app.ReconcileOptions{Deep: true, Full: true})
	c.check("the second run finds what was left", known, counts(second, found))
	c.wantUnchanged(before, "a run that finds nothing new")

	c.mendByHand()
	third := c.reconcile(app.ReconcileOptions{Deep: true, Full: true})
	c.check("the third run finds", map[string]int{}, counts(third, found))
	if !third.Clean() {
		t.Errorf("not clean: %+v", third)
	}
	c.checkStores()
}

// checkNames looks for the users that are left, by name and with a reason.
func (c *city) checkNames(r app.ReconcileReport) {
	c.t.Helper()
	for _, f := range r.Open {
		if f.Kind == lockstep.DriftMarkOrphan {
			continue
		}
		if !slices.Contains(c.names[f.Target+" "+string(f.Kind)], f.UserID) || f.Reason == "" || f.CustomerID == "" {
			c.t.Errorf("left: %+v", f)
		}
	}
}

// mendByHand is what a person does about what was left.
func (c *city) mendByHand() {
	c.t.Helper()
	for _, f := range c.fakes {
		records, err := f.Live(c.t.Context())
		must(c.t, err)
		for _, r := range records {
			if strings.HasPrefix(r.Email, "twin.") || r.UserID == "user_nobody" {
				must(c.t, f.Delete(c.t.Context(), r.ID))
			}
		}
		for _, u := range c.names[f.Name()+" "+string(lockstep.DriftCustomerDuplicate)] {
			must(c.t, c.Sync(c.t.Context(), u))
		}
	}
}

// checkStores compares every user with the customers that carry a mark.
func (c *city) checkStores() {
	c.t.Helper()
	for _, f := range c.fakes {
		records, err := f.Live(c.t.Context())
		must(c.t, err)
		marked := map[string]targettest.Record{}
		for _, r := range records {
			if r.UserID != "" {
				marked[r.UserID] = r
			}
		}
		users := c.clerk.Users()
		if len(marked) != len(users) {
			c.t.Errorf("%s: %d marked customers for %d users", f.Name(), len(marked), len(users))
		}
		for _, u := range users {
			if r := marked[u.ID]; r.FirstName != *u.FirstName || r.LastName != *u.LastName || r.Email != u.PrimaryEmail() {
				c.t.Errorf("%s: %s has %s", f.Name(), u.ID, r.ID)
			}
		}
	}
}

// Too many deletions are asked about, and not carried out.
func TestReconcileHoldsDeletionsBack(t *testing.T) {
	t.Parallel()
	c := newCity(t, 40)
	for _, u := range c.ids[:12] {
		must(t, c.clerk.DeleteUser(u))
	}
	r := c.reconcile(app.ReconcileOptions{Deep: true})
	c.check("held back", map[string]int{" user-deleted": 12}, counts(r, left))
	if !strings.Contains(r.Open[0].Reason, "--allow-deletions 12") || r.Clean() {
		t.Errorf("%+v", r.Open[0])
	}
	if n := testdb.Query[int](t, c.pool, `select count(*) from public.profiles where deleted_at is not null`); n != 0 {
		t.Errorf("%d users were deleted", n)
	}
	r = c.reconcile(app.ReconcileOptions{Deep: true, Allow: 12})
	c.check("carried out", map[string]int{}, counts(r, left))
	if n := testdb.Query[int](t, c.pool, `select count(*) from lockstep.customer_links where status = 'released'`); n != 36 {
		t.Errorf("%d links are released, want 36", n)
	}
}

// A store that cannot be listed is not called fine, and stops no other.
func TestReconcileSaysWhatItDidNotSee(t *testing.T) {
	t.Parallel()
	c := newCity(t, 5)
	c.shop.Revoke()
	r := c.reconcile(app.ReconcileOptions{Deep: true})
	var not []string
	for _, s := range r.Steps {
		if !s.Walked {
			not = append(not, s.Target+" "+s.Name)
		}
	}
	shop := "shopify:" + c.shop.Domain()
	if want := []string{shop + " customers", shop + " gone"}; !slices.Equal(not, want) || r.Clean() {
		t.Errorf("not walked: %v, want %v", not, want)
	}
}

// An outage of Clerk's stops the walk through its users, and not the rest; and
// nobody counts as deleted because of it.
func TestReconcileWithoutClerk(t *testing.T) {
	t.Parallel()
	c := newCity(t, 5)
	must(t, c.clerk.DeleteUser(c.ids[0]))
	must(t, c.fakes[0].Delete(t.Context(), c.customer("north", c.ids[1])))
	must(t, c.clerk.Faults.Set(emulator.Rule{Route: "GET /v1/users", Rate: 1, Fault: emulator.Fault{Action: emulator.ActionRefuse, Status: 401}}))
	r := c.reconcile(app.ReconcileOptions{Deep: true})
	c.check("without Clerk", map[string]int{"north customer-gone": 1}, counts(r, found))
	if r.Steps[0].Walked || r.Steps[1].Walked || r.Clean() {
		t.Errorf("%+v", r.Steps)
	}
	must(t, c.clerk.Faults.Set())
	c.check("with Clerk", map[string]int{" user-deleted": 1}, counts(c.reconcile(app.ReconcileOptions{Deep: true}), found))
}

func TestReconcileIsCancelled(t *testing.T) {
	t.Parallel()
	c := newCity(t, 5)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.App.Reconcile(ctx, app.ReconcileOptions{Deep: true, Progress: func(app.Progress) { cancel() }})
	if err == nil {
		t.Fatal("a cancelled run came to its end")
	}
	if state := testdb.Query[string](t, c.pool, `select state from lockstep.reconcile_runs order by id desc limit 1`); state != "cancelled" {
		t.Errorf("the run is %s", state)
	}
	c.check("the next run finds", map[string]int{}, counts(c.reconcile(app.ReconcileOptions{Deep: true}), found))
}

// serve makes shallow runs by itself.
func TestServeReconcilesByItself(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, setup{env: map[string]string{"LOCKSTEP_RECONCILE_SHALLOW": "1s"}})
	u := w.create("Ada")
	w.eventually("linked", isLinked, u.ID)
	_, err := w.pool.Exec(t.Context(), `delete from lockstep.customer_links`)
	must(t, err)
	w.eventually("found and linked again", isLinked, u.ID)
	w.eventually("the report says so", `select count(*) > 0 from lockstep.reconcile_findings where kind = 'link-missing' and clerk_user_id = $1`, u.ID)
}

func TestReconcileSettings(t *testing.T) {
	t.Parallel()
	got, err := load(t, nil, "", app.NeedWeb)
	must(t, err)
	if got.Reconcile.Shallow != 5*time.Minute || got.Reconcile.Deep == nil || got.Reconcile.MaxDeletions != 0 {
		t.Errorf("defaults: %+v", got.Reconcile)
	}
	got, err = load(t, map[string]string{"LOCKSTEP_RECONCILE_SHALLOW": "off", "LOCKSTEP_RECONCILE_DEEP": "off", "LOCKSTEP_RECONCILE_MAX_DELETIONS": "7"}, "", app.NeedWeb)
	must(t, err)
	if got.Reconcile != (app.ReconcileConfig{MaxDeletions: 7}) {
		t.Errorf("off: %+v", got.Reconcile)
	}
	if got, err = load(t, map[string]string{"LOCKSTEP_RECONCILE_SHALLOW": "1d", "LOCKSTEP_RECONCILE_DEEP": "OFF"}, "", app.NeedWeb); err != nil ||
		got.Reconcile != (app.ReconcileConfig{Shallow: 24 * time.Hour}) {
		t.Errorf("as other durations are written: %+v, %v", got.Reconcile, err)
	}
	if _, err = load(t, map[string]string{"LOCKSTEP_RECONCILE_SHALLOW": "10ms"}, "", app.NeedWeb); err == nil {
		t.Error("a look every 10 ms was taken")
	}
	for name, value := range map[string]string{"LOCKSTEP_RECONCILE_SHALLOW": "often " + canary, "LOCKSTEP_RECONCILE_DEEP": canary, "LOCKSTEP_RECONCILE_MAX_DELETIONS": "-1"} {
		_, err := load(t, map[string]string{name: value}, "", app.NeedWeb)
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
