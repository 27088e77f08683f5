package emulator

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxNodes = 250    // nodes of a connection
	maxCount = 10_000 // what counts are exact to
)

// queries are the root fields of the schema's QueryRoot. What is missing here
// answers with the code NOT_EMULATED.
func (s *Shop) queries() map[string]any {
	return map[string]any{
		"bulkOperation":  resolver(s.bulkByID),
		"bulkOperations": resolver(s.bulkPage),
		"customer": resolver(func(args map[string]any) (any, error) {
			return s.customerObject(s.store.find(textOf(args["id"]))), nil
		}),
		"customerByIdentifier":      resolver(s.customerByIdentifier),
		"customerMergeJobStatus":    resolver(s.mergeJobStatus),
		"customerMergePreview":      resolver(s.mergePreview),
		"customers":                 resolver(s.customerPage),
		"customersCount":            resolver(s.customersCount),
		"job":                       resolver(s.job),
		"metafieldDefinition":       resolver(s.definitionByIdentifier),
		"metafieldDefinitions":      resolver(s.definitionPage),
		"node":                      resolver(func(args map[string]any) (any, error) { return s.node(textOf(args["id"])), nil }),
		"nodes":                     resolver(s.nodes),
		"shop":                      resolver(func(map[string]any) (any, error) { return s.shopObject(), nil }),
		"currentAppInstallation":    resolver(func(map[string]any) (any, error) { return s.installationObject(), nil }),
		"publicApiVersions":         resolver(func(map[string]any) (any, error) { return s.versionObjects(), nil }),
		"webhookSubscription":       resolver(s.subscriptionByID),
		"webhookSubscriptions":      resolver(s.subscriptionPage),
		"webhookSubscriptionsCount": resolver(s.subscriptionsCount),
	}
}

// customerByIdentifier reads the data itself, not the search index: it sees every
// write at once.
func (s *Shop) customerByIdentifier(args map[string]any) (any, error) {
	identifier := inputOf(args, "identifier")
	if !exactlyOne(identifier) {
		return nil, codedError("INVALID_VARIABLE", "'CustomerIdentifierInput' requires exactly one argument, but %d were provided.", len(identifier))
	}
	switch {
	case identifier["id"] != nil:
		return s.customerObject(s.store.find(textOf(identifier["id"]))), nil
	case identifier["emailAddress"] != nil:
		email, _ := normalEmail(textOf(identifier["emailAddress"]))
		return s.customerObject(s.store.findEmail(email)), nil
	case identifier["phoneNumber"] != nil:
		phone, _ := normalPhone(textOf(identifier["phoneNumber"]))
		return s.customerObject(s.store.findPhone(phone)), nil
	}
	custom := inputOf(identifier, "customId")
	def, err := s.idDefinition(custom)
	if err != nil {
		return nil, err
	}
	return s.customerObject(s.store.findMetafield(def.namespace, def.key, textOf(custom["value"]))), nil
}

func (s *Shop) customersCount(args map[string]any) (any, error) {
	count := len(s.store.byNumber)
	if text := textOf(args["query"]); text != "" {
		query := parseSearch(text)
		query.ignore("email") // customersCount has no such filter
		count = len(s.index.search(query, s.store.numbers, 0))
	}
	return countObject(count, args), nil
}

// countObject is a count up to a limit.
func countObject(count int, args map[string]any) *object {
	limit := int64(maxCount)
	if given, ok := args["limit"]; ok {
		limit, _ = given.(int64)
		if given == nil {
			limit = int64(count)
		}
	}
	precision := "EXACT"
	if int64(count) > limit {
		count, precision = int(limit), "AT_LEAST"
	}
	return &object{"Count", map[string]any{"count": count, "precision": precision}}
}

func (s *Shop) nodes(args map[string]any) (any, error) {
	ids := listOf(args["ids"])
	list := make([]any, len(ids))
	for i, id := range ids {
		list[i] = s.node(textOf(id))
	}
	return list, nil
}

// node resolves the ids that the emulator has objects for; nil for any other and
// for what was deleted.
func (s *Shop) node(id string) *object {
	if sub := s.subscription(id); sub != nil {
		return s.subscriptionObject(sub)
	}
	if op := s.operation(id); op != nil {
		return s.bulkObject(op)
	}
	for _, d := range s.definitions {
		if d.gid() == id {
			return s.definitionObject(d)
		}
	}
	return s.customerObject(s.store.find(id))
}

func (s *Shop) job(args map[string]any) (any, error) {
	id := textOf(args["id"])
	job := s.jobs[id]
	return s.jobObject(id, job == nil || job.done), nil
}

func (s *Shop) jobObject(id string, done bool) *object {
	return &object{"Job", map[string]any{"id": id, "done": done, "query": nil}}
}

