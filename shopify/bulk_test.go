package shopify_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/shopify"
)

func (w world) fill(t testing.TB, n int) {
	t.Helper()
	for i := range n {
		_, err := w.acme.PutCustomer(emulator.CustomerSpec{Email: fmt.Sprintf("c%d@example.test", i), FirstName: "C", Tags: []string{"vip"}})
		must(t, err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ignore(shopify.BulkOperation) {}

// exported runs an export to its end.
func exported(t testing.TB, target *shopify.Target, name string) shopify.BulkOperation {
	t.Helper()
	op, err := target.StartExport(t.Context(), name)
	must(t, err)
	op, err = target.AwaitBulk(t.Context(), op.ID, ignore)
	must(t, err)
	return op
}

// An export is complete though its start's answer is lost, and its result breaks
// off in the middle; and it is started once.
func TestExport(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	w.fill(t, 500)
	target := w.target(t, w.acme, func(o *shopify.Options) { o.Bucket = noLimit{} })
	must(t, w.Faults.Set(
		emulator.Rule{Route: "acme mutation bulkOperationRunQuery", Script: []emulator.Fault{{Action: emulator.ActionDropBefore}, {Action: emulator.ActionDropAfter}}},
		emulator.Rule{Route: "acme query bulkOperation", Script: []emulator.Fault{{Action: emulator.ActionRefuse}, {Action: emulator.ActionDropBefore}}},
		emulator.Rule{Route: "acme GET storage", Script: []emulator.Fault{{Action: emulator.ActionTruncate}, {Action: emulator.ActionRefuse}, {Action: emulator.ActionTruncate}}},
	))
	op := exported(t, target, "lockstep_a")
	if again := exported(t, target, "lockstep_a"); again.ID != op.ID || len(w.acme.BulkOperations()) != 1 || !op.Completed() {
		t.Errorf("%d operations, the last %+v", len(w.acme.BulkOperations()), op)
	}
	seen := map[string]int{}
	var ends []int64
	for r, err := range target.Records(t.Context(), op, 0) {
		must(t, err)
		seen[r.ID]++
		ends = append(ends, r.End)
		if r.Email == nil || r.FirstName != "C" || !slices.Equal(r.Tags, []string{"vip"}) || r.Updated.IsZero() || r.State != "DISABLED" {
			t.Fatalf("%+v", r)
		}
	}
	if len(seen) != 500 || len(ends) != 500 || ends[499] != op.Size {
		t.Errorf("%d customers in %d records, the last ends at %d of %d", len(seen), len(ends), ends[len(ends)-1], op.Size)
	}
	for r, err := range target.Records(t.Context(), op, ends[99]) {
		must(t, err)
		seen[r.ID]++
	}
	if twice := slices.Collect(maps.Values(seen)); sum(twice) != 900 {
		t.Errorf("from the hundredth record on: %d", sum(twice)-500)
	}
	n, exact, err := target.Count(t.Context())
	if err != nil || n != 500 || !exact {
		t.Errorf("counted %d (%t), %v", n, exact, err)
	}
}

func sum(list []int) (n int) {
	for _, v := range list {
		n += v
	}
	return n
}

func TestExportOfNobody(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	target := w.target(t, w.acme)
	for r, err := range target.Records(t.Context(), exported(t, target, "lockstep_a"), 0) {
		t.Errorf("%v, %v", r, err)
	}
}

// A word of the end ends the wait, though the next look is a day away; one that
// comes too early has the end looked for.
func TestAwaitWakes(t *testing.T) {
	t.Parallel()
	for _, early := range []bool{false, true} {
		w := openWorld(t)
		must(t, w.acme.SetBulk(emulator.BulkLife{Held: true}))
		word := make(chan struct{})
		target := w.target(t, w.acme, func(o *shopify.Options) {
			o.PollEvery = 24 * time.Hour
			o.Wake = func(context.Context, string) <-chan struct{} { return word }
		})
		op, err := target.StartExport(t.Context(), "lockstep_a")
		must(t, err)
		looks := 0
		op, err = target.AwaitBulk(t.Context(), op.ID, func(op shopify.BulkOperation) {
			looks++
			if release := looks == 1 && !early || looks == 3; release {
				must(t, w.acme.SetBulk(emulator.BulkLife{}))
			}
			if looks == 1 {
				close(word)
			}
		})
		if err != nil || !op.Completed() || looks < 2 || early && looks < 4 {
			t.Errorf("early: %t: %+v after %d looks, %v", early, op, looks, err)
		}
	}
}

func TestBulkIsRefused(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	w.fill(t, 600)
	w.acme.IndexNow()
	target := w.target(t, w.acme)
	must(t, w.acme.SetBulk(emulator.BulkLife{Refused: true}))
	if _, err := target.StartExport(t.Context(), "lockstep_a"); !errors.Is(err, shopify.ErrBulkRefused) {
		t.Errorf("export: %v", err)
	}
	if _, err := target.StartImport(t.Context(), "lockstep_import_a", []byte("{}\n")); !errors.Is(err, shopify.ErrBulkRefused) {
		t.Errorf("import: %v", err)
	}
	seen, after := map[string]bool{}, ""
	for {
		page, err := target.Page(t.Context(), after)
		must(t, err)
		for _, r := range page {
			seen[r.ID], after = true, r.ID
		}
		if len(page) < shopify.PageSize {
			break
		}
	}
	if len(seen) != 600 {
		t.Errorf("%d customers on the pages", len(seen))
	}
	must(t, w.acme.SetBulk(emulator.BulkLife{Held: true}))
	for i := range 5 {
		_, err := target.StartExport(t.Context(), fmt.Sprintf("lockstep_%d", i))
		must(t, err)
	}
	if _, err := target.StartExport(t.Context(), "lockstep_6"); lockstep.KindOf(err) != lockstep.ErrThrottled {
		t.Errorf("the sixth: %v", err)
	}
}

// Each line of an import has its own end, and an import that is found again is
// not run twice.
func TestImport(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	w.fill(t, 1)
	target := w.target(t, w.acme, func(o *shopify.Options) { o.Bucket = noLimit{} })
	must(t, w.Faults.Set(
		emulator.Rule{Route: "acme POST storage", Script: []emulator.Fault{{Action: emulator.ActionDropAfter}, {Action: emulator.ActionRefuse}}},
		emulator.Rule{Route: "acme mutation bulkOperationRunMutation", Script: []emulator.Fault{{Action: emulator.ActionDropAfter}}},
		emulator.Rule{Route: "acme GET storage", Script: []emulator.Fault{{Action: emulator.ActionTruncate}}},
	))
	var lines []byte
	for _, want := range []lockstep.Customer{
		{UserID: "user_a", Email: "a@example.test", FirstName: "A"},
		{UserID: "user_b", Email: "c0@example.test"},
		{UserID: "user_c", FirstName: "C", Phone: "+4512345678"},
		{UserID: "user_d", FirstName: "D", Phone: "+4512345678"},
	} {
		line, err := target.Line(want)
		must(t, err)
		lines = append(lines, line...)
	}
	op, err := target.StartImport(t.Context(), "lockstep_import_a", lines)
	must(t, err)
	op, err = target.AwaitBulk(t.Context(), op.ID, ignore)
	must(t, err)
	e, got := target.Exported(), map[int]string{}
	for done, err := range e.Imported(t.Context(), op, 0) {
		must(t, err)
		got[done.Number] = done.UserID
		if done.Err != nil {
			got[done.Number] = string(lockstep.KindOf(done.Err))
		}
	}
	want := map[int]string{0: "user_a", 1: string(lockstep.ErrTaken), 2: "user_c", 3: string(lockstep.ErrInvalid)}
	if !maps.Equal(got, want) || len(w.acme.BulkOperations()) != 1 || w.acme.CustomerCount() != 3 {
		t.Errorf("%v, %d operations, %d customers", got, len(w.acme.BulkOperations()), w.acme.CustomerCount())
	}
	found, err := e.Resolve(t.Context(), lockstep.Query{UserID: "user_a", Email: "a@example.test"})
	if err != nil || len(found.ByUser) != 1 || found.ByUser[0].FirstName != "A" || len(found.ByEmail) != 1 {
		t.Errorf("the import's customers are not seen: %+v, %v", found, err)
	}
}

// Guests are marked all at once, but for those that changed since the export.
func TestAdoptAll(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	w.fill(t, 6)
	target := w.target(t, w.acme)
	e := target.Exported()
	var all []shopify.Adoption
	for i := range 6 {
		e.Want(lockstep.Query{UserID: fmt.Sprint("user_", i), Email: fmt.Sprintf("c%d@example.test", i)})
	}
	for r, err := range target.Records(t.Context(), exported(t, target, "lockstep_a"), 0) {
		must(t, err)
		e.Add(r)
	}
	for i := range 6 {
		q := lockstep.Query{UserID: fmt.Sprint("user_", i), Email: fmt.Sprintf("c%d@example.test", i)}
		found, err := e.Resolve(t.Context(), q)
		must(t, err)
		all = append(all, shopify.Adoption{Now: found.ByEmail[0], Want: lockstep.Customer{UserID: q.UserID, Email: q.Email, FirstName: "New"}})
	}
	moved, enabled, unverified := "else@example.test", emulator.CustomerEnabled, false
	_, err := w.acme.EditCustomer(all[1].Now.ID, emulator.CustomerEdit{Email: &moved})
	must(t, err)
	must(t, w.acme.DeleteCustomer(all[2].Now.ID))
	_, err = w.acme.EditCustomer(all[3].Now.ID, emulator.CustomerEdit{State: &enabled, VerifiedEmail: &unverified})
	must(t, err)
	_, err = target.Adopt(t.Context(), all[4].Now, lockstep.Customer{UserID: "user_other", Email: "c4@example.test"})
	must(t, err)
	must(t, e.AdoptAll(t.Context(), all))
	var marked []string
	for _, c := range w.acme.Customers() {
		if mark := markOf(c); mark != "" {
			marked = append(marked, mark)
		}
		if c.FirstName != "C" {
			t.Errorf("%s was renamed", c.ID)
		}
	}
	slices.Sort(marked)
	if got := strings.Join(marked, " "); got != "user_0 user_5 user_other" {
		t.Errorf("marked: %s", got)
	}
	found, err := e.Resolve(t.Context(), lockstep.Query{UserID: "user_0"})
	if err != nil || len(found.ByUser) != 1 {
		t.Errorf("the mark is not seen: %+v, %v", found, err)
	}
	if err := e.AdoptAll(context.Background(), make([]shopify.Adoption, 26)); lockstep.KindOf(err) != lockstep.ErrInvalid {
		t.Errorf("26 at once: %v", err)
	}
}
