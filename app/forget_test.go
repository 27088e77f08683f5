package app_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// newForgetWorld has a shop and Medusa, and policies for both.
func newForgetWorld(t *testing.T, env map[string]string) *shopWorld {
	t.Helper()
	w := newShopWorld(t, nil)
	w.setup.env["MEDUSA_MODE"] = "database"
	w.restart(env)
	w.listenTo(w.shops.Shops()...)
	for name, value := range env {
		w.setup.env[name] = value
	}
	return w
}

// canaryLinked makes a user all of whose data say "canary", with a customer in
// both stores, and plants the same wherever else Lockstep could hold it.
func (w *shopWorld) canaryLinked() (emulator.User, emulator.ShopCustomer) {
	w.t.Helper()
	u, err := w.clerk.CreateUser(emulator.UserSpec{Username: "canary1", FirstName: "Canary", LastName: "Canaryson",
		Email: "Canary@example.test", Verified: true, Phone: "+4520123456", PhoneVerified: true})
	must(w.t, err)
	w.eventually("the user is linked twice", `select count(*) = 2 from lockstep.customer_links where clerk_user_id = $1 and status = 'linked' and applied = desired`, u.ID)
	w.settle()
	c := w.customerOf(u.ID)
	w.comply("customers/data_request", c.ID) // a report, which holds all
	for _, sql := range []string{
		`update lockstep.customer_links set refused_phone = '+4520123456' where clerk_user_id = $1 and target = 'medusa'`,
		`insert into lockstep.reconcile_runs (deep, dry_run, full_walk, targets, state) select true, false, true, '{}', 'done' where $1 <> ''`,
		`insert into lockstep.reconcile_findings (run_id, target, kind, clerk_user_id, step, reason) select max(id), 'medusa', 'customer-differs', $1, 1, 'canary' from lockstep.reconcile_runs`,
		`insert into lockstep.consents (clerk_user_id, place, subscribed, said_at, version_at) values ($1, 'public_metadata.canary', true, now(), now())`,
		`insert into lockstep.shopify_customers (shopify_shop, shopify_customer_id, clerk_user_id, email, captured_at)
		   values ('acme.myshopify.com', 'gid://shopify/Customer/999', $1, 'second.canary@example.test', now())`,
	} {
		_, err := w.pool.Exec(w.t.Context(), sql, u.ID)
		must(w.t, err)
	}
	return u, c
}

// wantNowhere searches every table of the application's schema, Lockstep's and the
// job engine's for words, in any case.
func (w *shopWorld) wantNowhere(words ...string) {
	w.t.Helper()
	names := testdb.Query[[]string](w.t, w.pool, `select array_agg(c.oid::regclass::text) from pg_class c
		where c.relnamespace in ('lockstep'::regnamespace, 'public'::regnamespace) and c.relkind in ('r', 'm', 'p')`)
	if len(names) < 15 {
		w.t.Fatalf("searched %v only", names)
	}
	for _, name := range names {
		for _, word := range words {
			if found := testdb.Query[string](w.t, w.pool, `select coalesce((select left(t::text, 400) from `+name+` t where t::text ilike '%' || $1 || '%' limit 1), '')`, word); found != "" {
				w.t.Errorf("%q is still in %s: %s", word, name, found)
			}
		}
	}
}

// forgets runs the command.
func (w *shopWorld) forgets(user string, customers lockstep.OnDelete) app.Erasure {
	w.t.Helper()
	proof, err := w.command().Forget(w.t.Context(), user, customers)
	must(w.t, err)
	if proof.Done == nil || proof.UserID != user {
		w.t.Errorf("the proof: %+v", proof)
	}
	return proof
}

