package observe

import (
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/prometheus/client_golang/prometheus"
)

// gauge is a metric read from the database at each scrape.
type gauge struct {
	name, help string
	labels     []string
	values     func(Report, Scope) []value
}

type value struct {
	labels []string
	is     float64
}

// gaugeList is the list.
func gaugeList() []gauge {
	return []gauge{
		{"lockstep_jobs", "Jobs by River's state and kind; those completed are not counted.", []string{"state", "kind"}, jobs},
		{"lockstep_oldest_pending_seconds", "Age of the oldest change that the target does not hold yet.", []string{"target"}, perTarget(pendingAge)},
		{"lockstep_dispatch_age_seconds", "Age of the oldest accepted change that no target's queue holds yet.", nil, dispatchAge},
		{"lockstep_target_paused", "1 while the target is paused because it refused everything.", []string{"target"}, perTarget(paused)},
		{"lockstep_links_held", "Links that wait for the user (waiting), for a person (conflict), or were given up (failed).", []string{"target", "status"}, held},
		{"lockstep_bucket_tokens", "What may be asked of the target now, in its own points.", []string{"target"}, tokens},
		{"lockstep_bucket_capacity_tokens", "What may be asked of the target at once, at most.", []string{"target"}, capacity},
		{"lockstep_last_delivery_timestamp_seconds", "When the newest delivery of the source came, in Unix time.", []string{"source"}, lastDelivery},
		{"lockstep_drift_found", "Differences that the newest deep reconcile run found, by kind; the target of profiles is empty.", []string{"target", "kind"}, drift(found)},
		{"lockstep_drift_left", "Those of them that are not repaired.", []string{"target", "kind"}, drift(left)},
		{"lockstep_reconcile_age_seconds", "Since Clerk and all targets were last compared as a whole; since the installation if they never were.", nil, reconcileAge},
		{"lockstep_leader", "1 while a worker process is elected.", nil, leader},
		{"lockstep_watchdog_alarm", "1 while the watchdog says that a person should look.", []string{"watchdog", "subject"}, alarms},
	}
}

func jobs(r Report, _ Scope) (values []value) {
	for _, j := range r.Vitals.Jobs {
		values = append(values, value{[]string{j.State, j.Kind}, float64(j.Count)})
	}
	return values
}

// perTarget has a value for each target of the settings.
func perTarget(of func(Report, string) float64) func(Report, Scope) []value {
	return func(r Report, s Scope) (values []value) {
		for _, name := range s.Targets {
			values = append(values, value{[]string{name}, of(r, name)})
		}
		return values
	}
}

func pendingAge(r Report, target string) float64 {
	return targetVitals(r.Vitals, target).PendingAge.Seconds()
}

func paused(r Report, target string) float64 { return one(targetVitals(r.Vitals, target).Paused) }

func held(r Report, s Scope) (values []value) {
	for _, name := range s.Targets {
		t := targetVitals(r.Vitals, name)
		values = append(values, value{[]string{name, "waiting"}, float64(t.Waiting)},
			value{[]string{name, "conflict"}, float64(t.Conflicts)}, value{[]string{name, "failed"}, float64(t.Failed)})
	}
	return values
}

func dispatchAge(r Report, _ Scope) []value {
	return []value{{nil, r.Vitals.DispatchAge.Seconds()}}
}

func tokens(r Report, _ Scope) (values []value) {
	for _, b := range r.Vitals.Buckets {
		values = append(values, value{[]string{b.Target}, b.Tokens})
	}
	return values
}

func capacity(r Report, _ Scope) (values []value) {
	for _, b := range r.Vitals.Buckets {
		values = append(values, value{[]string{b.Target}, b.Capacity})
	}
	return values
}

func lastDelivery(r Report, _ Scope) (values []value) {
	for _, s := range r.Vitals.Sources {
		at := r.Vitals.At.Add(-s.Age)
		values = append(values, value{[]string{s.Source}, float64(at.UnixMilli()) / 1000})
	}
	return values
}

func drift(count func(postgres.DriftVitals) int) func(Report, Scope) []value {
	return func(r Report, _ Scope) (values []value) {
		for _, d := range r.Vitals.Drift {
			values = append(values, value{[]string{d.Target, d.Kind}, float64(count(d))})
		}
		return values
	}
}

func found(d postgres.DriftVitals) int { return d.Found }
func left(d postgres.DriftVitals) int  { return d.Left }

func reconcileAge(r Report, _ Scope) []value {
	return []value{{nil, r.Vitals.Reconciled.Seconds()}}
}

func leader(r Report, _ Scope) []value { return []value{{nil, one(r.Vitals.Leader)}} }

func alarms(r Report, _ Scope) (values []value) {
	for _, s := range r.Watchdogs {
		values = append(values, value{[]string{s.Watchdog, s.Subject}, one(s.Alarm)})
	}
	return values
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// gauges is the collector of the list.
type gauges struct {
	watch *Watch
	list  []gauge
	descs []*prometheus.Desc // of the list, in its order
	up    *prometheus.Desc
}

func newGauges(w *Watch) *gauges {
	g := &gauges{watch: w, list: gaugeList()}
	for _, one := range g.list {
		g.descs = append(g.descs, prometheus.NewDesc(one.name, one.help, one.labels, nil))
	}
	g.up = prometheus.NewDesc("lockstep_database_up", "1 if the database answered this scrape; without it the gauges that it knows are missing.", nil, nil)
	return g
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range g.descs {
		to <- d
	}
	to <- g.up
}

// Collect implements prometheus.Collector. A database that is away is a value,
// and no reason to keep what this process counted from the scrape.
func (g *gauges) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := scrapeContext()
	defer cancel()
	report, err := g.watch.Look(ctx)
	to <- prometheus.MustNewConstMetric(g.up, prometheus.GaugeValue, one(err == nil))
	if err != nil {
		return
	}
	for i, entry := range g.list {
		for _, v := range entry.values(report, g.watch.scope) {
			to <- prometheus.MustNewConstMetric(g.descs[i], prometheus.GaugeValue, v.is, v.labels...)
		}
	}
}
