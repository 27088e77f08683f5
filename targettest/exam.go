package targettest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lockstephq/lockstep"
)

// patience bounds one check, so that a target that hangs fails by name.
const patience = 2 * time.Minute

// Run examines a target: one parallel subtest per check, each on a Subject of
// its own that open makes.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.on(t, open(t))
		})
	}
}

// check is one question of the exam.
type check struct {
	name string
	run  func(*exam)
}

func checks() []check {
	all := findChecks()
	all = append(all, listChecks()...)
	all = append(all, exportChecks()...)
	all = append(all, writeChecks()...)
	all = append(all, releaseChecks()...)
	all = append(all, refuseChecks()...)
	all = append(all, faultChecks()...)
	return append(all, raceChecks()...)
}

func (c check) on(r reporter, s Subject) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	e := &exam{reporter: r, Subject: s, ctx: ctx}
	e.Target = &witness{Target: s.Target, exam: e}
	defer e.noPersonalData()
	c.run(e)
}

// reporter is what the exam uses of *testing.T, so that the exam's own tests
// can watch it fail.
type reporter interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

type exam struct {
	reporter
	Subject
	ctx context.Context

	mu   sync.Mutex
	errs []error // every error the target gave
}

// person is an invented user's customer. All that is personal in it contains
// one of the words of personal.
func person(n int) lockstep.Customer {
	return lockstep.Customer{
		UserID:    fmt.Sprintf("user_exam%02d", n),
		Email:     fmt.Sprintf("vilhelmina%02d@example.test", n),
		FirstName: fmt.Sprintf("Vilhelmina%02d", n),
		LastName:  fmt.Sprintf("Kvistgaard%02d", n),
		Phone:     fmt.Sprintf("+45201234%02d", n),
	}
}

func personal() []string { return []string{"vilhelmina", "kvistgaard", "45201234"} }

// shopper is the person as an unmarked guest that the store made itself, with
// the e-mail as somebody typed it.
func (e *exam) shopper(n int) Record {
	c := person(n)
	c.UserID, c.Email = "", "Vil"+strings.ToUpper(c.Email[3:])
	return Record{Customer: c, Foreign: e.Foreign}
}

func everything(c lockstep.Customer) lockstep.Query {
	return lockstep.Query{UserID: c.UserID, CustomerID: c.ID, Email: lockstep.NormalEmail(c.Email)}
}

// noPersonalData checks every error that the target gave during the check.
func (e *exam) noPersonalData() {
	e.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, err := range e.errs {
		text := strings.ToLower(fmt.Sprintf("%v %+v", err, err))
		for _, word := range personal() {
			if strings.Contains(text, word) {
				e.Errorf("an error names a person: %v", err)
			}
		}
	}
}

func (e *exam) saw(err error) {
	if err != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.errs = append(e.errs, err)
	}
}

// The store's hands; what fails here is the test's own fault.

func (e *exam) put(r Record) Record {
	e.Helper()
	made, err := e.Shop.Put(e.ctx, r)
	e.possible("put", err)
	return made
}

func (e *exam) get(id string) Record {
	e.Helper()
	r, live, err := e.Shop.Get(e.ctx, id)
	e.must("get", err)
	if !live {
		e.Fatalf("customer %q is not live in the store", id)
	}
	return r
}

func (e *exam) live(want int) []Record {
	e.Helper()
	all, err := e.Shop.Live(e.ctx)
	e.must("list", err)
	if len(all) != want {
		e.Errorf("the store holds %d customers, want %d: %+v", len(all), want, all)
	}
	return all
}

func (e *exam) edit(r Record) {
	e.Helper()
	e.possible("edit", e.Shop.Edit(e.ctx, r))
}

// possible ends the check by name where the store has no such records.
func (e *exam) possible(what string, err error) {
	e.Helper()
	if errors.Is(err, errors.ErrUnsupported) {
		e.Skipf("the store cannot hold such a record: %v", err)
	}
	e.must(what, err)
}

func (e *exam) remove(id string) {
	e.Helper()
	e.must("delete", e.Shop.Delete(e.ctx, id))
}