// TestForgetErasesEverywhere: after it no column of any table holds anything of
// the person, whatever comes late.
func TestForgetErasesEverywhere(t *testing.T) {
	t.Parallel()
	w := newForgetWorld(t, map[string]string{"MEDUSA_ON_DELETE": "anonymise", "SHOPIFY_ON_DELETE": "anonymise", "LOCKSTEP_OPERATOR_TOKEN": operatorToken})
	u, c := w.canaryLinked()
	grace := w.create("grace")
	w.eventually("grace is linked", `select count(*) = 2 from lockstep.customer_links where clerk_user_id = $1 and status = 'linked'`, grace.ID)
	_, err := w.pool.Exec(t.Context(), `update lockstep.customer_links set status = 'conflict', blocked_by = $2, reason = 'customer ' || $2 || ' of ' || $3
		where clerk_user_id = $1 and target = $4`, grace.ID, c.ID, u.ID, acme)
	must(t, err)
	updated, err := w.clerk.UpdateUser(u.ID, emulator.UserChange{LastName: new("Canaryborg")})
	must(t, err)
	late := w.lastMessage()
	w.delivered()
	w.settle()

	if _, err := w.command().Forget(t.Context(), u.ID, ""); !errors.Is(err, app.ErrStillThere) {
		t.Fatalf("while Clerk has the user: %v", err)
	}
	if got := w.operate("POST", "users/"+u.ID+"/forget", ""); got.status != http.StatusBadRequest || !strings.Contains(got.body, "still in Clerk") {
		t.Errorf("the operator API: %+v", got)
	}
	if email := testdb.Query[string](t, w.pool, `select email from public.profiles where id = $1`, u.ID); email != "Canary@example.test" {
		t.Fatalf("it began all the same: %s", email)
	}
	w.clerk.Webhooks.Hold() // the deletion is not told
	must(t, w.clerk.DeleteUser(u.ID))
	proof := w.forgets(u.ID, "")
	w.wantNowhere("canary", "20123456", updated.ID+"x")
	for target, n := range map[string]int64{"medusa": 1, acme: 1} {
		if got := proof.Targets[target]; len(got) != 1 || got["anonymise"] != n {
			t.Errorf("%s: %v", target, got)
		}
	}
	for _, table := range []string{"profiles", "customer_links", "history", "shopify_customers", "reconcile_findings", "reports", "deliveries", "consents"} {
		if proof.Erased[table] == 0 {
			t.Errorf("nothing was erased of %s: the test planted too little", table)
		}
	}
	if text, err := json.Marshal(proof); err != nil || strings.Contains(strings.ToLower(string(text)), "canary") {
		t.Errorf("the proof: %s, %v", text, err)
	}
	if got, err := w.acme.Customer(c.ID); err != nil || !got.Erasing || markOf(got) != "" || got.Email != "" || got.Phone != "" || got.FirstName != "" {
		t.Errorf("the shop's customer: %+v, %v", got, err)
	}
	if left := testdb.Query[int](t, w.pool, `select count(*) from medusa.customer c where c::text ilike '%canary%'`); left != 0 {
		t.Errorf("Medusa still names the person")
	}

	// What comes late: the deletion, an older update, an edit in the shop.
	must(t, w.clerk.Webhooks.Release())
	must(t, w.clerk.Webhooks.Resend(late))
	w.edit(c.ID, emulator.CustomerEdit{LastName: new("Canaryagain")})
	w.delivered()
	w.settle()
	w.wantNowhere("canary", "20123456")
	if n := testdb.Query[int](t, w.pool, `select count(*) from public.profiles where id = $1 and deleted_at is not null`, u.ID); n != 1 {
		t.Errorf("%d tombstones", n)
	}
	w.eventually("who waited for the customer looked again", `select status = 'linked' and blocked_by is null from lockstep.customer_links
		where clerk_user_id = $1 and target = $2`, grace.ID, acme)
	if again := w.forgets(u.ID, ""); !again.Done.Equal(*proof.Done) {
		t.Errorf("forgotten again: %v, then %v", proof.Done, again.Done)
	}
}

// TestForgetGoesFurther: the policy kept the customers when the user was deleted;
// for this user they are deleted, but for one with orders. What was kept is not
// captured again.
func TestForgetGoesFurther(t *testing.T) {
	t.Parallel()
	w := newForgetWorld(t, map[string]string{"LOCKSTEP_OPERATOR_TOKEN": operatorToken})
	u, c := w.canaryLinked()
	must(t, w.clerk.DeleteUser(u.ID))
	w.eventually("the user is released", `select count(*) = 2 from lockstep.customer_links where clerk_user_id = $1 and status = 'released' and let_go <> '{}'`, u.ID)
	w.settle()
	if got, err := w.acme.Customer(c.ID); err != nil || got.Email != "canary@example.test" {
		t.Fatalf("the shop's customer was not kept: %+v, %v", got, err)
	}
	proof := w.forgets(u.ID, "")
	if proof.Targets["medusa"]["release"] != 1 || proof.Targets[acme]["release"] != 1 {
		t.Errorf("kept: %v", proof.Targets)
	}
	w.edit(c.ID, emulator.CustomerEdit{LastName: new("Canaryagain")})
	w.settle()
	w.wantNowhere("canary", "20123456")

	w.edit(c.ID, emulator.CustomerEdit{Orders: new(2)})
	got := w.operate("POST", "users/"+u.ID+"/forget", `{"customers":"delete"}`)
	var body app.Erasure
	if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.status != http.StatusOK {
		t.Fatalf("%d %s: %v", got.status, got.body, err)
	}
	if len(body.Targets["medusa"]) != 1 || body.Targets["medusa"]["delete"] != 1 || len(body.Targets[acme]) != 1 || body.Targets[acme]["anonymise"] != 1 {
		t.Errorf("then deleted: %v", body.Targets)
	}
	if n := testdb.Query[int](t, w.pool, `select count(*) from medusa.customer where deleted_at is null`); n != 0 {
		t.Errorf("%d customers in Medusa", n)
	}
	if text := w.operate("GET", "erasures", "").body + w.operate("GET", "users/"+u.ID, "").body; !strings.Contains(text, `"erasures":[{`) || strings.Contains(strings.ToLower(text), "canary") {
		t.Errorf("the proof: %s", text)
	}
}

