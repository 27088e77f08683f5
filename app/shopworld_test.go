package app_test

import (
	"context"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// shopWorld is a running Lockstep between an emulated Clerk and emulated shops,
// which send it their webhooks.
type shopWorld struct {
	*world
	shops *emulator.Shopify
	acme  *emulator.Shop
}

const acme = "shopify:acme.myshopify.com"

func newShopWorld(t *testing.T, specs []emulator.ShopSpec, options ...app.Option) *shopWorld {
	t.Helper()
	return newShopWorldLogging(t, nil, specs, options...)
}

// newShopWorldLogging is newShopWorld with another place for the log.
func newShopWorldLogging(t *testing.T, log io.Writer, specs []emulator.ShopSpec, options ...app.Option) *shopWorld {
	t.Helper()
	if specs == nil {
		specs = []emulator.ShopSpec{{Domain: "acme", Plan: emulator.PlanPlus}}
	}
	shops, err := emulator.NewShopify(emulator.ShopifyOptions{Shops: specs, Schedule: manyTries(), MaxFailures: -1})
	must(t, err)
	t.Cleanup(shops.Close)
	server := httptest.NewServer(shops)
	t.Cleanup(server.Close)
	shops.SetBaseURL(server.URL)
	file := filepath.Join(t.TempDir(), "lockstep.yaml")
	must(t, os.WriteFile(file, []byte(shops.ConfigYAML()), 0o600))
	w := &shopWorld{shops: shops, acme: shops.Shops()[0]}
	w.world = newWorldWith(t, setup{log: log, env: map[string]string{"LOCKSTEP_CONFIG": file, "MEDUSA_MODE": "off"}, options: options})
	w.listenTo(shops.Shops()...)
	return w
}

// listenTo has shops send the webhooks of every topic.
func (w *shopWorld) listenTo(shops ...*emulator.Shop) {
	for _, s := range shops {
		s.SetWebhookURL(w.url + "/webhooks/shopify")
	}
}

// settle waits until everything that was sent is captured and put right, and
// until what that caused to be sent is.
func (w *shopWorld) settle() {
	w.t.Helper()
	for sent := -1; sent != w.sent(); {
		sent = w.sent()
		for _, s := range w.shops.Shops() {
			must(w.t, s.Webhooks.Wait(w.t.Context()))
		}
		w.eventually("everything is captured and in step", `select not exists (select from lockstep.shopify_changes)
			and not exists (select from lockstep.customer_links where applied < desired)
			and not exists (select from lockstep.river_job where kind = 'dispatch' and state <> 'completed')`)
	}
}

// sent is how many webhooks the shops made.
func (w *shopWorld) sent() (n int) {
	for _, s := range w.shops.Shops() {
		n += len(s.Webhooks.Messages())
	}
	return n
}

// linked makes a user and waits for the customer in acme.
func (w *shopWorld) linked(name string) (emulator.User, emulator.ShopCustomer) {
	w.t.Helper()
	u := w.create(name)
	w.eventually(name+" is linked", `select coalesce((select status = 'linked' and applied = desired from lockstep.customer_links
		where clerk_user_id = $1 and target = $2), false)`, u.ID, acme)
	w.settle()
	return u, w.customerOf(u.ID)
}

// customerOf is the user's customer in acme, by the link.
func (w *shopWorld) customerOf(user string) emulator.ShopCustomer {
	w.t.Helper()
	id := testdb.Query[string](w.t, w.pool, `select customer_id from lockstep.customer_links where clerk_user_id = $1 and target = $2`, user, acme)
	c, err := w.acme.Customer(id)
	must(w.t, err)
	return c
}

// put makes a customer in acme's admin.
func (w *shopWorld) put(spec emulator.CustomerSpec) emulator.ShopCustomer {
	w.t.Helper()
	c, err := w.acme.PutCustomer(spec)
	must(w.t, err)
	return c
}

func (w *shopWorld) edit(id string, e emulator.CustomerEdit) {
	w.t.Helper()
	_, err := w.acme.EditCustomer(id, e)
	must(w.t, err)
}

// captured reads one column of a captured customer as text; "null" for null.
func (w *shopWorld) captured(id, column string) string {
	w.t.Helper()
	return testdb.Query[string](w.t, w.pool, `select coalesce((select coalesce(`+column+`::text, 'null') from lockstep.shopify_customers
		where shopify_shop = 'acme.myshopify.com' and shopify_customer_id = $1), 'no row')`, id)
}

func (w *shopWorld) wantCaptured(id string, want map[string]string) {
	w.t.Helper()
	for column, value := range want {
		if got := w.captured(id, column); got != value {
			w.t.Errorf("%s of %s is captured as %q, want %q", column, id, got, value)
		}
	}
}

// requests counts what acme was asked, by root field.
func (w *shopWorld) requests(route string) int { return w.shops.Faults.Total("acme " + route) }

// markOf is the user whose mark a customer carries.
func markOf(c emulator.ShopCustomer) string {
	for _, m := range c.Metafields {
		if m.Key == "clerk_user_id" {
			return m.Value
		}
	}
	return ""
}

// sentTo waits until a message was answered with the status.
func (w *shopWorld) sentTo(s *emulator.Shop, message string, status int) {
	w.t.Helper()
	w.waitFor("the webhook is answered", func(context.Context) bool {
		m, ok := s.Webhooks.Message(message)
		return ok && m.LastStatus == status
	})
}

// ofTopic lists the ids of the messages of a topic that acme made.
func (w *shopWorld) ofTopic(topic string) (ids []string) {
	for _, m := range w.acme.Webhooks.Messages() {
		if strings.EqualFold(m.Type, topic) {
			ids = append(ids, m.ID)
		}
	}
	return ids
}
