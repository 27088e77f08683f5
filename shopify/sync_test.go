package shopify_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/shopify"
)

// links is what Lockstep remembers of each user in one target.
type links struct {
	target lockstep.Target
	byUser map[string]lockstep.Link
}

func newLinks(target lockstep.Target) *links {
	return &links{target, map[string]lockstep.Link{}}
}

// sync makes the shop hold what the profile says, as a worker does.
func (l *links) sync(t testing.TB, p lockstep.Profile) (engine.Result, error) {
	t.Helper()
	res, err := engine.Sync(t.Context(), l.target, p, l.byUser[p.ID], l.owners, "")
	if err == nil {
		link := lockstep.Link{UserID: p.ID, CustomerID: res.Customer.ID, Status: res.Decision.Status, RefusedPhone: res.Refused, RefusedConsent: res.Unheard}
		if res.Decision.Status == lockstep.StatusConflict && link.CustomerID == "" {
			link.CustomerID = l.byUser[p.ID].CustomerID
		}
		l.byUser[p.ID] = link
	}
	return res, err
}

func (l *links) must(t testing.TB, p lockstep.Profile) engine.Result {
	t.Helper()
	res, err := l.sync(t, p)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func (l *links) owners(_ context.Context, _ string, ids []string) (map[string]string, error) {
	owner := map[string]string{}
	for _, id := range ids {
		for user, link := range l.byUser {
			if link.CustomerID == id {
				owner[id] = user
			}
		}
	}
	return owner, nil
}

func ada() lockstep.Profile {
	return lockstep.Profile{ID: "user_ada", Email: "ada@example.test", EmailVerified: true, FirstName: "Ada", LastName: "Byron"}
}

func (w world) put(t testing.TB, spec emulator.CustomerSpec) emulator.ShopCustomer {
	t.Helper()
	c, err := w.acme.PutCustomer(spec)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w world) customer(t testing.TB, id string) emulator.ShopCustomer {
	t.Helper()
	c, err := w.acme.Customer(id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w world) only(t testing.TB, n int) {
	t.Helper()
	if got := w.acme.CustomerCount(); got != n {
		t.Errorf("the shop holds %d customers, want %d", got, n)
	}
}

// TestUnverifiedThenVerified: a guest's orders are shown to who proved the
// e-mail, and to nobody before.
func TestUnverifiedThenVerified(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	guest := w.put(t, emulator.CustomerSpec{Email: "Ada@Example.test", FirstName: "A.", Orders: 3, Tags: []string{"vip"}})
	l := newLinks(w.target(t, w.acme))
	p := ada()
	p.EmailVerified = false
	if res := l.must(t, p); res.Decision.Status != lockstep.StatusWaiting || len(res.Wrote) > 0 {
		t.Errorf("unverified: %+v", res)
	}
	if got := w.customer(t, guest.ID); markOf(got) != "" || got.FirstName != "A." {
		t.Errorf("unverified, and yet written: %+v", got)
	}
	res := l.must(t, ada())
	got := w.customer(t, guest.ID)
	if res.Decision.Action != engine.Adopt || res.Customer.ID != guest.ID || markOf(got) != "user_ada" || got.Orders != 3 || got.FirstName != "Ada" || len(got.Tags) != 1 {
		t.Errorf("verified: %+v, %+v", res, got)
	}
	if res := l.must(t, ada()); len(res.Wrote) > 0 {
		t.Errorf("written again: %+v", res)
	}
	w.only(t, 1)
}

// TestTwoUsersOneEmail: the second is a conflict that names both, and the first
// keeps what is his.
func TestTwoUsersOneEmail(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	l := newLinks(w.target(t, w.acme))
	first := l.must(t, ada())
	second := ada()
	second.ID, second.FirstName = "user_eve", "Eve"
	res := l.must(t, second)
	for _, says := range []string{"user_ada", first.Customer.ID, "change the e-mail of one"} {
		if !strings.Contains(res.Decision.Reason, says) {
			t.Errorf("the reason does not say %q: %s", says, res.Decision.Reason)
		}
	}
	if res.Decision.Status != lockstep.StatusConflict || res.Decision.BlockedBy != first.Customer.ID || strings.Contains(res.Decision.Reason, "@") {
		t.Errorf("got %+v", res.Decision)
	}
	if c := w.customer(t, first.Customer.ID); markOf(c) != "user_ada" || c.FirstName != "Ada" {
		t.Errorf("the first user's customer is %+v", c)
	}
	w.only(t, 1)
}

// TestMovedAndDeleted: an e-mail moves on the same customer; a user who is
// deleted leaves an unmarked customer with its orders, and a user who comes after
// gets it.
func TestMovedAndDeleted(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	l := newLinks(w.target(t, w.acme, func(o *shopify.Options) { o.Tags = []string{owned} }))
	id := l.must(t, ada()).Customer.ID
	moved := ada()
	moved.Email = "ada@example.net"
	if res := l.must(t, moved); res.Customer.ID != id || res.Customer.Email != "ada@example.net" {
		t.Errorf("moved to %+v", res.Customer)
	}
	if _, err := w.acme.AddOrder(id); err != nil {
		t.Fatal(err)
	}
	moved.DeletedAt = time.UnixMilli(1)
	if res := l.must(t, moved); res.Decision.Status != lockstep.StatusReleased {
		t.Errorf("released: %+v", res)
	}
	if c := w.customer(t, id); markOf(c) != "" || strings.Join(c.Tags, " ") != released || c.Orders != 1 {
		t.Errorf("released: %+v", c)
	}
	again := ada()
	again.ID, again.Email = "user_ada2", "ada@example.net"
	if res := l.must(t, again); res.Customer.ID != id {
		t.Errorf("the next user got %+v", res.Customer)
	}
	if c := w.customer(t, id); strings.Join(c.Tags, " ") != owned {
		t.Errorf("tags of an adopted customer: %q", c.Tags)
	}
	w.only(t, 1)
}

// TestDeletedAndMerged: what a merchant does to a linked customer is followed.
func TestDeletedAndMerged(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	l := newLinks(w.target(t, w.acme))
	first := l.must(t, ada()).Customer.ID
	if err := w.acme.DeleteCustomer(first); err != nil {
		t.Fatal(err)
	}
	second := l.must(t, ada()).Customer.ID
	if second == first {
		t.Error("the deleted customer is still linked")
	}
	other := w.put(t, emulator.CustomerSpec{Email: "byron@example.test", FirstName: "Ada"})
	kept, err := w.acme.MergeCustomers(second, other.ID)
	if err != nil {
		t.Fatal(err)
	}
	if res := l.must(t, ada()); res.Customer.ID != kept.ID || res.Customer.UserID != "user_ada" {
		t.Errorf("merged into %s, linked to %+v", kept.ID, res.Customer)
	}
	w.only(t, 1)
}

// journal is a shop's door that notes which operations pass, in order.
type journal struct {
	to http.Handler

	mu  sync.Mutex
	ops []string
}

func (j *journal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, rest, _ := strings.Cut(string(data), `"query":"`)
	name, _, _ := strings.Cut(rest, "(")
	j.mu.Lock()
	j.ops = append(j.ops, name)
	j.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(data))
	j.to.ServeHTTP(w, r)
}

// resent counts writes of customers that followed a write without a look.
func (j *journal) resent() (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	looked := false
	for _, op := range j.ops {
		switch {
		case strings.HasPrefix(op, "query"):
			looked = true
		case strings.HasPrefix(op, "mutation Set") && !looked:
			n++
		case strings.HasPrefix(op, "mutation Set"):
			looked = false
		}
	}
	return n
}

// TestLostAnswers loses the answers of 500 writes that took place, and of some
// that did not: no duplicate, and no write again without a look in between.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	w.acme.SetRestoreRate(1e9)
	j := &journal{to: w.Shopify}
	server := httptest.NewServer(j)
	t.Cleanup(server.Close)
	l := newLinks(w.target(t, w.acme, func(o *shopify.Options) { o.APIURL, o.Bucket = server.URL+"/{shop}", noLimit{} }))
	if err := w.Faults.Set(
		emulator.Rule{Route: "acme mutation customerSet", Rate: 0.5, Fault: emulator.Fault{Action: emulator.ActionDropAfter}},
		emulator.Rule{Route: "acme mutation customerSet", Rate: 0.2, Fault: emulator.Fault{Action: emulator.ActionDropBefore}},
	); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(7, 7))
	users := 0
	for w.lost() < 500 {
		if users == 0 || random.IntN(3) > 0 {
			users++
		}
		p := person(1+random.IntN(users), random.IntN(5))
		if n := len(l.byUser); n < users {
			p = person(users, 0)
		}
		l.patiently(t, p)
	}
	if n := j.resent(); n > 0 {
		t.Errorf("%d writes were sent again without a look", n)
	}
	w.only(t, users)
	w.oneEach(t, l)
	t.Logf("%d users, %d answers lost after the commit, %d requests", users, w.lost(), len(j.ops))
}

