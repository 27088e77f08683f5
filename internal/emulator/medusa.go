package emulator

import (
	"cmp"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// MedusaOptions says how a Medusa emulator behaves. The zero value works.
type MedusaOptions struct {
	BaseURL       string // where the emulator is reached, "http://127.0.0.1:9402"; see also SetBaseURL
	SecretKey     string // of the Admin API; default "sk_…" at random
	AdminEmail    string // who may log in; default "admin@medusa.example"
	AdminPassword string // default one at random

	TokenLife time.Duration // of a login; default 24 h, as Medusa's
	Now       func() time.Time
	// Seed makes secrets, ids (but for the time in them) and chance repeatable;
	// zero draws one.
	Seed uint64
}

// Medusa is the emulated part of a Medusa v2 backend that deals with customers:
// the Admin API's routes for them, with a secret key or an admin's login. Its
// statuses, texts and oddities were seen on Medusa 2.21.2; the contract test
// holds both to the same answers. Groups, addresses and the Store API are not
// emulated. It is safe for concurrent use.
//
// A database that is away makes a real Medusa answer nothing, and carry out what
// it was asked once the database is back: that is a [Fault] with a Delay and
// the action pass.
type Medusa struct {
	Faults *Faults // what goes wrong with requests to the API

	options MedusaOptions
	random  *source
	clock   *clock
	mux     *http.ServeMux
	handler http.Handler

	mu      sync.RWMutex
	baseURL string
	access  medusaAccess
	store   *medusaStore
	events  []MedusaEvent
}

// MedusaEvent is an event that Medusa's subscribers would get.
type MedusaEvent struct {
	Name string `json:"name"` // "customer.created"
	ID   string `json:"id"`
}

// NewMedusa makes an emulator without customers.
func NewMedusa(options MedusaOptions) *Medusa {
	o := options.withDefaults()
	m := &Medusa{
		Faults: newFaults(o.Seed), options: o, random: newSource(o.Seed, idStream), clock: &clock{now: o.Now},
		baseURL: strings.TrimSuffix(o.BaseURL, "/"), store: newMedusaStore(),
	}
	m.access = medusaAccess{key: o.SecretKey, keyID: m.newID("apk_"), userID: m.newID("user_"), email: o.AdminEmail,
		password: o.AdminPassword, signing: m.random.bytes(32)}
	m.mux = m.routes()
	m.handler = m.Faults.Inject(m.mux, m.routeName, writeMedusaFault)
	return m
}

func (o MedusaOptions) withDefaults() MedusaOptions {
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	random := newSource(o.Seed, 0)
	o.SecretKey = cmp.Or(o.SecretKey, "sk_"+random.hex(32))
	o.AdminEmail = cmp.Or(o.AdminEmail, "admin@medusa.example")
	o.AdminPassword = cmp.Or(o.AdminPassword, random.hex(12))
	o.TokenLife = cmp.Or(o.TokenLife, 24*time.Hour)
	return o
}

// ServeHTTP serves the Admin API under /admin/, logins under /auth/ and the
// control routes under /_control/medusa/. The Date of an answer is of the clock
// that stamps the customers.
func (m *Medusa) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", m.options.Now().UTC().Format(http.TimeFormat))
	m.handler.ServeHTTP(w, r)
}

// SetBaseURL says where the emulator is reached, once its listener is open.
func (m *Medusa) SetBaseURL(url string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.baseURL = strings.TrimSuffix(url, "/")
}

// Settings returns the settings that point Lockstep at the emulator, with an
// admin's login.
func (m *Medusa) Settings() []Setting {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return []Setting{
		{"MEDUSA_MODE", "api"},
		{"MEDUSA_API_URL", m.baseURL},
		{"MEDUSA_API_KEY", m.access.key},
		{"MEDUSA_ADMIN_EMAIL", m.access.email},
		{"MEDUSA_ADMIN_PASSWORD", m.access.password},
	}
}

// Events returns the events so far, oldest first.
func (m *Medusa) Events() []MedusaEvent {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return append([]MedusaEvent{}, m.events...)
}

// emit adds an event. The caller holds the lock.
func (m *Medusa) emit(name, id string) { m.events = append(m.events, MedusaEvent{name, id}) }

// crockford are the digits of a ULID (github.com/ulid/spec).
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// newID returns a prefix and a ULID: ten digits of the time in milliseconds, every
// one later than all before, and sixteen at random.
func (m *Medusa) newID(prefix string) string {
	var id [26]byte
	at := m.clock.tick()
	for i := 9; i >= 0; i-- {
		id[i] = crockford[at%32]
		at /= 32
	}
	for i, b := range m.random.bytes(16) {
		id[10+i] = crockford[b%32]
	}
	return prefix + string(id[:])
}

// routeName names a request for faults and counters by its pattern, such as
// "POST /admin/customers/{id}". Control routes have none: they never fail.
func (m *Medusa) routeName(r *http.Request) string {
	_, pattern := m.mux.Handler(r)
	if strings.Contains(pattern, " "+controlPrefix) {
		return ""
	}
	return pattern
}
