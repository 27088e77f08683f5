package bench_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep/app"
)

const (
	rounds      = 7
	roundLength = 4 * time.Second
	warmUp      = 2000
	most        = 9000 // events per second that are made ready, more than are accepted
	manyShops   = 20
)

// acceptor is one serve process whose accepting is measured.
type acceptor struct {
	name     string
	what     string
	pool     *pgxpool.Pool
	server   *server
	sent     int
	rates    []float64
	p50, p99 []time.Duration
	cpu, db  []time.Duration // of serve and of PostgreSQL, per webhook
	peak     float64
}

func (w *world) newAcceptor(b *testing.B, name, what string, role app.Role, shops int) *acceptor {
	b.Helper()
	a := &acceptor{name: name, what: what, pool: w.migrated(b, name)}
	a.server = w.serve(b, name, role, shops)
	took, _ := closedLoop(b, a.server.addr, w.events.make(warmUp), time.Minute)
	a.sent = len(took)
	return a
}

// round measures once more; the events are signed before the clock starts.
func (a *acceptor) round(b *testing.B, w *world, length time.Duration) {
	b.Helper()
	events := w.events.make(int(length.Seconds() * most))
	w.checkpoint(b)
	cpu, db := a.server.usedCPU(), w.postgresCPU(b)
	took, whole := closedLoop(b, a.server.addr, events, length)
	each := time.Duration(len(took))
	a.cpu, a.db = append(a.cpu, (a.server.usedCPU()-cpu)/each), append(a.db, (w.postgresCPU(b)-db)/each)
	a.sent += len(took)
	a.rates = append(a.rates, float64(len(took))/whole.Seconds())
	a.p50, a.p99 = append(a.p50, quantile(took, 0.5)), append(a.p99, quantile(took, 0.99))
}

// finish stops the process and compares what it acknowledged with what the
// database holds.
func (a *acceptor) finish(b *testing.B) {
	b.Helper()
	a.peak = a.server.peakMB(b)
	a.server.end(b)
	for what, sql := range map[string]string{
		"deliveries":        `select count(*) from lockstep.deliveries`,
		"profiles":          `select count(*) from public.profiles where email like 'bench.%' and clerk_updated_at > '-infinity'`,
		"users to dispatch": `select count(distinct u) from lockstep.river_job, jsonb_array_elements_text(args -> 'users') u where kind = 'dispatch'`,
	} {
		if n := count(b, a.pool, sql); n != a.sent {
			b.Fatalf("%s: %d webhooks were acknowledged, the database holds %d %s", a.name, a.sent, n, what)
		}
	}
}

// ratio is the share of pgbench's rate: that of the round beside it, for what
// else the machine does changes from minute to minute.
func (a *acceptor) ratio(p *pgbench) float64 {
	shares := make([]float64, len(a.rates))
	for i, rate := range a.rates {
		shares[i] = rate / p.rates[i]
	}
	return median(shares)
}

func (a *acceptor) row(p *pgbench) string {
	return fmt.Sprintf("%s|%.0f|%.2f|%.1f|%.1f|%s|%s|%s", a.what, median(a.rates), a.ratio(p),
		ms(median(a.p50)), ms(median(a.p99)), megabytes(a.peak), micros(median(a.cpu)), micros(median(a.db)))
}

// benchAccept measures in turns, so that what else the machine does falls on
// all alike.
func (w *world) benchAccept(b *testing.B) {
	pgbench := w.newPgbench(b)
	one := w.newAcceptor(b, "web_one", "serve --role web, 1 target", app.RoleWeb, 0)
	many := w.newAcceptor(b, "web_many", fmt.Sprintf("serve --role web, %d targets", manyShops), app.RoleWeb, manyShops)
	for range rounds {
		one.round(b, w, roundLength)
		pgbench.round(b, w, roundLength)
		many.round(b, w, roundLength)
	}
	one.finish(b)
	many.finish(b)
	base := median(pgbench.rates)
	table(fmt.Sprintf("Accepting webhooks of %d bytes over %d connections (medians of %d rounds of %v, in turns; ratio: of the rounds side by side)",
		len(w.events.body), connections, rounds, roundLength),
		"|per second|ratio|p50 ms|p99 ms|peak memory|serve CPU each|PostgreSQL CPU each",
		fmt.Sprintf("pgbench, single-row 2 KB insert|%.0f|1.00|%.1f|%.1f|||%s", base,
			ms(median(pgbench.p50)), ms(median(pgbench.p99)), micros(median(pgbench.cpu))),
		one.row(pgbench), many.row(pgbench),
		"aim||0.36||12.0|60 MB||")
	fmt.Printf("  rounds: pgbench %.0f; 1 target %.0f; %d targets %.0f\n", pgbench.rates, one.rates, manyShops, many.rates)
	b.ReportMetric(median(one.rates), "accepted/s")
	b.ReportMetric(median(many.rates), "accepted-20-targets/s")
	b.ReportMetric(base, "pgbench-inserts/s")
	b.ReportMetric(one.ratio(pgbench), "ratio")
	b.ReportMetric(many.ratio(pgbench), "ratio-20-targets")
	b.ReportMetric(ms(median(one.p99)), "p99-ms")
	b.ReportMetric(ms(median(many.p99)), "p99-20-targets-ms")
	b.ReportMetric(max(one.peak, many.peak), "peak-MB")
}

// benchWork is for information: accepting while the same process, and the same
// two processors, do the work too.
func (w *world) benchWork(b *testing.B) {
	const length = 3 * time.Second
	rows := []string{"|per second|p50 ms|p99 ms|peak memory|customers/s meanwhile"}
	for _, shops := range []int{0, 1, manyShops} {
		name, what := fmt.Sprintf("all_%d", shops), fmt.Sprintf("serve --role all, %d in memory", shops)
		if shops == 0 {
			what = "serve --role all, Medusa"
		}
		a := w.newAcceptor(b, name, what, app.RoleAll, shops)
		const done = `select count(*) from lockstep.customer_links where status = 'linked'`
		before, start := count(b, a.pool, done), time.Now()
		a.round(b, w, length)
		linked := float64(count(b, a.pool, done)-before) / time.Since(start).Seconds()
		a.finish(b)
		rows = append(rows, fmt.Sprintf("%s|%.0f|%.1f|%.1f|%s|%.0f", a.what, a.rates[0], ms(a.p50[0]), ms(a.p99[0]), megabytes(a.peak), linked))
	}
	table(fmt.Sprintf("For information: accepting at full speed with workers in the same process (%v; customers are not waited for)", length), rows...)
	b.ReportMetric(0, "ns/op")
}
