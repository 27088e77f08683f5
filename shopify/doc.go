// Package shopify keeps customers in step in Shopify shops, through the Admin
// GraphQL API. A [Target] is one shop; many shops are many targets.
//
// A customer carries the user's id in a metafield of type "id", which Shopify
// keeps unique within the shop: that mark makes creating one idempotent, and
// shows after a lost answer whether the write took place. Customers are found
// by link, by mark and by exact e-mail, never by the search index, which lags
// and matches in part, and never by phone.
//
// Written are e-mail, first name, last name, phone, the mark and the owned
// tags; consent to marketing by e-mail where a place for it is mapped. Addresses,
// notes and the tags of others are never sent, since Shopify replaces such fields
// as a whole.
//
// All customers at once are read by a bulk operation ([Target.StartExport],
// [Target.Records]), and many are made by one ([Target.StartImport]); an [Exported]
// is the shop as such a read showed it. Only where bulk operations are refused are
// pages of the search index read, and nothing is decided by them.
//
// The operations are the files under queries. What is said of Shopify here
// comes from its documentation and from captured answers, as of November 2026.
package shopify

// Version is the version of the Admin API that the operations are written for.
// Shopify serves it until October 2027 and answers with another one after that.
const Version = "2026-10"

const (
	// markKey is the key of the metafield that holds the user's id.
	markKey = "clerk_user_id"

	// markType makes Shopify refuse a value that another customer carries.
	markType = "id"

	// idPrefix begins the id of every customer.
	idPrefix = "gid://shopify/Customer/"
)