// breaks arms the fault, or ends the check by name where it cannot exist.
func (e *exam) breaks(f Fault) {
	e.Helper()
	if why, ok := e.Lacks[f]; ok {
		e.Skipf("%s cannot exist here: %s", f, why)
	}
	e.Break(f)
}

// The target's answers.

func (e *exam) resolve(q lockstep.Query) lockstep.Found {
	e.Helper()
	found, err := e.Target.Resolve(e.ctx, q)
	e.must("Resolve", err)
	return found
}

func (e *exam) create(want lockstep.Customer) lockstep.Customer {
	e.Helper()
	c, err := e.Target.Create(e.ctx, want)
	e.must("Create", err)
	return c
}

func (e *exam) adopt(now, want lockstep.Customer) lockstep.Customer {
	e.Helper()
	c, err := e.Target.Adopt(e.ctx, now, want)
	e.must("Adopt", err)
	return c
}

func (e *exam) update(now, want lockstep.Customer) lockstep.Customer {
	e.Helper()
	c, err := e.Target.Update(e.ctx, now, want)
	e.must("Update", err)
	return c
}

// release lets go of a customer, and wants it to go as far as want; empty if it
// is to be left alone.
func (e *exam) release(now lockstep.Customer, how, want lockstep.OnDelete) {
	e.Helper()
	done, err := e.Target.Release(e.ctx, now, how)
	e.must("Release", err)
	if done != want {
		e.Errorf("Release to %s did %q, want %q", how, done, want)
	}
}

// Judgements.

func (e *exam) must(what string, err error) {
	e.Helper()
	if err != nil {
		e.Fatalf("%s: %v", what, err)
	}
}

func (e *exam) kind(what string, err error, want lockstep.ErrorKind) {
	e.Helper()
	if err == nil || lockstep.KindOf(err) != want {
		e.Errorf("%s: got error %v, want kind %q", what, err, want)
	}
}

func (e *exam) equal(what string, got, want any) {
	e.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		e.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// owned is want as the store holds it once it is the user's.
func (e *exam) owned(want lockstep.Customer) lockstep.Customer {
	if e.Accounts && want.UserID != "" {
		want.Account, want.Proven = true, true
	}
	return want
}

// holds checks the record behind id: its fields, and that all foreign ones are
// as they were put.
func (e *exam) holds(id string, want lockstep.Customer, foreign map[string]string) {
	e.Helper()
	want.ID = id
	r := e.get(id)
	e.equal("the record", r.Customer, e.owned(want))
	e.equal("its foreign fields", r.Foreign, foreign)
}

// untouched checks that nobody wrote the record since it was read.
func (e *exam) untouched(before Record) {
	e.Helper()
	e.equal("a record nobody may write", e.get(before.ID), before)
}

// witness keeps every error of the target, and the rest as it is.
type witness struct {
	lockstep.Target
	exam *exam
}

// Unwrap implements lockstep.Wrapper.
func (w *witness) Unwrap() lockstep.Target { return w.Target }

func (w *witness) Check(ctx context.Context) error {
	err := w.Target.Check(ctx)
	w.exam.saw(err)
	return err
}

func (w *witness) Resolve(ctx context.Context, q lockstep.Query) (lockstep.Found, error) {
	found, err := w.Target.Resolve(ctx, q)
	w.exam.saw(err)
	return found, err
}

func (w *witness) Create(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
	c, err := w.Target.Create(ctx, want)
	w.exam.saw(err)
	return c, err
}

func (w *witness) Adopt(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	c, err := w.Target.Adopt(ctx, now, want)
	w.exam.saw(err)
	return c, err
}

func (w *witness) Update(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	c, err := w.Target.Update(ctx, now, want)
	w.exam.saw(err)
	return c, err
}

func (w *witness) Release(ctx context.Context, now lockstep.Customer, how lockstep.OnDelete) (lockstep.OnDelete, error) {
	done, err := w.Target.Release(ctx, now, how)
	w.exam.saw(err)
	return done, err
}
