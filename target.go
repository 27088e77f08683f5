package lockstep

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Target is a place that must hold one customer per user: "medusa", or
// "shopify:acme.myshopify.com". Package targettest holds the exam that every
// implementation passes.
//
// A target only reads and writes; what to write is decided in one place, the
// table in internal/engine. Methods are safe for concurrent use and fail with a
// *TargetError wherever the kind of the failure matters.
type Target interface {
	// Name is the target's name in links, settings and reports.
	Name() string

	// Check asks the target whether Lockstep may work there: credentials,
	// grants, schema. It writes nothing.
	Check(ctx context.Context) error

	// Fit returns what of want the target can hold: a number in the form it
	// takes, a name cut to its length. What never could be written must not
	// look as if it had to be. It asks nobody. A target whose users sign in to
	// the store sets Account; its writes then make accounts of guests.
	Fit(want Customer) Customer

	// Resolve reads the live customers that may be the user's. It must see
	// every write that was acknowledged before it was called.
	Resolve(ctx context.Context, q Query) (Found, error)

	// Create makes the customer and marks it with want.UserID in one step. If
	// someone else took the e-mail since Resolve it fails with ErrTaken; if a
	// live customer already carries want.UserID it makes no second one.
	Create(ctx context.Context, want Customer) (Customer, error)

	// Adopt marks an unmarked guest with want.UserID and then updates it. It
	// fails with ErrTaken if since Resolve the guest was marked, became an
	// account, or got another e-mail than now has or want, and with ErrGone if
	// it was deleted.
	Adopt(ctx context.Context, now, want Customer) (Customer, error)

	// Update writes the fields of want that are set and differ from now; an
	// empty field is left as it is. A customer without a mark, guest or account,
	// is marked: who calls knows by a link, or by a person's choice, that it is the
	// user's. It fails with ErrGone if the customer no longer exists, and with
	// ErrTaken if it carries another user's mark, if another customer carries
	// want's, or if another one holds the e-mail.
	Update(ctx context.Context, now, want Customer) (Customer, error)

	// Release lets go of the customer of a user who was deleted, as far as how
	// says, and returns how far it went: less far where the store does not allow
	// more, such as Shopify to delete whoever ever had orders. A customer that is
	// to be a living user's no more is let go by Unmark. It may be repeated.
	//
	// A customer that is gone, or does not carry now.UserID, is left alone: done is
	// empty then, and there is no error. Nor is an account anonymised or deleted that somebody else signs in
	// to, or may: its mark comes off. An empty now.UserID stands for a customer
	// that carries no mark, since it was let go before; it must be no account.
	Release(ctx context.Context, now Customer, how OnDelete) (done OnDelete, err error)
}

// Lister is a Target that can show all its customers: reconciling compares them
// with the links, to find what no single look can, such as two customers that
// carry one user.
type Lister interface {
	// List returns at most limit live customers (1 to 250), in an order of the
	// target's own that does not change, beginning after the customer whose id is
	// after; empty begins at the first. Fewer than limit means that there are no
	// more. A customer made meanwhile may be missed, none comes twice.
	List(ctx context.Context, after string, limit int) ([]Customer, error)
}

// Exporter is a Lister that can also write all its customers down at once, beside
// the limit of its calls.
type Exporter interface {
	Lister

	// Export yields all live customers, in no order and some hundreds at a time. It
	// begins the export of that name, or goes on with the one that another caller
	// began; that may take hours, and ctx ends the waiting, not the export. Who is
	// made, changed or deleted since it began may be as before, as now, or missing.
	// It ends without an error only when it yielded everybody.
	//
	// It fails with ErrNoExport if the target exports nothing now: list it. It fails
	// with ErrGone if that export cannot be had, not or no longer: begin one of
	// another name.
	Export(ctx context.Context, e Export) iter.Seq2[ExportPage, error]

	// CancelExport ends the export of that name, which nobody wants any more. One
	// that is over, or was never begun, is no error.
	CancelExport(ctx context.Context, name string) error
}

// Export is which export is wanted, and from where on.
type Export struct {
	Name  string              // letters, digits and underscores, unlike that of any other export
	Place string              // of the last page that was taken; empty for all
	Seen  func(customers int) // hears how far it is, before the first page; may be nil
}

