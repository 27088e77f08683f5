package inbox_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
)

// limited is three worker processes on one shop of the Standard plan, which has
// more work than its 100 points a second allow.
type limited struct {
	*crash
	*emulator.Shop
	overlaps *overlaps
}

func newLimited(t testing.TB, users int) *limited {
	w := &limited{crash: newCrash(t), overlaps: &overlaps{busy: map[string]int{}}}
	w.openShops([]emulator.ShopSpec{{Domain: "acme.myshopify.com", Plan: emulator.PlanStandard}}, w.overlaps.wrap)
	w.Shop = w.shops.Shop("acme")
	// As far away as Shopify is: without that, overlaps would hardly show.
	must(t, w.shops.Faults.Set(emulator.Rule{Rate: 1, Fault: emulator.Fault{Action: emulator.ActionPass, Delay: 100 * time.Millisecond}}))
	w.env = append(w.env, "MEDUSA_MODE=off")
	w.run([]app.Role{app.RoleWorker, app.RoleWorker, app.RoleWorker, app.RoleWeb})
	for i := range users {
		_, err := w.clerk.CreateUser(emulator.UserSpec{FirstName: fmt.Sprintf("User%d", i), Email: fmt.Sprintf("user.%d@example.test", i), Verified: true})
		must(t, err)
	}
	must(t, w.clerk.Webhooks.Wait(t.Context()))
	return w
}

// measure empties the bucket, waits until the processes have learned of that,
// and then until some points more are used.
func (w *limited) measure(points float64) emulator.ShopUsage {
	w.t.Helper()
	w.waitForCustomers(1)
	w.Drain(2000)
	w.t.Logf("start with a full bucket: %+v", w.ResetUsage())
	w.waitForUsed(300)
	warmUp := w.ResetUsage()
	w.waitForUsed(points)
	usage := w.ResetUsage()
	done, pending := 0, 0
	must(w.t, w.pool.QueryRow(w.t.Context(), `select count(*) filter (where applied = desired), count(*) filter (where applied < desired)
		from lockstep.customer_links`).Scan(&done, &pending))
	w.t.Logf("warm-up: %+v", warmUp)
	w.t.Logf("window: %+v; used/restored %.3f, used/offered %.3f, THROTTLED %d; users done %d, waiting %d",
		usage, usage.Used/usage.Restored, usage.Used/usage.Offered, usage.Throttled, done, pending)
	if pending == 0 {
		w.t.Error("the work was done before the window ended: nothing was measured")
	}
	return usage
}

func (w *limited) waitForCustomers(n int) {
	w.t.Helper()
	w.poll(w.t.Context(), fmt.Sprintf("%d customers are made", n), func(context.Context) bool { return w.CustomerCount() >= n })
}

func (w *limited) waitForUsed(points float64) {
	w.t.Helper()
	w.poll(w.t.Context(), fmt.Sprintf("%v points are used", points), func(context.Context) bool { return w.Usage().Used >= points })
}

// checkOnce fails when a customer was made twice or two workers were busy with
// one user.
func (w *limited) checkOnce() {
	w.t.Helper()
	for user, own := range marks(w.Shop) {
		if len(own) != 1 {
			w.t.Errorf("%s has %d customers", user, len(own))
		}
	}
	if made, marked := w.CustomerCount(), len(marks(w.Shop)); made != marked {
		w.t.Errorf("%d customers, %d of them marked", made, marked)
	}
	if requests, overlaps := w.overlaps.counts(); overlaps != 0 || requests == 0 {
		w.t.Errorf("%d overlaps in %d requests that name a user", overlaps, requests)
	}
}

// Three processes share the limit of one shop: nobody is throttled for long,
// and nothing is done twice.
func TestSharedLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	w := newLimited(t, 300)
	usage := w.measure(1500)
	if usage.Throttled*20 > usage.Requests {
		t.Errorf("%d THROTTLED answers to %d requests", usage.Throttled, usage.Requests)
	}
	if usage.Used > 1.5*usage.Restored {
		t.Errorf("%v points used, but only %v came back", usage.Used, usage.Restored)
	}
	w.checkOnce()
}

// BenchmarkSharedLimit is the same over a minute of the shop's time.
func BenchmarkSharedLimit(b *testing.B) {
	for b.Loop() {
		w := newLimited(b, 800)
		usage := w.measure(6000)
		w.checkOnce()
		b.ReportMetric(usage.Used/usage.Restored, "used/restored")
		b.ReportMetric(float64(usage.Throttled), "throttled")
	}
}

// overlaps counts requests about a user that arrive while another is served.
type overlaps struct {
	mu       sync.Mutex
	busy     map[string]int
	requests int
	n        int
}

var userID = regexp.MustCompile(`user_[0-9A-Za-z]{20,}`)

func (o *overlaps) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if user := userID.FindString(string(body)); user != "" {
			o.enter(user)
			defer o.leave(user)
		}
		next.ServeHTTP(w, r)
	})
}

func (o *overlaps) enter(user string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests++
	if o.busy[user]++; o.busy[user] > 1 {
		o.n++
	}
}

func (o *overlaps) leave(user string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.busy[user]--
}

func (o *overlaps) counts() (requests, overlaps int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.requests, o.n
}
