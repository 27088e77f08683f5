package shopify

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
)

// granter mints tokens shpat_1, shpat_2, …; status other than zero refuses.
type granter struct {
	mu     sync.Mutex
	status int
	minted int
	form   string
	lasts  float64
}

func (g *granter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	data, _ := io.ReadAll(r.Body)
	g.form = r.Method + " " + r.URL.Path + " " + string(data)
	if g.status != 0 {
		w.WriteHeader(g.status)
		return
	}
	g.minted++
	fmt.Fprintf(w, `{"access_token":"shpat_%d","scope":"write_customers","expires_in":%g}`, g.minted, g.lasts)
}

func (g *granter) set(status int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status = status
}

func newCredentials(t *testing.T, g *granter) (*ClientCredentials, *clock) {
	t.Helper()
	if g.lasts == 0 {
		g.lasts = 86399
	}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	c, err := NewClientCredentials(testShop, server.URL+"/{shop}", "id", "shpss_secret")
	if err != nil {
		t.Fatal(err)
	}
	now := newClock()
	c.now = now.Now
	return c, now
}

func (c *ClientCredentials) want(t *testing.T, refused, want string) {
	t.Helper()
	if got, err := c.Token(t.Context(), refused); err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	g := &granter{}
	c, now := newCredentials(t, g)
	c.want(t, "", "shpat_1")
	c.want(t, "", "shpat_1")
	if want := "POST /acme.myshopify.com/admin/oauth/access_token client_id=id&client_secret=shpss_secret&grant_type=client_credentials"; g.form != want {
		t.Errorf("asked %q", g.form)
	}
	now.add(24*time.Hour - 6*time.Minute)
	c.want(t, "", "shpat_1")
	now.add(2 * time.Minute)
	c.want(t, "", "shpat_2") // early
	c.want(t, "shpat_1", "shpat_2")
	c.want(t, "shpat_2", "shpat_3") // refused before its time
}

// TestClientCredentialsAway: a token that holds is used while no other is to be
// had.
func TestClientCredentialsAway(t *testing.T) {
	t.Parallel()
	g := &granter{}
	c, now := newCredentials(t, g)
	c.want(t, "", "shpat_1")
	g.set(503)
	now.add(24*time.Hour - 4*time.Minute)
	c.want(t, "", "shpat_1")
	g.set(0)
	c.want(t, "", "shpat_1") // not tried again at once
	now.add(time.Minute)
	c.want(t, "", "shpat_2")
	g.set(503)
	now.add(25 * time.Hour)
	_, err := c.Token(t.Context(), "")
	judge(t, "an expired token", err, lockstep.ErrTransient)
	g.set(0)
	c.want(t, "", "shpat_3")
}

func TestClientCredentialsErrors(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]lockstep.ErrorKind{
		400: lockstep.ErrRefused, 401: lockstep.ErrRefused, 403: lockstep.ErrRefused, 404: lockstep.ErrRefused,
		402: lockstep.ErrRefused, 423: lockstep.ErrRefused, 429: lockstep.ErrThrottled, 500: lockstep.ErrTransient,
	} {
		g := &granter{status: status}
		c, _ := newCredentials(t, g)
		_, err := c.Token(t.Context(), "")
		judge(t, fmt.Sprint(status), err, want)
		target := newTestTarget(t, "http://127.0.0.1:1", func(o *Options) { o.Tokens = c })
		judge(t, "a write", writeIt(t.Context(), target), want)
	}
	g := &granter{lasts: -1}
	c, _ := newCredentials(t, g)
	_, err := c.Token(t.Context(), "")
	judge(t, "no lifetime", err, lockstep.ErrTransient)
	if _, err := NewClientCredentials(testShop, "", "id", " "); err == nil {
		t.Error("no error without a secret")
	}
	if _, err := NewClientCredentials("acme", "", "id", "secret"); err == nil {
		t.Error("no error for a bare name")
	}
	if _, err := (StaticToken(" ")).Token(t.Context(), ""); lockstep.KindOf(err) != lockstep.ErrRefused {
		t.Errorf("a blank token: %v", err)
	}
}

// TestOneMints: callers that come together, or with the same refused token, make
// one new token.
func TestOneMints(t *testing.T) {
	t.Parallel()
	g := &granter{}
	c, _ := newCredentials(t, g)
	for round, refused := range []string{"", "shpat_1"} {
		var all sync.WaitGroup
		for range 32 {
			all.Go(func() { c.want(t, refused, fmt.Sprintf("shpat_%d", round+1)) })
		}
		all.Wait()
	}
	if g.minted != 2 {
		t.Errorf("minted %d tokens", g.minted)
	}
}

// TestRenewedOnce: a refused token is replaced and the request sent again, once;
// a static one has no other.
func TestRenewedOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	good := "shpat_2"
	shop := newFakeShop(t, func(w http.ResponseWriter, r request) {
		mu.Lock()
		defer mu.Unlock()
		if r.token != good {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, readAda)
	})
	c, _ := newCredentials(t, &granter{})
	target := newTestTarget(t, shop.URL, func(o *Options) { o.Tokens = c })
	if err := writeIt(t.Context(), target); err != nil {
		t.Errorf("not renewed: %v", err)
	}
	mu.Lock()
	good = "shpat_0"
	mu.Unlock()
	judge(t, "write", writeIt(t.Context(), target), lockstep.ErrRefused)
	if got := strings.Join(shop.asked(), " "); got != "Set Set Set Set" {
		t.Errorf("sent %s", got)
	}
	judge(t, "static", readIt(t.Context(), newTestTarget(t, shop.URL)), lockstep.ErrRefused)
	if got := strings.Join(shop.asked(), " "); got != "Set Set Set Set Resolve" {
		t.Errorf("sent %s", got)
	}
}
