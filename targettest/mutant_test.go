package targettest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/lockstephq/lockstep"
)

// recorder stands in for *testing.T, so that an exam can fail without failing
// the test.
type recorder struct {
	ctx      context.Context
	failures []string
	skipped  bool
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Skipf(string, ...any) {
	r.skipped = true
	runtime.Goexit()
}

// sit has one check examine a subject and tells how it went.
func sit(ctx context.Context, c check, s Subject) *recorder {
	r := &recorder{ctx: ctx}
	var done sync.WaitGroup
	done.Go(func() { c.on(r, s) })
	done.Wait()
	return r
}

// mutant is a Fake with one fault that somebody once shipped.
type mutant struct {
	*Exporting
	fit     func(lockstep.Customer) lockstep.Customer
	resolve func(context.Context, lockstep.Query) (lockstep.Found, error)
	create  func(context.Context, lockstep.Customer) (lockstep.Customer, error)
	adopt   func(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error)
	update  func(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error)
	release func(context.Context, lockstep.Customer, lockstep.OnDelete) (lockstep.OnDelete, error)
	list    func(ctx context.Context, after string, limit int) ([]lockstep.Customer, error)
	export  func(ctx context.Context, e lockstep.Export, all iter.Seq2[lockstep.ExportPage, error]) iter.Seq2[lockstep.ExportPage, error]
}

func (m *mutant) List(ctx context.Context, after string, limit int) ([]lockstep.Customer, error) {
	if m.list == nil {
		return m.Fake.List(ctx, after, limit)
	}
	return m.list(ctx, after, limit)
}

func (m *mutant) Export(ctx context.Context, e lockstep.Export) iter.Seq2[lockstep.ExportPage, error] {
	if m.export == nil {
		return m.Exporting.Export(ctx, e)
	}
	return m.export(ctx, e, m.Exporting.Export(ctx, e))
}

func (m *mutant) Fit(want lockstep.Customer) lockstep.Customer {
	if m.fit == nil {
		return m.Fake.Fit(want)
	}
	return m.fit(want)
}

func (m *mutant) Resolve(ctx context.Context, q lockstep.Query) (lockstep.Found, error) {
	if m.resolve == nil {
		return m.Fake.Resolve(ctx, q)
	}
	return m.resolve(ctx, q)
}

func (m *mutant) Create(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
	if m.create == nil {
		return m.Fake.Create(ctx, want)
	}
	return m.create(ctx, want)
}

func (m *mutant) Adopt(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	if m.adopt == nil {
		return m.Fake.Adopt(ctx, now, want)
	}
	return m.adopt(ctx, now, want)
}

func (m *mutant) Update(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	if m.update == nil {
		return m.Fake.Update(ctx, now, want)
	}
	return m.update(ctx, now, want)
}

func (m *mutant) Release(ctx context.Context, now lockstep.Customer, how lockstep.OnDelete) (lockstep.OnDelete, error) {
	if m.release == nil {
		return m.Fake.Release(ctx, now, how)
	}
	return m.release(ctx, now, how)
}

// overwrite writes want over whatever the record is, as careless code does.
func (m *mutant) overwrite(id string, change func(*Record)) (lockstep.Customer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, live := m.records[id]
	if !live {
		return lockstep.Customer{}, &lockstep.TargetError{Kind: lockstep.ErrGone}
	}
	change(&r)
	return m.store(r).Customer, nil
}

// insert adds a customer without looking.
func (m *mutant) insert(want lockstep.Customer) (lockstep.Customer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.store(Record{Customer: want}).Customer, nil
}

// meeting returns a function whose callers wait until n of them have come.
func meeting(n int) func() {
	var all sync.WaitGroup
	all.Add(n)
	return func() { all.Done(); all.Wait() }
}

func TestExamCatches(t *testing.T) {
	t.Parallel()
	for name, tt := range mutants() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := byName(t, tt.check)
			m := &mutant{Exporting: NewExporting("mutant")}
			tt.sabotage(m)
			healthy := NewExporting("healthy")
			healthy.Accounts = m.Accounts
			if r := sit(t.Context(), c, healthy.Subject()); len(r.failures) > 0 || r.skipped {
				t.Fatalf("the check fails a healthy target: %v", r.failures)
			}
			s := m.Subject()
			s.Target = m
			if r := sit(t.Context(), c, s); len(r.failures) == 0 {
				t.Errorf("%q passes it", tt.check)
			}
		})
	}
}

