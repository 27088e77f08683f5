package observe

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/watch"
	"github.com/lockstephq/lockstep/targettest"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func read(v postgres.Vitals, err error) func(context.Context) (postgres.Vitals, error) {
	return func(context.Context) (postgres.Vitals, error) { v.At = time.Now(); return v, err }
}

// busy is an installation in which every gauge has something to say.
func busy() postgres.Vitals {
	return postgres.Vitals{
		Installed: time.Hour, Leader: true, DispatchAge: 3 * time.Second, Discarded: 1,
		Jobs:    []postgres.JobCount{{State: "retryable", Kind: "sync", Count: 7}},
		Sources: []postgres.SourceVitals{{Source: "clerk", Age: time.Minute}},
		Targets: []postgres.TargetVitals{{Target: "medusa", PendingAge: 5 * time.Second, Waiting: 1, Conflicts: 2, Failed: 3, Paused: true, PausedFor: time.Hour}},
		Buckets: []postgres.BucketLevel{{Target: "medusa", Tokens: 100, Capacity: 2000}},
		Drift:   []postgres.DriftVitals{{Target: "medusa", Kind: "link-missing", Found: 4, Left: 1}}, Reconciled: time.Minute,
	}
}

func busyMetrics() *Metrics {
	m := NewMetrics(NewWatch(read(busy(), nil), Scope{Targets: []string{"medusa"}, Sources: []string{"clerk"}, Silence: time.Hour, Pending: time.Hour}))
	m.Accepted("clerk", lockstep.ReceiptApplied)
	m.Refused("clerk", "signature")
	m.Linked("medusa", time.Second)
	m.called("medusa", "create", time.Now(), nil)
	return m
}

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	watch.Text(t, "metrics", w.Body.String())
	return w.Body.String()
}

// docs/METRICS.md and the registry say the same: names, types and labels, in
// both directions.
func TestEveryMetricIsDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(lockstep_\\w+)` \\| (\\w+) \\| (.*?) \\| ").FindAllStringSubmatch(string(doc), -1) {
		documented[row[1]] = row[2] + " of " + strings.Join(labelsOf(row[3]), " ")
	}
	families, err := busyMetrics().registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "lockstep_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() { // in the order of their names
			labels = append(labels, l.GetName())
		}
		got := strings.ToLower(f.GetType().String()) + " of " + strings.Join(labels, " ")
		if want := documented[f.GetName()]; got != want {
			t.Errorf("%s is a %s, documented as %q", f.GetName(), got, want)
		}
		delete(documented, f.GetName())
	}
	for name := range documented {
		t.Errorf("%s is documented, and is not there", name)
	}
}

// labelsOf reads the labels' names of a row, and sorts them as Prometheus does.
func labelsOf(cell string) (labels []string) {
	for _, m := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(cell, -1) {
		labels = append(labels, m[1])
	}
	slices.Sort(labels)
	return labels
}

func TestMetricsFollowPrometheusConventions(t *testing.T) {
	t.Parallel()
	problems, err := testutil.GatherAndLint(busyMetrics().registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestGaugesTellWhatTheDatabaseSays(t *testing.T) {
	t.Parallel()
	text := scrape(t, busyMetrics())
	for _, line := range []string{
		`lockstep_jobs{kind="sync",state="retryable"} 7`,
		`lockstep_oldest_pending_seconds{target="medusa"} 5`,
		`lockstep_dispatch_age_seconds 3`,
		`lockstep_target_paused{target="medusa"} 1`,
		`lockstep_links_held{status="conflict",target="medusa"} 2`,
		`lockstep_links_held{status="failed",target="medusa"} 3`,
		`lockstep_bucket_tokens{target="medusa"} 100`,
		`lockstep_drift_found{kind="link-missing",target="medusa"} 4`,
		`lockstep_drift_left{kind="link-missing",target="medusa"} 1`,
		`lockstep_reconcile_age_seconds 60`,
		`lockstep_leader 1`,
		`lockstep_watchdog_alarm{subject="medusa",watchdog="target_paused"} 1`,
		`lockstep_watchdog_alarm{subject="all",watchdog="no_worker"} 0`,
		`lockstep_database_up 1`,
		`lockstep_deliveries_total{receipt="applied",source="clerk"} 1`,
		`lockstep_deliveries_refused_total{reason="signature",source="clerk"} 1`,
		`lockstep_lag_seconds_bucket{target="medusa",le="1"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
}

// A database that is away keeps nothing back that this process counted.
func TestScrapeWithoutADatabase(t *testing.T) {
	t.Parallel()
	m := NewMetrics(NewWatch(read(postgres.Vitals{}, errors.New("away")), Scope{Targets: []string{"medusa"}}))
	m.Refused("clerk", "unavailable")
	text := scrape(t, m)
	if !strings.Contains(text, "lockstep_database_up 0\n") || !strings.Contains(text, `reason="unavailable",source="clerk"} 1`) {
		t.Error(text)
	}
	if strings.Contains(text, "lockstep_oldest_pending_seconds") {
		t.Error("gauges are there that nobody could read")
	}
}

