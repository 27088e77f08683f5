package medusa_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/engine"
)

// clerk plays Clerk towards the auth provider of examples/medusa.
type clerk struct {
	key    *rsa.PrivateKey
	issuer string
}

func openClerk(t *testing.T) clerk {
	t.Helper()
	data, err := os.ReadFile(environment(t, "LOCKSTEP_MEDUSA_CLERK_KEY"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return clerk{key.(*rsa.PrivateKey), environment(t, "LOCKSTEP_MEDUSA_CLERK_ISSUER")}
}

// token is a session token of the user, with some claims replaced.
func (c clerk) token(t *testing.T, user string, replace object) string {
	t.Helper()
	now := time.Now().Unix()
	claims := object{"iss": c.issuer, "sub": user, "sid": "sess_1", "azp": "http://localhost:8000",
		"iat": now, "nbf": now - 10, "exp": now + 60, "v": 2, "sts": "active"}
	maps.Copy(claims, replace)
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	text := part(object{"alg": "RS256", "typ": "JWT", "kid": "ins_1"}) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, c.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// signIn hands a token of Clerk's to Medusa.
func (w *world) signIn(t *testing.T, token string) answer {
	t.Helper()
	return w.store(t, "", "POST", "/auth/customer/clerk", object{"token": token})
}

// me is the customer whom a user is in the storefront.
func (w *world) me(t *testing.T, c clerk, user string) answer {
	t.Helper()
	session := w.signIn(t, c.token(t, user, nil)).want(t, 200).at("token").(string)
	return w.store(t, session, "GET", "/store/customers/me", nil)
}

func TestClerkSignInOnRealMedusa(t *testing.T) {
	w, clerk, links := openWorld(t), openClerk(t), ledger{}
	ada := w.person(t, "ada")
	w.signIn(t, clerk.token(t, ada.ID, nil)).want(t, 401) // no customer yet, and none is made
	id := links.sync(t, w.accounts(), ada, engine.Create).Customer.ID
	if me := w.me(t, clerk, ada.ID).want(t, 200); me.at("customer", "id") != id || me.at("customer", "email") != ada.Email {
		t.Fatalf("signed in as %v, want %s", me.body, id)
	}

	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	forged := clerk
	forged.key = stranger
	for name, token := range map[string]string{
		"another key":       forged.token(t, ada.ID, nil),
		"another issuer":    clerk.token(t, ada.ID, object{"iss": "https://clerk.elsewhere.example"}),
		"another site":      clerk.token(t, ada.ID, object{"azp": "http://elsewhere.example"}),
		"expired":           clerk.token(t, ada.ID, object{"exp": time.Now().Unix() - 60}),
		"no session":        clerk.token(t, ada.ID, object{"sid": nil}),
		"a pending session": clerk.token(t, ada.ID, object{"sts": "pending"}),
		"no token":          "",
	} {
		if a := w.signIn(t, token); a.status != 401 {
			t.Errorf("%s: status %d, want 401", name, a.status)
		}
	}
	w.store(t, clerk.token(t, ada.ID, nil), "GET", "/store/customers/me", nil).want(t, 401) // Clerk's token is not Medusa's
}

// TestPromotedGuestOnRealMedusa: a guest that ordered becomes an account, at
// once or when accounts are turned on later, and has its cart, address and order.
func TestPromotedGuestOnRealMedusa(t *testing.T) {
	w, clerk := openWorld(t), openClerk(t)
	for _, tt := range []struct {
		name  string
		steps func(*testing.T, ledger, lockstep.Profile)
	}{
		{"adopted", func(t *testing.T, l ledger, p lockstep.Profile) { l.sync(t, w.accounts(), p, engine.Adopt) }},
		{"turnedon", func(t *testing.T, l ledger, p lockstep.Profile) {
			l.sync(t, w.guests(), p, engine.Adopt)
			l.sync(t, w.accounts(), p, engine.Update)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ada := w.person(t, tt.name)
			cart, guest := w.cart(t, ada.Email)
			w.admin(t, "POST", "/customers/"+guest+"/addresses", object{"address_1": "Owl Street 1", "country_code": "us"}).want(t, 200)
			order := w.order(t, guest, ada.Email)

			links := ledger{}
			tt.steps(t, links, ada)
			me := w.me(t, clerk, ada.ID).want(t, 200)
			if me.at("customer", "id") != guest || len(me.at("customer", "addresses").([]any)) != 1 {
				t.Fatalf("signed in as %v, want the guest %s", me.body, guest)
			}
			if now := w.customerOfCart(t, cart); now != guest {
				t.Fatalf("the cart is %s's now", now)
			}
			session := w.signIn(t, clerk.token(t, ada.ID, nil)).at("token").(string)
			orders := w.store(t, session, "GET", "/store/orders", nil).want(t, 200).at("orders").([]any)
			if len(orders) != 1 || orders[0].(object)["id"] != order {
				t.Fatalf("has orders %v, want %s", orders, order)
			}
			links.sync(t, w.accounts(), ada, engine.Nothing)
		})
	}
}

// order is one that the customer placed.
func (w *world) order(t *testing.T, customer, email string) string {
	t.Helper()
	id := "order_" + rand.Text()
	exec(t, w.super, `insert into `+w.schema+`."order" (id, customer_id, email, currency_code, status, version, is_draft_order)
		values ($1, $2, $3, 'usd', 'pending', 1, false)`, id, customer, email)
	exec(t, w.super, `insert into `+w.schema+`.order_summary (id, order_id, version, totals) values ($1, $2, 1, '{}')`, "ordsum_"+rand.Text(), id)
	return id
}

// TestReleasedAccountOnRealMedusa: the user is deleted in Clerk.
func TestReleasedAccountOnRealMedusa(t *testing.T) {
	w, clerk, links := openWorld(t), openClerk(t), ledger{}
	ada := w.person(t, "ada")
	id := links.sync(t, w.accounts(), ada, engine.Create).Customer.ID
	token := clerk.token(t, ada.ID, nil)
	w.signIn(t, token).want(t, 200)
	ada.DeletedAt = time.Now()
	links.sync(t, w.accounts(), ada, engine.Release)

	w.signIn(t, token).want(t, 401) // though the token is still good
	got := w.admin(t, "GET", "/customers/"+id, nil).want(t, 200)
	if got.at("customer", "has_account") != false {
		t.Fatalf("the customer is %v, want a guest", got.body)
	}
	w.register(t, ada.Email).want(t, 200) // the person may come back
	w.admin(t, "DELETE", "/customers/"+id, nil).want(t, 200)
	w.admin(t, "GET", "/customers/"+id, nil).want(t, 404)
}

// TestReleasedBesideGuestOnRealMedusa: the account cannot be a guest again while
// another guest has its e-mail. Nobody signs in as it, and the admin can delete it.
func TestReleasedBesideGuestOnRealMedusa(t *testing.T) {
	w, clerk, links := openWorld(t), openClerk(t), ledger{}
	ada := w.person(t, "ada")
	id := links.sync(t, w.accounts(), ada, engine.Create).Customer.ID
	w.admin(t, "POST", "/customers", object{"email": ada.Email}).want(t, 200)
	ada.DeletedAt = time.Now()
	links.sync(t, w.accounts(), ada, engine.Release)

	w.signIn(t, clerk.token(t, ada.ID, nil)).want(t, 401)
	if guests, accounts := w.rows(t, ada.Email); guests != 1 || accounts != 1 {
		t.Fatalf("%d guests and %d accounts", guests, accounts)
	}
	w.admin(t, "DELETE", "/customers/"+id, nil).want(t, 200)
	w.admin(t, "GET", "/customers/"+id, nil).want(t, 404)
}

// TestShopperMarksOnRealMedusa: a shopper writes another user's mark on the own
// account, and gets nothing by it.
func TestShopperMarksOnRealMedusa(t *testing.T) {
	w, links := openWorld(t), ledger{}
	ada, eve := w.person(t, "ada"), "eve"+w.mails
	w.register(t, eve).want(t, 200)
	login := object{"email": eve, "password": "correct horse battery staple"}
	session := w.store(t, "", "POST", "/auth/customer/emailpass", login).want(t, 200).at("token").(string)
	w.store(t, session, "POST", "/store/customers/me", object{"metadata": object{"clerk_user_id": ada.ID}}).want(t, 200)
	forged := w.store(t, session, "GET", "/store/customers/me", nil).want(t, 200).at("customer", "id")
	if id := links.sync(t, w.accounts(), ada, engine.Create).Customer.ID; id == forged {
		t.Fatal("the shopper's account was taken for the user's")
	}
	links.sync(t, w.accounts(), ada, engine.Nothing)
}
