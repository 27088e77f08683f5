package medusa_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/engine"
)

// modes are both kinds of customer that the database target makes.
func (w *world) modes() map[string]lockstep.Target {
	return map[string]lockstep.Target{"guests": w.guests(), "accounts": w.accounts()}
}

// TestAdminAPIOnRealMedusa: the store's admin works with what Lockstep made.
func TestAdminAPIOnRealMedusa(t *testing.T) {
	w := openWorld(t)
	for mode, target := range w.modes() {
		t.Run(mode, func(t *testing.T) {
			links, ada := ledger{}, w.person(t, mode)
			id := links.sync(t, target, ada, engine.Create).Customer.ID

			list := w.admin(t, "GET", "/customers?email="+url.QueryEscape(ada.Email), nil).want(t, 200).at("customers").([]any)
			if len(list) != 1 || list[0].(object)["id"] != id || list[0].(object)["has_account"] != (mode == "accounts") {
				t.Fatalf("the admin lists %v, want %s", list, id)
			}
			got := w.admin(t, "GET", "/customers/"+id, nil).want(t, 200)
			if got.at("customer", "first_name") != ada.FirstName || got.at("customer", "metadata", "clerk_user_id") != ada.ID {
				t.Fatalf("the admin reads %v", got.body)
			}

			w.admin(t, "POST", "/customers/"+id, object{"company_name": "Owls Ltd", "last_name": "Edited", "metadata": object{"vip": "yes"}}).want(t, 200)
			w.admin(t, "POST", "/customers/"+id+"/addresses", object{"address_1": "Owl Street 1", "country_code": "us"}).want(t, 200)
			links.sync(t, target, ada, engine.Update) // puts the name right, and leaves the rest
			got = w.admin(t, "GET", "/customers/"+id+"?fields=*addresses", nil).want(t, 200)
			if got.at("customer", "last_name") != ada.LastName || got.at("customer", "company_name") != "Owls Ltd" ||
				got.at("customer", "metadata", "vip") != "yes" || len(got.at("customer", "addresses").([]any)) != 1 {
				t.Fatalf("after the sync the admin reads %v", got.body)
			}
			links.sync(t, target, ada, engine.Nothing)

			w.admin(t, "DELETE", "/customers/"+id, nil).want(t, 200)
			w.admin(t, "GET", "/customers/"+id, nil).want(t, 404)
			again := links.sync(t, target, ada, engine.Create).Customer.ID
			if again == id {
				t.Fatal("the deleted customer was handed out again")
			}
			w.admin(t, "GET", "/customers/"+again, nil).want(t, 200)
			w.admin(t, "DELETE", "/customers/"+again, nil).want(t, 200)
		})
	}
}

// TestDeletedOnRealMedusa: what Lockstep deletes is left as Medusa's own deletion
// leaves it, but for what names the person, which goes. Orders stay.
func TestDeletedOnRealMedusa(t *testing.T) {
	w := openWorld(t)
	for mode, target := range w.modes() {
		t.Run(mode, func(t *testing.T) {
			left := map[string]string{}
			for _, by := range []string{"medusa", "lockstep"} {
				links, ada := ledger{}, w.person(t, mode+by)
				c := links.sync(t, target, ada, engine.Create).Customer
				order := w.order(t, c.ID, ada.Email)
				w.admin(t, "POST", "/customers/"+c.ID+"/addresses", object{"address_1": "Owl Street 1", "country_code": "us"}).want(t, 200)
				group := w.admin(t, "POST", "/customer-groups", object{"name": t.Name() + by + c.ID}).want(t, 200).at("customer_group", "id").(string)
				w.admin(t, "POST", "/customer-groups/"+group+"/customers", object{"add": []string{c.ID}}).want(t, 200)
				if by == "medusa" {
					w.admin(t, "DELETE", "/customers/"+c.ID, nil).want(t, 200)
				} else if done, err := target.Release(t.Context(), c, lockstep.OnDeleteDelete); done != lockstep.OnDeleteDelete || err != nil {
					t.Fatalf("%s, %v", done, err)
				}
				w.admin(t, "GET", "/customers/"+c.ID, nil).want(t, 404)
				if got := one[string](t, w.super, `select email || ' ' || customer_id from `+w.schema+`."order" where id = $1 and deleted_at is null`, order); got != ada.Email+" "+c.ID {
					t.Errorf("%s: the order is %s", by, got)
				}
				left[by] = one[string](t, w.super, strings.ReplaceAll(`select jsonb_build_object(
					'customer', (select jsonb_agg(jsonb_build_object('deleted', deleted_at is not null)) from medusa.customer where id = $1),
					'addresses', (select jsonb_agg(jsonb_build_object('deleted', deleted_at is not null)) from medusa.customer_address where customer_id = $1),
					'groups', (select jsonb_agg(jsonb_build_object('deleted', deleted_at is not null)) from medusa.customer_group_customer where customer_id = $1),
					'identities', (select count(*) from medusa.auth_identity where app_metadata ->> 'customer_id' = $1),
					'logins', (select count(*) from medusa.provider_identity where entity_id = $2))::text`, "medusa.", w.schema+"."), c.ID, ada.ID)
			}
			if left["medusa"] != left["lockstep"] {
				t.Errorf("Medusa leaves %s\nLockstep leaves %s", left["medusa"], left["lockstep"])
			}
			t.Log(left["lockstep"])
		})
	}
}

