package shopify_test

import (
	"context"
	"errors"
	"testing"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/shopify"
)

// readExport reads an export to its end, or to its first error.
func readExport(ctx context.Context, t *shopify.Target, e lockstep.Export) (customers int, err error) {
	for page, err := range t.Export(ctx, e) {
		if err != nil {
			return customers, err
		}
		customers += len(page.Customers)
	}
	return customers, nil
}

// Where no export is to be had the shop is to be listed; an export that ends
// badly is to be begun anew, and yields nobody.
func TestExportThatCannotBe(t *testing.T) {
	t.Parallel()
	life := func(f ...emulator.BulkFault) emulator.BulkLife { return emulator.BulkLife{Faults: f} }
	for name, tt := range map[string]struct {
		life emulator.BulkLife
		none bool
	}{
		"refused to this token": {emulator.BulkLife{Refused: true}, true},
		"denied in the middle":  {life(emulator.BulkFault{Status: "FAILED", ErrorCode: "ACCESS_DENIED", After: 10}), true},
		"failed":                {life(emulator.BulkFault{Status: "FAILED", ErrorCode: "INTERNAL_SERVER_ERROR", After: 10}), false},
		"cancelled by somebody": {life(emulator.BulkFault{Status: "CANCELED", After: 10}), false},
		"expired":               {life(emulator.BulkFault{Status: "EXPIRED", After: 10}), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := openWorld(t)
			w.fill(t, 20)
			w.acme.IndexNow()
			must(t, w.acme.SetBulk(tt.life))
			n, err := readExport(t.Context(), w.target(t, w.acme), lockstep.Export{Name: "lockstep_a"})
			if n != 0 || errors.Is(err, lockstep.ErrNoExport) != tt.none || (lockstep.KindOf(err) == lockstep.ErrGone) == tt.none {
				t.Errorf("%d customers, %v", n, err)
			}
		})
	}
}

// The sixth operation is refused: the shop is listed, and none of the others is
// waited for.
func TestExportWhileFiveAreUnderWay(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	target := w.target(t, w.acme)
	must(t, w.acme.SetBulk(emulator.BulkLife{Held: true}))
	for _, name := range []string{"lockstep_a", "lockstep_b", "lockstep_c", "lockstep_d", "lockstep_e"} {
		_, err := target.StartExport(t.Context(), name)
		must(t, err)
	}
	if _, err := readExport(t.Context(), target, lockstep.Export{Name: "lockstep_f"}); !errors.Is(err, lockstep.ErrNoExport) {
		t.Errorf("got %v", err)
	}
	must(t, target.CancelExport(t.Context(), "lockstep_a"))
	must(t, w.acme.SetBulk(emulator.BulkLife{}))
	if _, err := target.AwaitBulk(t.Context(), w.acme.BulkOperations()[0].ID, ignore); err != nil {
		t.Error(err)
	}
	if _, err := readExport(t.Context(), target, lockstep.Export{Name: "lockstep_f"}); err != nil {
		t.Error(err)
	}
}

// A caller who ends leaves the export to others; cancelled, it ends, though the
// answer to that is lost.
func TestExportIsCancelled(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	w.fill(t, 20)
	w.acme.IndexNow()
	target := w.target(t, w.acme)
	must(t, w.acme.SetBulk(emulator.BulkLife{Held: true}))
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := readExport(ctx, target, lockstep.Export{Name: "lockstep_a", Seen: func(int) { cancel() }}); err == nil || errors.Is(err, lockstep.ErrNoExport) {
		t.Errorf("a caller who ends got %v", err)
	}
	if ops := w.acme.BulkOperations(); len(ops) != 1 || ops[0].Status != "CREATED" {
		t.Errorf("left behind: %+v", ops)
	}
	w.script(t, "acme mutation bulkOperationCancel", emulator.Fault{Action: emulator.ActionDropAfter})
	must(t, target.CancelExport(t.Context(), "lockstep_a"))
	must(t, w.acme.SetBulk(emulator.BulkLife{}))
	if _, err := readExport(t.Context(), target, lockstep.Export{Name: "lockstep_a"}); lockstep.KindOf(err) != lockstep.ErrGone {
		t.Errorf("the cancelled one: %v", err)
	}
	if ops := w.acme.BulkOperations(); len(ops) != 1 || ops[0].Status != "CANCELED" {
		t.Errorf("at the end: %+v", ops)
	}
}

// A shop that hides its customers' data must not look as if all differed.
func TestExportRefusesHiddenData(t *testing.T) {
	t.Parallel()
	w := openWorld(t)
	w.fill(t, 5)
	w.acme.IndexNow()
	w.acme.SetCustomerData(false)
	if n, err := readExport(t.Context(), w.target(t, w.acme), lockstep.Export{Name: "lockstep_a"}); n != 0 || lockstep.KindOf(err) != lockstep.ErrRefused {
		t.Errorf("%d customers, %v", n, err)
	}
}
