package app_test

import (
	"cmp"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/watch"
	collect "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"
)

// collector takes spans as an OpenTelemetry collector does, and keeps the bytes.
type collector struct {
	url    string
	bodies buffer
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	t.Cleanup(func() { c.search(t) }) // after the last ones came
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/v1/traces") {
			t.Errorf("spans were sent to %s", r.URL.Path)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // cut off: the exporter sends again
		}
		_, _ = c.bodies.Write(body)
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// search looks through all that the spans say: each text once, and no ids, in
// which any word may be by chance. Exports, one after the other, are one.
func (c *collector) search(t *testing.T) {
	t.Helper()
	var got collect.ExportTraceServiceRequest
	must(t, proto.Unmarshal([]byte(c.bodies.String()), &got))
	texts := map[string]bool{}
	add := func(attributes []*common.KeyValue, more ...string) {
		for _, kv := range attributes {
			texts[kv.GetKey()+"="+cmp.Or(kv.GetValue().GetStringValue(), kv.GetValue().String())] = true
		}
		for _, text := range more {
			texts[text] = true
		}
	}
	for _, r := range got.GetResourceSpans() {
		add(r.GetResource().GetAttributes())
		for _, scope := range r.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				add(span.GetAttributes(), span.GetName(), span.GetTraceState(), span.GetStatus().GetMessage())
				for _, event := range span.GetEvents() {
					add(event.GetAttributes(), event.GetName())
				}
				for _, link := range span.GetLinks() {
					add(link.GetAttributes(), link.GetTraceState())
				}
			}
		}
	}
	watch.Text(t, "spans", strings.Join(slices.Sorted(maps.Keys(texts)), "\n"))
}

// canaryShop emulates a shop that has the users' guests and accounts already,
// and puts its settings into env.
func canaryShop(t *testing.T, env map[string]string) *emulator.Shopify {
	t.Helper()
	shops, err := emulator.NewShopify(emulator.ShopifyOptions{Shops: []emulator.ShopSpec{{Domain: "acme", Plan: emulator.PlanPlus}}})
	must(t, err)
	t.Cleanup(shops.Close)
	server := httptest.NewServer(shops)
	t.Cleanup(server.Close)
	shops.SetBaseURL(server.URL)
	for _, s := range shops.Settings() {
		env[s.Name] = s.Value
	}
	for _, spec := range []emulator.CustomerSpec{
		{Email: "canary.check@example.test", FirstName: "Canary", LastName: "Guest", Orders: 2},
		{Email: "canary.conflict@example.test", FirstName: "Canary", LastName: "Account", State: emulator.CustomerEnabled},
	} {
		_, err := shops.Shops()[0].PutCustomer(spec)
		must(t, err)
	}
	return shops
}

// misbehave makes the shop fail in every way it can, one after the other, while
// users change.
func (w *world) misbehave(shops *emulator.Shopify) {
	w.t.Helper()
	shop := shops.Shops()[0]
	for _, fault := range []emulator.Fault{
		{Action: emulator.ActionRefuse, Status: http.StatusBadGateway},
		{Action: emulator.ActionRefuse, Status: http.StatusTooManyRequests, RetryAfter: time.Second},
		{Action: emulator.ActionRefuse, Code: "THROTTLED"},
		{Action: emulator.ActionRefuse, Code: "INTERNAL_SERVER_ERROR"},
		{Action: emulator.ActionDropBefore},
		{Action: emulator.ActionDropAfter},
	} {
		must(w.t, shops.Faults.Set(emulator.Rule{Route: shop.Name() + " *", Rate: 0.5, Fault: fault}))
		for range 3 {
			w.canaryUser("Canary", "fault."+time.Now().Format("150405.000000"))
		}
		w.delivered()
	}
	must(w.t, shops.Faults.Set())
	shop.Revoke()
	w.canaryUser("Canary", "revoked")
	w.eventually("the shop is paused", `select exists (select 1 from lockstep.targets where target like 'shopify:%' and paused_at is not null)`)
	w.operate("POST", "retry", `{}`)
	shop.Restore()
	w.operate("POST", "retry", `{}`)
}

// askAsOperator asks for every answer of the operator API that is not a user's
// own data, with canaries wherever a request has room.
func (w *world) askAsOperator(answers *tee) {
	w.t.Helper()
	for _, c := range []struct{ method, path, token, body string }{
		{"GET", "status", operatorToken, ""},
		{"GET", "watchdogs", operatorToken, ""},
		{"GET", "conflicts", operatorToken, ""},
		{"GET", "conflicts?target=" + canary, operatorToken, ""},
		{"GET", "users/" + canary, operatorToken, ""},
		{"GET", "users/" + canary + "/timeline", operatorToken, ""},
		{"POST", "users/" + canary + "/sync", operatorToken, ""},
		{"POST", "retry", operatorToken, `{"target":"` + canary + `"}`},
		{"POST", "retry", operatorToken, `{"users":["` + canary + `"]}`},
		{"POST", "retry", operatorToken, `{"` + canary + `":1}`},
		{"POST", "retry", operatorToken, canary},
		{"PUT", canary, operatorToken, canary},
		{"GET", "status", canary, ""},
		{"GET", "status?" + canary, "", ""},
	} {
		req, err := http.NewRequestWithContext(w.t.Context(), c.method, w.url+"/v1/operator/"+c.path, strings.NewReader(c.body))
		must(w.t, err)
		req.Header = http.Header{"Authorization": {"Bearer " + c.token}, "User-Agent": {canary}, "Cookie": {"__session=" + canary},
			"X-Forwarded-For": {"203.0.113.77"}, "Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
			"Tracestate": {canary + "=" + canary}, "Baggage": {"email=" + canary}, "Origin": {"https://" + canary + ".example.test"}}
		_, err = answers.RoundTrip(req)
		must(w.t, err)
	}
	// A user who cannot be brought in step: the error is answered.
	users := w.failing()
	for _, id := range users {
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url+"/v1/operator/users/"+id+"/sync", nil)
		must(w.t, err)
		req.Header.Set("Authorization", "Bearer "+operatorToken)
		_, err = answers.RoundTrip(req)
		must(w.t, err)
	}
}

// failing are users whose link was given up, or fails at each attempt.
func (w *world) failing() (ids []string) {
	w.t.Helper()
	rows, err := w.pool.Query(w.t.Context(), `select distinct clerk_user_id from lockstep.customer_links where reason like '%SQLSTATE%'`)
	must(w.t, err)
	defer rows.Close()
	for rows.Next() {
		var id string
		must(w.t, rows.Scan(&id))
		ids = append(ids, id)
	}
	must(w.t, rows.Err())
	if len(ids) == 0 {
		w.t.Error("nobody fails: the test provoked too little")
	}
	return ids
}