func byName(t *testing.T, name string) check {
	for _, c := range checks() {
		if c.name == name {
			return c
		}
	}
	t.Fatalf("no check %q", name)
	return check{}
}

type breakage struct {
	check    string
	sabotage func(*mutant)
}

func mutants() map[string]breakage {
	all := map[string]breakage{}
	for _, some := range []map[string]breakage{
		carelessReads(), carelessLists(), carelessExports(), carelessWrites(), carelessUpdates(), carelessReleases(), carelessFarewells(),
		carelessErrors(), carelessRaces(), carelessAccounts(), carelessWithChoices(),
	} {
		maps.Copy(all, some)
	}
	return all
}

func carelessReads() map[string]breakage {
	return map[string]breakage{
		"compares e-mail by case": {"found by e-mail in any case", func(m *mutant) {
			m.resolve = func(ctx context.Context, q lockstep.Query) (lockstep.Found, error) {
				found, err := m.Fake.Resolve(ctx, q)
				var exact []lockstep.Customer
				for _, c := range found.ByEmail {
					if c.Email == q.Email {
						exact = append(exact, c)
					}
				}
				found.ByEmail = exact
				return found, err
			}
		}},
		"does not look for the mark": {"found by the mark alone", func(m *mutant) {
			m.resolve = func(ctx context.Context, q lockstep.Query) (lockstep.Found, error) {
				q.UserID = ""
				return m.Fake.Resolve(ctx, q)
			}
		}},
		"stops at the first mark": {"a copied mark shows both customers", func(m *mutant) {
			m.resolve = func(ctx context.Context, q lockstep.Query) (lockstep.Found, error) {
				found, err := m.Fake.Resolve(ctx, q)
				found.ByUser = found.ByUser[:min(1, len(found.ByUser))]
				return found, err
			}
		}},
		"hides that it is an account": {"an account is shown as one", func(m *mutant) {
			m.resolve = func(ctx context.Context, q lockstep.Query) (lockstep.Found, error) {
				found, err := m.Fake.Resolve(ctx, q)
				for i := range found.ByEmail {
					found.ByEmail[i].Account = false
				}
				return found, err
			}
		}},
		"finds by a blank e-mail": {"no e-mail asked for finds none by e-mail", func(m *mutant) {
			m.resolve = func(ctx context.Context, q lockstep.Query) (lockstep.Found, error) {
				found, err := m.Fake.Resolve(ctx, q)
				for _, r := range m.sorted() {
					if q.Email == r.Email {
						found.ByEmail = append(found.ByEmail, r.Customer)
					}
				}
				return found, err
			}
		}},
		"remembers deleted customers": {"a deleted customer is not found", func(m *mutant) {
			var seen lockstep.Customer
			m.create = func(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
				var err error
				seen, err = m.Fake.Create(ctx, want)
				return seen, err
			}
			m.resolve = func(ctx context.Context, q lockstep.Query) (lockstep.Found, error) {
				found, err := m.Fake.Resolve(ctx, q)
				if q.CustomerID == seen.ID {
					found.ByLink = &seen
				}
				return found, err
			}
		}},
	}
}

