package bench_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
)

const shopBackfillRole = "backfill shopify" // of a child, for LOCKSTEP_BENCH_ROLE

// BenchmarkShopBackfill captures 200,000 customers, or LOCKSTEP_BENCH_SHOP_CUSTOMERS.
func BenchmarkShopBackfill(b *testing.B) {
	shopBackfill(b, sizeFrom("LOCKSTEP_BENCH_SHOP_CUSTOMERS", 200_000))
}

// TestShopBackfill is the same with few, so that `make test` knows that it holds.
func TestShopBackfill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	t.Parallel()
	shopBackfill(t, 20_000)
}

func sizeFrom(variable string, usual int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return n
	}
	return usual
}

// mall is an emulated shop and a database; the backfill is a process of its own.
type mall struct {
	testing.TB
	shop *emulator.Shop
	pool *pgxpool.Pool
	env  []string
}

func newMall(t testing.TB, o emulator.ShopifyOptions) *mall {
	t.Helper()
	o.Seed, o.Shops = 1, []emulator.ShopSpec{{Domain: "acme"}}
	s, err := emulator.NewShopify(o)
	ok(t, err)
	t.Cleanup(s.Close)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.SetBaseURL(server.URL)
	db := testdb.New(t)
	m := &mall{TB: t, shop: s.Shop("acme"), pool: testdb.Pool(t, db, ""), env: []string{"DATABASE_URL=" + db.URL(standin.Owner)}}
	for _, setting := range s.Settings() {
		m.env = append(m.env, setting.Name+"="+setting.Value)
	}
	return m
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// shopBackfilled is what a child tells.
type shopBackfilled struct {
	app.ShopBackfilled
	Seconds float64 // from the end of Shopify's export on
	Peak    float64 // most memory resident, in MB; zero but on Linux
}

// shopBackfillChild is the child's part.
func shopBackfillChild() error {
	config, err := app.LoadConfig(os.Getenv, app.NeedDatabase)
	if err != nil {
		return err
	}
	a, err := app.Open(config, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer a.Close()
	began := time.Now()
	done, err := a.BackfillShopify(context.Background(), "", false, func(p app.Progress) {
		if p.Total == 0 {
			began = time.Now()
		}
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(shopBackfilled{done[0], time.Since(began).Seconds(), ownPeak()})
}

// ownPeak asks /proc, since what the system tells the parent counts the parent's own
// memory in, from before the child's program began.
func ownPeak() (mb float64) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if rest, found := strings.CutPrefix(line, "VmHWM:"); found {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			mb = kb * 1024 / 1e6
		}
	}
	return mb
}

// start prepares a child.
func (m *mall) start() *exec.Cmd {
	m.Helper()
	c := exec.CommandContext(m.Context(), os.Args[0]) // this very program
	c.Env = append(append(os.Environ(), m.env...), roleVariable+"="+shopBackfillRole)
	c.Stderr = os.Stderr
	return c
}

// finish runs a child to its end.
func (m *mall) finish() (done shopBackfilled) {
	m.Helper()
	c := m.start()
	out, err := c.Output()
	ok(m, err)
	ok(m, json.Unmarshal(out, &done))
	return done
}

// killAt runs a child until it has stored so many customers, and kills it.
func (m *mall) killAt(customers int) {
	m.Helper()
	c := m.start()
	ok(m, c.Start())
	for stored := 0; stored < customers; {
		err := m.pool.QueryRow(m.Context(), `select coalesce(max((value::jsonb ->> 'read')::int), 0) from lockstep.checkpoints where name like 'backfill%'`).Scan(&stored)
		ok(m, err)
	}
	ok(m, c.Process.Kill())
	_ = c.Wait() // it was killed
}

func shopBackfill(t testing.TB, n int) {
	m := newMall(t, emulator.ShopifyOptions{})
	for i := range n {
		_, err := m.shop.PutCustomer(emulator.CustomerSpec{Email: fmt.Sprintf("customer.%d@example.test", i), FirstName: fmt.Sprint("First", i),
			LastName: "Last", Phone: fmt.Sprintf("+45%08d", 20_000_000+i), Tags: []string{"newsletter", "vip"}, Orders: 1})
		ok(t, err)
	}
	whole := m.finish()
	rate := float64(n) / whole.Seconds
	bare := m.bareCopyOf()
	table("Backfill of a shop, beside a bare COPY of the same rows (one process, into a table of the same indexes)",
		"|customers|seconds|rows/s|share|peak memory",
		fmt.Sprintf("backfill|%d|%.2f|%.0f|%.2f|%s", n, whole.Seconds, rate, rate/bare, megabytes(whole.Peak)),
		fmt.Sprintf("bare COPY|%d|%.2f|%.0f|1|", n, float64(n)/bare, bare))
	m.compare()
	if whole.Read != n || whole.Held != n || whole.InShop != n {
		t.Errorf("%+v", whole)
	}
	m.killed(n)
}

// killed does it again, killed three times, while 2,000 live changes arrive.
func (m *mall) killed(n int) {
	m.Helper()
	_, err := m.pool.Exec(m.Context(), `truncate lockstep.shopify_customers`)
	ok(m, err)
	const changes = 2000
	var live sync.WaitGroup
	live.Go(func() {
		all := m.shop.Customers()
		for i := range changes {
			m.change(all[i*len(all)/changes].ID, i)
		}
	})
	for i := range 3 {
		m.killAt((i + 1) * n / 4)
	}
	done := m.finish()
	live.Wait()
	m.compare()
	fmt.Printf("\n  killed three times while %d live changes arrived: %d customers, %d rows, resumed %t\n", changes, done.InShop, done.Held, done.Resumed)
	if !done.Resumed || done.Read != n || !done.Exact() {
		m.Errorf("%+v", done)
	}
}

// change edits a customer, and captures it as a webhook has it done: the read
// begins before it is made, and the newest wins.
func (m *mall) change(id string, i int) {
	name := fmt.Sprint("Live", i)
	var began time.Time
	err := m.pool.QueryRow(m.Context(), `select clock_timestamp()`).Scan(&began)
	if err == nil {
		var c emulator.ShopCustomer
		c, err = m.shop.EditCustomer(id, emulator.CustomerEdit{FirstName: &name})
		if err == nil {
			_, err = m.pool.Exec(m.Context(), `
				insert into lockstep.shopify_customers as c (shopify_shop, shopify_customer_id, email, phone, first_name, last_name, state, tags, created_at, updated_at, captured_at)
				values ('acme.myshopify.com', $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
				on conflict (shopify_shop, shopify_customer_id) do update set first_name = excluded.first_name, updated_at = excluded.updated_at, captured_at = excluded.captured_at
				 where (coalesce(c.updated_at, '-infinity'), c.captured_at) <= (coalesce(excluded.updated_at, '-infinity'), excluded.captured_at)`,
				c.ID, c.Email, c.Phone, c.FirstName, c.LastName, c.State, c.Tags, c.CreatedAt.Truncate(time.Second), c.UpdatedAt.Truncate(time.Second), began)
		}
	}
	if err != nil {
		m.Errorf("live change %d: %v", i, err)
	}
}

// compare holds each row against the shop's customer.
func (m *mall) compare() {
	m.Helper()
	var id, line string
	have := map[string]string{}
	rows, err := m.pool.Query(m.Context(), `select shopify_customer_id, concat_ws(' ', email, phone, first_name, last_name, tags::text) from lockstep.shopify_customers where deleted_at is null`)
	ok(m, err)
	_, err = pgx.ForEachRow(rows, []any{&id, &line}, func() error { have[id] = line; return nil })
	ok(m, err)
	wrong, all := 0, m.shop.Customers()
	for _, c := range all {
		want := fmt.Sprintf("%s %s %s %s {%s}", c.Email, c.Phone, c.FirstName, c.LastName, strings.Join(c.Tags, ","))
		if have[c.ID] != want {
			wrong++
		}
	}
	if wrong > 0 || len(have) != len(all) {
		m.Errorf("%d customers, %d rows, %d of them wrong", len(all), len(have), wrong)
	}
}

// bareCopyOf is how many of the same rows a COPY of them, and nothing else, takes in
// a second.
func (m *mall) bareCopyOf() float64 {
	m.Helper()
	_, err := m.pool.Exec(m.Context(), `create table bare (like lockstep.shopify_customers including all)`)
	ok(m, err)
	rows, err := m.pool.Query(m.Context(), `select * from lockstep.shopify_customers`)
	ok(m, err)
	var columns []string
	for _, f := range rows.FieldDescriptions() {
		columns = append(columns, f.Name)
	}
	data, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
	ok(m, err)
	_, err = m.pool.Exec(m.Context(), `checkpoint`)
	ok(m, err)
	began := time.Now()
	n, err := m.pool.CopyFrom(m.Context(), pgx.Identifier{"bare"}, columns, pgx.CopyFromRows(data))
	ok(m, err)
	return float64(n) / time.Since(began).Seconds()
}
