package inbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/riverqueue/river"
)

const (
	captureBatch = 250              // customers in one read
	capturePause = time.Second      // until a customer is read again whose user is being written
	captureSpan  = 5 * time.Second  // that one job works before others get a turn
	captureTime  = 14 * time.Second // for one read, begun within the span: both end before jobTimeout does
)

// captureWorker reads the customers of one target that may have changed, keeps
// what it saw, and has the users put right whom that concerns. It says nothing
// of what is right: the engine decides, on its one path.
type captureWorker struct {
	river.WorkerDefaults[captureArgs]
	in *Inbox
}

func (w *captureWorker) NextRetry(job *river.Job[captureArgs]) time.Time {
	return time.Now().Add(retryPause(job.Attempt))
}

func (w *captureWorker) Work(ctx context.Context, job *river.Job[captureArgs]) error {
	target, ok := lockstep.As[lockstep.Capturer](w.in.targets[job.Args.Target])
	if !ok {
		return river.JobCancel(fmt.Errorf("target %s is no longer in the settings", job.Args.Target))
	}
	deferred := false
	for end := time.Now().Add(captureSpan); time.Now().Before(end); {
		found, later, err := w.in.captureRound(ctx, target)
		if err != nil {
			return w.after(ctx, job, err)
		}
		deferred = deferred || later
		switch {
		case found == 0 && deferred:
			return river.JobSnooze(capturePause + 100*time.Millisecond)
		case found == 0:
			return nil
		}
	}
	return river.JobSnooze(0) // they keep changing: to the back of the queue
}

// after says what becomes of a job whose read failed. What it claimed is given
// back already.
func (w *captureWorker) after(ctx context.Context, job *river.Job[captureArgs], err error) error {
	te, isTargets := errors.AsType[*lockstep.TargetError](err)
	switch {
	case !isTargets:
		return postgres.Redact(err)
	case te.Kind == lockstep.ErrThrottled:
		return river.JobSnooze(spread(max(te.After, 50*time.Millisecond)))
	case te.Kind == lockstep.ErrRefused:
		return errors.Join(w.in.pause(context.WithoutCancel(ctx), job.Args.Target, err), river.JobSnooze(spread(sweepInterval)))
	}
	return err
}

// captureRound reads one batch; found is how many customers it had, and later
// tells that some of them are to be read again. No connection is held while the
// store is asked.
func (in *Inbox) captureRound(ctx context.Context, target lockstep.Capturer) (found int, later bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, captureTime)
	defer cancel()
	changed, err := in.store.ClaimChanges(ctx, target.Name(), captureBatch, leaseTime)
	if err != nil || len(changed.IDs) == 0 {
		return 0, false, err
	}
	defer func() {
		if err != nil {
			unclaim, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			err = errors.Join(err, postgres.Redact(in.store.UnclaimChanges(unclaim, changed)))
		}
	}()
	known, err := in.store.Known(ctx, target.Name(), changed.IDs)
	if err != nil {
		return 0, false, err
	}
	looked, err := lookProving(ctx, target, changed.IDs, known)
	if err != nil {
		return 0, false, err
	}
	r := newReading(target, changed.IDs, known, looked)
	err = in.inTx(ctx, func(tx pgx.Tx) error { return in.keep(ctx, tx, changed, r) })
	return len(changed.IDs), len(r.deferred) > 0, err
}

// lookProving reads customers, and once more with proof if a field is empty that
// was not: Shopify shows null as well for what it hides.
func lookProving(ctx context.Context, target lockstep.Capturer, ids []string, known map[string]postgres.Known) (lockstep.Looked, error) {
	looked, err := target.Look(ctx, ids, false)
	if err != nil {
		return looked, err
	}
	for _, s := range looked.Customers {
		k := known[s.ID]
		lost := lockstep.Fields{Email: k.Email != "", Phone: k.Phone != "", Name: k.FirstName+k.LastName != ""}
		for _, field := range unproven(s, looked.Shown) {
			if hasField(lost, field) {
				return target.Look(ctx, ids, true)
			}
		}
	}
	return looked, nil
}

