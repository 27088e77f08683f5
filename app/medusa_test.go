package app_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/testdb"
)

func TestMedusaAPISettings(t *testing.T) {
	t.Parallel()
	const sk = "sk_" + canary
	for _, c := range []struct {
		name, words string
		env         map[string]string
	}{
		{"MEDUSA_API_KEY", "a secret key (sk_…) from Medusa's admin", map[string]string{}},
		{"MEDUSA_API_KEY", "is no secret key (sk_…)", map[string]string{"MEDUSA_API_KEY": "pk_" + canary}},
		{"MEDUSA_ADMIN_PASSWORD", "is missing", map[string]string{"MEDUSA_ADMIN_EMAIL": canary}},
		{"MEDUSA_ADMIN_EMAIL", "is missing", map[string]string{"MEDUSA_ADMIN_PASSWORD": canary, "MEDUSA_API_KEY": sk}},
		{"MEDUSA_API_URL", "http://localhost:9000", map[string]string{"MEDUSA_API_KEY": sk, "MEDUSA_API_URL": canary}},
		{"MEDUSA_API_URL", "http://localhost:9000", map[string]string{"MEDUSA_API_KEY": sk, "MEDUSA_API_URL": "https://user:" + canary + "@host"}},
	} {
		c.env["MEDUSA_MODE"] = "api"
		_, err := load(t, c.env, "", app.NeedDatabase)
		wantSettingError(t, err, c.name, c.words)
		delete(c.env, "MEDUSA_MODE")
		_, err = load(t, c.env, "", app.NeedDatabase)
		must(t, err) // they do not matter then
	}
	c, err := load(t, nil, "medusa_mode: api\nmedusa_admin_email: a@example.test\nmedusa_admin_password: secret\n", app.NeedDatabase)
	must(t, err)
	if c.MedusaAPI.URL != "http://localhost:9000" || c.MedusaAPI.AdminEmail != "a@example.test" || c.MedusaAPI.AdminPassword != "secret" {
		t.Error("the file's settings were not read")
	}
}

// apiWorld is a world whose Medusa is reached through its Admin API.
type apiWorld struct {
	*world
	medusa *emulator.Medusa
}

// newAPIWorld uses an admin's login, or the secret key alone.
func newAPIWorld(t *testing.T, login bool) apiWorld {
	t.Helper()
	m, env := emulatedMedusa(t, login)
	return apiWorld{newWorldWith(t, setup{env: env}), m}
}

// emulatedMedusa is a Medusa behind an address, and the settings that lead there.
func emulatedMedusa(t *testing.T, login bool) (m *emulator.Medusa, env map[string]string) {
	t.Helper()
	m, env = emulator.NewMedusa(emulator.MedusaOptions{}), map[string]string{}
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	m.SetBaseURL(server.URL)
	for _, s := range m.Settings() {
		if login || !strings.HasPrefix(s.Name, "MEDUSA_ADMIN") {
			env[s.Name] = s.Value
		}
	}
	return m, env
}