// TestGuestCheckoutOnRealMedusa: a checkout before the sync and one after it
// are the same customer's.
func TestGuestCheckoutOnRealMedusa(t *testing.T) {
	w := openWorld(t)
	for mode, target := range w.modes() {
		t.Run(mode, func(t *testing.T) {
			links, ada := ledger{}, w.person(t, mode)
			cart, guest := w.cart(t, ada.Email)
			if id := links.sync(t, target, ada, engine.Adopt).Customer.ID; id != guest {
				t.Fatalf("adopted %s, the cart is %s's", id, guest)
			}
			if now := w.customerOfCart(t, cart); now != guest {
				t.Fatalf("the cart is %s's now", now)
			}
			if _, later := w.cart(t, ada.Email); later != guest {
				t.Fatalf("a later cart is %s's, want %s", later, guest)
			}
			if guests, accounts := w.rows(t, ada.Email); guests+accounts != 1 {
				t.Fatalf("%d guests and %d accounts", guests, accounts)
			}
		})
	}
}

// TestRegistrationBeforeOnRealMedusa: who registered with a password holds the
// e-mail: Lockstep takes no account by e-mail, and a person decides.
func TestRegistrationBeforeOnRealMedusa(t *testing.T) {
	w := openWorld(t)
	for mode, target := range w.modes() {
		t.Run(mode, func(t *testing.T) {
			ada := w.person(t, mode)
			account := w.register(t, ada.Email).want(t, 200).at("customer", "id")
			if by := (ledger{}).sync(t, target, ada, engine.Conflict).Decision.BlockedBy; by != account {
				t.Fatalf("the conflict is about %s, want %s", by, account)
			}
			if guests, accounts := w.rows(t, ada.Email); guests != 0 || accounts != 1 {
				t.Fatalf("%d guests and %d accounts", guests, accounts)
			}
		})
	}
}

// TestRegistrationAfterOnRealMedusa: beside a guest of Lockstep's, Medusa makes
// an account, as beside any guest; beside an account it makes none.
func TestRegistrationAfterOnRealMedusa(t *testing.T) {
	w := openWorld(t)
	links, guest, account := ledger{}, w.person(t, "guest"), w.person(t, "account")
	links.sync(t, w.guests(), guest, engine.Create)
	w.register(t, guest.Email).want(t, 200)
	links.sync(t, w.guests(), guest, engine.Nothing)
	links.sync(t, w.accounts(), guest, engine.Conflict) // one e-mail cannot have two accounts

	links.sync(t, w.accounts(), account, engine.Create)
	w.register(t, account.Email).want(t, 422)
	links.sync(t, w.accounts(), account, engine.Nothing)
}

func TestTwoUsersOneEmailOnRealMedusa(t *testing.T) {
	w := openWorld(t)
	for mode, target := range w.modes() {
		t.Run(mode, func(t *testing.T) {
			links, first, second := ledger{}, w.person(t, mode), w.person(t, mode)
			second.ID += "second"
			id := links.sync(t, target, first, engine.Create).Customer.ID
			if by := links.sync(t, target, second, engine.Conflict).Decision.BlockedBy; by != id {
				t.Fatalf("the conflict is about %s, want %s", by, id)
			}
			links.sync(t, target, first, engine.Nothing)
			if guests, accounts := w.rows(t, first.Email); guests+accounts != 1 {
				t.Fatalf("%d guests and %d accounts", guests, accounts)
			}
		})
	}
}
