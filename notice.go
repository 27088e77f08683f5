package lockstep

import "time"

// Notice is a store's webhook, verified and reduced to what it is believed for:
// that something changed. What a customer is like now is always read from the
// store itself, because webhooks are late, come twice and overtake each other.
type Notice struct {
	Source    string    // "shopify"
	ID        string    // the sender's id, equal in every retry: duplicates are told by it
	Target    string    // "shopify:acme.myshopify.com"
	Kind      string    // "customers/update"
	Triggered time.Time // when it happened, as the sender says; zero if it does not

	Customers []string // the ids of customers that may have changed
	Operation string   // the id of work that the store did for Lockstep and that ended
	ShutOut   bool     // the store took Lockstep's access away
	Privacy   *PrivacyRequest
}

// PrivacyRequest asks for what the law gives a customer, or a store that left, a
// right to.
type PrivacyRequest struct {
	Kind       PrivacyKind
	CustomerID string // empty for a whole store
	Reference  string // the sender's number of the request, if it has one
}

// PrivacyKind is what is asked for.
type PrivacyKind string

// The kinds.
const (
	PrivacyReport        PrivacyKind = "report"         // tell what is held of the customer
	PrivacyEraseCustomer PrivacyKind = "erase customer" // forget the customer
	PrivacyEraseStore    PrivacyKind = "erase store"    // forget all customers of the store
)
