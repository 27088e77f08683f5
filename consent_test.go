package lockstep_test

import (
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
)

func TestConsentDue(t *testing.T) {
	t.Parallel()
	older, newer := time.Unix(100, 0), time.Unix(200, 0)
	says := func(state string, at time.Time) lockstep.Consent { return lockstep.Consent{State: state, At: at} }
	const yes, no = lockstep.Subscribed, lockstep.Unsubscribed
	for name, tt := range map[string]struct {
		has, says   lockstep.Consent
		holds, mail string // e-mails, by default the same
		due         bool
	}{
		"a first yes":                    {has: says("NOT_SUBSCRIBED", time.Time{}), says: says(yes, older), due: true},
		"a first no":                     {has: says("NOT_SUBSCRIBED", time.Time{}), says: says(no, older), due: true},
		"a yes after a no":               {has: says(no, older), says: says(yes, newer), due: true},
		"a no after a yes":               {has: says(yes, older), says: says(no, newer), due: true},
		"a yes before the shop's no":     {has: says(no, newer), says: says(yes, older)},
		"a no before the shop's yes":     {has: says(yes, newer), says: says(no, older)},
		"a yes as old as a no":           {has: says(no, older), says: says(yes, older)},
		"a no as old as a yes":           {has: says(yes, older), says: says(no, older), due: true},
		"a yes, and a no of no time":     {has: says(no, time.Time{}), says: says(yes, older)},
		"the same, newer":                {has: says(yes, older), says: says(yes, newer)},
		"pending, before":                {has: says("PENDING", older), says: says(yes, newer), due: true},
		"pending, since":                 {has: says("PENDING", newer), says: says(yes, older)},
		"redacted":                       {has: says("REDACTED", older), says: says(yes, newer)},
		"invalid":                        {has: says("INVALID", older), says: says(no, newer)},
		"a state of a version to come":   {has: says("MAYBE", older), says: says(yes, newer)},
		"nothing is said":                {has: says(yes, older), says: says("", newer)},
		"a store that shows none":        {says: says(yes, newer)},
		"the store has it in other case": {has: says(no, older), says: says(yes, newer), holds: "Ada@Example.test", due: true},
		"the store has another e-mail":   {has: says(no, older), says: says(yes, newer), holds: "eve@example.test"},
		"the user proved none":           {has: says(no, older), says: says(yes, newer), mail: "none"},
		"neither has one, so to whom":    {has: says(no, older), says: says(yes, newer), holds: "none", mail: "none"},
	} {
		mail := func(s string) string {
			switch s {
			case "":
				return "ada@example.test"
			case "none":
				return ""
			}
			return s
		}
		now := lockstep.Customer{Email: mail(tt.holds), Consent: tt.has}
		want := lockstep.Customer{Email: mail(tt.mail), Consent: tt.says}
		expected := lockstep.Consent{}
		if tt.due {
			expected = tt.says
		}
		if got := lockstep.ConsentDue(now, want); got != expected {
			t.Errorf("%s: %+v is due, want %+v", name, got, expected)
		}
	}
}

// A consent goes with the e-mail that it is about, and only if that was proved.
func TestConsentOfAProfile(t *testing.T) {
	t.Parallel()
	says := lockstep.Consent{State: lockstep.Subscribed, At: time.Unix(100, 0), Place: "public_metadata.marketing"}
	p := lockstep.Profile{ID: "user_ada", Email: "ada@example.test", Consent: says}
	if c := p.Customer(); c.Consent != (lockstep.Consent{}) {
		t.Errorf("not verified: %+v", c)
	}
	p.EmailVerified = true
	if c := p.Customer(); c.Consent != says {
		t.Errorf("verified: %+v", c)
	}
}
