package targettest

import (
	"context"

	"github.com/lockstephq/lockstep"
)

// Subject is what an exam examines: a target over an empty store.
type Subject struct {
	Target lockstep.Target
	Shop   Shop

	// Foreign is an example of fields that the store holds and Lockstep does
	// not own: a note, a company, metadata of others.
	Foreign map[string]string

	// Accounts says that the target makes accounts: its users sign in to the
	// store as their customers. A Record with Account and UserID is then one whom
	// that user signs in as, and a mark alone does not show on an account.
	Accounts bool

	// Settle has lists show what was written, where they lag behind; nil where they
	// do not.
	Settle func()
	// Order gives a live customer an order, in a store that then keeps it for ever;
	// nil in one that deletes whomever it is told to.
	Order func(ctx context.Context, id string) error

	// Break makes the store misbehave once, see Fault.
	Break func(Fault)

	// Lacks names the faults that cannot exist in this store, and why.
	Lacks map[Fault]string
}

// Shop is the store seen by those who work in it: merchants, shoppers, other
// programs. It does what the store itself would do, unknown to the target.
type Shop interface {
	// Put makes a record and returns it as the store holds it, with its ID and
	// Version. It fails with errors.ErrUnsupported if the store cannot hold
	// such a record at all: the exam then skips what depends on it.
	Put(ctx context.Context, r Record) (Record, error)

	// Get reads a live record.
	Get(ctx context.Context, id string) (r Record, live bool, err error)

	// Live reads all live records.
	Live(ctx context.Context) ([]Record, error)

	// Edit sets all fields of a live record, Foreign included, or fails with
	// errors.ErrUnsupported like Put.
	Edit(ctx context.Context, r Record) error

	// Delete removes a record the way the store does.
	Delete(ctx context.Context, id string) error
}

// Record is a customer as the store holds it.
type Record struct {
	lockstep.Customer
	Foreign map[string]string // what Lockstep does not own
	Version string            // another one after every write, such as an updated_at
}

// Fault is one way in which a store misbehaves.
type Fault string

// The faults. The first two strike the next write, the others the next call.
const (
	FaultLostAfter  Fault = "answer lost after the commit"
	FaultLostBefore Fault = "connection lost before the commit"
	FaultLimit      Fault = "rate limit"
	FaultRefusal    Fault = "permanent refusal" // credentials revoked, schema gone
)
