package app_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// mart is a running Lockstep with a shop that is new to it, and users from before.
type mart struct {
	*world
	shops *emulator.Shopify
	acme  *emulator.Shop
	app   *app.App
}

func newMart(t *testing.T) *mart {
	t.Helper()
	s, err := emulator.NewShopify(emulator.ShopifyOptions{Seed: 1, Shops: []emulator.ShopSpec{{Domain: "acme", Plan: emulator.PlanPlus}}})
	must(t, err)
	t.Cleanup(s.Close)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.SetBaseURL(server.URL)
	// Reconciling would find the same users without a customer, and share the work.
	env := map[string]string{"MEDUSA_MODE": "", "LOCKSTEP_RECONCILE_SHALLOW": "off", "LOCKSTEP_RECONCILE_DEEP": "off"}
	for _, setting := range s.Settings() {
		env[setting.Name] = setting.Value
	}
	m := &mart{world: newWorldWith(t, setup{env: env}), shops: s, acme: s.Shop("acme")}
	m.app = m.open(nil)
	t.Cleanup(m.app.Close)
	return m
}

// user is a profile from before the shop: its link is missing.
func (m *mart) user(id, email, first, phone string, verified bool) {
	m.t.Helper()
	_, err := m.pool.Exec(m.t.Context(), `insert into public.profiles (id, username, email, email_verified, first_name, phone, phone_verified, clerk_updated_at)
		values ($1, $1, nullif($2, ''), $5, nullif($3, ''), nullif($4, ''), true, now() - interval '1 day')`, id, email, first, phone, verified)
	must(m.t, err)
}

func (m *mart) guest(email, first string, change ...func(*emulator.CustomerSpec)) {
	m.t.Helper()
	spec := emulator.CustomerSpec{Email: email, FirstName: first, Orders: 1}
	for _, f := range change {
		f(&spec)
	}
	_, err := m.acme.PutCustomer(spec)
	must(m.t, err)
}

// populate makes every kind of user: n who are simply missing, and a few others.
func (m *mart) populate(n int) {
	m.t.Helper()
	for i := range n {
		m.user(fmt.Sprintf("user_new%04d", i), fmt.Sprintf("new%d@example.test", i), "New", "", true)
	}
	for i := range 30 {
		m.user(fmt.Sprintf("user_guest%02d", i), fmt.Sprintf("guest%d@example.test", i), "Guest", "", true)
		m.guest(fmt.Sprintf("guest%d@example.test", i), "Guest")
	}
	for i := range 3 {
		m.user(fmt.Sprint("user_renamed", i), fmt.Sprintf("renamed%d@example.test", i), "Right", "", true)
		m.guest(fmt.Sprintf("renamed%d@example.test", i), "Wrong")
		m.user(fmt.Sprint("user_unproven", i), fmt.Sprintf("unproven%d@example.test", i), "U", "", false)
		m.guest(fmt.Sprintf("unproven%d@example.test", i), "U")
		m.user(fmt.Sprint("user_account", i), fmt.Sprintf("account%d@example.test", i), "A", "", true)
		m.guest(fmt.Sprintf("account%d@example.test", i), "A", func(c *emulator.CustomerSpec) { c.State = emulator.CustomerEnabled })
	}
	m.user("user_phone1", "", "P", "+4520202020", true)
	m.user("user_phone2", "", "P", "+4520202020", true)
}

func (m *mart) push(progress func(app.Progress)) app.ShopPushed {
	m.t.Helper()
	done, err := m.app.PushShopify(m.t.Context(), "", progress)
	must(m.t, err)
	return done[0]
}