// ExportPage is a part of an export.
type ExportPage struct {
	Customers []Customer
	Place     string // where to go on after it
}

// ErrNoExport is a target that exports nothing now: it does not let this token,
// or as many exports as it makes at once are under way.
var ErrNoExport = errors.New("the target exports nothing now")

// Wrapper is a Target around another, to count its calls, say, or to fail some.
type Wrapper interface {
	Target
	Unwrap() Target
}

// As finds what more a target can do, such as Lister, or its own type: in the
// target itself, or else in the one that it wraps. A type assertion would see
// the wrapper alone.
func As[T any](t Target) (T, bool) {
	for {
		if found, ok := t.(T); ok {
			return found, true
		}
		w, ok := t.(Wrapper)
		if !ok {
			var none T
			return none, false
		}
		t = w.Unwrap()
	}
}

// Customer is a record in a target, reduced to the fields Lockstep owns.
type Customer struct {
	ID        string // the target's own id: "cus_…"
	UserID    string // the Clerk user whose mark it carries; empty for none
	Email     string
	FirstName string
	LastName  string
	Phone     string
	Account   bool // someone can sign in to the store as this customer; wanted: the user shall

	// Proven says that UserID is who signs in to the store as this customer, by
	// the store's own records: more than a mark, which on an account may have
	// been written by the shopper.
	Proven bool

	// Untidy is set by a look: what the target adds to a user's customer, such
	// as a tag of Lockstep's own, is missing. Any Update puts it right.
	Untidy bool

	// Consent is that to marketing by e-mail; empty unless the target is told which
	// place in the Clerk user is meant. See ConsentDue.
	Consent Consent

	// RefusedPhone is set by a write: the number that the store would not take,
	// because another customer has it. The rest was written.
	RefusedPhone string

	// RefusedConsent is the same of a consent: when the user gave or withdrew it.
	RefusedConsent time.Time
}

// Changes returns the fields of want that are set and differ from now, and no
// more: an edit made in the store since now was read survives. An empty field
// of want is not Lockstep's to write, so it is no change.
func Changes(now, want Customer) Customer {
	differing := func(have, should string) string {
		if have == should {
			return ""
		}
		return should
	}
	return Customer{
		Email:     differing(now.Email, want.Email),
		FirstName: differing(now.FirstName, want.FirstName),
		LastName:  differing(now.LastName, want.LastName),
		Phone:     differing(now.Phone, want.Phone),
	}
}

// Query asks for all customers that may be a user's.
type Query struct {
	UserID     string
	CustomerID string // the link's, empty when there is none
	Email      string // in normal form; empty asks for none
}

// Found is what Resolve saw; nil and empty mean "no live customer".
type Found struct {
	ByLink  *Customer
	ByUser  []Customer // carries the user's mark; more than one is somebody's error
	ByEmail []Customer
}

// Link is who is who: a user's customer in one target.
type Link struct {
	UserID       string
	Target       string
	CustomerID   string   // empty until there is one, and again once released
	Email        string   // the customer's e-mail when last seen
	LetGo        []string // customers that were the user's, and stayed as they were when the user was deleted
	RefusedPhone string   // a number the target would not take; not tried again

	// RefusedConsent is the time of a consent that it would not take, which is not
	// tried again either.
	RefusedConsent time.Time

	Status    Status
	Reason    string  // why it has this status, for a person; names ids only
	BlockedBy string  // the customer that a conflict is about, or that a choice leaves an e-mail to
	Pending   bool    // a change was accepted that the target does not hold yet
	Choice    *Choice // what a person decided; nil for nothing, or if it stands no longer
	Since     time.Time
	FirstSeen time.Time // when the customer was first linked; zero before
	LastSeen  time.Time
}

// Status is the state of a link.
type Status string

// The states of a link.
const (
	StatusPending  Status = "pending"  // not tried yet, or being retried
	StatusLinked   Status = "linked"   // the target holds the user's customer
	StatusWaiting  Status = "waiting"  // held back until the user verifies the e-mail, or a person lets the user have a customer again
	StatusConflict Status = "conflict" // only a person may decide
	StatusFailed   Status = "failed"   // gave up; the reason says why
	StatusReleased Status = "released" // the user was deleted, and the customer let go; the reason says how
)