func carelessErrors() map[string]breakage {
	lie := func(err error, from, to lockstep.ErrorKind) error {
		if err != nil && lockstep.KindOf(err) == from {
			return &lockstep.TargetError{Kind: to}
		}
		return err
	}
	creating := func(m *mutant, from, to lockstep.ErrorKind) {
		m.create = func(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
			c, err := m.Fake.Create(ctx, want)
			return c, lie(err, from, to)
		}
	}
	return map[string]breakage{
		"says a lost answer is harmless": {"Create, " + string(FaultLostAfter), func(m *mutant) {
			creating(m, lockstep.ErrUnknown, lockstep.ErrTransient)
		}},
		"says a lost answer is success": {"Create, " + string(FaultLostBefore), func(m *mutant) {
			m.create = func(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
				c, err := m.Fake.Create(ctx, want)
				if errors.Is(err, lockstep.ErrUnknown) {
					return want, nil
				}
				return c, err
			}
		}},
		"resends blindly": {"Create, " + string(FaultLostAfter), func(m *mutant) {
			m.create = func(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
				c, err := m.Fake.Create(ctx, want)
				if errors.Is(err, lockstep.ErrUnknown) {
					return m.insert(want)
				}
				return c, err
			}
		}},
		"does not say how long to wait": {"Create, " + string(FaultLimit), func(m *mutant) {
			creating(m, lockstep.ErrThrottled, lockstep.ErrThrottled)
		}},
		"retries what is refused": {"Create, " + string(FaultRefusal), func(m *mutant) {
			creating(m, lockstep.ErrRefused, lockstep.ErrTransient)
		}},
		"says gone for taken": {"a guest's e-mail is taken", func(m *mutant) {
			creating(m, lockstep.ErrTaken, lockstep.ErrGone)
		}},
		"prints the e-mail": {"a guest's e-mail is taken", func(m *mutant) {
			m.create = func(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
				c, err := m.Fake.Create(ctx, want)
				if err != nil {
					err = fmt.Errorf("%s: %w", strings.ToUpper(want.Email), err)
				}
				return c, err
			}
		}},
		"ignores the context": {"a cancelled context ends every call", func(m *mutant) {
			m.create = func(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
				return m.Fake.Create(context.WithoutCancel(ctx), want)
			}
		}},
	}
}

// carelessAccounts have one half of an account without the other.
func carelessAccounts() map[string]breakage {
	return map[string]breakage{
		"makes a guest where an account is due": {"a new user gets one marked customer", func(m *mutant) {
			m.Accounts = true
			m.create = func(_ context.Context, want lockstep.Customer) (lockstep.Customer, error) { return m.insert(want) }
		}},
		"adopts and leaves a guest": {"a guest is adopted with all it has", func(m *mutant) {
			m.Accounts = true
			m.adopt = func(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
				return m.claim(ctx, now, want)
			}
		}},
		"makes an account that nobody signs in to": {"a customer without e-mail", func(m *mutant) {
			m.Accounts = true
			m.create = func(_ context.Context, want lockstep.Customer) (lockstep.Customer, error) {
				want.Account = true
				return m.insert(want)
			}
		}},
		"leaves an account that nobody can delete": {"Release takes the mark off and no more", func(m *mutant) {
			m.Accounts = true
			m.release = func(ctx context.Context, now lockstep.Customer, how lockstep.OnDelete) (lockstep.OnDelete, error) {
				r, _, err := m.Get(ctx, now.ID)
				r.UserID, r.Proven = "", false
				m.mu.Lock()
				defer m.mu.Unlock()
				m.store(r)
				return how, err
			}
		}},
	}
}

// carelessRaces look, then write, with all callers between the two.
func carelessRaces() map[string]breakage {
	return map[string]breakage{
		"looks before it creates": {"one user created by many at once", func(m *mutant) {
			met := meeting(crowd)
			m.create = func(_ context.Context, want lockstep.Customer) (lockstep.Customer, error) {
				met()
				return m.insert(want)
			}
		}},
		"looks before it creates without e-mail": {"one user without e-mail created by many at once", func(m *mutant) {
			met := meeting(crowd)
			m.create = func(_ context.Context, want lockstep.Customer) (lockstep.Customer, error) {
				met()
				return m.insert(want)
			}
		}},
		"looks before it adopts": {"one guest adopted by many users at once", func(m *mutant) {
			met := meeting(crowd)
			m.adopt = func(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
				met()
				return m.claim(ctx, now, want)
			}
		}},
		"looks before it takes an e-mail": {"one e-mail created by two users at once", func(m *mutant) {
			met := meeting(2)
			m.create = func(_ context.Context, want lockstep.Customer) (lockstep.Customer, error) {
				met()
				return m.insert(want)
			}
		}},
	}
}

func TestExamSkipsByName(t *testing.T) {
	t.Parallel()
	s := NewFake("fake").Subject()
	s.Lacks = map[Fault]string{FaultLimit: "nobody counts"}
	if r := sit(t.Context(), byName(t, "Create, "+string(FaultLimit)), s); !r.skipped {
		t.Errorf("not skipped: %v", r.failures)
	}
}

func TestCheckNamesDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range checks() {
		if seen[c.name] {
			t.Errorf("two checks are called %q", c.name)
		}
		seen[c.name] = true
	}
}
