package shopify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/shopify"
)

// The steps of facts/shopify.md, section 7, that no test beside this one shows by
// name: a customer is ensured without races and as often as one likes.

// Step 1, as far as it is the shop's: many users with one e-mail at the same
// instant, by two processes. One of them gets the customer, the others a conflict.
func TestEnsureOneEmailAtOnce(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	l := newLinks(w.target(t, w.acme))
	other := newLinks(w.target(t, w.acme))
	const users = 12
	results := make([]engine.Result, users)
	var wg sync.WaitGroup
	for i := range users {
		wg.Go(func() {
			p := ada()
			p.ID = fmt.Sprint("user_", i)
			var err error
			if results[i], err = engine.Sync(t.Context(), []*links{l, other}[i%2].target, p, lockstep.Link{}, l.owners, ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := map[lockstep.Status]int{}
	for _, r := range results {
		got[r.Decision.Status]++
	}
	if got[lockstep.StatusLinked] != 1 || got[lockstep.StatusConflict] != users-1 {
		t.Errorf("got %v", got)
	}
	w.only(t, 1)
}

// Step 3, found by the mark: the new e-mail is another customer's. That is for a
// person; the rest is written, without the e-mail.
func TestEnsureTheRestWithoutATakenEmail(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	m := &meter{}
	l := newLinks(w.target(t, w.acme, m.reads))
	id := l.must(t, ada()).Customer.ID
	guest := w.put(t, emulator.CustomerSpec{Email: "new@example.test", Orders: 2, FirstName: "Guest"})
	p := ada()
	p.Email, p.FirstName = "new@example.test", "Augusta"
	m.reset()
	res := l.must(t, p)
	if res.Decision.Status != lockstep.StatusConflict || res.Decision.BlockedBy != guest.ID {
		t.Errorf("got %+v", res.Decision)
	}
	if c := w.customer(t, id); c.FirstName != "Augusta" || c.Email != "ada@example.test" || markOf(c) != "user_ada" {
		t.Errorf("the user's customer is %+v", c)
	}
	if c := w.customer(t, guest.ID); c.FirstName != "Guest" || markOf(c) != "" {
		t.Errorf("the guest is %+v", c)
	}
	if sent := m.sent("Set"); len(sent) != 1 || !strings.Contains(sent[0], `"input":{"firstName":"Augusta"}`) {
		t.Errorf("sent %q", sent)
	}
}

// Step 3, found by the mark and different: by id, the changed fields alone, the
// new e-mail among them. Equal: nothing.
func TestEnsureOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	m := &meter{}
	l := newLinks(w.target(t, w.acme, m.reads))
	id := l.must(t, ada()).Customer.ID
	p := ada()
	p.Email = "ada@example.net"
	m.reset()
	l.must(t, p)
	if sent := m.sent("Set"); len(sent) != 1 || !strings.Contains(sent[0], `"input":{"email":"ada@example.net"}`) || !strings.Contains(sent[0], `"identifier":{"id":"`+id+`"}`) {
		t.Errorf("sent %q", sent)
	}
	m.reset()
	if l.must(t, p); m.writes() != 0 {
		t.Errorf("nothing changed, and yet %v was written", m.points())
	}
}

// Step 3, found by the e-mail only: the mark is claimed with a null compareDigest,
// which two processes cannot both succeed with.
func TestEnsureAGuestIsClaimedOnce(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	guest := w.put(t, emulator.CustomerSpec{Email: "ada@example.test", Orders: 1})
	m := &meter{}
	one := w.target(t, w.acme, m.reads)
	eve := ada()
	eve.ID = "user_eve"
	l := newLinks(between{one, func() { newLinks(w.target(t, w.acme)).must(t, eve) }})
	res := l.must(t, ada())
	if res.Decision.Status != lockstep.StatusConflict || markOf(w.customer(t, guest.ID)) != "user_eve" {
		t.Errorf("got %+v, marked %s", res.Decision, markOf(w.customer(t, guest.ID)))
	}
	again := newLinks(one)
	bob := lockstep.Profile{ID: "user_bob", Email: "bob@example.test", EmailVerified: true}
	w.put(t, emulator.CustomerSpec{Email: bob.Email})
	m.reset()
	again.must(t, bob)
	if sent := m.sent("Mark"); len(sent) != 1 || !strings.Contains(sent[0], `"compareDigest":null`) {
		t.Errorf("sent %q", sent)
	}
}

// Step 3, nobody found: an e-mail that stays taken, by a customer that no look
// shows, is tried three times and then left to a person.
func TestEnsureThreeRoundsAtMost(t *testing.T) {
	t.Parallel()
	taken := `{"data":{"customerSet":{"customer":null,"userErrors":[{"code":"TAKEN","field":["input","email"],"message":"Email has already been taken"}]}}}`
	w := openWorld(t)
	m := &meter{answer: func(operation string) string {
		if operation == "Set" {
			return taken
		}
		return ""
	}}
	target := w.target(t, w.acme, m.reads)
	must(t, defineBy(t, w.target(t, w.acme)))
	res := newLinks(target).must(t, ada())
	if res.Decision.Status != lockstep.StatusConflict || !strings.Contains(res.Decision.Reason, "look in the store's admin") {
		t.Errorf("got %+v", res.Decision)
	}
	if looks, sets := len(m.sent("Resolve")), len(m.sent("Set")); looks != 3 || sets != 3 {
		t.Errorf("%d looks and %d writes, want three of each: %s", looks, sets, m.points())
	}
}

// Step 2: one request, and in a shop that has no definition yet one more, which
// leaves the mark out. Waiting for a definition would not bring it.
func TestEnsureLooksOnce(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	m := &meter{}
	l := newLinks(w.target(t, w.acme, m.reads))
	l.must(t, ada())
	if got := m.points(); got != "Resolve 10, Resolve 5, Define 10, Set 14" {
		t.Errorf("the first user of a shop: %s", got)
	}
	m.reset()
	must(t, w.acme.DeleteCustomer(l.byUser["user_ada"].CustomerID))
	if l.must(t, ada()); m.points() != "Resolve 10, Resolve 5, Set 14" {
		t.Errorf("a customer that is gone: %s", m.points())
	}
}

// Step 5: whichever write it is whose answer is lost, what follows is a look.
func TestEnsureNoWriteIsSentAgainBlindly(t *testing.T) {
	t.Parallel()
	for name, route := range map[string]string{"create": "customerSet", "adopt": "metafieldsSet", "adopt, then update": "customerSet", "tags": "tagsAdd"} {
		for _, action := range []emulator.Action{emulator.ActionDropAfter, emulator.ActionTruncate, emulator.ActionDropBefore} {
			w := openWorld(t)
			if strings.HasPrefix(name, "adopt") {
				w.put(t, emulator.CustomerSpec{Email: "ada@example.test"})
			}
			m := &meter{}
			l := newLinks(w.target(t, w.acme, m.reads, func(o *shopify.Options) { o.Tags = []string{owned} }))
			w.script(t, "acme mutation "+route, emulator.Fault{Action: action})
			res := l.must(t, ada())
			c := w.customer(t, res.Customer.ID)
			if res.Decision.Status != lockstep.StatusLinked || markOf(c) != "user_ada" || !slices.Contains(c.Tags, owned) || c.FirstName != "Ada" {
				t.Errorf("%s, %s: %+v, %+v", name, action, res, c)
			}
			if at := m.repeated(); at != "" {
				t.Errorf("%s, %s: %s was sent again without a look: %v", name, action, at, m.points())
			}
			w.only(t, 1)
		}
	}
}

// The points that Shopify wants for each case, by the emulator's cost model, are
// those of section 7's table. Adopting costs five more: the guest is read again
// before it is marked, since Shopify compares nothing but the mark, and by then
// it may have another e-mail, or be an account.
func TestEnsurePoints(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	m := &meter{}
	target := w.target(t, w.acme, m.reads, func(o *shopify.Options) { o.Tags = []string{owned} })
	must(t, defineBy(t, target)) // once per shop
	l := newLinks(target)
	bare := newLinks(w.target(t, w.acme, m.reads))
	must(t, defineBy(t, bare.target.(*shopify.Target)))
	p, guest := ada(), lockstep.Profile{ID: "user_bob", Email: "bob@example.test", EmailVerified: true, FirstName: "John"}
	w.put(t, emulator.CustomerSpec{Email: guest.Email})
	same := lockstep.Profile{ID: "user_eve", Email: "eve@example.test", EmailVerified: true}
	w.put(t, emulator.CustomerSpec{Email: same.Email})
	for _, c := range []struct {
		name   string
		do     func()
		points string
	}{
		{"new", func() { bare.must(t, p) }, "Resolve 10, Set 14"},
		{"unchanged, checked", func() { bare.must(t, p) }, "Resolve 10"},
		{"update", func() { p.FirstName = "Augusta"; bare.must(t, p) }, "Resolve 10, Set 14"},
		{"an e-mail that changes", func() { p.Email = "ada@example.net"; bare.must(t, p) }, "Resolve 10, Set 14"},
		{"adopt, equal", func() { bare.must(t, same) }, "Resolve 10, Read 5, Mark 10"},
		{"adopt, different", func() { bare.must(t, guest) }, "Resolve 10, Read 5, Mark 10, Set 14"},
		{"tags add", func() { newLinks(l.target).must(t, p) }, "Resolve 10, Read 5, TagsAdd 10"},
		{"tags there already", func() { newLinks(l.target).must(t, p) }, "Resolve 10"},
	} {
		m.reset()
		if c.do(); m.points() != c.points {
			t.Errorf("%s: %s, want %s", c.name, m.points(), c.points)
		}
	}
}

// between is a target before whose first adoption somebody else acts.
type between struct {
	*shopify.Target
	act func()
}

func (b between) Adopt(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	b.act()
	return b.Target.Adopt(ctx, now, want)
}

// meter is a client's transport that notes what was asked, and what Shopify wanted
// for it.
type meter struct {
	answer func(operation string) string // instead of Shopify's; empty for Shopify's

	mu    sync.Mutex
	asked []asked
}

type asked struct {
	operation, variables string
	points               int
}

func (m *meter) reads(o *shopify.Options) { o.HTTP = &http.Client{Transport: m} }

func (m *meter) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var sent struct {
		Query     string
		Variables json.RawMessage
	}
	if err := json.Unmarshal(body, &sent); err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(sent.Query, " ")
	a := asked{operation: rest[:strings.IndexAny(rest, "( {")], variables: string(sent.Variables)}
	defer func() { m.mu.Lock(); m.asked = append(m.asked, a); m.mu.Unlock() }()
	if m.answer != nil {
		if text := m.answer(a.operation); text != "" {
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
		}
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(text), failing{err}))
	var told struct {
		Extensions struct {
			Cost struct {
				Requested int `json:"requestedQueryCost"`
			}
		}
	}
	if json.Unmarshal(text, &told) == nil {
		a.points = told.Extensions.Cost.Requested
	}
	return resp, nil
}

// failing ends as the body before it did.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}

func (m *meter) reset() { m.mu.Lock(); m.asked = nil; m.mu.Unlock() }

// points is what was asked in order, with the points of each.
func (m *meter) points() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []string
	for _, a := range m.asked {
		list = append(list, fmt.Sprint(a.operation, " ", a.points))
	}
	return strings.Join(list, ", ")
}

// sent are the variables of an operation, each time it was sent.
func (m *meter) sent(operation string) (variables []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.asked {
		if a.operation == operation {
			variables = append(variables, a.variables)
		}
	}
	return variables
}

func isRead(operation string) bool {
	return slices.Contains([]string{"Resolve", "Read", "Definition"}, operation)
}

func (m *meter) writes() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.asked {
		if !isRead(a.operation) {
			n++
		}
	}
	return n
}

// repeated is a write that was sent twice without a look between.
func (m *meter) repeated() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := 1; i < len(m.asked); i++ {
		if a := m.asked[i]; a.operation == m.asked[i-1].operation && !isRead(a.operation) {
			return a.operation
		}
	}
	return ""
}
