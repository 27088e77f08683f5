package emulator

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// found returns the e-mails, or ids, that a search finds.
func (w *world) found(query string) []string {
	w.t.Helper()
	reply := w.want(`query($q: String) { customers(first: 250, query: $q) { nodes { id email } } }`, in{"q": query})
	var emails []string
	list, _ := reply.at("customers.nodes").([]any)
	for _, node := range list {
		emails = append(emails, fmt.Sprint(node.(in)["email"]))
	}
	return emails
}

// TestSearchLags: right after a write the search knows nothing of it, while
// customerByIdentifier does.
func TestSearchLags(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{SearchLag: 2 * time.Second})
	c := w.put(w.acme, CustomerSpec{Email: "ada@example.com"})
	w.equal("at once", w.found("email:ada@example.com"), "[]")
	w.equal("the list", len(w.found("")), 1)
	w.clock.Add(2 * time.Second)
	w.equal("later", w.found("email:ada@example.com"), "[ada@example.com]")
	if _, err := w.acme.EditCustomer(c.ID, CustomerEdit{Email: new("new@example.com")}); err != nil {
		t.Fatal(err)
	}
	w.equal("found by what it was", w.found("email:ada@example.com"), "[new@example.com]")
	if err := w.acme.DeleteCustomer(c.ID); err != nil {
		t.Fatal(err)
	}
	w.equal("a deleted one is not shown", w.found("email:ada@example.com"), "[]")
}

func TestSearchByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{SearchLag: -1})
	w.put(w.acme, CustomerSpec{Email: "ada@example.com"})
	w.clock.Add(time.Hour)
	w.equal("never", w.found("email:ada@example.com"), "[]")
	w.acme.IndexNow()
	w.equal("now", w.found("email:ada@example.com"), "[ada@example.com]")
}

func TestSearchMatchesPartly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{SearchLag: -1})
	for i, email := range []string{"ann@example.com", "mary.ann@example.com", "anna@example.com", "bob@example.com"} {
		w.put(w.acme, CustomerSpec{Email: email, Phone: fmt.Sprintf("+1613555014%d", i), FirstName: fmt.Sprint("N", i), Tags: []string{fmt.Sprintf("tag%d", i%2)}})
		w.clock.Add(24 * time.Hour)
	}
	w.acme.IndexNow()
	all := w.acme.Customers()
	for query, want := range map[string][]string{
		"email:ann@example.com":               {"ann@example.com", "mary.ann@example.com", "anna@example.com"},
		`email:"ann@example.com"`:             {"ann@example.com"},
		`email:'ANN@example.com'`:             {"ann@example.com"},
		"phone:+1 613 555 0143":               {"bob@example.com"},
		"phone:+1 613":                        {"ann@example.com", "mary.ann@example.com", "anna@example.com", "bob@example.com"},
		"first_name:N3":                       {"bob@example.com"},
		"tag:tag1 AND email:bob*":             {"bob@example.com"},
		"tag:tag1 -email:bob@example.com":     {"mary.ann@example.com"},
		"NOT tag:tag0":                        {"mary.ann@example.com", "bob@example.com"},
		"email:bob@example.com OR tag:tag0":   {"ann@example.com", "anna@example.com", "bob@example.com"},
		"state:disabled bob":                  {"bob@example.com"},
		"updated_at:>=2026-11-25":             {"anna@example.com", "bob@example.com"},
		"updated_at:>='2026-11-25T23:59:59Z'": {"anna@example.com", "bob@example.com"}, // by the day
		"updated_at:<2026-11-24":              {"ann@example.com"},
		"id:>" + fmt.Sprint(all[1].number):    {"anna@example.com", "bob@example.com"},
		"id:<=" + fmt.Sprint(all[0].number):   {"ann@example.com"},
	} {
		if got := w.found(query); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	count := w.want(`{ a: customersCount { count precision } b: customersCount(query: "email:bob@example.com") { count } c: customersCount(query: "tag:tag0") { count } d: customersCount(limit: 2) { count precision } }`, nil)
	w.equal("count", count.Data, in{"a": in{"count": 4, "precision": "EXACT"}, "b": in{"count": 4}, "c": in{"count": 2}, "d": in{"count": 2, "precision": "AT_LEAST"}})
}

// TestPaging: forwards and backwards, in every order, nothing twice and nothing
// left out, also while customers come and go.
func TestPaging(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{SearchLag: -1})
	const n = 23
	for i := range n {
		w.put(w.acme, CustomerSpec{Email: fmt.Sprintf("u%02d@example.com", i), LastName: fmt.Sprint((i * 7) % n)})
		if i%2 == 0 {
			w.clock.Add(time.Second)
		}
	}
	w.acme.IndexNow()
	for _, args := range []string{"", "sortKey: ID, reverse: true", "sortKey: UPDATED_AT", "sortKey: CREATED_AT, reverse: true", "sortKey: NAME", `query: "state:disabled"`} {
		seen := map[string]bool{}
		after := any(nil)
		for pages := 0; pages < n; pages++ {
			reply := w.want(`query($after: String) { customers(first: 5, after: $after, `+args+`) { nodes { email } pageInfo { hasNextPage hasPreviousPage endCursor } } }`, in{"after": after})
			for _, node := range reply.at("customers.nodes").([]any) {
				seen[fmt.Sprint(node)] = true
			}
			w.equal(args+" previous", reply.at("customers.pageInfo.hasPreviousPage"), pages > 0)
			if after = reply.at("customers.pageInfo.endCursor"); reply.at("customers.pageInfo.hasNextPage") == false {
				break
			}
		}
		w.equal(args, len(seen), n)
	}
	first := w.want(`{ customers(last: 3) { nodes { email } pageInfo { startCursor hasPreviousPage hasNextPage } } }`, nil)
	w.equal("last", first.at("customers.nodes.0.email"), "u20@example.com")
	before := w.want(`query($b: String) { customers(last: 3, before: $b) { nodes { email } pageInfo { hasNextPage } } }`, in{"b": first.at("customers.pageInfo.startCursor")})
	w.equal("before", before.at("customers.nodes.2.email"), "u19@example.com")
	w.equal("more after it", before.at("customers.pageInfo.hasNextPage"), true)
	w.equal("a bad cursor", w.run(`{ customers(first: 1, after: "x") { nodes { id } } }`, nil).code(), "BAD_REQUEST")
	w.equal("keyset", len(w.found("id:>"+fmt.Sprint(w.acme.Customers()[19].number))), 3)
}