// customersOf are the customers that carry the user.
func (w apiWorld) customersOf(user string) (list []emulator.MedusaCustomer) {
	for _, c := range w.medusa.Customers() {
		if c.Metadata["clerk_user_id"] == user {
			list = append(list, c)
		}
	}
	return list
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// TestMedusaThroughItsAPI: a user's life, from the webhook to Medusa's own events.
func TestMedusaThroughItsAPI(t *testing.T) {
	t.Parallel()
	for _, login := range []bool{true, false} {
		t.Run(fmt.Sprintf("login %v", login), func(t *testing.T) {
			t.Parallel()
			w := newAPIWorld(t, login)
			guest, err := w.medusa.PutCustomer(emulator.MedusaSpec{Email: "Grace@Example.test", CompanyName: "kept", Metadata: map[string]any{"vip": true}})
			must(t, err)
			ada, grace := w.create("ada"), w.create("grace")
			w.eventually("both are linked", `select count(*) = 2 from lockstep.customer_links where status = 'linked' and applied = desired`)
			made, adopted := w.customersOf(ada.ID), w.customersOf(grace.ID)
			if len(made) != 1 || text(made[0].Email) != "ada@example.test" || text(made[0].FirstName) != "ada" {
				t.Fatalf("made %+v", made)
			}
			if len(adopted) != 1 || adopted[0].ID != guest.ID || text(adopted[0].CompanyName) != "kept" || adopted[0].Metadata["vip"] != true || text(adopted[0].Email) != "grace@example.test" {
				t.Fatalf("adopted %+v, was %+v", adopted, guest)
			}
			if got := testdb.Query[string](t, w.pool, `select medusa_customer_id from public.profiles where id = $1`, ada.ID); got != made[0].ID {
				t.Errorf("the profile names %q, not %s", got, made[0].ID)
			}
			last := "Byron"
			_, err = w.clerk.UpdateUser(ada.ID, emulator.UserChange{LastName: &last})
			must(t, err)
			w.waitFor("the name arrives", func(context.Context) bool { return text(w.customersOf(ada.ID)[0].LastName) == last })
			must(t, w.clerk.DeleteUser(ada.ID))
			w.eventually("the user is released", `select status = 'released' from lockstep.customer_links where clerk_user_id = $1`, ada.ID)
			if c, err := w.medusa.Customer(made[0].ID); err != nil || c.Metadata["clerk_user_id"] != nil {
				t.Errorf("released: %+v, %v", c, err)
			}
			if got := w.events(made[0].ID); got != "created updated updated" {
				t.Errorf("Medusa's subscribers heard %q", got)
			}
		})
	}
}

// events are the events about a customer, in order.
func (w apiWorld) events(id string) string {
	var names []string
	for _, e := range w.medusa.Events() {
		if e.ID == id {
			names = append(names, strings.TrimPrefix(e.Name, "customer."))
		}
	}
	return strings.Join(names, " ")
}

// TestMedusaAPIRefuses: a wrong key, or password, pauses the target alone, says
// what to type, and heals by itself.
func TestMedusaAPIRefuses(t *testing.T) {
	t.Parallel()
	for _, login := range []bool{true, false} {
		t.Run(fmt.Sprintf("login %v", login), func(t *testing.T) {
			t.Parallel()
			w := newAPIWorld(t, login)
			w.medusa.SetSecretKey("sk_another")
			w.medusa.SetAdmin(setting(w.medusa, "MEDUSA_ADMIN_EMAIL"), "another")
			w.restart(nil) // a token outlives the password it was got for
			ada := w.create("ada")
			what := "MEDUSA_API_KEY"
			if login {
				what = "MEDUSA_ADMIN_PASSWORD"
			}
			w.eventually("the target is paused", `select count(*) = 1 from lockstep.targets where target = 'medusa' and reason like '%' || $1 || '%'`, what)
			if got := w.request("GET", "/readyz", nil, nil); got.status != 200 {
				t.Errorf("ready: %d", got.status)
			}
			w.medusa.SetSecretKey(w.setup.env["MEDUSA_API_KEY"])
			w.medusa.SetAdmin(setting(w.medusa, "MEDUSA_ADMIN_EMAIL"), w.setup.env["MEDUSA_ADMIN_PASSWORD"])
			w.eventually("and resumed", isLinked, ada.ID)
			if got := w.customersOf(ada.ID); len(got) != 1 {
				t.Errorf("made %+v", got)
			}
		})
	}
}

func setting(m *emulator.Medusa, name string) string {
	for _, s := range m.Settings() {
		if s.Name == name {
			return s.Value
		}
	}
	return ""
}

// TestMedusaAPIHangs: as with its database away, Medusa answers nothing, and then
// does what it was asked. Nobody gets a second customer by that.
func TestMedusaAPIHangs(t *testing.T) {
	t.Parallel()
	w := newAPIWorld(t, true)
	must(t, w.medusa.Faults.Set(
		emulator.Rule{Route: "POST /admin/customers*", Script: []emulator.Fault{{Action: emulator.ActionDropAfter}, {Action: emulator.ActionDropBefore},
			{Action: emulator.ActionRefuse, Status: 503}, {Delay: time.Hour}}},
		emulator.Rule{Route: "POST /admin/customers*", Rate: 0.3, Fault: emulator.Fault{Action: emulator.ActionDropAfter}},
		emulator.Rule{Route: "GET /admin/customers*", Rate: 0.2, Fault: emulator.Fault{Action: emulator.ActionDropBefore}},
	))
	const users = 20
	for i := range users {
		w.create(fmt.Sprintf("user%d", i))
	}
	w.eventually("all are linked", `select count(*) = $1 from lockstep.customer_links where status = 'linked' and applied = desired`, users)
	if n := len(w.medusa.Customers()); n != users {
		t.Errorf("%d customers for %d users", n, users)
	}
}

// TestNULNeverReachesMedusa: Medusa answers it with 500, which looks like an
// outage.
func TestNULNeverReachesMedusa(t *testing.T) {
	t.Parallel()
	w := newAPIWorld(t, true)
	ada, err := w.clerk.CreateUser(emulator.UserSpec{FirstName: "A\x00da", LastName: "\x00", Email: "ada@example.test", Verified: true})
	must(t, err)
	w.eventually("linked", isLinked, ada.ID)
	if got := w.customersOf(ada.ID); len(got) != 1 || text(got[0].FirstName) != "Ada" {
		t.Errorf("made %+v", got)
	}
	for _, c := range w.medusa.Faults.Counts() {
		if strings.Contains(c.Outcome, "500") {
			t.Errorf("%+v", c)
		}
	}
}
