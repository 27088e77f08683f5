package targettest

import (
	"context"
	"errors"

	"github.com/lockstephq/lockstep"
)

// exportChecks ask a lockstep.Exporter what it exports.
func exportChecks() []check {
	return []check{
		{"an empty store exports nobody", exportsNobody},
		{"all customers are exported, each once", exportsAll},
		{"an export goes on from its place", exportsOn},
		{"an export is found again by its name", exportsAgain},
		{"a cancelled export is whole or gone", exportCancelled},
		{"exporting under faults", exportsUnderFaults},
	}
}

// exporter is the target's, or the check is skipped by name.
func (e *exam) exporter() lockstep.Exporter {
	e.Helper()
	x, ok := lockstep.As[lockstep.Exporter](e.Target)
	if !ok {
		e.Skipf("the target does not export its customers")
	}
	return x
}

// exported reads an export from a place on, until most pages came; 0 for all.
func (e *exam) exported(name, place string, most int) (all []lockstep.Customer, at string, err error) {
	e.Helper()
	pages := 0
	for page, err := range e.exporter().Export(e.ctx, lockstep.Export{Name: name, Place: place}) {
		if e.saw(err); err != nil {
			return all, at, err
		}
		all, at = append(all, page.Customers...), page.Place
		if pages++; pages == most {
			break
		}
	}
	return all, at, nil
}

func (e *exam) mustExport(name, place string, most int) (all []lockstep.Customer, at string) {
	e.Helper()
	all, at, err := e.exported(name, place, most)
	e.must("Export", err)
	return all, at
}

func exportsNobody(e *exam) {
	e.exporter()
	e.settle()
	all, _ := e.mustExport("lockstep_exam_a", "", 0)
	e.equal("exported", all, []lockstep.Customer{})
}

func exportsAll(e *exam) {
	e.exporter()
	e.crowded()
	all, _ := e.mustExport("lockstep_exam_a", "", 0)
	e.everybody("exported", all)
	e.equal("listed", byID(e.walk("", mostListed)), byID(all))
}

// exportsOn breaks off after a page.
func exportsOn(e *exam) {
	e.exporter()
	e.many(2*mostListed + 101)
	first, place := e.mustExport("lockstep_exam_a", "", 1)
	if len(first) == 0 || place == "" {
		e.Fatalf("a page of %d customers, at %q", len(first), place)
	}
	rest, _ := e.mustExport("lockstep_exam_a", place, 0)
	if len(rest) == 0 {
		e.Fatalf("all came in one page: nothing goes on")
	}
	e.everybody("exported", append(first, rest...))
}

// exportsAgain: who comes later takes the same export, which shows whom it showed.
func exportsAgain(e *exam) {
	e.exporter()
	e.crowded()
	before, _ := e.mustExport("lockstep_exam_a", "", 0)
	e.put(e.shopper(10))
	e.settle()
	again, _ := e.mustExport("lockstep_exam_a", "", 0)
	e.equal("exported again", byID(again), byID(before))
	other, _ := e.mustExport("lockstep_exam_b", "", 0)
	e.everybody("another export", other)
}

// exportCancelled: it may have come to its end before.
func exportCancelled(e *exam) {
	x := e.exporter()
	e.crowded()
	e.must("CancelExport of none", x.CancelExport(e.ctx, "lockstep_exam_none"))
	waiting, cancel := context.WithCancel(e.ctx)
	for range x.Export(waiting, lockstep.Export{Name: "lockstep_exam_a", Seen: func(int) { cancel() }}) {
		break // the waiting ended, not the export
	}
	cancel()
	e.must("CancelExport", x.CancelExport(e.ctx, "lockstep_exam_a"))
	e.must("CancelExport again", x.CancelExport(e.ctx, "lockstep_exam_a"))
	if all, _, err := e.exported("lockstep_exam_a", "", 0); err != nil {
		e.kind("Export", err, lockstep.ErrGone)
	} else {
		e.everybody("exported", all)
	}
	all, _ := e.mustExport("lockstep_exam_b", "", 0)
	e.everybody("another export", all)
}

func exportsUnderFaults(e *exam) {
	e.exporter()
	e.crowded()
	if _, lacks := e.Lacks[FaultRefusal]; !lacks {
		e.Break(FaultRefusal)
		_, _, err := e.exported("lockstep_exam_a", "", 0)
		if !errors.Is(err, lockstep.ErrNoExport) { // a store that refuses this alone can be listed
			e.kind("Export", err, lockstep.ErrRefused)
		}
	}
	if _, lacks := e.Lacks[FaultLimit]; !lacks {
		e.Break(FaultLimit)
		_, _, err := e.exported("lockstep_exam_a", "", 0)
		e.throttled("Export", err)
	}
	all, _ := e.mustExport("lockstep_exam_a", "", 0)
	e.everybody("exported after", all)
}
