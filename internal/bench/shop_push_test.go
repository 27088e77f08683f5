package bench_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/shopify"
)

// BenchmarkShopPush brings 20,000 users, or LOCKSTEP_BENCH_SHOP_PUSH, into a shop of the
// Standard plan, in the shop's time.
func BenchmarkShopPush(b *testing.B) { shopPush(b, sizeFrom("LOCKSTEP_BENCH_SHOP_PUSH", 20_000)) }

// TestShopPush is the same with few, so that `make test` knows that it holds.
func TestShopPush(t *testing.T) {
	if testing.Short() {
		t.Skip("makes some thousand customers")
	}
	t.Parallel()
	shopPush(t, 1000)
}

// importPace is how many lines of an import the emulator does in a second of the
// shop's time. Shopify publishes no number; the table tells from which pace on an
// import pays.
const importPace = 50

// shopClock is the shop's time, which passes only when somebody waits.
type shopClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *shopClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *shopClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// patientBucket keeps Shopify's account by the shop's clock: who lacks points waits
// until they are there, and no time is lost by it.
type patientBucket struct {
	*shopClock
	mu     sync.Mutex
	tokens float64
	at     time.Time
}

func (b *patientBucket) Take(_ context.Context, _ string, cost float64, _ bool) (time.Duration, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.Now()
	b.tokens = min(shopify.StandardCapacity, b.tokens+shopify.StandardRate*now.Sub(b.at).Seconds())
	if b.at = now; b.tokens < cost {
		wait := time.Duration((cost-b.tokens)/shopify.StandardRate*float64(time.Second)).Round(time.Microsecond) + time.Microsecond
		b.pass(wait)
		b.tokens, b.at = cost, b.Now()
	}
	b.tokens -= cost
	return 0, nil
}

func (b *patientBucket) Learn(_ context.Context, _ string, refund, available, _, _ float64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tokens += refund; available > 0 {
		b.tokens = min(b.tokens, available)
	}
	return nil
}

func shopPush(t testing.TB, n int) {
	single, singleUsage := oneByOne(t, n)
	bulk, bulkUsage := inBulk(t, n)
	table(fmt.Sprintf("A push of %d users into a shop of the Standard plan, in the shop's time (an import does %d lines/s there)", n, importPace),
		"|users|shop's time|points|requests|THROTTLED",
		fmt.Sprintf("one by one|%d|%v|%.0f|%d|%d", n, single.Round(time.Second), singleUsage.Used, singleUsage.Requests, singleUsage.Throttled),
		fmt.Sprintf("in bulk|%d|%v|%.0f|%d|%d", n, bulk.Round(time.Second), bulkUsage.Used, bulkUsage.Requests, bulkUsage.Throttled))
	fmt.Printf("  one by one are %.1f users/s: an import pays from that many lines/s on\n", float64(n)/single.Seconds())
	if bulkUsage.Used*10 > singleUsage.Used {
		t.Errorf("in bulk took %v points, one by one %v", bulkUsage.Used, singleUsage.Used)
	}
}

// people are profiles of users whom the shop does not know.
func people(n int) []lockstep.Profile {
	all := make([]lockstep.Profile, n)
	for i := range all {
		all[i] = lockstep.Profile{ID: fmt.Sprintf("user_%06d", i), Username: "u", Email: fmt.Sprintf("user.%d@example.test", i), EmailVerified: true, FirstName: fmt.Sprint("User", i)}
	}
	return all
}

func oneByOne(t testing.TB, n int) (time.Duration, emulator.ShopUsage) {
	t.Helper()
	clock := &shopClock{now: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)}
	m := newMall(t, emulator.ShopifyOptions{Now: clock.Now})
	var apiURL string
	for _, setting := range m.env {
		if name, value, _ := strings.Cut(setting, "="); name == "SHOPIFY_API_URL" {
			apiURL = value
		}
	}
	bucket := &patientBucket{shopClock: clock, tokens: shopify.StandardCapacity, at: clock.Now()}
	target, err := shopify.New(shopify.Options{Shop: m.shop.Domain(), Tokens: shopify.StaticToken(m.shop.AccessToken()), APIURL: apiURL, Bucket: bucket})
	ok(t, err)
	nobody := func(context.Context, string, []string) (map[string]string, error) { return nil, nil }
	began := clock.Now()
	for _, p := range people(n) {
		res, err := engine.Sync(t.Context(), target, p, lockstep.Link{}, nobody, "")
		ok(t, err)
		if res.Customer.UserID != p.ID {
			t.Fatalf("%s has %+v", p.ID, res)
		}
	}
	if made := m.shop.CustomerCount(); made != n {
		t.Errorf("one by one: %d customers for %d users", made, n)
	}
	return clock.Now().Sub(began), m.shop.Usage()
}

func inBulk(t testing.TB, n int) (time.Duration, emulator.ShopUsage) {
	t.Helper()
	clock := &shopClock{now: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)}
	m := newMall(t, emulator.ShopifyOptions{Now: clock.Now})
	ok(t, m.shop.SetBulk(emulator.BulkLife{Pace: importPace}))
	for _, p := range people(n) {
		_, err := m.pool.Exec(t.Context(), `insert into public.profiles (id, username, email, email_verified, first_name, clerk_updated_at) values ($1, $2, $3, true, $4, now())`, p.ID, p.Username, p.Email, p.FirstName)
		ok(t, err)
	}
	all := map[string]string{}
	for _, setting := range m.env {
		name, value, _ := strings.Cut(setting, "=")
		all[name] = value
	}
	config, err := app.LoadConfig(func(name string) string { return all[name] }, app.NeedDatabase)
	ok(t, err)
	a, err := app.Open(config, slog.New(slog.DiscardHandler))
	ok(t, err)
	defer a.Close()
	step := time.Duration(n) * time.Second / importPace / 5 // of the shop's time between two looks
	began := clock.Now()
	done, err := a.PushShopify(t.Context(), "", func(p app.Progress) {
		switch {
		case strings.HasSuffix(p.What, "exports"):
			clock.pass(time.Second)
		case strings.HasSuffix(p.What, "imports"):
			clock.pass(step)
		}
	})
	ok(t, err)
	took, usage := clock.Now().Sub(began), m.shop.Usage()
	linked := testdb.Query[int](t, m.pool, `select count(*) from lockstep.customer_links where status = 'linked' and applied = desired and customer_id is not null`)
	if p := done[0]; p.Users != n || p.Created != n || p.Left != 0 || linked != n || m.shop.CustomerCount() != n {
		t.Errorf("%+v; %d links, %d customers", p, linked, m.shop.CustomerCount())
	}
	again, err := a.PushShopify(t.Context(), "", func(app.Progress) {})
	ok(t, err)
	if again[0].Users != 0 || m.shop.Usage().Used != usage.Used {
		t.Errorf("again: %+v, %v points", again[0], m.shop.Usage().Used-usage.Used)
	}
	return took, usage
}