// lost is how many writes were committed whose answer was dropped.
func (w world) lost() (n int) {
	for _, count := range w.Faults.Counts() {
		if count.Outcome == "drop_after 200" {
			n += count.N
		}
	}
	return n
}

// person is an invented user after n changes of the name.
func person(user, n int) lockstep.Profile {
	return lockstep.Profile{ID: fmt.Sprintf("user_%04d", user), Email: fmt.Sprintf("user%04d@example.test", user), EmailVerified: true,
		FirstName: fmt.Sprintf("Name%d", n), Phone: fmt.Sprintf("+4520%06d", user), PhoneVerified: true}
}

// patiently syncs as the queue does, which comes back after a failure.
func (l *links) patiently(t *testing.T, p lockstep.Profile) {
	t.Helper()
	for range 50 {
		_, err := l.sync(t, p)
		if err == nil {
			return
		}
		if lockstep.KindOf(err) != lockstep.ErrUnknown {
			t.Fatal(err)
		}
	}
	t.Fatal("50 times without success")
}

// oneEach checks that every user has the one customer that its link names.
func (w world) oneEach(t *testing.T, l *links) {
	t.Helper()
	seen := map[string]string{}
	for _, c := range w.acme.Customers() {
		user := markOf(c)
		if seen[user] != "" || l.byUser[user].CustomerID != c.ID {
			t.Errorf("customer %s is %q's, whose link says %q", c.ID, user, l.byUser[user].CustomerID)
		}
		seen[user] = c.ID
	}
}
