package bench_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/internal/localpg"
	"github.com/lockstephq/lockstep/internal/standin"
)

// pgbench is PostgreSQL's own load generator: what the server under it can do.
type pgbench struct {
	path, dir, url string
	rates          []float64
	p50, p99       []time.Duration
	cpu            []time.Duration // of PostgreSQL, per row
}

// newPgbench prepares a table with a primary key and a script that inserts one
// row of 2 KB. The text repeats nothing, so that it is not compressed.
func (w *world) newPgbench(b *testing.B) *pgbench {
	b.Helper()
	dir, err := localpg.FindBinaries()
	must(b, err)
	path := filepath.Join(dir, "pgbench")
	if _, err := os.Stat(path); err != nil {
		path, err = exec.LookPath("pgbench")
		must(b, err)
	}
	const name = "pgbench"
	_, err = w.database(b, name).Exec(b.Context(), `create table events (id bigint generated always as identity primary key, body text not null)`)
	must(b, err)
	p := &pgbench{path: path, dir: b.TempDir(), url: w.pg.URL(standin.Owner, name)}
	must(b, os.WriteFile(p.script(), fmt.Appendf(nil, "insert into events (body) values ('%s');\n", w.rowText()), 0o600))
	return p
}

func (p *pgbench) script() string { return filepath.Join(p.dir, "insert.sql") }

// rowText is 2,000 bytes, of an event: the most that PostgreSQL keeps in the
// row itself.
func (w *world) rowText() string {
	const most = 2000
	return strings.ReplaceAll(string(w.events.body), "'", "")[:most]
}

// round inserts over as many connections as the webhooks come over.
func (p *pgbench) round(b *testing.B, w *world, length time.Duration) {
	b.Helper()
	w.checkpoint(b)
	before := w.postgresCPU(b)
	cmd := exec.CommandContext(b.Context(), p.path, "--no-vacuum", "--client="+strconv.Itoa(connections), "--jobs=2",
		fmt.Sprintf("--time=%.0f", length.Seconds()), "--file="+p.script(), "--log", "--log-prefix=log", "--sampling-rate=0.1", p.url)
	cmd.Dir = p.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("pgbench: %v\n%s", err, out)
	}
	found := regexp.MustCompile(`(?s)actually processed: (\d+).*\ntps = ([0-9.]+)`).FindSubmatch(out)
	if found == nil {
		b.Fatalf("pgbench printed no rate:\n%s", out)
	}
	rows, err := strconv.Atoi(string(found[1]))
	must(b, err)
	rate, err := strconv.ParseFloat(string(found[2]), 64)
	must(b, err)
	took := p.latencies(b)
	p.rates, p.cpu = append(p.rates, rate), append(p.cpu, (w.postgresCPU(b)-before)/time.Duration(rows))
	p.p50, p.p99 = append(p.p50, quantile(took, 0.5)), append(p.p99, quantile(took, 0.99))
}

// latencies reads, and removes, the logs of a round: the third word of a line
// is a transaction's time in microseconds.
func (p *pgbench) latencies(b *testing.B) (took []time.Duration) {
	b.Helper()
	logs, err := filepath.Glob(filepath.Join(p.dir, "log.*"))
	must(b, err)
	for _, log := range logs {
		data, err := os.ReadFile(log)
		must(b, err)
		for line := range strings.Lines(string(data)) {
			us, err := strconv.Atoi(strings.Fields(line)[2])
			must(b, err)
			took = append(took, time.Duration(us)*time.Microsecond)
		}
		must(b, os.Remove(log))
	}
	return took
}
