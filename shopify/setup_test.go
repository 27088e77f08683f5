package shopify_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/internal/watch"
	"github.com/lockstephq/lockstep/shopify"
)

// admin sends a mutation as another program of the same app.
func (w world) admin(t *testing.T, mutation string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": mutation})
	if err != nil {
		t.Fatal(err)
	}
	url := strings.ReplaceAll(w.APIURL(), "{shop}", domain) + "/admin/api/2026-10/graphql.json"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Shopify-Access-Token", w.acme.AccessToken())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 || bytes.Contains(answer, []byte(`"errors"`)) || bytes.Contains(answer, []byte(`"message"`)) {
		t.Fatalf("%s: %d %s, %v", mutation, res.StatusCode, answer, err)
	}
}

const deleteDefinition = `mutation { metafieldDefinitionDelete(deleteAllAssociatedMetafields: true,
	identifier: {ownerType: CUSTOMER, namespace: "custom", key: "clerk_user_id"}) { userErrors { message } } }`

func custom(o *shopify.Options) { o.Namespace = "custom" }

// TestDefinitionOnce: the definition is made once, whoever comes, before the first
// mark and not by reading.
func TestDefinitionOnce(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	target := w.target(t, w.acme)
	if err := target.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := target.Resolve(t.Context(), lockstep.Query{UserID: "user_ada", Email: "ada@example.test"}); err != nil {
		t.Error(err)
	}
	if n := w.total("mutation *"); n != 0 {
		t.Errorf("reading wrote %d times", n)
	}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			if _, err := target.Create(t.Context(), lockstep.Customer{UserID: fmt.Sprint("user_", i), FirstName: "Ada"}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := w.total("mutation metafieldDefinitionCreate"); n != 1 {
		t.Errorf("made %d times", n)
	}
	other := w.target(t, w.acme) // another process
	if _, err := other.Create(t.Context(), lockstep.Customer{UserID: "user_last", FirstName: "Ada"}); err != nil {
		t.Error(err)
	}
	if err := other.Check(t.Context()); err != nil {
		t.Error(err)
	}
	w.only(t, 17)
}

// TestDefinitionDeleted: somebody deletes it, with all marks; the links are still
// there, and the marks come back.
func TestDefinitionDeleted(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	l := newLinks(w.target(t, w.acme, custom))
	linked := l.must(t, person(1, 0)).Customer.ID
	guest := w.put(t, emulator.CustomerSpec{Email: person(2, 0).Email})
	w.admin(t, deleteDefinition)
	if res := l.must(t, person(1, 0)); res.Customer.ID != linked || res.Customer.UserID != person(1, 0).ID {
		t.Errorf("linked: %+v", res)
	}
	w.admin(t, deleteDefinition)
	if res := l.must(t, person(2, 0)); res.Customer.ID != guest.ID {
		t.Errorf("adopted: %+v", res)
	}
	w.admin(t, deleteDefinition)
	created := l.must(t, person(3, 0)).Customer
	w.only(t, 3)
	for _, id := range []string{linked, guest.ID, created.ID} { // the last deletion took two marks
		if mark := markOf(w.customer(t, id)); (mark != "") != (id == created.ID) {
			t.Errorf("%s carries %q", id, mark)
		}
	}
}

// TestDefinitionOfAnotherType: under it two customers could carry one mark.
func TestDefinitionOfAnotherType(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	w.admin(t, `mutation { metafieldDefinitionCreate(definition: {ownerType: CUSTOMER, namespace: "custom", key: "clerk_user_id",
		name: "x", type: "single_line_text_field"}) { userErrors { message } } }`)
	target := w.target(t, w.acme, custom)
	_, err := target.Create(t.Context(), lockstep.Customer{UserID: "user_ada", FirstName: "Ada"})
	for _, err := range []error{err, target.Check(t.Context())} {
		if lockstep.KindOf(err) != lockstep.ErrRefused || !strings.Contains(err.Error(), "set another namespace") {
			t.Errorf("got %v", err)
		}
	}
	w.only(t, 0)
}

// TestAnotherApp: the marks of another app cannot be seen; the links find the
// customers, and so does the e-mail.
func TestAnotherApp(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	l := newLinks(w.target(t, w.acme))
	id := l.must(t, ada()).Customer.ID
	w.acme.SetApp(2)
	l.target = w.target(t, w.acme)
	if res := l.must(t, ada()); res.Customer.ID != id || res.Customer.UserID != "user_ada" {
		t.Errorf("with its link: %+v", res)
	}
	w.acme.SetApp(3)
	if res := newLinks(w.target(t, w.acme)).must(t, ada()); res.Customer.ID != id {
		t.Errorf("without: %+v", res)
	}
	w.only(t, 1)
}

// TestHiddenCustomerData: what Shopify does not show is not taken for absent.
func TestHiddenCustomerData(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	l := newLinks(w.target(t, w.acme))
	linked := l.must(t, person(1, 0)).Customer.ID
	guest := w.put(t, emulator.CustomerSpec{Email: "ada@example.test", LastName: "B."})
	w.acme.SetCustomerData(false)
	refuses := func(what string, err error) {
		t.Helper()
		if lockstep.KindOf(err) != lockstep.ErrRefused || !strings.Contains(fmt.Sprint(err), "protected customer data") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := l.sync(t, ada())
	refuses("a guest", err)
	refuses("Check by the same process", l.target.Check(t.Context()))
	_, err = l.sync(t, person(1, 1))
	refuses("a linked customer", err)
	moved := person(1, 1)
	moved.Email = "moved@example.test"
	_, err = l.sync(t, moved)
	refuses("a linked customer whose e-mail moved", err)
	_, err = l.sync(t, person(2, 0))
	refuses("a new customer", err)
	w.put(t, emulator.CustomerSpec{Email: "third@example.test"})
	refuses("Check by another process", w.target(t, w.acme).Check(t.Context()))
	if c := w.customer(t, guest.ID); markOf(c) != "" || c.LastName != "B." {
		t.Errorf("the guest is %+v", c)
	}

	w.acme.SetCustomerData(true)
	if err := l.target.Check(t.Context()); err != nil {
		t.Errorf("approved: %v", err)
	}
	if res := l.must(t, ada()); res.Customer.ID != guest.ID {
		t.Errorf("approved: %+v", res)
	}
	if res := l.must(t, moved); res.Customer.ID != linked || res.Customer.FirstName != "Name1" {
		t.Errorf("approved: %+v", res)
	}
}

// TestErasedCustomers: a few customers without any data are no sign of that.
func TestErasedCustomers(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	target := w.target(t, w.acme)
	w.put(t, emulator.CustomerSpec{FirstName: "Ada"})
	if err := target.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := target.Create(t.Context(), lockstep.Customer{UserID: "user_1", LastName: "Byron"}); err != nil {
		t.Error(err)
	}
	if err := target.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestScopesAndStates(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	target := w.target(t, w.acme)
	w.acme.SetScopes("read_customers")
	err := target.Check(t.Context())
	if lockstep.KindOf(err) != lockstep.ErrRefused || !strings.Contains(fmt.Sprint(err), "lacks the scope write_customers:") {
		t.Errorf("without writing: %v", err)
	}
	w.acme.SetScopes()
	if err := target.Check(t.Context()); lockstep.KindOf(err) != lockstep.ErrRefused {
		t.Errorf("without scopes: %v", err)
	}
	w.acme.SetScopes("write_customers")
	if err := target.Check(t.Context()); err != nil {
		t.Errorf("writing includes reading: %v", err)
	}
	for _, status := range []int{402, 403, 404, 423} {
		w.acme.SetStatus(status)
		if err := target.Check(t.Context()); lockstep.KindOf(err) != lockstep.ErrRefused {
			t.Errorf("%d: %v", status, err)
		}
	}
	w.acme.SetStatus(0)
	if err := target.Check(t.Context()); err != nil {
		t.Errorf("open again: %v", err)
	}
}

// TestThrottled: somebody else empties the bucket; one request learns it, and the
// next ones are not sent.
func TestThrottled(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	w.acme.SetRestoreRate(1)
	target := w.target(t, w.acme, func(o *shopify.Options) { o.Patience = -1 })
	w.acme.Drain(1e6)
	for range 5 {
		if err := target.Check(t.Context()); lockstep.KindOf(err) != lockstep.ErrThrottled {
			t.Errorf("got %v", err)
		}
	}
	if usage := w.acme.Usage(); usage.Throttled != 1 {
		t.Errorf("throttled %d times, want once", usage.Throttled)
	}
}

// TestShopsApart: one shop refuses and one hangs; the third knows nothing of it.
func TestShopsApart(t *testing.T) {
	t.Parallel()
	w := openWorld(t, "frozen", "slow")
	w.Shop("frozen").SetStatus(402)
	if err := w.Faults.Set(emulator.Rule{Route: "slow *", Rate: 1, Fault: emulator.Fault{Action: emulator.ActionPass, Delay: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	bucket := shopify.NewMemoryBucket()
	shared := func(o *shopify.Options) { o.Bucket = bucket }
	quick := func(o *shopify.Options) { o.Timeout = 100 * time.Millisecond }
	if _, err := newLinks(w.target(t, w.Shop("frozen"), shared)).sync(t, ada()); lockstep.KindOf(err) != lockstep.ErrRefused {
		t.Errorf("frozen: %v", err)
	}
	if _, err := newLinks(w.target(t, w.Shop("slow"), shared, quick)).sync(t, ada()); lockstep.KindOf(err) != lockstep.ErrTransient {
		t.Errorf("slow: %v", err)
	}
	if res := newLinks(w.target(t, w.acme, shared)).must(t, ada()); res.Decision.Status != lockstep.StatusLinked {
		t.Errorf("the third: %+v", res)
	}
}

// TestTagsAreTriedAgain: nobody comes back for the tags of a new customer.
func TestTagsAreTriedAgain(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]emulator.Fault{
		"lost after":  {Action: emulator.ActionDropAfter},
		"lost before": {Action: emulator.ActionDropBefore},
		"limit":       {Action: emulator.ActionRefuse, Code: "THROTTLED"},
		"broken":      {Action: emulator.ActionRefuse, Status: 500},
	} {
		w := openWorld(t)
		l := newLinks(w.target(t, w.acme, func(o *shopify.Options) { o.Tags = []string{owned} }))
		w.script(t, "acme mutation tagsAdd", fault)
		if res := l.must(t, ada()); res.Decision.Action != engine.Create {
			t.Errorf("%s: %+v", name, res)
		}
		if c := w.customer(t, l.byUser["user_ada"].CustomerID); strings.Join(c.Tags, " ") != owned {
			t.Errorf("%s: tags %q", name, c.Tags)
		}
	}
}

// TestLogsNameNobody: at every level, whatever happens.
func TestLogsNameNobody(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	w.put(t, emulator.CustomerSpec{Phone: "+4520123456", Email: "grace@example.test"})
	var mu sync.Mutex
	var text bytes.Buffer
	log := watch.Logger(t, locked{&mu, &text})
	l := newLinks(w.target(t, w.acme, func(o *shopify.Options) { o.Log = log }))
	var errs []string
	note := func(p lockstep.Profile) {
		if _, err := l.sync(t, p); err != nil {
			errs = append(errs, err.Error())
		}
	}
	p := ada()
	p.Phone, p.PhoneVerified = "+4520123456", true
	note(p)
	p.Phone = "+4520"
	note(p)
	for _, email := range []string{"ada@localhost", strings.Repeat("a", 250) + "@example.test"} {
		note(lockstep.Profile{ID: "user_" + email[:4], Email: email, EmailVerified: true})
	}
	if !strings.Contains(text.String(), "phone left out") || len(errs) != 2 {
		t.Errorf("logged %s, failed %q", text.String(), errs)
	}
	for _, line := range append(errs, text.String()) {
		for _, word := range []string{"@", "20123456", "Ada", "Byron", "+45", "shpat"} {
			if strings.Contains(line, word) {
				t.Errorf("%q is in %s", word, line)
			}
		}
	}
}

type locked struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(p)
}
