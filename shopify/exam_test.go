package shopify_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/shopify"
	"github.com/lockstephq/lockstep/targettest"
)

// TestTarget runs the exam against an emulated shop, with everything by default
// and with every option set.
func TestTarget(t *testing.T) {
	t.Parallel()
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		targettest.Run(t, func(t *testing.T) targettest.Subject {
			w := openWorld(t)
			return w.subject(t, "", emulator.Fault{Action: emulator.ActionRefuse, Code: "THROTTLED"},
				emulator.Fault{Action: emulator.ActionRefuse, Code: "ACCESS_DENIED"})
		})
	})
	t.Run("every option", func(t *testing.T) {
		t.Parallel()
		targettest.Run(t, func(t *testing.T) targettest.Subject {
			w := openWorld(t)
			return w.subject(t, "custom", emulator.Fault{Action: emulator.ActionRefuse, Status: 429, RetryAfter: 2 * time.Second},
				emulator.Fault{Action: emulator.ActionRefuse, Status: 402}, func(o *shopify.Options) {
					o.Namespace, o.Tags, o.Tokens = "custom", []string{owned}, w.credentials(t)
				})
		})
	})
}

func (w world) credentials(t *testing.T) shopify.TokenSource {
	t.Helper()
	tokens, err := shopify.NewClientCredentials(domain, w.APIURL(), w.acme.ClientID(), w.acme.Secrets()[0])
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// subject is the shop as the exam takes it.
func (w world) subject(t *testing.T, namespace string, limit, refusal emulator.Fault, change ...func(*shopify.Options)) targettest.Subject {
	t.Helper()
	if strings.Contains(t.Name(), "without_e-mail") {
		t.Skip("Shopify holds no customer without a name, a phone or an e-mail: see TestNothingToShow")
	}
	other := w.target(t, w.acme, change...) // another program of the same app
	return targettest.Subject{
		Target:  w.target(t, w.acme, change...),
		Shop:    merchant{w.acme, namespace, func() error { return defineBy(t, other) }},
		Foreign: map[string]string{"note": "likes owls", "tags": "vip wholesale", "city": "Ribe"},
		Settle:  w.acme.IndexNow,
		Order: func(_ context.Context, id string) error {
			_, err := w.acme.EditCustomer(id, emulator.CustomerEdit{Orders: new(1)})
			return err
		},
		Break: func(f targettest.Fault) {
			// Every mutation of customers has an s in its name, that of the
			// definition, which may come before, has none.
			const writes = "acme mutation *s*"
			switch f {
			case targettest.FaultLostAfter:
				w.script(t, writes, emulator.Fault{Action: emulator.ActionDropAfter})
			case targettest.FaultLostBefore:
				w.script(t, writes, emulator.Fault{Action: emulator.ActionDropBefore})
			case targettest.FaultLimit:
				w.script(t, "acme *", limit)
			case targettest.FaultRefusal:
				w.script(t, "acme *", refusal)
			}
		},
	}
}

func (w world) script(t *testing.T, route string, fault emulator.Fault) {
	t.Helper()
	if err := w.Faults.Script(route, fault); err != nil {
		t.Fatal(err)
	}
}

// defineBy has a target make the definition, for a customer that is not there.
func defineBy(t *testing.T, target *shopify.Target) error {
	_, err := target.Create(t.Context(), lockstep.Customer{UserID: "user_nobody"})
	if lockstep.KindOf(err) == lockstep.ErrInvalid {
		return nil
	}
	return err
}

// TestNothingToShow is what the exam's two checks without an e-mail come to in a
// store that wants one of name, phone and e-mail.
func TestNothingToShow(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	target := w.target(t, w.acme)
	_, err := target.Create(t.Context(), lockstep.Customer{UserID: "user_ada"})
	if lockstep.KindOf(err) != lockstep.ErrInvalid || !strings.Contains(err.Error(), "the user must give one") {
		t.Errorf("got %v", err)
	}
	for _, want := range []lockstep.Customer{{FirstName: "Ada"}, {LastName: "Byron"}, {Phone: "+4520123456"}} {
		want.UserID = "user_" + want.FirstName + want.LastName
		c, err := target.Create(t.Context(), want)
		want.ID = c.ID
		if err != nil || c != want {
			t.Errorf("got %+v, %v, want %+v", c, err, want)
		}
	}
	if n := w.acme.CustomerCount(); n != 3 {
		t.Errorf("%d customers, want 3", n)
	}
}
