package medusa_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/watch"
	"github.com/lockstephq/lockstep/medusa"
)

// world is a real Medusa, as `make test-medusa` starts one, with Lockstep's
// functions beside its tables. Tests whose names end in OnRealMedusa share it,
// one after the other; each makes people of its own.
type world struct {
	url         string
	key         string // secret
	publishable string
	schema      string
	super       *pgxpool.Pool
	owner       *pgxpool.Pool // as Lockstep connects: no superuser, and not Medusa's own role
	mails       string        // what this test's e-mails end in
}

// environment returns a variable of `make test-medusa`. Without it the test is
// skipped, but not where that command promised it.
func environment(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" && os.Getenv("LOCKSTEP_MEDUSA") == "required" {
		t.Fatalf("%s is not set", name)
	}
	if value == "" {
		t.Skipf("%s is not set: make test-medusa starts a Medusa and sets it", name)
	}
	return value
}

func openWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		url:         environment(t, "LOCKSTEP_MEDUSA_URL"),
		key:         environment(t, "LOCKSTEP_MEDUSA_KEY"),
		publishable: environment(t, "LOCKSTEP_MEDUSA_PUBLISHABLE_KEY"),
		schema:      pgx.Identifier{environment(t, "LOCKSTEP_MEDUSA_SCHEMA")}.Sanitize(),
		mails:       "." + strings.ToLower(t.Name()) + "@example.test",
	}
	database := environment(t, "LOCKSTEP_MEDUSA_DATABASE_URL")
	w.super = open(t, database)
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal("LOCKSTEP_MEDUSA_DATABASE_URL is not a URL")
	}
	u.User = url.User(standin.Owner)
	w.owner = open(t, u.String())
	m := postgres.Migrator{Pool: w.owner, MedusaSchema: os.Getenv("LOCKSTEP_MEDUSA_SCHEMA"), Log: watch.Logger(t)}
	if err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.forget(t)
	t.Cleanup(func() { w.forget(t) })
	return w
}

// forget removes this test's people, so that it can run again on one server.
func (w *world) forget(t *testing.T) {
	ctx := context.WithoutCancel(t.Context())
	for _, sql := range []string{
		`delete from medusa."order" where email like '%' || $1`,
		`delete from medusa.cart where email like '%' || $1`,
		`delete from medusa.auth_identity a using medusa.customer c where c.id = a.app_metadata ->> 'customer_id' and c.email like '%' || $1`,
		`delete from medusa.auth_identity a using medusa.provider_identity p where p.auth_identity_id = a.id and p.entity_id like '%' || $1`,
		`delete from medusa.customer where email like '%' || $1`,
	} {
		if _, err := w.super.Exec(ctx, strings.ReplaceAll(sql, "medusa.", w.schema+"."), w.mails); err != nil {
			t.Error(err)
		}
	}
}

func (w *world) guests() lockstep.Target { return medusa.NewDatabase(w.owner) }

func (w *world) accounts() lockstep.Target { return medusa.NewDatabase(w.owner).WithAccounts() }

// person is a user whose e-mail is verified.
func (w *world) person(t *testing.T, name string) lockstep.Profile {
	return lockstep.Profile{ID: "user_" + t.Name() + name, FirstName: name, LastName: "Real", Email: name + w.mails, EmailVerified: true}
}

// ledger is Lockstep's own record of who is who: user to customer.
type ledger map[string]string

func (l ledger) owners(_ context.Context, _ string, customers []string) (map[string]string, error) {
	owner := map[string]string{}
	for user, customer := range l {
		for _, id := range customers {
			if id == customer {
				owner[id] = user
			}
		}
	}
	return owner, nil
}

// sync brings Medusa in step, and wants it done by one action, or by nothing.
func (l ledger) sync(t *testing.T, target lockstep.Target, p lockstep.Profile, want engine.Action) engine.Result {
	t.Helper()
	res, err := engine.Sync(t.Context(), target, p, lockstep.Link{UserID: p.ID, CustomerID: l[p.ID]}, l.owners, "")
	if err != nil {
		t.Fatalf("sync: %v", err)
	}
	if done := res.Decision.Action; done != want {
		t.Fatalf("sync did %q, want %q: %s", done, want, res.Decision.Reason)
	}
	if l[p.ID] = res.Customer.ID; l[p.ID] == "" {
		delete(l, p.ID)
	}
	return res
}

// object is JSON.
type object = map[string]any

// answer is what Medusa said.
type answer struct {
	status int
	body   object
}

// at follows keys into the answer.
func (a answer) at(keys ...string) any {
	var value any = a.body
	for _, key := range keys {
		value = value.(object)[key]
	}
	return value
}

// admin asks the Admin API.
func (w *world) admin(t *testing.T, method, path string, body object) answer {
	t.Helper()
	return w.ask(t, method, "/admin"+path, body, func(h http.Header) { h.Set("Authorization", "Basic "+w.key) })
}

// store asks the Store API, as nobody or with a customer's token.
func (w *world) store(t *testing.T, token, method, path string, body object) answer {
	t.Helper()
	return w.ask(t, method, path, body, func(h http.Header) {
		h.Set("X-Publishable-Api-Key", w.publishable)
		if token != "" {
			h.Set("Authorization", "Bearer "+token)
		}
	})
}

func (w *world) ask(t *testing.T, method, path string, body object, headers func(http.Header)) (a answer) {
	t.Helper()
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		sent = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, w.url+path, sent)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	headers(req.Header)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(&a.body); err != nil {
		t.Fatalf("%s %s: status %d, %v", method, path, res.StatusCode, err)
	}
	a.status = res.StatusCode
	return a
}

// want fails unless the answer has the status.
func (a answer) want(t *testing.T, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %v", a.status, status, a.body)
	}
	return a
}

// cart begins a checkout as nobody, and returns the cart's id and customer.
func (w *world) cart(t *testing.T, email string) (id, customer string) {
	t.Helper()
	region := w.store(t, "", "GET", "/store/regions", nil).want(t, 200).at("regions").([]any)[0].(object)["id"]
	a := w.store(t, "", "POST", "/store/carts", object{"region_id": region, "email": email}).want(t, 200)
	return a.at("cart", "id").(string), w.customerOfCart(t, a.at("cart", "id").(string))
}

func (w *world) customerOfCart(t *testing.T, id string) string {
	t.Helper()
	return one[string](t, w.super, `select customer_id from `+w.schema+`.cart where id = $1`, id)
}

// register makes an account as Medusa's own storefront does, with a password.
func (w *world) register(t *testing.T, email string) answer {
	t.Helper()
	login := object{"email": email, "password": "correct horse battery staple"}
	a := w.store(t, "", "POST", "/auth/customer/emailpass/register", login).want(t, 200)
	return w.store(t, a.at("token").(string), "POST", "/store/customers", object{"email": email})
}

// rows counts live customers of an e-mail: guests and accounts.
func (w *world) rows(t *testing.T, email string) (guests, accounts int) {
	t.Helper()
	sql := `select count(*) from ` + w.schema + `.customer where lower(email) = $1 and deleted_at is null and has_account = $2`
	return one[int](t, w.super, sql, email, false), one[int](t, w.super, sql, email, true)
}