// The names of fields in shopify_customers.unproven.
const (
	emailField = "email"
	phoneField = "phone"
	nameField  = "name"
)

func hasField(f lockstep.Fields, name string) bool {
	return name == emailField && f.Email || name == phoneField && f.Phone || name == nameField && f.Name
}

// unproven names the empty fields of a customer that need not be empty.
func unproven(s lockstep.Snapshot, shown lockstep.Fields) (names []string) {
	if s.Email == "" && !shown.Email {
		names = append(names, emailField)
	}
	if s.Phone == "" && !shown.Phone || s.Masked {
		names = append(names, phoneField)
	}
	if s.FirstName == "" && s.LastName == "" && !shown.Name {
		names = append(names, nameField)
	}
	return names
}

// keep stores a reading and has done what it causes, in one transaction.
func (in *Inbox) keep(ctx context.Context, tx pgx.Tx, changed postgres.Changed, r *reading) error {
	forgotten, disconnected, err := in.store.MayCapture(ctx, tx, changed)
	switch {
	case err != nil:
		return err
	case disconnected:
		return in.store.FinishChanges(ctx, tx, changed, nil)
	}
	r.forget(forgotten)
	held, err := in.store.HeldBy(ctx, tx, changed.Target, changed.IDs, r.markedUsers())
	if err != nil {
		return err
	}
	r.consider(held)
	if err := in.store.Capture(ctx, tx, changed, r.kept(), r.settled(r.gone)); err != nil {
		return err
	}
	dropped, err := in.store.Unlink(ctx, tx, changed.Target, r.settled(r.gone))
	if err != nil {
		return err
	}
	bumped, err := in.store.Bump(ctx, tx, r.users, []string{changed.Target})
	if err != nil {
		return err
	}
	woken, err := in.store.Wake(ctx, tx, changed.Target, r.settled(r.moved))
	if err != nil {
		return err
	}
	if err := in.enqueue(ctx, tx, slices.Concat(dropped, bumped, woken)); err != nil {
		return err
	}
	return in.store.FinishChanges(ctx, tx, changed, r.deferred)
}

// reading is what one read of customers showed, and what follows from it.
type reading struct {
	target   lockstep.Target
	seen     []postgres.Capture
	known    map[string]postgres.Known
	gone     []string                 // no longer there
	moved    []string                 // gone, or different from what was captured before
	deferred map[string]time.Duration // to be read again, after this time
	users    []string                 // to be put right
}

func newReading(target lockstep.Target, ids []string, known map[string]postgres.Known, looked lockstep.Looked) *reading {
	r := &reading{target: target, known: known}
	alive := map[string]bool{}
	for _, s := range looked.Customers {
		alive[s.ID] = true
		c := postgres.Capture{Snapshot: s, Unproven: unproven(s, looked.Shown)}
		r.seen = append(r.seen, c)
		if k, was := known[s.ID]; !was || k.Deleted || differs(k, c) {
			r.moved = append(r.moved, s.ID)
		}
	}
	for _, id := range ids {
		if !alive[id] {
			r.gone = append(r.gone, id)
			if !known[id].Deleted {
				r.moved = append(r.moved, id)
			}
		}
	}
	return r
}

// forget leaves out customers about whom nothing may be kept, and nothing done.
func (r *reading) forget(ids []string) {
	among := func(id string) bool { return slices.Contains(ids, id) }
	r.seen = slices.DeleteFunc(r.seen, func(c postgres.Capture) bool { return among(c.ID) })
	r.gone, r.moved = slices.DeleteFunc(r.gone, among), slices.DeleteFunc(r.moved, among)
}

// differs compares what Lockstep owns, and what its decisions depend on, with
// what was captured before.
func differs(k postgres.Known, c postgres.Capture) bool {
	now := believed(k, c)
	return now.UserID != k.UserID || now.Email != k.Email || now.Phone != k.Phone || now.FirstName != k.FirstName || now.LastName != k.LastName ||
		c.State != k.State || c.VerifiedEmail != k.Verified || !slices.Equal(c.Tags, k.Tags)
}

