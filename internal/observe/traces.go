package observe

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/rivertype"
	"github.com/riverqueue/rivercontrib/otelriver"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
)

// Traces sends spans of requests, jobs, statements and calls of targets to a
// collector. A nil *Traces does nothing, at no cost.
type Traces struct {
	provider *trace.TracerProvider
	tracer   oteltrace.Tracer
}

// What OpenTelemetry's variables may get wrong.
var (
	ErrTracesProtocol = errors.New("must be http/protobuf: set it, and the endpoint to the collector's port for that, usually 4318")
	ErrTracesURL      = errors.New("is not a URL: set it to the collector's, such as http://localhost:4318")
)

// TracesURL is where OpenTelemetry's standard variables want spans sent; empty
// if they do not ask for it (opentelemetry.io, "OTLP Exporter Configuration").
func TracesURL(getenv func(string) string) (string, error) {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || strings.EqualFold(getenv("OTEL_TRACES_EXPORTER"), "none") {
		return "", nil
	}
	address := getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if base := getenv("OTEL_EXPORTER_OTLP_ENDPOINT"); address == "" && base != "" {
		address = strings.TrimSuffix(base, "/") + "/v1/traces"
	}
	if address == "" {
		return "", nil
	}
	if u, err := url.Parse(address); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", ErrTracesURL
	}
	if p := cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), getenv("OTEL_EXPORTER_OTLP_PROTOCOL")); p != "" && p != "http/protobuf" {
		return "", ErrTracesProtocol
	}
	return address, nil
}

// OpenTraces sends spans to a collector; the exporter reads headers, time-outs
// and the like from the standard variables by itself. Nothing is connected yet.
func OpenTraces(ctx context.Context, address string, log *slog.Logger) (*Traces, error) {
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(address))
	if err != nil {
		return nil, errors.New("traces: the variables OTEL_EXPORTER_OTLP_… are not usable: check the endpoint")
	}
	return NewTraces(exporter, log)
}

// NewTraces sends spans to an exporter, less what could be personal.
func NewTraces(exporter trace.SpanExporter, log *slog.Logger) (*Traces, error) {
	about, err := resource.Merge(resource.NewSchemaless(attribute.String("service.name", "lockstep")), resource.Environment())
	if err != nil {
		return nil, errors.New("traces: OTEL_RESOURCE_ATTRIBUTES is not usable: write name=value, comma-separated")
	}
	provider := trace.NewTracerProvider(trace.WithResource(about), trace.WithBatcher(&scrubber{to: exporter, log: log}))
	return &Traces{provider, provider.Tracer("github.com/lockstephq/lockstep")}, nil
}

// Close sends what is left.
func (t *Traces) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Handler traces requests. Callers are strangers: a trace of theirs is linked,
// not continued.
func (t *Traces) Handler(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return otelhttp.NewHandler(next, "request", otelhttp.WithTracerProvider(t.provider), otelhttp.WithMeterProvider(metricnoop.NewMeterProvider()),
		otelhttp.WithPropagators(propagation.TraceContext{}), otelhttp.WithPublicEndpointFn(func(*http.Request) bool { return true }),
		otelhttp.WithFilter(func(r *http.Request) bool { return !probe[r.URL.Path] }),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string {
			if r.Pattern == "" {
				return "request"
			}
			return r.Pattern // a route, never a path
		}))
}

// probe are the paths that are asked all the time and tell nothing.
var probe = map[string]bool{"/healthz": true, "/readyz": true, "/metrics": true}

// Queries traces SQL, by the statement's first word; nil for off.
func (t *Traces) Queries() pgx.QueryTracer {
	if t == nil {
		return nil
	}
	return otelpgx.NewTracer(otelpgx.WithTracerProvider(t.provider), otelpgx.WithMeterProvider(metricnoop.NewMeterProvider()),
		otelpgx.WithDisableSQLStatementInAttributes(), otelpgx.WithDisableConnectionDetailsInAttributes(), otelpgx.WithSpanNameFunc(verb))
}

