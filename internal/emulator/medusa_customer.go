package emulator

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// MedusaCustomer is a customer as the Admin API shows it; nil is null.
type MedusaCustomer struct {
	ID          string         `json:"id"`
	CompanyName *string        `json:"company_name"`
	FirstName   *string        `json:"first_name"`
	LastName    *string        `json:"last_name"`
	Email       *string        `json:"email"`
	Phone       *string        `json:"phone"`
	Metadata    map[string]any `json:"metadata"`
	HasAccount  bool           `json:"has_account"`
	CreatedBy   *string        `json:"created_by"`
	CreatedAt   MedusaTime     `json:"created_at"`
	UpdatedAt   MedusaTime     `json:"updated_at"`
	DeletedAt   *MedusaTime    `json:"deleted_at"`

	// Identity is the sign-in of an account. Medusa deletes no account without.
	Identity bool `json:"-"`
}

// MedusaTime is a time in milliseconds, as JavaScript writes it.
type MedusaTime struct{ time.Time }

// MarshalJSON writes 2026-11-26T11:19:30.829Z.
func (t MedusaTime) MarshalJSON() ([]byte, error) {
	return json.Marshal(t.UTC().Format("2006-01-02T15:04:05.000Z"))
}

// medusaStore holds customers; deleted ones stay, as in Medusa's table. Medusa's
// lock guards it.
type medusaStore struct {
	byID  map[string]*MedusaCustomer
	order []string // ids in the order of making
}

func newMedusaStore() *medusaStore { return &medusaStore{byID: map[string]*MedusaCustomer{}} }

// live returns a customer that is not deleted, or nil.
func (s *medusaStore) live(id string) *MedusaCustomer {
	if c := s.byID[id]; c != nil && c.DeletedAt == nil {
		return c
	}
	return nil
}

func (s *medusaStore) all() (list []*MedusaCustomer) {
	for _, id := range s.order {
		if c := s.live(id); c != nil {
			list = append(list, c)
		}
	}
	return list
}

// taken is Medusa's only uniqueness: one live guest and one live account for an
// e-mail, by exact case.
func (s *medusaStore) taken(c *MedusaCustomer) error {
	for _, other := range s.all() {
		if c.Email != nil && other.ID != c.ID && other.Email != nil && *other.Email == *c.Email && other.HasAccount == c.HasAccount {
			return invalidData("Customer with email: %s, has_account: %v, already exists.", *c.Email, c.HasAccount)
		}
	}
	return nil
}

// zodEmail and the two rules of validEmail are those of zod 4's email().
var zodEmail = regexp.MustCompile(`^[A-Za-z0-9_'+\-.]*[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9-]*\.)+[A-Za-z]{2,}$`)

func validEmail(email string) bool {
	return zodEmail.MatchString(email) && !strings.HasPrefix(email, ".") && !strings.Contains(email, "..")
}

// medusaChange is a checked body: the fields that it names.
type medusaChange struct {
	texts    map[string]*string
	metadata *map[string]any // nil leaves it; a nil map clears it
}

