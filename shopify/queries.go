package shopify

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed queries/*.graphql
var queryFiles embed.FS

// operation is one request to the Admin API.
type operation struct {
	file   string  // under queries, without its extension
	cost   float64 // the points that Shopify wants to be there before it starts
	writes bool    // so that a lost answer leaves doubt

	// first is set where nothing was spent before: such a request gives up at
	// once when points are short. The others wait a little, or what was spent
	// on the look before them would be spent again.
	first bool

	// ahead are points that must be there as well, for the write that a look
	// leads to. They are given back with the answer. Without them, cheap looks
	// would take a busy shop's points away from every write.
	ahead float64

	// last is set where a write went before, which is worth a longer wait.
	last bool

	document string
}

// lookupCost is the points of one customer with its snapshot.
const lookupCost = 5

// operations returns the table of requests, with their requested costs by the
// rules that captured answers show: a query's object is 1 point and so is each
// object within; a connection is 2 and its objects times a factor that is 4 for
// ten nodes; a mutation is 10 with its payload, and 1 more for each object
// within that. A test computes each from the document. With consent, customers are
// read with theirs.
func operations(consent bool) map[string]operation {
	table := []operation{
		{file: "check", cost: 18, first: true},
		{file: "resolve", cost: 3 * lookupCost, first: true}, // less by lookupCost for each lookup left out
		{file: "read", cost: lookupCost},
		{file: "list", cost: 57, first: true},
		{file: "look", cost: 6, first: true},
		{file: "look_prove", cost: 20, first: true},
		{file: "set", cost: 14, writes: true},
		{file: "consent", cost: 10, writes: true, last: true},
		{file: "mark", cost: 10, writes: true},
		{file: "unmark", cost: 10, writes: true},
		{file: "departing", cost: lookupCost},
		{file: "blank", cost: 10, writes: true},
		{file: "erase", cost: 10, writes: true},
		{file: "delete", cost: 10, writes: true},
		{file: "tags_add", cost: 10, writes: true, last: true},
		{file: "tags_remove", cost: 10, writes: true, last: true},
		{file: "read_many", cost: lookupCost},
		{file: "bulk_export", cost: 10, writes: true},
		{file: "bulk_import", cost: 10, writes: true},
		{file: "bulk_cancel", cost: 10, writes: true},
		{file: "bulk_find", cost: 9},
		{file: "bulk_read", cost: 1},
		{file: "stage", cost: 11, writes: true},
		{file: "count", cost: 10},
		{file: "page", cost: 68},
		{file: "define", cost: 10, writes: true},
		{file: "definition", cost: 2},
		{file: "plan", cost: 2},
		{file: "subscriptions", cost: 13},
		{file: "subscribe", cost: 10, writes: true},
		{file: "readdress", cost: 10, writes: true},
		{file: "unsubscribe", cost: 10, writes: true},
	}
	all := make(map[string]operation, len(table))
	for _, op := range table {
		if op.document = document(op.file); consent {
			op.document = askConsent(op.document)
		}
		all[op.file] = op
	}
	resolve := all["resolve"]
	resolve.ahead = all["set"].cost
	all["resolve"] = resolve
	return all
}

// document is an operation's text, with the fragments it uses.
func document(file string) string {
	text := queryFile(file)
	for _, fragment := range []string{"Snapshot", "Captured"} {
		if strings.Contains(text, "..."+fragment) {
			text += queryFile(strings.ToLower(fragment))
		}
	}
	return text
}

func queryFile(file string) string {
	text, err := queryFiles.ReadFile("queries/" + file + ".graphql")
	if err != nil {
		panic(fmt.Sprintf("shopify: not embedded: %v", err)) // the table names a file that is not there
	}
	return string(text)
}
