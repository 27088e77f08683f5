package shopify

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
)

var _ lockstep.Target = (*Target)(nil)

// TestNoAnswer: without a connection nothing was sent; after that nobody knows.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	tests := map[string]struct {
		ctx         context.Context
		url         func(*testing.T) string
		read, write lockstep.ErrorKind
		says        string
	}{
		"refused":      {t.Context(), nobody, lockstep.ErrTransient, lockstep.ErrTransient, "no connection"},
		"cancelled":    {ended, hanging, lockstep.ErrTransient, lockstep.ErrTransient, "canceled"},
		"broken":       {t.Context(), breaking, lockstep.ErrTransient, lockstep.ErrUnknown, "broke"},
		"broken later": {t.Context(), breakingLater, lockstep.ErrTransient, lockstep.ErrUnknown, "broke"},
		"hangs":        {t.Context(), hanging, lockstep.ErrTransient, lockstep.ErrUnknown, "deadline"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := newTestTarget(t, tt.url(t), func(o *Options) { o.Timeout = 300 * time.Millisecond })
			for call, kind := range map[string]lockstep.ErrorKind{"read": tt.read, "write": tt.write} {
				err := writeIt(tt.ctx, target)
				if call == "read" {
					err = readIt(tt.ctx, target)
				}
				judge(t, call, err, kind)
				if !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%s: %v does not say %q", call, err, tt.says)
				}
			}
		})
	}
}

// nobody is an address at which nothing listens.
func nobody(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return "http://" + listener.Addr().String()
}

func breaking(t *testing.T) string {
	return newFakeShop(t, func(http.ResponseWriter, request) { panic(http.ErrAbortHandler) }).URL
}