// checkBody is Medusa's validation. It names everything that is wrong at once.
func checkBody(body map[string]json.RawMessage) (change medusaChange, err error) {
	change.texts = map[string]*string{}
	var wrong, unknown []string
	for _, name := range slices.Sorted(maps.Keys(body)) {
		switch name {
		case "email", "company_name", "first_name", "last_name", "phone":
			var text *string
			if json.Unmarshal(body[name], &text) != nil {
				wrong = append(wrong, fmt.Sprintf("Expected type: 'string' for field '%s', got: '%s'", name, body[name]))
			} else if name == "email" && text != nil && !validEmail(*text) {
				wrong = append(wrong, "Invalid email address")
			}
			change.texts[name] = text
		case "metadata":
			change.metadata = new(map[string]any)
			if json.Unmarshal(body[name], change.metadata) != nil {
				wrong = append(wrong, "Expected type: 'record' for field 'metadata'")
			}
		case "additional_data":
		default:
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		wrong = append(wrong, "Unrecognized fields: '"+strings.Join(unknown, ", ")+"'")
	}
	if len(wrong) > 0 {
		return change, invalidData("Invalid request: %s", strings.Join(wrong, "; "))
	}
	return change, change.storable()
}

// storable refuses what PostgreSQL cannot hold.
func (c medusaChange) storable() error {
	for _, text := range c.texts {
		if text != nil && strings.ContainsRune(*text, 0) {
			return unknownError()
		}
	}
	if c.metadata == nil {
		return nil
	}
	if data, err := json.Marshal(*c.metadata); err != nil || strings.Contains(string(data), `\u0000`) {
		return unknownError()
	}
	return nil
}

// apply changes a customer. Metadata is merged at its top level: an empty text
// takes a key away, null is stored, and null in place of all clears it.
func (c medusaChange) apply(to *MedusaCustomer) {
	fields := map[string]**string{"email": &to.Email, "company_name": &to.CompanyName, "first_name": &to.FirstName,
		"last_name": &to.LastName, "phone": &to.Phone}
	for name, text := range c.texts {
		*fields[name] = text
	}
	switch {
	case c.metadata == nil:
		return
	case *c.metadata == nil:
		to.Metadata = nil
		return
	}
	merged := maps.Clone(to.Metadata)
	if merged == nil {
		merged = map[string]any{}
	}
	for key, value := range *c.metadata {
		if value == "" {
			delete(merged, key)
		} else {
			merged[key] = value
		}
	}
	to.Metadata = merged
}

func (m *Medusa) create(w http.ResponseWriter, r *http.Request, actor string) (any, error) {
	body, err := readMedusaBody(w, r)
	if err != nil {
		return nil, err
	}
	change, err := checkBody(body)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &MedusaCustomer{ID: m.newID("cus_"), CreatedBy: &actor}
	change.apply(c)
	if change.metadata != nil {
		c.Metadata = *change.metadata // an empty text is kept when it comes with the customer
	}
	if err := m.insert(c); err != nil {
		return nil, err
	}
	m.emit("customer.created", c.ID)
	return map[string]any{"customer": c.clone()}, nil
}

// insert adds a customer. The caller holds the lock.
func (m *Medusa) insert(c *MedusaCustomer) error {
	if err := m.store.taken(c); err != nil {
		return err
	}
	c.CreatedAt = m.tick()
	c.UpdatedAt = c.CreatedAt
	m.store.byID[c.ID] = c
	m.store.order = append(m.store.order, c.ID)
	return nil
}

func (m *Medusa) tick() MedusaTime { return MedusaTime{time.UnixMilli(m.clock.tick())} }

func (m *Medusa) retrieve(_ http.ResponseWriter, r *http.Request, _ string) (any, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := m.store.live(r.PathValue("id"))
	if c == nil {
		return nil, &MedusaError{http.StatusNotFound, "not_found", "Customer with id: " + r.PathValue("id") + " not found"}
	}
	return map[string]any{"customer": c.clone()}, nil
}

// update emits its event even if it changes nothing; updated_at then stays.
func (m *Medusa) update(w http.ResponseWriter, r *http.Request, _ string) (any, error) {
	body, err := readMedusaBody(w, r)
	if err != nil {
		return nil, err
	}
	change, err := checkBody(body)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.store.live(r.PathValue("id"))
	if c == nil {
		return nil, &MedusaError{http.StatusNotFound, "not_found", fmt.Sprintf("Customer with id %q not found", r.PathValue("id"))}
	}
	if err := m.change(c, change.apply); err != nil {
		return nil, err
	}
	m.emit("customer.updated", c.ID)
	return map[string]any{"customer": c.clone()}, nil
}

// change applies a function to a customer, or nothing of it. The caller holds the
// lock.
func (m *Medusa) change(c *MedusaCustomer, apply func(*MedusaCustomer)) error {
	changed := c.clone()
	apply(&changed)
	if err := m.store.taken(&changed); err != nil {
		return err
	}
	before, _ := json.Marshal(c) // as it was decoded
	if after, _ := json.Marshal(changed); string(before) != string(after) {
		changed.UpdatedAt = m.tick()
	}
	*c = changed
	return nil
}

// remove succeeds, and emits, for what is not there as well.
func (m *Medusa) remove(_ http.ResponseWriter, r *http.Request, _ string) (any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := r.PathValue("id")
	if c := m.store.live(id); c != nil {
		if c.HasAccount && !c.Identity {
			return nil, &MedusaError{http.StatusNotFound, "not_found", "Auth identity not found"}
		}
		m.bury(c)
	}
	m.emit("customer.deleted", id)
	return map[string]any{"id": id, "object": "customer", "deleted": true}, nil
}

func (m *Medusa) bury(c *MedusaCustomer) {
	at := m.tick()
	c.DeletedAt, c.UpdatedAt = &at, at
}

func (c *MedusaCustomer) clone() MedusaCustomer {
	copied := *c
	copied.Metadata = maps.Clone(c.Metadata)
	return copied
}
