package clerk

import (
	"strings"
	"testing"

	"github.com/lockstephq/lockstep"
)

// Only true and false are a word, at the mapped place alone, in webhooks and
// answers alike.
func TestConsentIsRead(t *testing.T) {
	t.Parallel()
	const public, unsafe = "public_metadata.marketing", "unsafe_metadata.marketing"
	for name, tt := range map[string]struct{ place, metadata, state string }{
		"yes":                  {public, `"public_metadata":{"marketing":true}`, lockstep.Subscribed},
		"no":                   {public, `"public_metadata":{"marketing": false }`, lockstep.Unsubscribed},
		"by the user":          {unsafe, `"unsafe_metadata":{"marketing":true}`, lockstep.Subscribed},
		"another place":        {public, `"unsafe_metadata":{"marketing":true},"private_metadata":{"marketing":true}`, ""},
		"another key":          {public, `"public_metadata":{"Marketing":true,"marketing2":true}`, ""},
		"absent":               {public, `"public_metadata":{}`, ""},
		"no metadata":          {public, `"first_name":"Ada"`, ""},
		"null":                 {public, `"public_metadata":{"marketing":null}`, ""},
		"a text":               {public, `"public_metadata":{"marketing":"true"}`, ""},
		"a number":             {public, `"public_metadata":{"marketing":1}`, ""},
		"an object":            {public, `"public_metadata":{"marketing":{"email":true}}`, ""},
		"metadata of no shape": {public, `"public_metadata":[true]`, ""},
		"metadata null":        {public, `"public_metadata":null`, ""},
		"deeper":               {public, `"public_metadata":{"x":{"marketing":true}}`, ""},
	} {
		user := `{"id":"user_ada","updated_at":5,"created_at":5,` + tt.metadata + `}`
		want := lockstep.Consent{Place: tt.place, State: tt.state}
		d := Decoder{Consent: tt.place}
		if got, err := d.User([]byte(user)); err != nil || got.Consent != want {
			t.Errorf("%s: %+v, %v", name, got.Consent, err)
		}
		event := `{"type":"user.updated","instance_id":"ins_1","data":` + user + `}`
		if got, err := d.Event([]byte(event)); err != nil || got.User.Consent != want {
			t.Errorf("%s, in a webhook: %+v, %v", name, got.User.Consent, err)
		}
		if got, err := DecodeEvent([]byte(event)); err != nil || got.User.Consent != (lockstep.Consent{}) {
			t.Errorf("%s, not mapped: %+v, %v", name, got.User.Consent, err)
		}
	}
	if got, err := (Decoder{Consent: public}).User([]byte(`{"id":"user_ada","deleted":true}`)); err != nil || got.Consent != (lockstep.Consent{}) {
		t.Errorf("deleted: %+v, %v", got, err)
	}
}

func TestCheckPlace(t *testing.T) {
	t.Parallel()
	for place, good := range map[string]bool{
		"public_metadata.marketing": true, "unsafe_metadata.e-mail_2": true, "public_metadata." + strings.Repeat("k", 64): true,
		"": false, "public_metadata": false, "public_metadata.": false, "private_metadata.marketing": false, "marketing": false,
		"public_metadata.a.b": false, "public_metadata.a b": false, " public_metadata.a": false, "public_metadata.a\n": false,
		"public_metadata." + strings.Repeat("k", 65): false,
	} {
		if err := CheckPlace(place); (err == nil) != good {
			t.Errorf("%q: %v", place, err)
		}
	}
}
