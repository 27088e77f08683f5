package shopify

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"

	"github.com/lockstephq/lockstep"
)

// nameLimit is how many characters Shopify takes in a first or last name.
const nameLimit = 255

// Fit implements lockstep.Target. A number that is not valid, or has an
// extension, is dropped: Shopify refuses it, and with it the whole customer. So
// is every number once Shopify has shown one masked: no two could be compared.
func (t *Target) Fit(want lockstep.Customer) lockstep.Customer {
	want.Email = lockstep.NormalEmail(want.Email)
	want.FirstName, want.LastName = fitName(want.FirstName), fitName(want.LastName)
	want.Consent = t.fitConsent(want.Consent)
	if t.phonesMasked.Load() {
		want.Phone = ""
	}
	if phone := fitPhone(want.Phone); phone != want.Phone {
		if phone == "" {
			t.log.Debug("phone left out: Shopify takes no such number", "target", t.name, "user", want.UserID)
		}
		want.Phone = phone
	}
	return want
}

func fitName(s string) string {
	s = strings.TrimSpace(s)
	if utf8.RuneCountInString(s) > nameLimit {
		s = strings.TrimSpace(string([]rune(s)[:nameLimit]))
	}
	return s
}

// fitPhone gives E.164, the form in which Shopify stores numbers, or nothing.
// Without "+" and a country code nobody knows whose number it is.
func fitPhone(s string) string {
	if strings.TrimSpace(s) == "" {
		return ""
	}
	number, err := phonenumbers.Parse(s, "")
	if err != nil || number.GetExtension() != "" || !phonenumbers.IsValidNumber(number) {
		return ""
	}
	return phonenumbers.Format(number, phonenumbers.E164)
}

// storable refuses what no text of Shopify's can hold.
func (op operation) storable(texts ...string) error {
	for _, s := range texts {
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return op.fail(lockstep.ErrInvalid, errors.New("a field holds a NUL byte or is not UTF-8"))
		}
	}
	return nil
}