// A watched target is the target: it passes the same exam, and still lists.
func TestWatchedTargetPassesTheExam(t *testing.T) {
	t.Parallel()
	targettest.Run(t, func(*testing.T) targettest.Subject {
		s := targettest.NewExporting("fake").Subject()
		s.Target = NewMetrics(nil).Target(s.Target, nil)
		return s
	})
}

// lister is a fake that lists.
type lister struct{ *targettest.Fake }

func (lister) List(context.Context, string, int) ([]lockstep.Customer, error) {
	return []lockstep.Customer{{ID: "c1"}}, nil
}

func TestWatchedTargetListsIfTheTargetDoes(t *testing.T) {
	t.Parallel()
	m := NewMetrics(nil)
	if _, ok := m.Target(struct{ lockstep.Target }{targettest.NewFake("plain")}, nil).(lockstep.Lister); ok {
		t.Error("a target that cannot list looks as if it could")
	}
	l, ok := m.Target(lister{targettest.NewFake("fake")}, nil).(lockstep.Lister)
	if !ok {
		t.Fatal("the target's list is hidden")
	}
	if list, err := l.List(t.Context(), "", 1); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
	if text := scrape(t, m); !strings.Contains(text, `lockstep_target_calls_total{call="list",outcome="ok",target="fake"} 1`) {
		t.Error("the call is not counted")
	}
}

// shop is a target that lists and captures, and has a method of its own.
type shop struct{ lister }

func (shop) Look(context.Context, []string, bool) (lockstep.Looked, error) {
	return lockstep.Looked{}, nil
}
func (shop) Plan() string { return "plus" }

// What else a target can do is found through all that is around it.
func TestWatchedTargetHidesNothing(t *testing.T) {
	t.Parallel()
	m := NewMetrics(nil)
	target := m.Target(targettest.NewFlaky(shop{lister{targettest.NewFake("fake")}}, targettest.Rates{}), nil)
	c, ok := lockstep.As[lockstep.Capturer](target)
	if !ok {
		t.Fatal("the target cannot capture any more")
	}
	if _, err := c.Look(t.Context(), nil, false); err != nil {
		t.Fatal(err)
	}
	if text := scrape(t, m); !strings.Contains(text, `lockstep_target_calls_total{call="look",outcome="ok",target="fake"} 1`) {
		t.Error("the call is not counted")
	}
	if _, ok := lockstep.As[lockstep.Lister](target); !ok {
		t.Error("the target cannot list any more")
	}
	if s, ok := lockstep.As[shop](target); !ok || s.Plan() != "plus" {
		t.Error("the target's own type is hidden")
	}
	plain := m.Target(struct{ lockstep.Target }{targettest.NewFake("plain")}, nil)
	if _, ok := lockstep.As[lockstep.Capturer](plain); ok {
		t.Error("a target that cannot capture looks as if it could")
	}
}

func TestWatchedTargetExportsIfTheTargetDoes(t *testing.T) {
	t.Parallel()
	m := NewMetrics(nil)
	if _, ok := lockstep.As[lockstep.Exporter](m.Target(targettest.NewFake("plain"), nil)); ok {
		t.Error("a target that cannot export looks as if it could")
	}
	fake := targettest.NewExporting("fake")
	x, ok := m.Target(fake, nil).(lockstep.Exporter)
	if !ok {
		t.Fatal("the target's export is hidden")
	}
	for range x.Export(t.Context(), lockstep.Export{Name: "a"}) {
	}
	fake.Set(targettest.ExportLife{Refused: true})
	for range x.Export(t.Context(), lockstep.Export{Name: "b"}) {
	}
	if err := x.CancelExport(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	text := scrape(t, m)
	for _, line := range []string{`call="export",outcome="ok"`, `call="export",outcome="invalid"`, `call="cancel_export",outcome="ok"`} {
		if !strings.Contains(text, `lockstep_target_calls_total{`+line+`,target="fake"} 1`) {
			t.Errorf("%s is not counted", line)
		}
	}
}

// failing is a target whose every call ends with err.
type failing struct {
	*targettest.Fake
	err error
}

func (f failing) Check(context.Context) error { return f.err }

func TestCallsAreCountedByOutcome(t *testing.T) {
	t.Parallel()
	for kind, want := range map[error]string{
		nil: "ok", lockstep.ErrTransient: "transient", lockstep.ErrUnknown: "unknown", lockstep.ErrThrottled: "throttled",
		lockstep.ErrTaken: "taken", lockstep.ErrGone: "gone", lockstep.ErrInvalid: "invalid", lockstep.ErrRefused: "refused",
		errors.New("any other"): "transient",
	} {
		m := NewMetrics(nil)
		if err := m.Target(failing{targettest.NewFake("fake"), kind}, nil).Check(t.Context()); !errors.Is(err, kind) {
			t.Errorf("%v became %v", kind, err)
		}
		if text := scrape(t, m); !strings.Contains(text, `lockstep_target_calls_total{call="check",outcome="`+want+`",target="fake"} 1`) {
			t.Errorf("%v is not counted as %s", kind, want)
		}
	}
}
