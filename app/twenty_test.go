package app_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/internal/watch"
)

const twentyShops = 20

// mall is twenty shops, three of which are in trouble: one gives two points a
// second, one refuses the credentials, and one lost its webhook subscriptions.
type mall struct {
	*shopWorld
	command                  *app.App
	users                    int
	slow, refusing, vanished *emulator.Shop
}

// newMall connects the shops, and then brings the trouble.
func newMall(t *testing.T, users int) *mall {
	t.Helper()
	var specs []emulator.ShopSpec
	for i := range twentyShops {
		specs = append(specs, emulator.ShopSpec{Domain: fmt.Sprintf("shop-%02d", i), Plan: emulator.PlanPlus})
	}
	// Seldom enough that looking leaves the slow shop points to work with.
	w := newShopWorldLogging(t, &buffer{}, specs, app.WithInspectEvery(15*time.Second))
	w.quiet()
	m := &mall{shopWorld: w, command: w.command(), users: users,
		refusing: w.shops.Shop("shop-03"), vanished: w.shops.Shop("shop-07"), slow: w.shops.Shop("shop-11")}
	m.patience = 20 * time.Minute // the full size takes several
	_, err := m.command.ConnectShops(t.Context(), "", w.url)
	must(t, err)
	m.slow.SetRestoreRate(2)
	m.slow.ResetUsage()
	m.refusing.Revoke()
	m.fail(emulator.Rule{Route: m.vanished.Name() + " mutation webhookSubscriptionCreate", Rate: 1, Fault: emulator.Fault{Action: emulator.ActionRefuse}})
	m.vanished.DropSubscriptions()
	return m
}

// fail makes one request in ten fail, in every way there is, and more as is
// given. The slow shop has no fault but that: what costs its jobs an attempt
// could be nothing else.
func (m *mall) fail(more ...emulator.Rule) {
	m.t.Helper()
	faults := []emulator.Fault{
		{Action: emulator.ActionRefuse, Status: http.StatusServiceUnavailable},
		{Action: emulator.ActionRefuse, Status: http.StatusTooManyRequests, RetryAfter: time.Second},
		{Action: emulator.ActionRefuse, Code: "THROTTLED"},
		{Action: emulator.ActionPass, Delay: 300 * time.Millisecond},
		{Action: emulator.ActionDropBefore}, {Action: emulator.ActionDropAfter}, {Action: emulator.ActionTruncate},
	}
	rules := append(more, emulator.Rule{Route: m.slow.Name() + " *", Rate: 1, Fault: emulator.Fault{Action: emulator.ActionPass}})
	each := 0.1 / float64(len(faults))
	for i, f := range faults { // each rule sees what the ones before it let through
		rules = append(rules, emulator.Rule{Rate: each / (1 - float64(i)*each), Fault: f})
	}
	must(m.t, m.shops.Faults.Set(rules...))
}

// populate makes the users, and changes one in ten at once.
func (m *mall) populate() {
	m.t.Helper()
	for i := range m.users {
		u := m.create(fmt.Sprintf("user.%d", i))
		if i%10 == 0 {
			_, err := m.clerk.UpdateUser(u.ID, emulator.UserChange{LastName: new("Byron")})
			must(m.t, err)
		}
	}
}

func targetOf(s *emulator.Shop) string { return "shopify:" + s.Domain() }

// healthy are the shops but for those named.
func (m *mall) healthy(but ...*emulator.Shop) []*emulator.Shop {
	return slices.DeleteFunc(m.shops.Shops(), func(s *emulator.Shop) bool { return slices.Contains(but, s) })
}

// parity waits until every user is linked in each of the shops, and compares what
// they hold with what Clerk does.
func (m *mall) parity(shops []*emulator.Shop) {
	m.t.Helper()
	targets := make([]string, len(shops))
	for i, s := range shops {
		targets[i] = targetOf(s)
	}
	m.waitFor(fmt.Sprintf("parity in %d shops", len(shops)), m.saysYes(`select count(*) = $1 from lockstep.customer_links
		where status = 'linked' and applied = desired and target = any($2)`, len(shops)*m.users, targets))
	users := m.clerk.Users()
	for _, s := range shops {
		m.checkShop(s, users)
	}
}

func (m *mall) checkShop(s *emulator.Shop, users []emulator.User) {
	m.t.Helper()
	byUser := map[string][]emulator.ShopCustomer{}
	for _, c := range s.Customers() {
		byUser[markOf(c)] = append(byUser[markOf(c)], c)
	}
	wrong := 0
	for _, u := range users {
		own := byUser[u.ID]
		if len(own) != 1 || own[0].Email != strings.ToLower(u.PrimaryEmail()) || own[0].FirstName != *u.FirstName || own[0].LastName != *u.LastName {
			wrong++
		}
	}
	if n := s.CustomerCount(); wrong > 0 || n != m.users || len(users) != m.users {
		m.t.Errorf("%s: %d customers for %d users, of whom %d have none, two, or one with wrong fields", s.Name(), n, m.users, wrong)
	}
}

