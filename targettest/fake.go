package targettest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lockstephq/lockstep"
)

// Fake is a target and its store in memory. It passes the exam, and is safe
// for concurrent use.
type Fake struct {
	// Delay is how long every call of the target takes; set it before use.
	Delay time.Duration

	// Accounts makes an account of every user's customer; set it before use.
	Accounts bool

	name string

	mu       sync.Mutex
	records  map[string]Record
	orders   map[string]bool // by customer
	ids      int             // given so far
	versions int
	fault    Fault

	calls    map[string]int
	busy     map[string]int
	overlaps int
}

// NewFake makes an empty store whose target has the given name.
func NewFake(name string) *Fake {
	return &Fake{name: name, records: map[string]Record{}, orders: map[string]bool{}, calls: map[string]int{}, busy: map[string]int{}}
}

// Subject is the fake as the exam takes it.
func (f *Fake) Subject() Subject {
	return Subject{
		Target: f, Shop: f, Break: f.Break, Accounts: f.Accounts, Order: f.Order,
		Foreign: map[string]string{"note": "likes owls", "tag": "vip"},
	}
}

// Calls returns how often each method of the target was called.
func (f *Fake) Calls() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.calls)
}

// Overlaps returns how many calls began while another one for the same user
// was under way: none, where there is one worker per user. Give the fake a
// Delay, or calls are too short to meet.
func (f *Fake) Overlaps() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.overlaps
}