// verb is the first word of a statement, or the name that the job engine gave
// it: "-- name: JobInsertFull :one".
func verb(sql string) string {
	words := strings.Fields(sql[:min(len(sql), 80)])
	switch {
	case len(words) == 0:
		return "sql"
	case len(words) > 2 && words[0] == "--" && words[1] == "name:":
		return words[2]
	}
	return strings.ToLower(words[0])
}

// Jobs traces the job engine; empty for off.
func (t *Traces) Jobs() []rivertype.Middleware {
	if t == nil {
		return nil
	}
	return []rivertype.Middleware{otelriver.NewMiddleware(&otelriver.MiddlewareConfig{
		EnableTracePropagation: true, EnableWorkSpanJobKindSuffix: true,
		TracerProvider: t.provider, MeterProvider: metricnoop.NewMeterProvider(),
	})}
}

// call traces a call of a target; the function it returns ends the span.
func (t *Traces) call(ctx context.Context, target, call string) (context.Context, func(error)) {
	if t == nil {
		return ctx, func(error) {}
	}
	ctx, span := t.tracer.Start(ctx, "target "+call, oteltrace.WithSpanKind(oteltrace.SpanKindClient),
		oteltrace.WithAttributes(attribute.String("lockstep.target", target)))
	return ctx, func(err error) {
		span.SetAttributes(attribute.String("lockstep.outcome", outcome(err)))
		if err != nil {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// scrubber passes on what is known to be harmless of each span, and no more:
// the libraries that make them quote addresses of callers, paths, and errors of
// the database, which quote rows.
type scrubber struct {
	to  trace.SpanExporter
	log *slog.Logger
}

// ExportSpans implements trace.SpanExporter. A collector that is away is no
// error of ours, and what it says may quote its address.
func (s *scrubber) ExportSpans(ctx context.Context, spans []trace.ReadOnlySpan) error {
	clean := make([]trace.ReadOnlySpan, len(spans))
	for i, span := range spans {
		clean[i] = scrubbed{span}
	}
	if err := s.to.ExportSpans(ctx, clean); err != nil {
		s.log.Warn("traces were not delivered: check OTEL_EXPORTER_OTLP_ENDPOINT", "spans", len(spans))
	}
	return nil
}

// Shutdown implements trace.SpanExporter.
func (s *scrubber) Shutdown(ctx context.Context) error { return s.to.Shutdown(ctx) }

// harmless are the attributes that hold ids, kinds, counts and times only.
var harmless = map[attribute.Key]bool{
	"http.request.method": true, "http.response.status_code": true, "http.route": true,
	"db.system.name": true, "db.response.status_code": true, "db.response.returned_rows": true, "pgx.operation.type": true, "pgx.sql_state": true, "pgx.rows_affected": true,
	"id": true, "kind": true, "kinds": true, "queue": true, "attempt": true, "priority": true, "status": true,
	"cancel": true, "snooze": true, "snooze.duration": true, "created_at": true, "scheduled_at": true,
	"lockstep.target": true, "lockstep.outcome": true,
}

// scrubbed is a span without events, descriptions and other attributes.
type scrubbed struct{ trace.ReadOnlySpan }

func (s scrubbed) Attributes() (kept []attribute.KeyValue) {
	for _, a := range s.ReadOnlySpan.Attributes() {
		if harmless[a.Key] {
			kept = append(kept, a)
		}
	}
	return kept
}

func (s scrubbed) Events() []trace.Event { return nil }

func (s scrubbed) Status() trace.Status { return trace.Status{Code: s.ReadOnlySpan.Status().Code} }

func (s scrubbed) Links() (links []trace.Link) {
	for _, l := range s.ReadOnlySpan.Links() {
		links = append(links, trace.Link{SpanContext: oteltrace.NewSpanContext(oteltrace.SpanContextConfig{
			TraceID: l.SpanContext.TraceID(), SpanID: l.SpanContext.SpanID(), TraceFlags: l.SpanContext.TraceFlags(),
		})})
	}
	return links
}