// TestForgetLeavesTheHeir: somebody else took over what the policy had kept, and is
// gone as well. The customers are the heir's, and go with the heir alone.
func TestForgetLeavesTheHeir(t *testing.T) {
	t.Parallel()
	w := newForgetWorld(t, nil)
	comeAndGo := func() string {
		u, err := w.clerk.CreateUser(emulator.UserSpec{FirstName: "Ada", Email: "ada@example.test", Verified: true})
		must(t, err)
		w.eventually("the user is linked twice", `select count(*) = 2 from lockstep.customer_links where clerk_user_id = $1 and status = 'linked' and applied = desired`, u.ID)
		must(t, w.clerk.DeleteUser(u.ID))
		w.eventually("the user is released", `select count(*) = 2 from lockstep.customer_links where clerk_user_id = $1 and status = 'released' and let_go <> '{}'`, u.ID)
		w.settle()
		return u.ID
	}
	first, heir := comeAndGo(), comeAndGo()
	live := func() int {
		return len(w.acme.Customers()) + testdb.Query[int](t, w.pool, `select count(*) from medusa.customer where deleted_at is null`)
	}
	if n := live(); n != 2 {
		t.Fatalf("%d customers, want one in each store", n)
	}
	w.forgets(first, lockstep.OnDeleteDelete)
	if n := live(); n != 2 {
		t.Errorf("%d customers are left of the heir's two", n)
	}
	w.forgets(heir, lockstep.OnDeleteDelete)
	if n := live(); n != 0 {
		t.Errorf("%d customers outlive all users", n)
	}
}

// TestForgetGoesOn: a store is away when it begins. What is personal in our own
// tables goes at once, and the workers do the rest.
func TestForgetGoesOn(t *testing.T) {
	t.Parallel()
	w := newForgetWorld(t, map[string]string{"SHOPIFY_ON_DELETE": "delete"})
	u, c := w.canaryLinked()
	w.clerk.Webhooks.Hold()
	must(t, w.clerk.DeleteUser(u.ID))
	must(t, w.shops.Faults.Set(emulator.Rule{Route: "acme *", Rate: 1, Fault: emulator.Fault{Action: emulator.ActionRefuse, Status: http.StatusBadGateway}}))
	proof, err := w.command().Forget(t.Context(), u.ID, "")
	if err == nil || proof.UserID != u.ID || proof.Done != nil {
		t.Fatalf("%+v, %v", proof, err)
	}
	w.wantNowhere("canary", "20123456")
	must(t, w.shops.Faults.Set())
	w.eventually("the user is forgotten", `select done_at is not null from lockstep.privacy_requests where clerk_user_id = $1`, u.ID)
	if _, err := w.acme.Customer(c.ID); err == nil {
		t.Error("the customer is still in the shop")
	}
	r, err := w.command().Show(t.Context(), u.ID)
	must(t, err)
	if r.Erasure == nil || r.Erasure.Targets[acme]["delete"] != 1 || len(r.Links) != 1 || len(r.Links[0].LetGo) != 1 {
		t.Errorf("shown: %+v, %+v", r.Erasure, r.Links)
	}
	w.wantNowhere("canary", "20123456")
}

// TestForgetDoubtsAnotherInstance: a key of another instance knows nobody.
func TestForgetDoubtsAnotherInstance(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, grace := w.create("ada"), w.create("grace")
	w.eventually("both are linked", `select count(*) = 2 from lockstep.customer_links where status = 'linked'`)
	w.clerk.Webhooks.Hold()
	for _, id := range []string{u.ID, grace.ID} {
		must(t, w.clerk.DeleteUser(id))
	}
	a := w.open(nil)
	defer a.Close()
	if _, err := a.Forget(t.Context(), u.ID, ""); err == nil || !strings.Contains(err.Error(), "of another instance") {
		t.Errorf("got %v", err)
	}
	if n := testdb.Query[int](t, w.pool, `select count(*) from public.profiles where deleted_at is null`); n != 2 {
		t.Errorf("%d profiles live", n)
	}
}