func (s *Shop) definitionByIdentifier(args map[string]any) (any, error) {
	identifier := inputOf(args, "identifier")
	d := s.definition(textOf(identifier["ownerType"]), s.namespace(identifier["namespace"]), textOf(identifier["key"]))
	if d != nil && s.foreign(d.namespace) {
		return nil, nil
	}
	return s.definitionObject(d), nil
}

func (s *Shop) definitionPage(args map[string]any) (any, error) {
	var rows []row
	for _, d := range s.definitions {
		matches := d.owner == args["ownerType"] && !s.foreign(d.namespace)
		if given := args["namespace"]; given != nil {
			matches = matches && d.namespace == s.namespace(given)
		}
		if given := args["key"]; given != nil {
			matches = matches && d.key == given
		}
		if matches {
			rows = append(rows, row{d.number, "", func() *object { return s.definitionObject(d) }})
		}
	}
	return pageOf("MetafieldDefinition", rows, args)
}

func (s *Shop) metafieldPage(c *ShopCustomer, args map[string]any) (any, error) {
	var rows []row
	keys := listOf(args["keys"])
	for i := range c.Metafields {
		m := &c.Metafields[i]
		if given := args["namespace"]; given != nil && m.Namespace != s.namespace(given) {
			continue
		}
		if keys != nil && !slices.Contains(keys, any(m.Namespace+"."+m.Key)) || s.foreign(m.Namespace) {
			continue
		}
		rows = append(rows, row{m.Number, "", func() *object { return s.metafieldObject(c, m) }})
	}
	return pageOf("Metafield", rows, args)
}

func (s *Shop) addressPage(c *ShopCustomer, args map[string]any) (any, error) {
	rows := make([]row, len(c.Addresses))
	for i, a := range c.Addresses {
		rows[i] = row{int64(i + 1), "", func() *object { return addressObject(a) }}
	}
	return pageOf("MailingAddress", rows, args)
}

func (s *Shop) installationObject() *object {
	scopes := make([]*object, len(s.access.scopes))
	for i, scope := range s.access.scopes {
		scopes[i] = &object{"AccessScope", map[string]any{"handle": scope, "description": scope}}
	}
	return &object{"AppInstallation", map[string]any{
		"id": fmt.Sprintf("gid://shopify/AppInstallation/%d", s.access.appID), "accessScopes": scopes,
		"launchUrl": "https://lockstep.example.com", "uninstallUrl": nil, "metafield": resolver(func(map[string]any) (any, error) { return nil, nil }),
		"app": &object{"App", map[string]any{
			"id": fmt.Sprintf("gid://shopify/App/%d", s.access.appID), "apiKey": s.access.clientID, "title": "Lockstep", "handle": "lockstep",
			"embedded": false, "requestedAccessScopes": scopes, "webhookApiVersion": NewestShopifyVersion,
		}},
	}}
}

func (s *Shop) versionObjects() []*object {
	list := make([]*object, len(s.options.Versions))
	for i, version := range s.options.Versions {
		list[i] = versionObject(version)
	}
	return list
}

func versionObject(handle string) *object {
	supported := versionPattern.MatchString(handle) && handle <= NewestShopifyVersion
	return &object{"ApiVersion", map[string]any{"handle": handle, "displayName": handle, "supported": supported}}
}

// row is an entry of a connection: its place in the order, and how to show it.
type row struct {
	number int64
	key    string // what the rows are sorted by, before number
	show   func() *object
}

func (r row) compare(other row) int {
	if order := strings.Compare(r.key, other.key); order != 0 {
		return order
	}
	return int(min(1, max(-1, r.number-other.number)))
}

// cursor has the form of Shopify's, which clients must not read.
func (r row) cursor() string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, `{"last_id":%d,"last_value":%q}`, r.number, r.key))
}

// cursorRow reads a cursor back.
func cursorRow(cursor any) (row, error) {
	text, err := base64.StdEncoding.DecodeString(textOf(cursor))
	var r row
	if err == nil {
		_, err = fmt.Sscanf(string(text), `{"last_id":%d,"last_value":%q}`, &r.number, &r.key)
	}
	if err != nil {
		return r, codedError("BAD_REQUEST", "Invalid cursor for current pagination sort.")
	}
	return r, nil
}

// pageOf cuts a connection out of rows that are in order.
func pageOf(kind string, rows []row, args map[string]any) (any, error) {
	size, backwards, err := pageWindow(args)
	if err != nil {
		return nil, err
	}
	compare := row.compare
	if args["reverse"] == true {
		rows = slices.Clone(rows)
		slices.Reverse(rows)
		compare = func(a, b row) int { return b.compare(a) }
	}
	before, after := 0, 0
	if args["after"] != nil {
		at, err := cursorRow(args["after"])
		if err != nil {
			return nil, err
		}
		before = countIf(rows, func(r row) bool { return compare(r, at) <= 0 })
	}
	if args["before"] != nil {
		at, err := cursorRow(args["before"])
		if err != nil {
			return nil, err
		}
		after = countIf(rows, func(r row) bool { return compare(r, at) >= 0 })
	}
	window := rows[before:max(before, len(rows)-after)]
	if cut := len(window) - size; cut > 0 && backwards {
		window, before = window[cut:], before+cut
	} else if cut > 0 {
		window, after = window[:size], after+cut
	}
	return connection(kind, window, before > 0, after > 0), nil
}

