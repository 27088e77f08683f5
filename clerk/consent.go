package clerk

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"

	"github.com/lockstephq/lockstep"
)

// Decoder reads users. The zero value is what DecodeUser and DecodeEvent do.
type Decoder struct {
	// Consent is the place of the user's consent to marketing by e-mail, which
	// CheckPlace accepts; empty reads none.
	Consent string
}

// place is a key of one of the two kinds of metadata that may hold a consent.
var place = regexp.MustCompile(`^(public|unsafe)_metadata\.[A-Za-z0-9_-]{1,64}$`)

// CheckPlace refuses what is no place of a consent: a key of the metadata that the
// application's server writes, or of that which the user does, in the browser.
// Clerk's third kind is for what users may not see.
func CheckPlace(text string) error {
	if !place.MatchString(text) {
		return errors.New("must be public_metadata.KEY or unsafe_metadata.KEY, with a KEY of letters, digits, _ and -")
	}
	return nil
}

// consent reads what the user says: true or false. Anything else says nothing,
// since nobody consents by accident.
func (d Decoder) consent(w wireUser) lockstep.Consent {
	kind, key, mapped := strings.Cut(d.Consent, ".")
	if !mapped {
		return lockstep.Consent{}
	}
	metadata := w.PublicMetadata
	if kind == "unsafe_metadata" {
		metadata = w.UnsafeMetadata
	}
	c := lockstep.Consent{Place: d.Consent}
	var values map[string]json.RawMessage
	if json.Unmarshal(metadata, &values) != nil {
		return c // it is no object
	}
	switch string(values[key]) {
	case "true":
		c.State = lockstep.Subscribed
	case "false":
		c.State = lockstep.Unsubscribed
	}
	return c
}
