package emulator

import (
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// States of a customer's account.
const (
	CustomerDisabled = "DISABLED" // without an account: a guest, or made by the API
	CustomerEnabled  = "ENABLED"
	CustomerInvited  = "INVITED"
	CustomerDeclined = "DECLINED"
)

// ShopCustomer is a customer as the merchant sees it. Empty texts are null.
type ShopCustomer struct {
	ID            string          `json:"id"` // "gid://shopify/Customer/…"
	Email         string          `json:"email"`
	Phone         string          `json:"phone"` // E.164
	FirstName     string          `json:"first_name"`
	LastName      string          `json:"last_name"`
	Note          *string         `json:"note"`
	Tags          []string        `json:"tags"` // sorted, no two alike but for case
	Addresses     []ShopAddress   `json:"addresses"`
	State         string          `json:"state"`
	VerifiedEmail bool            `json:"verified_email"`
	Locale        string          `json:"locale"`
	TaxExempt     bool            `json:"tax_exempt"`
	Multipass     string          `json:"multipass_identifier"`
	Orders        int             `json:"orders"` // ever; with any the customer cannot be deleted
	EmailConsent  ShopConsent     `json:"email_consent"`
	SMSConsent    ShopConsent     `json:"sms_consent"`
	Metafields    []ShopMetafield `json:"metafields"`
	MergeBlockers []string        `json:"merge_blockers"` // of CustomerMergeErrorFieldType, such as GIFT_CARDS
	Subject       string          `json:"subject"`        // at the identity provider the shop logs in with
	Erasing       bool            `json:"erasing"`        // its erasure was asked for
	CreatedAt     time.Time       `json:"created_at"`
	UpdatedAt     time.Time       `json:"updated_at"`

	number int64
}

// ShopAddress is a postal address. The first of a customer is the default one.
type ShopAddress struct {
	Number      int64  `json:"id"`
	FirstName   string `json:"first_name"`
	LastName    string `json:"last_name"`
	Company     string `json:"company"`
	Address1    string `json:"address1"`
	Address2    string `json:"address2"`
	City        string `json:"city"`
	Province    string `json:"province_code"`
	CountryCode string `json:"country_code"` // such as "CA"
	Zip         string `json:"zip"`
	Phone       string `json:"phone"`
}

// ShopConsent is a customer's consent to be written to.
type ShopConsent struct {
	State      string     `json:"state"`        // "" means NOT_SUBSCRIBED
	OptInLevel string     `json:"opt_in_level"` // "" means SINGLE_OPT_IN, as on a new customer
	UpdatedAt  *time.Time `json:"updated_at"`
}

// ShopMetafield is one metafield of a customer.
type ShopMetafield struct {
	Number    int64     `json:"id"`
	Namespace string    `json:"namespace"`
	Key       string    `json:"key"`
	Type      string    `json:"type"`
	Value     string    `json:"value"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// ShopError is the refusal of something the merchant does.
type ShopError struct {
	Status  int // for the control routes
	Message string
}

func (e *ShopError) Error() string { return e.Message }

func noCustomer(id string) error {
	return &ShopError{http.StatusNotFound, fmt.Sprintf("no customer %s", id)}
}

// clone copies a customer, so that a stored one never changes.
func (c *ShopCustomer) clone() *ShopCustomer {
	copied := *c
	copied.Tags = slices.Clone(c.Tags)
	copied.Addresses = slices.Clone(c.Addresses)
	copied.Metafields = slices.Clone(c.Metafields)
	copied.MergeBlockers = slices.Clone(c.MergeBlockers)
	return &copied
}

// same reports whether two versions differ in nothing but their time.
func (c *ShopCustomer) same(other *ShopCustomer) bool {
	a, b := *c, *other
	a.UpdatedAt, b.UpdatedAt = time.Time{}, time.Time{}
	return reflect.DeepEqual(a, b)
}

func (c *ShopCustomer) metafield(namespace, key string) *ShopMetafield {
	for i := range c.Metafields {
		if m := &c.Metafields[i]; m.Namespace == namespace && m.Key == key {
			return m
		}
	}
	return nil
}

// displayName is the name, else the e-mail, else the phone.
func (c *ShopCustomer) displayName() string {
	if name := strings.TrimSpace(c.FirstName + " " + c.LastName); name != "" {
		return name
	}
	if c.Email != "" {
		return c.Email
	}
	return c.Phone
}

func customerGID(number int64) string { return fmt.Sprintf("gid://shopify/Customer/%d", number) }

// gidNumber reads the number of an id of the given type; zero when it is none.
func gidNumber(kind, id string) int64 {
	text, ok := strings.CutPrefix(id, "gid://shopify/"+kind+"/")
	if !ok {
		return 0
	}
	text, _, _ = strings.Cut(text, "?")
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return number
}

// shopStore holds the customers of a shop by everything that is unique.
type shopStore struct {
	next     int64
	numbers  []int64 // ever given, in order
	byNumber map[int64]*ShopCustomer
	byEmail  map[string]int64
	byPhone  map[string]int64

	byMetafield map[string]int64
}

func newShopStore(first int64) *shopStore {
	return &shopStore{
		next: first, byNumber: map[int64]*ShopCustomer{}, byEmail: map[string]int64{},
		byPhone: map[string]int64{}, byMetafield: map[string]int64{},
	}
}

// find returns a customer by id, or nil.
func (s *shopStore) find(id string) *ShopCustomer { return s.byNumber[gidNumber("Customer", id)] }

func (s *shopStore) findEmail(email string) *ShopCustomer {
	return s.byNumber[s.byEmail[emailKey(email)]]
}

func (s *shopStore) findPhone(phone string) *ShopCustomer { return s.byNumber[s.byPhone[phone]] }

// findMetafield returns a customer whose metafield has a value; of a unique one
// there is one at most.
func (s *shopStore) findMetafield(namespace, key, value string) *ShopCustomer {
	return s.byNumber[s.byMetafield[metafieldKey(namespace, key, value)]]
}

// put stores a customer under a number of its own or in place of its last version.
func (s *shopStore) put(c *ShopCustomer) {
	if c.number == 0 {
		c.number = s.next
		c.ID = customerGID(c.number)
		s.next += numberStep
		s.numbers = append(s.numbers, c.number)
	}
	if old := s.byNumber[c.number]; old != nil {
		s.unlink(old)
	}
	s.byNumber[c.number] = c
	if c.Email != "" {
		s.byEmail[emailKey(c.Email)] = c.number
	}
	if c.Phone != "" {
		s.byPhone[c.Phone] = c.number
	}
	for _, m := range c.Metafields {
		s.byMetafield[metafieldKey(m.Namespace, m.Key, m.Value)] = c.number
	}
}

func (s *shopStore) remove(c *ShopCustomer) {
	s.unlink(c)
	delete(s.byNumber, c.number)
}

func (s *shopStore) unlink(c *ShopCustomer) {
	deleteOwn(s.byEmail, emailKey(c.Email), c.number)
	deleteOwn(s.byPhone, c.Phone, c.number)
	for _, m := range c.Metafields {
		deleteOwn(s.byMetafield, metafieldKey(m.Namespace, m.Key, m.Value), c.number)
	}
}

// deleteOwn removes an entry unless it is another's by now.
func deleteOwn(m map[string]int64, key string, number int64) {
	if m[key] == number {
		delete(m, key)
	}
}

// all returns the customers in the order of their ids.
func (s *shopStore) all() []*ShopCustomer {
	list := make([]*ShopCustomer, 0, len(s.byNumber))
	for _, number := range slices.Sorted(maps.Keys(s.byNumber)) {
		list = append(list, s.byNumber[number])
	}
	return list
}

func emailKey(email string) string { return strings.ToLower(stripSpace(email)) }

func metafieldKey(namespace, key, value string) string {
	return namespace + "\x00" + key + "\x00" + value
}
