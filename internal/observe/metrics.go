// Package observe makes the work visible: metrics for Prometheus, traces for
// OpenTelemetry, and the watchdogs that say when a person should look. What it
// shows are ids, kinds, counts and times; nothing personal, and no user's id in
// a metric's label.
package observe

import (
	"context"
	"net/http"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is what this process counts, and what the database says of the whole
// installation. docs/METRICS.md describes each. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	accepted *prometheus.CounterVec
	refused  *prometheus.CounterVec
	lag      *prometheus.HistogramVec
	calls    *prometheus.CounterVec
	took     *prometheus.HistogramVec
}

// NewMetrics makes a registry of its own. Gauges are read from watch whenever
// somebody scrapes; without one there are none.
func NewMetrics(watch *Watch) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lockstep_deliveries_total",
			Help: "Deliveries answered 2xx by this process, by what became of them."}, []string{"source", "receipt"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lockstep_deliveries_refused_total",
			Help: "Deliveries not accepted by this process, by why."}, []string{"source", "reason"}),
		lag: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "lockstep_lag_seconds",
			Help:    "From accepting a user's change until the target holds it.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 43200, 172800}}, []string{"target"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lockstep_target_calls_total",
			Help: "Calls of targets by this process, by outcome."}, []string{"target", "call", "outcome"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "lockstep_target_call_duration_seconds",
			Help:    "How long calls of targets took, waiting for their limit included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20}}, []string{"target", "call"}),
	}
	m.registry.MustRegister(m.accepted, m.refused, m.lag, m.calls, m.took,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if watch != nil {
		m.registry.MustRegister(newGauges(watch))
	}
	return m
}

// Handler answers Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// Accepted counts a delivery that was answered 2xx.
func (m *Metrics) Accepted(source string, r lockstep.Receipt) {
	m.accepted.WithLabelValues(source, string(r)).Inc()
}

// Refused counts a delivery that was not accepted. Reason is one of few.
func (m *Metrics) Refused(source, reason string) { m.refused.WithLabelValues(source, reason).Inc() }

// Linked notes how long a user's change took to reach a target.
func (m *Metrics) Linked(target string, lag time.Duration) {
	m.lag.WithLabelValues(target).Observe(lag.Seconds())
}

// called counts a call of a target.
func (m *Metrics) called(target, call string, begin time.Time, err error) {
	m.took.WithLabelValues(target, call).Observe(time.Since(begin).Seconds())
	m.calls.WithLabelValues(target, call, outcome(err)).Inc()
}

// outcome is the kind of an error as a label.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	switch lockstep.KindOf(err) {
	case lockstep.ErrUnknown:
		return "unknown"
	case lockstep.ErrThrottled:
		return "throttled"
	case lockstep.ErrTaken:
		return "taken"
	case lockstep.ErrGone:
		return "gone"
	case lockstep.ErrInvalid:
		return "invalid"
	case lockstep.ErrRefused:
		return "refused"
	}
	return "transient"
}

// scrapeTimeout bounds what a scrape waits for the database.
const scrapeTimeout = 3 * time.Second

func scrapeContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), scrapeTimeout)
}
