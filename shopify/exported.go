package shopify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"

	"github.com/lockstephq/lockstep"
)

// Exported is a shop as an export showed it: Resolve answers from memory, at no
// cost, and may be out of date. The rest asks the shop, so that what is decided
// here is written with all its checks. It holds who is wanted, and no others.
type Exported struct {
	*Target
	emails, users map[string]bool

	byID, byUser, byEmail map[string]snapshot
}

// Exported is empty until records are added.
func (t *Target) Exported() *Exported {
	return &Exported{Target: t, emails: map[string]bool{}, users: map[string]bool{},
		byID: map[string]snapshot{}, byUser: map[string]snapshot{}, byEmail: map[string]snapshot{}}
}

// Want has the customers kept that Resolve finds for the query. It comes before
// the records.
func (e *Exported) Want(q lockstep.Query) {
	e.users[q.UserID] = true
	if q.Email != "" {
		e.emails[q.Email] = true
	}
}

// Add takes in a record of the export.
func (e *Exported) Add(r *Record) { e.put(r.snapshot) }

func (e *Exported) put(s snapshot) {
	email := ""
	if s.Email != nil {
		email = lockstep.NormalEmail(s.Email.Address)
	}
	user := s.owner()
	if !e.users[user] && !e.emails[email] {
		return
	}
	e.byID[s.ID] = s
	if user != "" {
		e.byUser[user] = s
	}
	if email != "" {
		e.byEmail[email] = s
	}
}

// Resolve implements lockstep.Target.
func (e *Exported) Resolve(_ context.Context, q lockstep.Query) (lockstep.Found, error) {
	pick := func(from map[string]snapshot, key string) *snapshot {
		if s, ok := from[key]; ok && key != "" {
			return &s
		}
		return nil
	}
	return e.found(resolved{pick(e.byID, q.CustomerID), pick(e.byUser, q.UserID), pick(e.byEmail, q.Email)}, q), nil
}

// Line is the line of an import that makes a user's customer, or updates the one
// that carries the user's mark. Tags are not in it, since they would replace all
// that are there.
func (t *Target) Line(want lockstep.Customer) ([]byte, error) {
	if err := t.ops["set"].mayWrite(want); err != nil {
		return nil, err
	}
	text, err := json.Marshal(map[string]any{"identifier": t.byMark(want.UserID), "input": input(want)})
	if err != nil {
		return nil, t.ops["set"].fail(lockstep.ErrInvalid, errors.New("a field cannot be written as JSON"))
	}
	return append(text, '\n'), nil
}

// Imported is what became of one line of an import.
type Imported struct {
	UserID string // whose mark the customer carries; empty where Err is set
	Number int    // of the line, from 0
	Err    error  // why the line did nothing, with its kind
	End    int64  // where the next line of the result begins
}

// Imported yields what became of an import's lines, in no order, and takes the
// customers in: what was made is seen by Resolve. It reads a result from a byte
// on, as Records does; of a failed operation, what there is.
func (e *Exported) Imported(ctx context.Context, o BulkOperation, from int64) iter.Seq2[Imported, error] {
	return func(yield func(Imported, error) bool) {
		address := o.URL
		if address == "" {
			address = o.Partial
		}
		if address == "" {
			return
		}
		for l, err := range e.lines(ctx, address, from, o.Size) {
			var got Imported
			if err == nil {
				got, err = e.imported(l)
			}
			if !yield(got, err) || err != nil {
				return
			}
		}
	}
}

func (e *Exported) imported(l line) (Imported, error) {
	op := e.ops["bulk_import"]
	var got struct {
		Number int         `json:"__lineNumber"`
		Errors graphErrors `json:"errors"`
		Data   *struct {
			Payload *struct {
				Customer *snapshot  `json:"customer"`
				Errors   userErrors `json:"userErrors"`
			} `json:"customerSet"`
		} `json:"data"`
	}
	if err := json.Unmarshal(bytes.TrimSpace(l.text), &got); err != nil {
		return Imported{}, op.failf(lockstep.ErrInvalid, "a line of the result is none: upgrade lockstep")
	}
	done := Imported{Number: got.Number, End: l.end}
	switch {
	case len(got.Errors) > 0:
		done.Err = op.graphError(got.Errors[0])
	case got.Data == nil || got.Data.Payload == nil:
		done.Err = op.lost(errors.New("the line holds no answer"))
	case len(got.Data.Payload.Errors) > 0:
		done.Err = op.stillRefused(got.Data.Payload.Errors)
	case got.Data.Payload.Customer == nil:
		done.Err = op.lost(errors.New("the line holds no customer"))
	default:
		done.UserID = got.Data.Payload.Customer.owner()
		e.users[done.UserID] = true
		e.put(*got.Data.Payload.Customer)
	}
	return done, nil
}

// MaxAdoptions is how many metafields Shopify sets at once.
const MaxAdoptions = 25

// Adoption is a guest and the user's customer that it is to become.
type Adoption struct{ Now, Want lockstep.Customer }

// AdoptAll marks unmarked guests, up to MaxAdoptions, and takes them in as they
// are then; what else they lack is not written. Each is read again first and left
// out if Adopt would refuse it. Shopify marks all or none: on an error each may
// be tried by itself, by looking first.
func (e *Exported) AdoptAll(ctx context.Context, all []Adoption) error {
	if len(all) > MaxAdoptions {
		return e.ops["mark"].failf(lockstep.ErrInvalid, "%d marks at once, at most %d", len(all), MaxAdoptions)
	}
	if err := e.define(ctx); err != nil {
		return err
	}
	seen, err := e.readMany(ctx, all)
	if err != nil {
		return err
	}
	var fields []any
	var marked []snapshot
	for i, a := range all {
		s := seen[i]
		if s != nil && s.owner() == a.Want.UserID { // by an earlier try, whose answer was lost
			e.put(*s)
			continue
		}
		if s == nil || s.owner() != "" || e.adoptable(e.customer(*s, a.Want.UserID), a) != nil {
			continue
		}
		s.Mark = &mark{Value: a.Want.UserID}
		marked = append(marked, *s)
		fields = append(fields, e.markField(s.ID, a.Want.UserID))
	}
	if len(fields) == 0 {
		return nil
	}
	problems, err := e.setMarks(ctx, fields)
	if err == nil && len(problems) > 0 {
		err = e.ops["mark"].stillRefused(problems)
	}
	if err != nil {
		return err
	}
	for _, s := range marked {
		e.put(s)
	}
	return nil
}

// readMany reads the guests, nil for one that is gone.
func (e *Exported) readMany(ctx context.Context, all []Adoption) ([]*snapshot, error) {
	op := e.ops["read_many"]
	ids := make([]string, len(all))
	for i, a := range all {
		if ids[i] = a.Now.ID; !isID(ids[i]) {
			return nil, op.failf(lockstep.ErrInvalid, "no customer of Shopify's has such an id")
		}
	}
	var got struct {
		Nodes []*snapshot `json:"nodes"`
	}
	err := e.client.run(ctx, op, e.place(map[string]any{"ids": ids}), &got)
	if err == nil && len(got.Nodes) != len(ids) {
		err = op.lost(errors.New("the answer is of another length"))
	}
	return got.Nodes, err
}
