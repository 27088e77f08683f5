package medusa_test

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/medusa"
	"github.com/lockstephq/lockstep/targettest"
)

// TestAPI runs the exam on the emulated Admin API, by both ways in.
func TestAPI(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]func(*emulator.Medusa) medusa.APIOptions{"login": byLogin, "key": byKey} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			targettest.Run(t, func(t *testing.T) targettest.Subject {
				w := openAPI(t)
				return targettest.Subject{
					Target:  w.target(t, options(w.Medusa)),
					Shop:    apiShop{w.Medusa},
					Foreign: map[string]string{company: "Owls Ltd", "loyalty": "gold"},
					Break:   func(f targettest.Fault) { w.breakOnce(t, f, name == "login") },
				}
			})
		})
	}
}

// apiWorld is an emulated Medusa behind an address.
type apiWorld struct {
	*emulator.Medusa
	url string
}

func openAPI(t testing.TB) apiWorld {
	t.Helper()
	return openAPIWith(t, emulator.MedusaOptions{})
}

func openAPIWith(t testing.TB, o emulator.MedusaOptions) apiWorld {
	t.Helper()
	m := emulator.NewMedusa(o)
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	m.SetBaseURL(server.URL)
	return apiWorld{m, server.URL}
}

func setting(m *emulator.Medusa, name string) string {
	for _, s := range m.Settings() {
		if s.Name == name {
			return s.Value
		}
	}
	return ""
}

func byLogin(m *emulator.Medusa) medusa.APIOptions {
	return medusa.APIOptions{AdminEmail: setting(m, "MEDUSA_ADMIN_EMAIL"), AdminPassword: setting(m, "MEDUSA_ADMIN_PASSWORD")}
}

func byKey(m *emulator.Medusa) medusa.APIOptions {
	return medusa.APIOptions{Key: setting(m, "MEDUSA_API_KEY")}
}

func (w apiWorld) target(t testing.TB, o medusa.APIOptions) *medusa.API {
	t.Helper()
	o.URL = w.url
	target, err := medusa.NewAPI(o)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// breakOnce arms a fault. A new login undoes a refusal of the old one, so the
// admin's role is refused there.
func (w apiWorld) breakOnce(t *testing.T, f targettest.Fault, login bool) {
	t.Helper()
	const writes = "POST /admin/customers*"
	script := map[targettest.Fault][]emulator.Fault{
		targettest.FaultLostAfter:  {{Action: emulator.ActionDropAfter}},
		targettest.FaultLostBefore: {{Action: emulator.ActionDropBefore}},
		targettest.FaultLimit:      {{Action: emulator.ActionRefuse, Status: 429, RetryAfter: 1}},
		targettest.FaultRefusal:    {{Action: emulator.ActionRefuse, Status: 401}},
	}[f]
	route := writes
	if f == targettest.FaultLimit || f == targettest.FaultRefusal {
		route = "* /admin/customers*"
	}
	if f == targettest.FaultRefusal && login {
		script[0].Status = 403
	}
	if err := w.Faults.Script(route, script...); err != nil {
		t.Fatal(err)
	}
}

// apiShop is Medusa at work: checkouts, shoppers, and its own admin.
type apiShop struct{ *emulator.Medusa }

func (s apiShop) Put(_ context.Context, r targettest.Record) (targettest.Record, error) {
	c, err := s.PutCustomer(emulator.MedusaSpec{Email: r.Email, FirstName: r.FirstName, LastName: r.LastName, Phone: r.Phone,
		CompanyName: r.Foreign[company], HasAccount: r.Account, Metadata: metadataOf(r)})
	return recordOf(c), err
}

func (s apiShop) Get(_ context.Context, id string) (targettest.Record, bool, error) {
	c, err := s.Customer(id)
	return recordOf(c), err == nil, nil
}

func (s apiShop) Live(context.Context) (list []targettest.Record, err error) {
	for _, c := range s.Customers() {
		list = append(list, recordOf(c))
	}
	return list, nil
}

func (s apiShop) Edit(_ context.Context, r targettest.Record) error {
	name, metadata := r.Foreign[company], metadataOf(r)
	_, err := s.EditCustomer(r.ID, emulator.MedusaEdit{Email: &r.Email, FirstName: &r.FirstName, LastName: &r.LastName, Phone: &r.Phone,
		CompanyName: &name, HasAccount: &r.Account, Metadata: &metadata})
	return err
}

func (s apiShop) Delete(_ context.Context, id string) error { return s.DeleteCustomer(id) }

// metadataOf are the record's foreign fields but one, and its mark.
func metadataOf(r targettest.Record) map[string]any {
	metadata := map[string]any{}
	for key, value := range r.Foreign {
		if key != company {
			metadata[key] = value
		}
	}
	if r.UserID != "" {
		metadata["clerk_user_id"] = r.UserID
	}
	return metadata
}

func recordOf(c emulator.MedusaCustomer) (r targettest.Record) {
	r.Foreign = map[string]string{}
	for key, value := range c.Metadata {
		text, _ := value.(string)
		r.Foreign[key] = text
	}
	r.UserID = r.Foreign["clerk_user_id"]
	delete(r.Foreign, "clerk_user_id")
	delete(r.Foreign, "clerk_user_deleted")
	for text, into := range map[*string]*string{c.Email: &r.Email, c.FirstName: &r.FirstName, c.LastName: &r.LastName, c.Phone: &r.Phone} {
		if text != nil {
			*into = *text
		}
	}
	if c.CompanyName != nil {
		r.Foreign[company] = *c.CompanyName
	}
	r.ID, r.Account, r.Version = c.ID, c.HasAccount, c.UpdatedAt.String()
	return r
}
