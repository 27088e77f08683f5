package targettest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/lockstephq/lockstep"
)

// listChecks ask a lockstep.Lister what it shows.
func listChecks() []check {
	return []check{
		{"an empty store lists nobody", listsNobody},
		{"all customers are listed, each once", listsAll},
		{"a page holds as many as may be", listsFullPage},
		{"a list goes on after who was deleted", listsOnAfterDeleted},
		{"a list goes on while customers come and change", listsOnMeanwhile},
		{"listing under faults", listsUnderFaults},
	}
}

// mostListed is the largest limit of List.
const mostListed = 250

// lister is the target's, or the check is skipped by name.
func (e *exam) lister() lockstep.Lister {
	e.Helper()
	l, ok := lockstep.As[lockstep.Lister](e.Target)
	if !ok {
		e.Skipf("the target does not list its customers")
	}
	return l
}

// page reads one page, after what was written shows.
func (e *exam) page(after string, limit int) []lockstep.Customer {
	e.Helper()
	page, err := e.lister().List(e.ctx, after, limit)
	e.saw(err)
	e.must("List", err)
	if len(page) > limit {
		e.Fatalf("a page of %d customers, at most %d were asked for", len(page), limit)
	}
	return page
}

// walk lists everybody after a customer.
func (e *exam) walk(after string, limit int) (all []lockstep.Customer) {
	e.Helper()
	for {
		page := e.page(after, limit)
		all = append(all, page...)
		if len(page) < limit {
			return all
		}
		if after = page[len(page)-1].ID; len(all) > len(e.mustLive())+limit {
			e.Fatalf("the list has no end")
		}
	}
}

func (e *exam) mustLive() []Record {
	e.Helper()
	all, err := e.Shop.Live(e.ctx)
	e.must("list", err)
	return all
}

func (e *exam) settle() {
	if e.Settle != nil {
		e.Settle()
	}
}

// crowded fills the store with guests, a user's customer, an account if the store
// has such, and one who was deleted.
func (e *exam) crowded() {
	e.Helper()
	for n := 1; n <= 4; n++ {
		e.put(e.shopper(n))
	}
	e.create(person(5))
	account := e.shopper(6)
	account.Account = true
	if _, err := e.Shop.Put(e.ctx, account); !errors.Is(err, errors.ErrUnsupported) {
		e.must("put", err)
	}
	e.remove(e.put(e.shopper(7)).ID)
	e.put(e.shopper(8))
	e.settle()
}

// everybody checks that a walk saw who lives in the store, each once and as the
// store holds them.
func (e *exam) everybody(what string, got []lockstep.Customer) {
	e.Helper()
	var want []lockstep.Customer
	for _, r := range e.mustLive() {
		want = append(want, r.Customer)
	}
	e.equal(what, byID(got), byID(want))
}

func byID(all []lockstep.Customer) []lockstep.Customer {
	return slices.SortedFunc(slices.Values(all), func(a, b lockstep.Customer) int { return cmp.Compare(a.ID, b.ID) })
}

func listsNobody(e *exam) {
	e.settle()
	e.equal("listed", e.page("", mostListed), []lockstep.Customer{})
}

func listsAll(e *exam) {
	e.lister()
	e.crowded()
	var first []lockstep.Customer
	for _, limit := range []int{mostListed, 1, 3} {
		all := e.walk("", limit)
		e.everybody(fmt.Sprintf("listed by %d", limit), all)
		if first == nil {
			first = all
		}
		e.equal(fmt.Sprintf("the order by %d", limit), all, first)
	}
}

func listsFullPage(e *exam) {
	e.lister()
	e.many(mostListed + 1)
	page := e.page("", mostListed)
	if len(page) != mostListed {
		e.Errorf("a page of %d customers, want %d", len(page), mostListed)
	}
	e.everybody("listed", append(page, e.walk(page[len(page)-1].ID, mostListed)...))
}

// many fills the store with guests.
func (e *exam) many(n int) {
	e.Helper()
	for i := range n {
		c := person(1)
		c.UserID, c.Phone, c.Email = "", "", fmt.Sprintf("vilhelmina.%d@example.test", i)
		e.put(Record{Customer: c})
	}
	e.settle()
}

func listsOnAfterDeleted(e *exam) {
	e.lister()
	e.crowded()
	page := e.page("", 3)
	last := page[len(page)-1]
	e.remove(last.ID)
	e.settle()
	e.everybody("listed", append(page[:2], e.walk(last.ID, 3)...))
}

// listsOnMeanwhile: who is made between two pages may be missed, all others come
// once; an edit moves nobody.
func listsOnMeanwhile(e *exam) {
	e.lister()
	e.crowded()
	before := e.mustLive()
	seen := e.page("", 3)
	edited := e.get(seen[0].ID)
	edited.LastName = person(9).LastName
	e.edit(edited)
	e.put(e.shopper(10))
	e.settle()
	times := map[string]int{}
	for _, c := range append(seen, e.walk(seen[2].ID, 3)...) {
		if times[c.ID]++; times[c.ID] > 1 {
			e.Errorf("%s came twice", c.ID)
		}
	}
	for _, r := range before {
		if times[r.ID] == 0 {
			e.Errorf("%s was missed", r.ID)
		}
	}
}

func listsUnderFaults(e *exam) {
	l := e.lister()
	e.crowded()
	list := func() error {
		_, err := l.List(e.ctx, "", mostListed)
		e.saw(err)
		return err
	}
	if _, lacks := e.Lacks[FaultRefusal]; !lacks {
		e.Break(FaultRefusal)
		e.kind("List", list(), lockstep.ErrRefused)
	}
	if _, lacks := e.Lacks[FaultLimit]; !lacks {
		e.Break(FaultLimit)
		e.throttled("List", list())
	}
	e.everybody("listed after", e.walk("", mostListed))
}