// Break arms one fault.
func (f *Fake) Break(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// The target.

// Name implements lockstep.Target.
func (f *Fake) Name() string { return f.name }

// Fit implements lockstep.Target: the fake holds everything.
func (f *Fake) Fit(want lockstep.Customer) lockstep.Customer {
	want.Account = f.Accounts
	return want
}

// Check implements lockstep.Target.
func (f *Fake) Check(ctx context.Context) error {
	return f.call(ctx, "Check", "", func() error { return nil })
}

// Resolve implements lockstep.Target.
func (f *Fake) Resolve(ctx context.Context, q lockstep.Query) (found lockstep.Found, err error) {
	err = f.call(ctx, "Resolve", q.UserID, func() error {
		for _, r := range f.records {
			c := r.Customer
			if c.ID == q.CustomerID {
				found.ByLink = &c
			}
			if q.UserID != "" && c.UserID == q.UserID {
				found.ByUser = append(found.ByUser, c)
			}
			if q.Email != "" && lockstep.NormalEmail(c.Email) == q.Email {
				found.ByEmail = append(found.ByEmail, c)
			}
		}
		oldestFirst(found.ByUser)
		oldestFirst(found.ByEmail)
		return nil
	})
	return found, err
}

// List implements lockstep.Lister.
func (f *Fake) List(ctx context.Context, after string, limit int) (page []lockstep.Customer, err error) {
	err = f.call(ctx, "List", "", func() error {
		for _, r := range f.records {
			if r.ID > after {
				page = append(page, r.Customer)
			}
		}
		oldestFirst(page)
		page = page[:min(limit, len(page))]
		return nil
	})
	return page, err
}

// Create implements lockstep.Target.
func (f *Fake) Create(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
	return f.write(ctx, "Create", want.UserID, func() (Record, error) {
		if marked, ok := f.marked(want.UserID); ok {
			return marked, nil
		}
		if f.held(want.Email, "") {
			return Record{}, taken("the e-mail")
		}
		want.Email, want.Account, want.Proven = lockstep.NormalEmail(want.Email), f.Accounts, f.Accounts
		return f.store(Record{Customer: want}), nil
	})
}

// Adopt implements lockstep.Target.
func (f *Fake) Adopt(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	return f.write(ctx, "Adopt", want.UserID, func() (Record, error) {
		r, has := f.records[now.ID], lockstep.NormalEmail(f.records[now.ID].Email)
		moved := r.ID != "" && r.UserID == "" && has != lockstep.NormalEmail(now.Email) && has != want.Email
		if moved || r.Account && !(r.Proven && r.UserID == want.UserID) {
			return Record{}, taken("the guest")
		}
		return f.merge(now, want)
	})
}

// Update implements lockstep.Target.
func (f *Fake) Update(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	return f.write(ctx, "Update", want.UserID, func() (Record, error) { return f.merge(now, want) })
}

// Release implements lockstep.Target. Who ever had an order is not deleted.
func (f *Fake) Release(ctx context.Context, now lockstep.Customer, how lockstep.OnDelete) (done lockstep.OnDelete, err error) {
	err = f.call(ctx, "Release", now.UserID, func() error {
		r, live := f.records[now.ID]
		mayBeOthers := r.Account && !r.Proven
		switch {
		case !live || r.UserID != now.UserID || mayBeOthers && now.UserID == "":
			return nil
		case mayBeOthers && how != lockstep.Unmark:
			how = lockstep.OnDeleteKeep
		case how == lockstep.OnDeleteDelete && f.orders[now.ID]:
			how = lockstep.OnDeleteAnonymise
		}
		switch done = how; how {
		case lockstep.OnDeleteDelete:
			delete(f.records, now.ID)
			return nil
		case lockstep.OnDeleteAnonymise:
			r.Email, r.FirstName, r.LastName, r.Phone = "", "", "", ""
		}
		r.UserID, r.Account, r.Proven = "", mayBeOthers, false
		f.store(r)
		return nil
	})
	if err != nil {
		return "", err
	}
	return done, nil
}

// merge writes the fields of want that are set and differ from now.
func (f *Fake) merge(now, want lockstep.Customer) (Record, error) {
	r, live := f.records[now.ID]
	if !live {
		return Record{}, &lockstep.TargetError{Kind: lockstep.ErrGone}
	}
	holder, marked := f.marked(want.UserID)
	if r.UserID != "" && r.UserID != want.UserID || marked && holder.ID != r.ID && r.UserID == "" {
		return Record{}, taken("the mark")
	}
	merged := r
	merged.UserID = want.UserID
	if f.Accounts {
		merged.Account, merged.Proven = true, true
	}
	set(&merged.Email, now.Email, lockstep.NormalEmail(want.Email))
	set(&merged.FirstName, now.FirstName, want.FirstName)
	set(&merged.LastName, now.LastName, want.LastName)
	set(&merged.Phone, now.Phone, want.Phone)
	if merged.Email != r.Email && f.held(merged.Email, r.ID) {
		return Record{}, taken("the e-mail")
	}
	if merged.Customer == r.Customer {
		return r, nil
	}
	return f.store(merged), nil
}

func set(field *string, now, want string) {
	if want != "" && want != now {
		*field = want
	}
}

func taken(what string) error {
	return &lockstep.TargetError{Kind: lockstep.ErrTaken, Err: errors.New(what)}
}

func (f *Fake) write(ctx context.Context, method, user string, do func() (Record, error)) (c lockstep.Customer, err error) {
	err = f.call(ctx, method, user, func() error {
		if user == "" || strings.ContainsRune(user, 0) {
			return &lockstep.TargetError{Kind: lockstep.ErrInvalid, Err: errors.New("a user id is needed")}
		}
		r, err := do()
		c = r.Customer
		return err
	})
	if err != nil {
		return lockstep.Customer{}, err
	}
	return c, nil
}

// call counts, takes its time, and runs do with the store locked, unless a
// fault is armed for it.
func (f *Fake) call(ctx context.Context, method, user string, do func() error) error {
	f.enter(method, user)
	defer f.leave(user)
	if err := pause(ctx, f.Delay); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch f.strike(!slices.Contains([]string{"Check", "Resolve", "List", "Export", "CancelExport"}, method)) {
	case FaultLimit:
		return &lockstep.TargetError{Kind: lockstep.ErrThrottled, After: time.Millisecond}
	case FaultRefusal:
		return &lockstep.TargetError{Kind: lockstep.ErrRefused}
	case FaultLostBefore:
		return &lockstep.TargetError{Kind: lockstep.ErrUnknown}
	case FaultLostAfter:
		_ = do() // whatever it says is lost
		return &lockstep.TargetError{Kind: lockstep.ErrUnknown}
	}
	return do()
}

func (f *Fake) enter(method, user string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[method]++
	if user != "" && f.busy[user] > 0 {
		f.overlaps++
	}
	f.busy[user]++
}

func (f *Fake) leave(user string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy[user]--
}

// strike returns the fault that hits this call, if any, and disarms it.
func (f *Fake) strike(writing bool) (fault Fault) {
	if !writing && (f.fault == FaultLostAfter || f.fault == FaultLostBefore) {
		return ""
	}
	fault, f.fault = f.fault, ""
	return fault
}

// pause waits, and fails as soon as the context does.
func pause(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The store's own hands.

// Put implements Shop. Like Medusa, the store holds an e-mail once among
// guests and once among accounts, and two cases of one address are two.
func (f *Fake) Put(_ context.Context, r Record) (Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, other := range f.records {
		if r.Email != "" && other.Email == r.Email && other.Account == r.Account {
			return Record{}, errors.New("the store has that e-mail already")
		}
	}
	r.ID = ""
	r.Proven = f.Accounts && r.Account && r.UserID != ""
	return f.store(r), nil
}

// Get implements Shop.
func (f *Fake) Get(_ context.Context, id string) (Record, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, live := f.records[id]
	return r.clone(), live, nil
}

// Live implements Shop. The oldest comes first.
func (f *Fake) Live(context.Context) ([]Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sorted(), nil
}

// Edit implements Shop.
func (f *Fake) Edit(_ context.Context, r Record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, live := f.records[r.ID]; !live {
		return fmt.Errorf("no customer %s", r.ID)
	}
	f.store(r)
	return nil
}

// Delete implements Shop.
func (f *Fake) Delete(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.records, id)
	return nil
}

// Order gives a customer an order.
func (f *Fake) Order(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders[id] = true
	return nil
}

// store writes a record with a new version and, if it has none, a new id.
func (f *Fake) store(r Record) Record {
	if r.ID == "" {
		f.ids++
		r.ID = fmt.Sprintf("fake_%08d", f.ids)
	}
	f.versions++
	r.Version = strconv.Itoa(f.versions)
	f.records[r.ID] = r.clone()
	return r
}

func (f *Fake) sorted() []Record {
	var all []Record
	for _, r := range f.records {
		all = append(all, r.clone())
	}
	slices.SortFunc(all, func(a, b Record) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

func (r Record) clone() Record {
	r.Foreign = maps.Clone(r.Foreign)
	return r
}

func oldestFirst(list []lockstep.Customer) {
	slices.SortFunc(list, func(a, b lockstep.Customer) int { return cmp.Compare(a.ID, b.ID) })
}

// marked is the oldest customer that carries a user's mark.
func (f *Fake) marked(user string) (oldest Record, ok bool) {
	for _, r := range f.records {
		if r.UserID == user && user != "" && (!ok || r.ID < oldest.ID) {
			oldest, ok = r, true
		}
	}
	return oldest.clone(), ok
}

// held reports whether a customer other than the one with the id has the
// e-mail, in any case.
func (f *Fake) held(email, id string) bool {
	for _, r := range f.records {
		if email != "" && r.ID != id && lockstep.NormalEmail(r.Email) == lockstep.NormalEmail(email) {
			return true
		}
	}
	return false
}
