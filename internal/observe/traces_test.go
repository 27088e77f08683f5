package observe

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/watch"
	"github.com/lockstephq/lockstep/targettest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"
)

func newTraces(t *testing.T) (*Traces, func() tracetest.SpanStubs) {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	traces, err := NewTraces(exporter, watch.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	return traces, func() tracetest.SpanStubs {
		t.Helper()
		if err := traces.provider.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
		return exporter.GetSpans()
	}
}

// Whoever calls, and whatever a library adds to a span, nothing of it gets out
// that is not known to be harmless.
func TestSpansHoldNothingPersonal(t *testing.T) {
	t.Parallel()
	traces, spans := newTraces(t)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /users/{id}", func(_ http.ResponseWriter, r *http.Request) {
		span := oteltrace.SpanFromContext(r.Context())
		span.SetAttributes(attribute.String("db.query.text", "canary"), attribute.String("enduser.id", "canary"))
		span.RecordError(errors.New("canary"))
		span.SetStatus(codes.Error, "canary")
		target := NewMetrics(nil).Target(failing{targettest.NewFake("fake"), &lockstep.TargetError{Kind: lockstep.ErrRefused, Err: errors.New("canary")}}, traces)
		if err := target.Check(r.Context()); err == nil {
			t.Error("the error is lost")
		}
	})
	req := httptest.NewRequest(http.MethodPost, "/users/canary?email=canary@example.test", strings.NewReader("canary"))
	req.Header = http.Header{"User-Agent": {"canary"}, "Authorization": {"canary"}, "X-Forwarded-For": {"canary"},
		"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "Tracestate": {"canary=canary"}, "Baggage": {"user=canary"}}
	req.RemoteAddr = "203.0.113.77:1234"
	traces.Handler(mux).ServeHTTP(httptest.NewRecorder(), req)
	traces.Handler(mux).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("CANARY", "/canary", nil))

	got := spans()
	text := strings.ToLower(fmt.Sprintf("%+v", got))
	for _, secret := range []string{"canary", "203.0.113.77"} {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("…%s…", text[max(0, i-200):min(len(text), i+50)])
		}
	}
	var names []string
	for _, s := range got {
		names = append(names, s.Name+" "+s.Status.Code.String())
	}
	if got, want := strings.Join(names, ", "), "target check Error, POST /users/{id} Error, request Unset"; got != want {
		t.Errorf("spans %s, want %s", got, want)
	}
	if got[0].Parent.SpanID() != got[1].SpanContext.SpanID() {
		t.Error("the call is not part of the request")
	}
	if got[1].SpanContext.TraceID().String() == "0af7651916cd43dd8448eb211c80319c" || len(got[1].Links) != 1 {
		t.Errorf("a stranger's trace is continued: %+v", got[1])
	}
}

func TestProbesAreNotTraced(t *testing.T) {
	t.Parallel()
	traces, spans := newTraces(t)
	h := traces.Handler(http.NotFoundHandler())
	for path := range probe {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
	}
	if got := spans(); len(got) != 0 {
		t.Errorf("%d spans", len(got))
	}
}

// Off, nothing is wrapped and nothing is made. Not parallel: it counts what the
// process allocates.
func TestTracesOff(t *testing.T) {
	var off *Traces
	h := http.NewServeMux()
	if off.Handler(h) != http.Handler(h) || off.Queries() != nil || off.Jobs() != nil || off.Close(t.Context()) != nil {
		t.Error("something is wrapped")
	}
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		_, end := off.call(ctx, "medusa", "create")
		end(nil)
	}); n != 0 {
		t.Errorf("%v allocations per call", n)
	}
}

func TestTracesURL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env  map[string]string
		want string
		err  error
	}{
		{nil, "", nil},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, "http://localhost:4318/v1/traces", nil},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example.test/base/"}, "https://collector.example.test/base/v1/traces", nil},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b:2/x"}, "http://b:2/x", nil},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_SDK_DISABLED": "true"}, "", nil},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_TRACES_EXPORTER": "none"}, "", nil},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"}, "", ErrTracesURL},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "", ErrTracesProtocol},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, "http://a:1/v1/traces", nil},
	} {
		got, err := TracesURL(func(name string) string { return c.env[name] })
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%v: %q, %v", c.env, got, err)
		}
	}
}

func TestVerb(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{"": "sql", " \n\t": "sql", "SELECT 'canary'": "select", "\n  update x": "update", "-- name: JobInsert :many\nINSERT": "JobInsert"} {
		if got := verb(sql); got != want {
			t.Errorf("%q: %q, want %q", sql, got, want)
		}
	}
}