// checkSlow: the slow shop had no more than its bucket allows, made something of
// it, and no job of its own paid for that.
func (m *mall) checkSlow() {
	m.t.Helper()
	const capacity = 40 // of a bucket that two points a second fill
	m.waitFor("the slow shop gets on", func(context.Context) bool { return m.slow.CustomerCount() > 0 })
	made, usage := m.slow.CustomerCount(), m.slow.Usage()
	m.t.Logf("%s made %d customers of %d: %+v", m.slow.Name(), made, m.users, usage)
	if usage.Used > capacity+usage.Restored || made >= m.users {
		m.t.Errorf("that is more than its limit allows")
	}
	var jobs, spent, snoozes int
	var errs string // of other kinds: a machine that is too busy has some
	must(m.t, m.pool.QueryRow(m.t.Context(), `
		select count(distinct id), count(*) filter (where e ~ 'limited|points|THROTTLED|429'), count(distinct id) filter (where metadata ? 'snoozes'),
		       coalesce(string_agg(distinct e, '; '), 'none')
		  from lockstep.river_job left join lateral (select x ->> 'error' as e from unnest(errors) x) f on true
		 where kind = 'sync' and args ->> 'target' = $1`, targetOf(m.slow)).Scan(&jobs, &spent, &snoozes, &errs))
	m.t.Logf("%d of its %d jobs were put off; errors: %s", snoozes, jobs, errs)
	if spent > 0 || jobs == 0 || snoozes == 0 {
		m.t.Errorf("its limit cost %d attempts", spent)
	}
}

// named waits until status and doctor name the two that need a person, and only
// them, with what to type.
func (m *mall) named() {
	m.t.Helper()
	advice := "lockstep shopify connect --shop " + m.vanished.Domain()
	m.waitFor("status names both, and only them", func(ctx context.Context) bool {
		status, err := m.command.Status(m.t.Context())
		must(m.t, err)
		said := map[string]string{}
		for _, s := range status {
			if s.PausedAt != nil || len(s.Problems) > 0 {
				said[s.Target] = s.PausedReason + strings.Join(s.Problems, "; ")
			}
		}
		return m.both(said, "status", advice)
	})
	m.waitFor("doctor names both, and only them", func(ctx context.Context) bool {
		settings, said := m.settings(nil), map[string]string{}
		for _, f := range app.Examine(ctx, func(name string) string { return settings[name] }, watch.Logger(m.t)) {
			if strings.HasPrefix(f.Area, "shopify:") && (f.State == lockstep.FindingFailed || f.State == lockstep.FindingWarning) {
				said[f.Area] += f.Detail + " -> " + f.Fix + "; "
			}
		}
		return m.both(said, "doctor", advice)
	})
}

func (m *mall) both(said map[string]string, who, advice string) bool {
	refusing, vanished := said[targetOf(m.refusing)], said[targetOf(m.vanished)]
	named := len(said) == 2 && strings.Contains(refusing, "401") && strings.Contains(refusing, "set its new token") && strings.Contains(vanished, advice)
	if named {
		m.t.Logf("%s says of %s: %s", who, m.refusing.Name(), refusing)
		m.t.Logf("%s says of %s: %s", who, m.vanished.Name(), vanished)
	}
	return named
}

// captured waits until the customers of all users in the shops are captured,
// which webhooks tell of.
func (m *mall) captured(shops []*emulator.Shop) {
	m.t.Helper()
	domains := make([]string, len(shops))
	for i, s := range shops {
		domains[i] = s.Domain()
	}
	m.eventually("the customers are captured", `select count(*) = $1 from lockstep.shopify_customers
		where clerk_user_id is not null and shopify_shop = any($2)`, len(shops)*m.users, domains)
}

// Twenty shops, one request in ten fails, and three shops are in trouble: the
// others are in parity meanwhile, the three are named, and they recover without a
// restart. `make soak` does it with 2,000 users.
func TestTwentyShops(t *testing.T) {
	t.Parallel()
	m := newMall(t, soakUsers(t, "LOCKSTEP_SOAK_SHOP_USERS", 15))
	began := time.Now()
	say := func(what string) { t.Logf("%8v %s", time.Since(began).Round(time.Second), what) }
	m.populate()
	say("the users are made")
	m.parity(m.healthy(m.slow, m.refusing))
	say("the healthy shops are in parity, and the one without webhooks")
	m.checkSlow()
	m.captured(m.healthy(m.slow, m.refusing, m.vanished))
	m.named()
	say("the two are named")
	if n := m.refusing.CustomerCount(); n != 0 {
		t.Errorf("the shop that refuses has %d customers", n)
	}
	m.refusing.Restore()
	m.slow.SetRestoreRate(emulator.PlanPlus.RestoreRate())
	m.fail() // so that subscriptions can be made again
	m.parity(m.shops.Shops())
	say("all shops are in parity")
	m.eventually("nothing is wrong any more", `select not exists (select from lockstep.targets where paused_at is not null or problems <> '{}')`)
	c, err := m.vanished.PutCustomer(emulator.CustomerSpec{Email: "guest@example.test"})
	must(t, err)
	m.eventually("its changes are captured again", `select exists (select from lockstep.shopify_customers where shopify_customer_id = $1)`, c.ID)
	say("nothing is wrong any more")
	if n := testdb.Query[int](t, m.pool, `select count(*) from lockstep.customer_links where status <> 'linked'`); n != 0 {
		t.Errorf("%d links are not linked", n)
	}
	t.Logf("requests to the shops by outcome: %v", m.outcomes())
}

// outcomes counts what became of the requests, and fails if a fault never came.
func (m *mall) outcomes() map[string]int {
	m.t.Helper()
	n := map[string]int{}
	for _, c := range m.shops.Faults.Counts() {
		n[c.Outcome] += c.N
	}
	for _, fault := range []string{"refuse 503", "refuse 429", "drop_before", "drop_after 200", "truncate 200"} {
		if n[fault] == 0 {
			m.t.Errorf("no request had the outcome %s", fault)
		}
	}
	return n
}
