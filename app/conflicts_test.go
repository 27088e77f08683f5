package app_test

import (
	"fmt"
	"maps"
	"net/http/httptest"
	"testing"

	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// putter makes a customer in a store, as its shoppers or staff would.
type putter func(w *world, email string, account bool) (id string)

// The life of one user whom only a person can tell, in every store: first an
// account has the e-mail, then a guest has the new one, then there is none, and
// in the end one beside the others.
func TestChoicesInEveryStore(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) (target string, env map[string]string, put putter){
		"medusa database": medusaTables, "medusa accounts": medusaAccounts, "medusa api": medusaAPI, "shopify": oneShop,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target, env, put := open(t)
			all := map[string]string{"LOCKSTEP_OPERATOR_TOKEN": operatorToken}
			maps.Copy(all, env)
			w := newWorldWith(t, setup{env: all})
			account := put(w, "eve@example.test", true)
			u := w.create("eve")
			w.isNow(u.ID, "conflict", "")

			w.choose(u.ID, target, "use", account)
			w.isNow(u.ID, "linked", account)
			guest := put(w, "new.eve@example.test", false)
			_, err := w.clerk.UpdateUser(u.ID, emulator.UserChange{Email: new("new.eve@example.test"), Verified: new(true)})
			must(t, err)
			w.isNow(u.ID, "conflict", account)

			w.choose(u.ID, target, "keep", "")
			w.isNow(u.ID, "linked", account)
			w.isSteady(target)
			w.choose(u.ID, target, "use", guest)
			w.isNow(u.ID, "linked", guest)
			w.isSteady(target)
			w.choose(u.ID, target, "unlink", "")
			w.isNow(u.ID, "waiting", "")
			w.isSteady(target)
			w.choose(u.ID, target, "create", "")
			w.eventually("a third one is made", `select count(*) = 1 from lockstep.customer_links where clerk_user_id = $1 and status = 'linked' and applied = desired
				and customer_id not in ($2, $3)`, u.ID, account, guest)
			w.isSteady(target)
		})
	}
}

func (w *world) choose(user, target, choice, customer string) {
	w.t.Helper()
	given := ""
	if customer != "" {
		given = fmt.Sprintf(`,"customer_id":%q`, customer)
	}
	body := fmt.Sprintf(`{"user":%q,"target":%q,"choice":%q%s}`, user, target, choice, given)
	if got := w.operate("POST", "conflicts/resolve", body); got.status != 200 {
		w.t.Fatalf("%s: %d %s", body, got.status, got.body)
	}
}

// isNow waits until a user's only link has a status and a customer.
func (w *world) isNow(user, status, customer string) {
	w.t.Helper()
	w.eventually(status+" "+customer, `select coalesce((select status = $2 and coalesce(customer_id, '') = $3 and applied = desired
		from lockstep.customer_links where clerk_user_id = $1), false)`, user, status, customer)
}

// isSteady compares the whole store.
func (w *world) isSteady(target string) {
	w.t.Helper()
	a := w.open(nil)
	defer a.Close()
	r, err := a.Reconcile(w.t.Context(), app.ReconcileOptions{Deep: true, Target: target})
	must(w.t, err)
	if len(r.Drift) != 0 {
		w.t.Errorf("drift: %+v, open: %+v; %s", r.Drift, r.Open, testdb.Query[string](w.t, w.pool,
			`select concat_ws(' ', status, customer_id, reason, choice) from lockstep.customer_links limit 1`))
	}
}

func medusaTables(*testing.T) (string, map[string]string, putter) {
	return "medusa", nil, func(w *world, email string, account bool) string {
		id := "cus_" + email[:3]
		w.alter(fmt.Sprintf(`insert into medusa.customer (id, email, first_name, has_account) values ('%s', '%s', 'Shopper', %v)`, id, email, account))
		return id
	}
}

// medusaAccounts has accounts with a password of their own, which stays.
func medusaAccounts(t *testing.T) (string, map[string]string, putter) {
	target, _, put := medusaTables(t)
	return target, map[string]string{"MEDUSA_ACCOUNTS": "clerk"}, func(w *world, email string, account bool) string {
		id := put(w, email, account)
		if account {
			w.alter(fmt.Sprintf(`insert into medusa.auth_identity (id, app_metadata) values ('authid_x', '{"customer_id": "%s"}');
				insert into medusa.provider_identity (id, entity_id, provider, auth_identity_id) values ('x', '%s', 'emailpass', 'authid_x')`, id, email))
		}
		return id
	}
}

func medusaAPI(t *testing.T) (string, map[string]string, putter) {
	m, env := emulatedMedusa(t, true)
	return "medusa", env, func(w *world, email string, account bool) string {
		c, err := m.PutCustomer(emulator.MedusaSpec{Email: email, FirstName: "Grace", HasAccount: account})
		must(w.t, err)
		return c.ID
	}
}

// oneShop has accounts with an older password, whose e-mail was never verified.
func oneShop(t *testing.T) (string, map[string]string, putter) {
	shops, err := emulator.NewShopify(emulator.ShopifyOptions{Shops: []emulator.ShopSpec{{Domain: "acme", Plan: emulator.PlanPlus}}})
	must(t, err)
	t.Cleanup(shops.Close)
	server := httptest.NewServer(shops)
	t.Cleanup(server.Close)
	shops.SetBaseURL(server.URL)
	shop := shops.Shops()[0]
	env := map[string]string{"MEDUSA_MODE": "off", "SHOPIFY_SHOP": shop.Domain(), "SHOPIFY_ACCESS_TOKEN": shop.AccessToken(), "SHOPIFY_API_URL": shops.APIURL()}
	return acme, env, func(w *world, email string, account bool) string {
		spec := emulator.CustomerSpec{Email: email, FirstName: "Grace"}
		if account {
			spec.State = emulator.CustomerEnabled
		}
		c, err := shop.PutCustomer(spec)
		must(w.t, err)
		return c.ID
	}
}
