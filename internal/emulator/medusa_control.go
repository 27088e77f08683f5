package emulator

import (
	"encoding/json"
	"net/http"
	"strings"
)

const medusaPrefix = controlPrefix + "medusa/"

// controlRoutes adds the routes for use without Go; see docs/EMULATORS.md.
func (m *Medusa) controlRoutes(mux *http.ServeMux) {
	handleControl(mux, "GET", "medusa/settings", func(*http.Request) (any, error) {
		return map[string]any{"environment": settingsMap(m.Settings())}, nil
	})
	handleControl(mux, "GET", "medusa/events", func(*http.Request) (any, error) {
		return map[string]any{"events": m.Events()}, nil
	})
	handleControl(mux, "PATCH", "medusa/access", m.controlAccess)
	m.customerControls(mux)
	faults := http.NewServeMux()
	controlFaults(faults, m.Faults)
	for _, route := range []string{"GET faults", "PUT faults", "DELETE faults", "GET requests"} {
		method, path, _ := strings.Cut(route, " ")
		mux.Handle(method+" "+medusaPrefix+path, moved(faults, medusaPrefix))
	}
}

func (m *Medusa) customerControls(mux *http.ServeMux) {
	handleControl(mux, "GET", "medusa/customers", func(*http.Request) (any, error) {
		return map[string]any{"customers": m.Customers()}, nil
	})
	handleControl(mux, "POST", "medusa/customers", func(r *http.Request) (any, error) {
		var spec MedusaSpec
		if err := readControl(r, &spec); err != nil {
			return nil, err
		}
		return m.PutCustomer(spec)
	})
	handleControl(mux, "GET", "medusa/customers/{id}", func(r *http.Request) (any, error) {
		return m.Customer(r.PathValue("id"))
	})
	handleControl(mux, "PATCH", "medusa/customers/{id}", func(r *http.Request) (any, error) {
		var edit MedusaEdit
		if err := readControl(r, &edit); err != nil {
			return nil, err
		}
		return m.EditCustomer(r.PathValue("id"), edit)
	})
	handleControl(mux, "DELETE", "medusa/customers/{id}", func(r *http.Request) (any, error) {
		return done(m.DeleteCustomer(r.PathValue("id")))
	})
}

// controlAccess changes who is let in.
func (m *Medusa) controlAccess(r *http.Request) (any, error) {
	var body struct {
		SecretKey     *string `json:"secret_key"`
		AdminEmail    *string `json:"admin_email"`
		AdminPassword *string `json:"admin_password"`
		EndLogins     bool    `json:"end_logins"`
	}
	if err := readControl(r, &body); err != nil {
		return nil, err
	}
	m.mu.Lock()
	set(&m.access.key, body.SecretKey)
	set(&m.access.email, body.AdminEmail)
	set(&m.access.password, body.AdminPassword)
	m.mu.Unlock()
	if body.EndLogins {
		m.EndLogins()
	}
	return done(nil)
}

// MedusaSpec is a customer that Medusa makes by itself: at a guest's checkout, or
// when a shopper registers.
type MedusaSpec struct {
	Email       string         `json:"email"` // as typed; empty for none
	FirstName   string         `json:"first_name"`
	LastName    string         `json:"last_name"`
	Phone       string         `json:"phone"`
	CompanyName string         `json:"company_name"`
	HasAccount  bool           `json:"has_account"`
	Identity    bool           `json:"identity"` // of an account: it can be signed in to, and be deleted
	Metadata    map[string]any `json:"metadata"`
}

// MedusaEdit changes a customer; nil leaves a field, "" clears it. The metadata is
// replaced.
type MedusaEdit struct {
	Email       *string         `json:"email"`
	FirstName   *string         `json:"first_name"`
	LastName    *string         `json:"last_name"`
	Phone       *string         `json:"phone"`
	CompanyName *string         `json:"company_name"`
	HasAccount  *bool           `json:"has_account"`
	Metadata    *map[string]any `json:"metadata"`
}

// PutCustomer makes a customer. It fails if one of the kind holds the e-mail.
func (m *Medusa) PutCustomer(spec MedusaSpec) (MedusaCustomer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &MedusaCustomer{ID: m.newID("cus_"), Email: textOrNull(spec.Email), FirstName: textOrNull(spec.FirstName), LastName: textOrNull(spec.LastName),
		Phone: textOrNull(spec.Phone), CompanyName: textOrNull(spec.CompanyName), HasAccount: spec.HasAccount, Identity: spec.Identity}
	err := decoded(spec.Metadata, &c.Metadata)
	if err == nil {
		err = m.insert(c)
	}
	if err != nil {
		return MedusaCustomer{}, err
	}
	m.emit("customer.customer.created", c.ID) // a checkout's event; a registration has another one more
	return c.clone(), nil
}

// EditCustomer changes a live customer.
func (m *Medusa) EditCustomer(id string, edit MedusaEdit) (MedusaCustomer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.store.live(id)
	if c == nil {
		return MedusaCustomer{}, noMedusaCustomer(id)
	}
	err := m.change(c, func(c *MedusaCustomer) {
		for into, text := range map[**string]*string{&c.Email: edit.Email, &c.FirstName: edit.FirstName, &c.LastName: edit.LastName,
			&c.Phone: edit.Phone, &c.CompanyName: edit.CompanyName} {
			if text != nil {
				*into = textOrNull(*text)
			}
		}
		set(&c.HasAccount, edit.HasAccount)
		set(&c.Metadata, edit.Metadata)
	})
	return c.clone(), err
}

// Customer returns a live customer.
func (m *Medusa) Customer(id string) (MedusaCustomer, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := m.store.live(id)
	if c == nil {
		return MedusaCustomer{}, noMedusaCustomer(id)
	}
	return c.clone(), nil
}

// Customers returns all live customers in the order of making.
func (m *Medusa) Customers() []MedusaCustomer {
	m.mu.RLock()
	defer m.mu.RUnlock()
	list := []MedusaCustomer{}
	for _, c := range m.store.all() {
		list = append(list, c.clone())
	}
	return list
}

// DeleteCustomer deletes a live customer, the way Medusa does: the row stays.
func (m *Medusa) DeleteCustomer(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.store.live(id)
	if c == nil {
		return noMedusaCustomer(id)
	}
	m.bury(c)
	return nil
}

func noMedusaCustomer(id string) error {
	return &MedusaError{http.StatusNotFound, "not_found", "no customer " + id}
}

func textOrNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// decoded gives a value the types that JSON has.
func decoded(from, into any) error {
	data, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