func breakingLater(t *testing.T) string {
	return newFakeShop(t, func(w http.ResponseWriter, _ request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"data":`)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}).URL
}

// hanging answers when the test is over.
func hanging(t *testing.T) string {
	over := make(chan struct{})
	f := newFakeShop(t, func(http.ResponseWriter, request) { <-over })
	t.Cleanup(func() { close(over) }) // before the server closes, which waits for its requests
	return f.URL
}

func TestTooLongAnswer(t *testing.T) {
	t.Parallel()
	shop := newFakeShop(t, body(`{"data":"`+strings.Repeat("x", maxAnswer)+`"}`))
	judge(t, "write", writeIt(t.Context(), newTestTarget(t, shop.URL)), lockstep.ErrUnknown)
}

// TestNoRedirect: the access token stays with the shop.
func TestNoRedirect(t *testing.T) {
	t.Parallel()
	elsewhere := newFakeShop(t, body(readAda))
	for _, status := range []int{301, 302, 303, 307, 308} {
		shop := newFakeShop(t, func(w http.ResponseWriter, r request) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(status)
		})
		judge(t, "read", readIt(t.Context(), newTestTarget(t, shop.URL)), lockstep.ErrRefused)
	}
	if got := elsewhere.asked(); len(got) > 0 {
		t.Errorf("followed a redirect: %v", got)
	}
}

// TestRequest: where a request goes, and that what is not set is not sent.
func TestRequest(t *testing.T) {
	t.Parallel()
	shop := newFakeShop(t, body(readAda))
	target := newTestTarget(t, shop.URL)
	if _, err := target.Update(t.Context(), adaNow(), lockstep.Customer{UserID: "user_ada", FirstName: "Augusta"}); err != nil {
		t.Fatal(err)
	}
	if _, err := target.Resolve(t.Context(), lockstep.Query{UserID: "user_ada", CustomerID: "cus_medusa"}); err != nil {
		t.Fatal(err)
	}
	want := []request{
		{"Set", "/" + testShop + "/admin/api/2026-10/graphql.json", "shpat_test",
			`{"identifier":{"id":"gid://shopify/Customer/7"},"input":{"firstName":"Augusta"},"key":"clerk_user_id"}`},
		{"Resolve", "/" + testShop + "/admin/api/2026-10/graphql.json", "shpat_test",
			`{"byEmail":false,"byLink":false,"byUser":true,"email":{"id":"gid://shopify/Customer/0"},"key":"clerk_user_id",` +
				`"link":"gid://shopify/Customer/0","user":{"customId":{"key":"clerk_user_id","value":"user_ada"}}}`},
	}
	if !slices.Equal(shop.requests, want) {
		t.Errorf("got %+v", shop.requests)
	}
}

// TestNamespace: another namespace goes wherever the mark does.
func TestNamespace(t *testing.T) {
	t.Parallel()
	shop := newFakeShop(t, body(readAda))
	target := newTestTarget(t, shop.URL, func(o *Options) { o.Namespace = "custom" })
	if err := errors.Join(readIt(t.Context(), target), writeIt(t.Context(), target)); err != nil {
		t.Fatal(err)
	}
	for _, r := range shop.requests {
		if strings.Count(r.variables, `"namespace":"custom"`) != 2 {
			t.Errorf("%s names the namespace elsewhere: %s", r.operation, r.variables)
		}
	}
}

// TestVersion: an ended version is answered by another one, silently.
func TestVersion(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var logged strings.Builder
	version := "2027-01"
	shop := newFakeShop(t, func(w http.ResponseWriter, r request) {
		w.Header().Set("X-Shopify-API-Version", version)
		_, _ = io.WriteString(w, `{"data":{"byUser":null,"currentAppInstallation":{"accessScopes":[{"handle":"write_customers"}]}}}`)
	})
	target := newTestTarget(t, shop.URL, func(o *Options) { o.Log = logTo(t, &logged, &mu) })
	for range 3 {
		if err := readIt(t.Context(), target); err != nil {
			t.Errorf("a read fails: %v", err)
		}
	}
	err := target.Check(t.Context())
	judge(t, "Check", err, lockstep.ErrRefused)
	if !strings.Contains(err.Error(), "2027-01") || !strings.Contains(err.Error(), "upgrade lockstep") {
		t.Errorf("%v does not say what to do", err)
	}
	if n := strings.Count(logged.String(), "another version"); n != 1 {
		t.Errorf("logged %d times: %s", n, logged.String())
	}
	version = Version
	if err := target.Check(t.Context()); err != nil {
		t.Errorf("the version is served again: %v", err)
	}
}

// stingyBucket has no points, or as many as the test says.
type stingyBucket struct {
	mu      sync.Mutex
	waits   []time.Duration // of the next calls to Take; zero after that
	err     error
	taken   []float64
	live    []bool
	learned [][4]float64
}

func (b *stingyBucket) Take(_ context.Context, _ string, cost float64, live bool) (wait time.Duration, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken, b.live = append(b.taken, cost), append(b.live, live)
	if len(b.waits) > 0 {
		wait, b.waits = b.waits[0], b.waits[1:]
	}
	return wait, b.err
}

func (b *stingyBucket) Learn(_ context.Context, _ string, refund, available, capacity, rate float64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.learned = append(b.learned, [4]float64{refund, available, capacity, rate})
	return errors.New("not kept")
}

// TestNoPointsNoRequest: what would be throttled is not sent.
func TestNoPointsNoRequest(t *testing.T) {
	t.Parallel()
	shop := newFakeShop(t, body(readAda))
	b := &stingyBucket{waits: []time.Duration{time.Minute, time.Hour}}
	target := newTestTarget(t, shop.URL, func(o *Options) { o.Bucket = b })
	err := readIt(t.Context(), target)
	judge(t, "read", err, lockstep.ErrThrottled)
	if te, ok := errors.AsType[*lockstep.TargetError](err); !ok || te.After != time.Minute {
		t.Errorf("got %v, want a wait of a minute", err)
	}
	judge(t, "write", writeIt(t.Context(), target), lockstep.ErrThrottled)
	b.err = errors.New("the database is away")
	judge(t, "write", writeIt(t.Context(), target), lockstep.ErrTransient)
	if got := shop.asked(); len(got) > 0 {
		t.Errorf("sent %v", got)
	}
}

// TestPatience: a write waits a little for its points, a look does not.
func TestPatience(t *testing.T) {
	t.Parallel()
	shop := newFakeShop(t, body(readAda))
	b := &stingyBucket{waits: []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond}}
	target := newTestTarget(t, shop.URL, func(o *Options) { o.Bucket, o.Patience = b, time.Minute })
	judge(t, "read", readIt(t.Context(), target), lockstep.ErrThrottled)
	if err := writeIt(t.Context(), target); err != nil {
		t.Errorf("the write did not wait: %v", err)
	}
	b.waits = []time.Duration{2 * time.Minute}
	judge(t, "write", writeIt(t.Context(), target), lockstep.ErrThrottled)
	b.waits = []time.Duration{time.Second}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	judge(t, "write", writeIt(ctx, target), lockstep.ErrTransient)
}

// TestAccount: each request takes its points before, and what Shopify says of
// them afterwards is kept.
func TestAccount(t *testing.T) {
	t.Parallel()
	const status = `"throttleStatus":{"maximumAvailable":4000,"currentlyAvailable":3210,"restoreRate":200}`
	told := `"extensions":{"cost":{"requestedQueryCost":10,"actualQueryCost":6,` + status + `}}`
	shop := newFakeShop(t, func(w http.ResponseWriter, r request) {
		if strings.Contains(r.variables, "user_throttled") {
			_, _ = io.WriteString(w, `{"errors":[{"extensions":{"code":"THROTTLED"}}],"extensions":{"cost":{"actualQueryCost":null,`+status+`}}}`)
			return
		}
		_, _ = io.WriteString(w, strings.TrimSuffix(readAda, "}")+","+told+"}")
	})
	b := &stingyBucket{}
	bulk := func(ctx context.Context) bool { return ctx.Value(bulkKey{}) != nil }
	target := newTestTarget(t, shop.URL, func(o *Options) { o.Bucket, o.Bulk = b, bulk })
	if _, err := target.Resolve(t.Context(), lockstep.Query{UserID: "user_ada", Email: "ada@example.test"}); err != nil {
		t.Fatal(err)
	}
	if err := readIt(context.WithValue(t.Context(), bulkKey{}, 1), target); err != nil {
		t.Fatal(err)
	}
	if err := writeIt(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	_, err := target.Resolve(t.Context(), lockstep.Query{UserID: "user_throttled"})
	judge(t, "Resolve", err, lockstep.ErrThrottled)
	if want := []float64{10 + 14, 5 + 14, 14, 5 + 14}; !slices.Equal(b.taken, want) {
		t.Errorf("took %v, want %v", b.taken, want)
	}
	if want := []bool{true, false, true, true}; !slices.Equal(b.live, want) {
		t.Errorf("live: %v, want %v", b.live, want)
	}
	if want := [][4]float64{{4 + 14, 3210, 4000, 200}, {14, 3210, 4000, 200}, {8, 3210, 4000, 200}, {5 + 14, 3210, 4000, 200}}; !slices.Equal(b.learned, want) {
		t.Errorf("learned %v, want %v", b.learned, want)
	}
}

type bulkKey struct{}

// TestPointsOfLostAnswers: what was held for the write that did not come to be
// is given back; what was sent may have been spent.
func TestPointsOfLostAnswers(t *testing.T) {
	t.Parallel()
	b := &stingyBucket{}
	target := newTestTarget(t, breaking(t), func(o *Options) { o.Bucket = b })
	judge(t, "read", readIt(t.Context(), target), lockstep.ErrTransient)
	judge(t, "write", writeIt(t.Context(), target), lockstep.ErrUnknown)
	if want := slices.Repeat([][4]float64{{14, 0, 0, 0}}, 1+lookAgain); !slices.Equal(b.learned, want) { // once a look, never for the write
		t.Errorf("learned %v, want %v", b.learned, want)
	}
}

func TestMemoryBucket(t *testing.T) {
	t.Parallel()
	now := newClock()
	b := NewMemoryBucket()
	b.now = now.Now
	take := func(cost float64, live bool, want time.Duration) {
		t.Helper()
		if wait, err := b.Take(t.Context(), "a", cost, live); err != nil || wait != want {
			t.Errorf("%g points, live=%t: wait %s, %v, want %s", cost, live, wait, err, want)
		}
	}
	learn := func(refund, available, capacity, rate float64) {
		t.Helper()
		if err := b.Learn(t.Context(), "a", refund, available, capacity, rate); err != nil {
			t.Error(err)
		}
	}
	take(1400, false, 0)
	take(100, false, time.Second) // the reserve is 600
	take(600, true, 0)
	take(10, true, 100*time.Millisecond)
	now.add(100 * time.Millisecond)
	take(10, true, 0)
	now.add(-time.Hour)
	take(10, true, 100*time.Millisecond)
	learn(8, 2000, 2000, 100) // a refund, and no more than that
	take(10, true, 20*time.Millisecond)
	now.add(time.Hour)
	take(2000, true, 0)
	now.add(time.Hour)
	learn(0, 50, 4000, 200) // somebody else spent
	take(150, true, 500*time.Millisecond)
	learn(-5, math.Inf(1), 0, 0)
	take(150, true, 500*time.Millisecond)
	take(9000, true, 19750*time.Millisecond) // never more than there can be
	if wait, err := b.Take(t.Context(), "b", StandardCapacity, true); wait != 0 || err != nil {
		t.Errorf("another shop waits %s, %v", wait, err)
	}
}

// Ten minutes of a mass push by 32 workers, each of which takes what it may every
// ten milliseconds: a live change, two a second, is admitted at once each time.
func TestLiveChangeNeverWaitsForBulkPoints(t *testing.T) {
	t.Parallel()
	const change = 24 // points for a new customer
	now := newClock()
	b := NewMemoryBucket()
	b.now = now.Now
	take := func(live bool) bool {
		wait, err := b.Take(t.Context(), "a", change, live)
		return err == nil && wait == 0
	}
	bulk, waited := 0, 0
	for tick := range 60_000 {
		for range 32 {
			if take(false) {
				bulk++
			}
		}
		if tick%50 == 0 && !take(true) {
			waited++
		}
		now.add(10 * time.Millisecond)
	}
	if waited > 0 || bulk < 1200 { // half of what comes back is left to bulk work
		t.Errorf("%d live changes had to wait, beside %d in bulk", waited, bulk)
	}
}

func TestMemoryBucketIsNeverOverdrawn(t *testing.T) {
	t.Parallel()
	b := NewMemoryBucket()
	b.now = newClock().Now
	var all sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for range 16 {
		all.Go(func() {
			for {
				if wait, err := b.Take(t.Context(), "a", 14, true); wait > 0 || err != nil {
					return
				}
				mu.Lock()
				taken += 14
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if want := StandardCapacity / 14 * 14; taken != want {
		t.Errorf("took %d, want %d", taken, want)
	}
}

// TestOptions: settings that cannot work are refused, with what to type.
func TestOptions(t *testing.T) {
	t.Parallel()
	const token = StaticToken("shpat_x")
	for name, o := range map[string]Options{
		"no shop":           {Tokens: token},
		"a shop's own name": {Shop: "shop.example.com", Tokens: token},
		"with a path":       {Shop: "acme.myshopify.com/x", Tokens: token, APIURL: "http://127.0.0.1"},
		"with a port":       {Shop: "acme.myshopify.com:80", Tokens: token},
		"with a user":       {Shop: "evil@acme.myshopify.com", Tokens: token},
		"a fragment":        {Shop: "evil.test#.myshopify.com", Tokens: token},
		"no token":          {Shop: testShop},
		"no URL":            {Shop: testShop, Tokens: token, APIURL: "acme"},
		"another scheme":    {Shop: testShop, Tokens: token, APIURL: "ftp://{shop}"},
		"a comma in a tag":  {Shop: testShop, Tokens: token, Tags: []string{"a,b"}},
		"a blank tag":       {Shop: testShop, Tokens: token, Tags: []string{" "}},
		"a long tag":        {Shop: testShop, Tokens: token, ReleasedTag: strings.Repeat("x", 256)},
	} {
		if _, err := New(o); err == nil || !strings.HasPrefix(err.Error(), "shopify: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	target, err := New(Options{Shop: " Acme.myshopify.com", Tokens: token})
	if err != nil || target.Name() != "shopify:acme.myshopify.com" || target.client.url != "https://acme.myshopify.com/admin/api/2026-10/graphql.json" {
		t.Errorf("got %+v, %v", target, err)
	}
}

// TestIdleConnectionBroken: net/http sends a request again by itself where it
// believes that this is safe; a write must go out once.
func TestIdleConnectionBroken(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	writes := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if readRequest(r).operation != "Set" {
			_, _ = io.WriteString(w, readAda)
			return
		}
		mu.Lock()
		writes++
		mu.Unlock()
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(server.Close)
	target := newTestTarget(t, server.URL)
	for range 20 {
		if err := readIt(t.Context(), target); err != nil { // leaves an idle connection
			t.Fatal(err)
		}
		judge(t, "write", writeIt(t.Context(), target), lockstep.ErrUnknown)
	}
	mu.Lock()
	defer mu.Unlock()
	if writes != 20 {
		t.Errorf("20 writes were sent %d times", writes)
	}
}