func countIf(rows []row, holds func(row) bool) int {
	n := 0
	for _, r := range rows {
		if holds(r) {
			n++
		}
	}
	return n
}

// pageWindow reads first and last.
func pageWindow(args map[string]any) (size int, backwards bool, err error) {
	first, hasFirst := args["first"].(int64)
	last, hasLast := args["last"].(int64)
	size = int(max(first, last))
	switch {
	case !hasFirst && !hasLast:
		err = codedError("BAD_REQUEST", "you must provide one of first or last")
	case hasFirst && hasLast:
		err = codedError("BAD_REQUEST", "providing both first and last is not supported")
	case size > maxNodes || min(first, last) < 0:
		err = codedError("BAD_REQUEST", "a page has 0 to %d nodes, not %d", maxNodes, size)
	}
	return size, hasLast, err
}

func connection(kind string, rows []row, previous, next bool) *object {
	nodes := make([]*object, len(rows))
	info := map[string]any{"hasPreviousPage": previous, "hasNextPage": next, "startCursor": nil, "endCursor": nil}
	for i, r := range rows {
		nodes[i] = r.show()
	}
	edges := resolver(func(map[string]any) (any, error) {
		list := make([]*object, len(rows))
		for i, r := range rows {
			list[i] = &object{kind + "Edge", map[string]any{"cursor": r.cursor(), "node": nodes[i]}}
		}
		return list, nil
	})
	if len(rows) > 0 {
		info["startCursor"], info["endCursor"] = rows[0].cursor(), rows[len(rows)-1].cursor()
	}
	return &object{kind + "Connection", map[string]any{"nodes": nodes, "edges": edges, "pageInfo": &object{"PageInfo", info}}}
}

// customerPage lists customers. With a query it asks the search index, which lags.
func (s *Shop) customerPage(args map[string]any) (any, error) {
	size, backwards, err := pageWindow(args)
	if err != nil {
		return nil, err
	}
	query := parseSearch(textOf(args["query"]))
	if args["sortKey"] == "ID" && args["reverse"] != true && !backwards && args["before"] == nil {
		return s.customersByID(query, size, args["after"])
	}
	var rows []row
	for _, number := range s.matching(query, 0, 0) {
		if c := s.store.byNumber[number]; c != nil {
			rows = append(rows, row{number, sortKey(c, textOf(args["sortKey"])), func() *object { return s.customerObject(c) }})
		}
	}
	slices.SortFunc(rows, row.compare)
	return pageOf("Customer", rows, args)
}

// customersByID is a page of the usual order, without a look at all the others.
func (s *Shop) customersByID(query search, size int, after any) (any, error) {
	var from row
	if after != nil {
		var err error
		if from, err = cursorRow(after); err != nil {
			return nil, err
		}
	}
	var rows []row
	next := false
	for _, number := range s.matching(query, max(from.number, query.lowestID()), size+1) {
		if next = len(rows) == size; next {
			break
		}
		if c := s.store.byNumber[number]; c != nil {
			rows = append(rows, row{number, "", func() *object { return s.customerObject(c) }})
		}
	}
	return connection("Customer", rows, after != nil, next), nil
}

// matching returns the numbers above one, in order; limit 0 is none.
func (s *Shop) matching(query search, above int64, limit int) []int64 {
	at, found := slices.BinarySearch(s.store.numbers, above)
	if found {
		at++
	}
	candidates := s.store.numbers[at:]
	if !query.empty() {
		return s.index.search(query, candidates, limit)
	}
	var numbers []int64
	for _, number := range candidates {
		if s.store.byNumber[number] != nil {
			if numbers = append(numbers, number); len(numbers) == limit {
				break
			}
		}
	}
	return numbers
}

func sortKey(c *ShopCustomer, by string) string {
	switch by {
	case "UPDATED_AT":
		return c.UpdatedAt.UTC().Format("2006-01-02T15:04:05.000000000")
	case "CREATED_AT":
		return c.CreatedAt.UTC().Format("2006-01-02T15:04:05.000000000")
	case "NAME":
		return strings.ToLower(c.LastName + ", " + c.FirstName)
	}
	return ""
}

// searchTime reads a time of a search term, which counts by the day.
func searchTime(value string) (time.Time, bool) {
	day, _, _ := strings.Cut(strings.Trim(value, `"'`), "T")
	at, err := time.Parse(time.DateOnly, day)
	return at, err == nil
}

func searchNumber(value string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimPrefix(value, "gid://shopify/Customer/"), 10, 64)
	return n, err == nil
}