// believed is the customer with what was known of the fields that may only seem
// to be empty.
func believed(k postgres.Known, c postgres.Capture) lockstep.Customer {
	now := c.Customer
	for _, field := range c.Unproven {
		switch field {
		case emailField:
			now.Email = k.Email
		case phoneField:
			now.Phone = k.Phone
		case nameField:
			now.FirstName, now.LastName = k.FirstName, k.LastName
		}
	}
	return now
}

// markedUsers are the users whose marks were seen.
func (r *reading) markedUsers() (users []string) {
	for _, c := range r.seen {
		if c.UserID != "" {
			users = append(users, c.UserID)
		}
	}
	return users
}

// consider finds the users whom the reading concerns. A user whom a worker is
// writing for now is left to it: the customer is read again afterwards, when the
// write is no news any more.
func (r *reading) consider(held []postgres.Held) {
	r.deferred, r.users = map[string]time.Duration{}, nil
	byCustomer, byUser := map[string]postgres.Held{}, map[string]postgres.Held{}
	for _, h := range held {
		byUser[h.Profile.ID] = h
		if h.Link.CustomerID != "" {
			byCustomer[h.Link.CustomerID] = h
		}
	}
	for _, id := range r.gone {
		if byCustomer[id].Busy {
			r.deferred[id] = capturePause
		}
	}
	for _, c := range r.seen {
		linked, isLinked := byCustomer[c.ID]
		marked, isMarked := byUser[c.UserID]
		switch {
		case linked.Busy || marked.Busy:
			r.deferred[c.ID] = capturePause
		case !slices.Contains(r.moved, c.ID):
			continue // nothing that was not put right, or given up, before
		case isLinked && r.drifted(linked, c):
			r.putRight(linked, c.ID)
		case !isLinked && isMarked && !marked.Link.Pending:
			r.users = append(r.users, marked.Profile.ID) // the link was lost, or this is a second customer
		}
	}
}

// putRight has a user put right, unless that was done often of late: somebody
// else writes the customer as well, and two who insist would never end. Then it
// is done ever more seldom.
func (r *reading) putRight(h postgres.Held, id string) {
	const free, first, most = 5, 10 * time.Second, 30 * time.Minute
	if h.Rewrites >= free {
		pause := min(first<<min(h.Rewrites-free, 10), most)
		if left := pause - h.Since; left > 0 {
			r.deferred[id] = left
			return
		}
	}
	r.users = append(r.users, h.Profile.ID)
}

// drifted tells whether a linked customer is to be put right. One that shows
// nothing at all was erased, or is hidden from the app: neither is for us to
// fill in again.
func (r *reading) drifted(h postgres.Held, c postgres.Capture) bool {
	if c.NothingVisible || h.Link.Pending {
		return false
	}
	now, right := believed(r.known[c.ID], c), r.target.Fit(h.Profile.Customer())
	for _, field := range c.Unproven { // what nobody ever saw is no drift
		switch field {
		case emailField:
			now.Email = cmp.Or(now.Email, right.Email)
		case phoneField:
			now.Phone = cmp.Or(now.Phone, right.Phone)
		case nameField:
			now.FirstName, now.LastName = cmp.Or(now.FirstName, right.FirstName), cmp.Or(now.LastName, right.LastName)
		}
	}
	return engine.Drifted(r.target, h.Profile, h.Link, now)
}

// kept are the customers to be stored: a deferred one would be no news when it
// is read again.
func (r *reading) kept() []postgres.Capture {
	return slices.DeleteFunc(slices.Clone(r.seen), func(c postgres.Capture) bool { return r.isDeferred(c.ID) })
}

// settled are those of the ids that are not deferred.
func (r *reading) settled(ids []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), r.isDeferred)
}

func (r *reading) isDeferred(id string) bool {
	_, is := r.deferred[id]
	return is
}