func (m *mart) until(what, sql string, args ...any) {
	m.t.Helper()
	for {
		if testdb.Query[bool](m.t, m.pool, sql, args...) {
			return
		}
		select {
		case <-m.t.Context().Done():
			m.t.Fatalf("waited in vain: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// settled waits until the workers have nothing left to do.
func (m *mart) settled() {
	m.t.Helper()
	m.until("all is done", `select not exists (select from lockstep.customer_links where applied < desired and status <> 'failed')
		and not exists (select from lockstep.river_job where state in ('available', 'running', 'retryable', 'scheduled') and kind in ('sync', 'dispatch'))`)
}

// status counts the links by their status.
func (m *mart) status() string {
	m.t.Helper()
	return testdb.Query[string](m.t, m.pool, `select string_agg(status || ' ' || n, ', ' order by status) from (select status, count(*) as n from lockstep.customer_links group by 1) s`)
}

// checkOnce fails unless every marked customer is one user's only one.
func (m *mart) checkOnce() {
	m.t.Helper()
	own := map[string][]string{}
	for _, c := range m.acme.Customers() {
		for _, f := range c.Metafields {
			own[f.Value] = append(own[f.Value], c.ID)
		}
	}
	for user, customers := range own {
		if len(customers) != 1 {
			m.t.Errorf("%s has %d customers", user, len(customers))
		}
	}
}

// A push makes one customer for each user, whatever is lost; a live change goes
// before it, and one that a line of the import undoes is done again.
func TestPush(t *testing.T) {
	t.Parallel()
	m := newMart(t)
	m.populate(300)
	must(t, m.shops.Faults.Set(
		emulator.Rule{Route: "acme mutation bulkOperationRun*", Script: []emulator.Fault{{Action: emulator.ActionDropAfter}, {Action: emulator.ActionDropAfter}}},
		emulator.Rule{Route: "acme mutation metafieldsSet", Script: []emulator.Fault{{Action: emulator.ActionDropAfter}}},
		emulator.Rule{Route: "acme * storage", Script: []emulator.Fault{{Action: emulator.ActionTruncate}, {Action: emulator.ActionDropBefore}, {Action: emulator.ActionTruncate}}},
	))
	linked := `select exists (select from lockstep.customer_links l join public.profiles p on p.id = l.clerk_user_id
		where p.id = $1 and p.first_name = $2 and l.status = 'linked' and l.applied = l.desired)`
	began := false
	done := m.push(func(p app.Progress) {
		switch {
		case strings.HasSuffix(p.What, "linking") && !began: // after the guests, before the import
			must(t, m.acme.SetBulk(emulator.BulkLife{Held: true}))
		case strings.HasSuffix(p.What, "imports") && !began:
			began = true
			user, err := m.clerk.CreateUser(emulator.UserSpec{FirstName: "Live", Email: "live@example.test", Verified: true})
			must(t, err)
			m.until("who signs up during the import is linked", linked, user.ID, "Live")
			_, err = m.pool.Exec(t.Context(), `update public.profiles set first_name = 'Changed' where id = 'user_new0007'`)
			must(t, err)
			must(t, m.app.Sync(t.Context(), "user_new0007"))
			m.until("who changes during the import is linked", linked, "user_new0007", "Changed")
			if ops := m.acme.BulkOperations(); ops[len(ops)-1].Objects != 0 {
				t.Error("the import went on before the live changes")
			}
			must(t, m.acme.SetBulk(emulator.BulkLife{}))
		}
	})
	// Left: 3 renamed, 3 unproven, 3 accounts, the second phone, and who changed.
	if done.Users != 341 || done.Created != 300 || done.Adopted != 30 || done.Left != 11 {
		t.Errorf("%+v", done)
	}
	m.settled()
	if got := m.status(); got != "conflict 3, linked 336, waiting 3" {
		t.Errorf("links: %s", got)
	}
	if c, err := m.acme.CustomerByEmail("new7@example.test"); err != nil || c.FirstName != "Changed" {
		t.Errorf("the import's stale line stands: %+v, %v", c.FirstName, err)
	}
	if n := m.acme.CustomerCount(); n != 39+303 {
		t.Errorf("%d customers", n)
	}
	m.checkOnce()
	requests, operations := m.shops.Faults.Total(""), len(m.acme.BulkOperations())
	if done := m.push(silent); done.Users != 0 || m.shops.Faults.Total("") != requests || operations != 2 {
		t.Errorf("again: %+v, %d requests more; %d operations", done, m.shops.Faults.Total("")-requests, operations)
	}
}

// A push that is stopped while Shopify imports takes the result in when it is
// called again, and imports nobody twice.
func TestPushGoesOn(t *testing.T) {
	t.Parallel()
	m := newMart(t)
	m.populate(300)
	ctx, stop := context.WithCancel(t.Context())
	_, err := m.app.PushShopify(ctx, "acme.myshopify.com", func(p app.Progress) {
		if strings.HasSuffix(p.What, "imports") {
			stop()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped: %v", err)
	}
	if done := m.push(silent); done.Created != 301 {
		t.Errorf("%+v", done)
	}
	m.settled()
	if got := m.status(); got != "conflict 3, linked 335, waiting 3" {
		t.Errorf("links: %s", got)
	}
	imports := slices.DeleteFunc(m.acme.BulkOperations(), func(o emulator.BulkOperation) bool { return o.Kind != "MUTATION" })
	if len(imports) != 2 || imports[0].Objects != 302 || imports[1].Objects != 1 {
		t.Errorf("%+v", imports)
	}
	m.checkOnce()
}

// What bulk work cannot do, the workers do one by one: where it is refused, or
// where the import ends early.
func TestPushWithoutBulk(t *testing.T) {
	t.Parallel()
	for name, life := range map[string]emulator.BulkLife{
		"refused":    {Refused: true},
		"no export":  {Faults: []emulator.BulkFault{{Status: "FAILED"}, {Status: "EXPIRED"}, {Status: "CANCELED"}}},
		"ends early": {Faults: []emulator.BulkFault{{Status: "FAILED", After: 1_000_000}, {Status: "FAILED", ErrorCode: "TIMEOUT", After: 20}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMart(t)
			m.populate(40)
			must(t, m.acme.SetBulk(life))
			if done := m.push(silent); done.Users != 81 || done.Created+done.Adopted+done.Left != 81 || done.Left < 20 {
				t.Errorf("%+v", done)
			}
			m.settled()
			if got := m.status(); got != "conflict 3, linked 75, waiting 3" {
				t.Errorf("links: %s", got)
			}
			m.checkOnce()
		})
	}
}
