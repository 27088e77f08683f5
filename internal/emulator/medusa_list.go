package emulator

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// medusaQuery is the query of a list, read.
type medusaQuery struct {
	all           []medusaFilter   // every one must hold
	any           [][]medusaFilter // and of one of these, all
	limit, offset int
	order         string
	fields        []string
}

// medusaFilter compares one field: op is empty for "one of values".
type medusaFilter struct {
	field, op string
	values    []string
}

// list answers GET /admin/customers.
func (m *Medusa) list(_ http.ResponseWriter, r *http.Request, _ string) (any, error) {
	q, err := readMedusaQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	var found []*MedusaCustomer
	for _, c := range m.store.all() {
		if q.matches(c) {
			found = append(found, c)
		}
	}
	slices.SortStableFunc(found, q.compare)
	count := len(found)
	found = found[min(q.offset, count):]
	found = found[:min(q.limit, len(found))]
	rows := make([]map[string]any, len(found))
	for i, c := range found {
		rows[i] = q.project(c)
	}
	return map[string]any{"customers": rows, "count": count, "offset": q.offset, "limit": q.limit}, nil
}

// Of the fields that can be filtered by, most are texts or times.
func isText(field string) bool {
	return slices.Contains([]string{"id", "email", "company_name", "first_name", "last_name", "created_by"}, field)
}

func isTime(field string) bool {
	return slices.Contains([]string{"created_at", "updated_at", "deleted_at"}, field)
}

// readMedusaQuery reads names such as email, email[], id[$gt] and
// $or[1][updated_at][$gte], as the library qs does.
func readMedusaQuery(values url.Values) (q medusaQuery, err error) {
	q.limit = 50
	groups := map[string][]medusaFilter{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if strings.ContainsRune(strings.Join(values[name], ""), 0) {
			return q, unknownError()
		}
		path := strings.Split(strings.ReplaceAll(name, "]", ""), "[")
		known, err := q.paging(path, values[name])
		if known || err != nil {
			if err != nil {
				return q, err
			}
			continue
		}
		if (path[0] == "$or" || path[0] == "$and") && len(path) > 2 {
			group := path[0] + path[1]
			groups[group] = append(groups[group], readFilter(path[2:], values[name])...)
			if !filterable(path[2]) {
				groups[group] = append(groups[group], medusaFilter{field: "everything"}) // what it does not know it leaves out
			}
			continue
		}
		if !filterable(path[0]) {
			return q, invalidData("Invalid request: Unrecognized fields: '%s'", path[0])
		}
		q.all = append(q.all, readFilter(path, values[name])...)
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		if strings.HasPrefix(name, "$and") {
			q.all = append(q.all, groups[name]...)
		} else {
			q.any = append(q.any, groups[name])
		}
	}
	return q, q.check()
}

func filterable(field string) bool {
	return field == "q" || field == "has_account" || isText(field) || isTime(field)
}

// paging takes what is no filter. with_deleted is accepted, and ignored.
func (q *medusaQuery) paging(path, values []string) (known bool, err error) {
	for name, into := range map[string]*int{"limit": &q.limit, "offset": &q.offset} {
		if path[0] != name {
			continue
		}
		if *into, err = strconv.Atoi(values[0]); err != nil {
			return true, invalidData("Invalid request: Expected type: 'number' for field '%s', got: '%s'", name, values[0])
		}
		if *into < 0 {
			return true, unknownError()
		}
		return true, nil
	}
	switch path[0] {
	case "order":
		q.order = values[0]
		if by := strings.TrimPrefix(q.order, "-"); !isText(by) && !isTime(by) {
			return true, unknownError()
		}
	case "fields":
		q.fields = strings.Split(values[0], ",")
	case "with_deleted":
	default:
		return false, nil
	}
	return true, nil
}

// readFilter reads field, field[], field[0] and field[$op]; none for a field
// that is not known.
func readFilter(path, values []string) []medusaFilter {
	if !filterable(path[0]) {
		return nil
	}
	f := medusaFilter{field: path[0], values: values}
	if len(path) > 1 && strings.HasPrefix(path[1], "$") {
		f.op = path[1]
	}
	return []medusaFilter{f}
}

// check refuses values of the wrong form: an operator where only values may be
// is found at the top level alone.
func (q *medusaQuery) check() error {
	for _, f := range q.all {
		if f.op != "" && f.field != "id" && !isTime(f.field) {
			return invalidData("Invalid request: Expected type: 'string, array' for field '%s', got: '[object Object]'", f.field)
		}
		if f.field == "has_account" && f.values[0] != "true" && f.values[0] != "false" {
			return invalidData("Invalid request: Invalid input")
		}
	}
	for _, group := range append(q.any, q.all) {
		for _, f := range group {
			if isTime(f.field) {
				if _, err := time.Parse(time.RFC3339, f.values[0]); err != nil {
					return unknownError()
				}
			}
		}
	}
	return nil
}

func (q *medusaQuery) matches(c *MedusaCustomer) bool {
	allOf := func(filters []medusaFilter) bool {
		return !slices.ContainsFunc(filters, func(f medusaFilter) bool { return !f.matches(c) })
	}
	return allOf(q.all) && (len(q.any) == 0 || slices.ContainsFunc(q.any, allOf))
}

func (f medusaFilter) matches(c *MedusaCustomer) bool {
	switch {
	case f.field == "everything":
		return true
	case f.field == "q":
		return c.mentions(f.values[0])
	case f.field == "has_account":
		return strconv.FormatBool(c.HasAccount) == f.values[0]
	case isTime(f.field):
		at := c.time(f.field)
		limit, err := time.Parse(time.RFC3339, f.values[0])
		return err == nil && !at.IsZero() && holds(f.op, at.Compare(limit))
	}
	text := c.text(f.field)
	if f.op == "" {
		return text != nil && slices.Contains(f.values, *text)
	}
	return text != nil && holds(f.op, cmp.Compare(*text, f.values[0]))
}

// holds applies a comparison. One that Medusa does not know finds nothing.
func holds(op string, compared int) bool {
	switch op {
	case "", "$eq":
		return compared == 0
	case "$ne":
		return compared != 0
	case "$gt":
		return compared > 0
	case "$gte":
		return compared >= 0
	case "$lt":
		return compared < 0
	case "$lte":
		return compared <= 0
	}
	return false
}

// mentions is the search by q: part of a name, an e-mail or a number, in any case.
func (c *MedusaCustomer) mentions(part string) bool {
	for _, text := range []*string{c.Email, c.CompanyName, c.FirstName, c.LastName, c.Phone} {
		if text != nil && strings.Contains(strings.ToLower(*text), strings.ToLower(part)) {
			return true
		}
	}
	return false
}

func (c *MedusaCustomer) text(field string) *string {
	switch field {
	case "id":
		return &c.ID
	case "email":
		return c.Email
	case "company_name":
		return c.CompanyName
	case "first_name":
		return c.FirstName
	case "last_name":
		return c.LastName
	}
	return c.CreatedBy
}

func (c *MedusaCustomer) time(field string) time.Time {
	switch field {
	case "created_at":
		return c.CreatedAt.Time
	case "updated_at":
		return c.UpdatedAt.Time
	}
	return time.Time{} // a deleted customer is never listed
}

// compare orders as PostgreSQL does, where null is greater than all else.
func (q *medusaQuery) compare(a, b *MedusaCustomer) int {
	by, down := strings.CutPrefix(q.order, "-")
	by = cmp.Or(by, "id")
	var compared int
	if isTime(by) {
		compared = a.time(by).Compare(b.time(by))
	} else {
		compared = compareTexts(a.text(by), b.text(by))
	}
	if down {
		return -compared
	}
	return compared
}

func compareTexts(a, b *string) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return cmp.Compare(*a, *b)
}

// project keeps the fields that were asked for, and the id. Names that are not
// known are left out, and so is a part of the metadata.
func (q *medusaQuery) project(c *MedusaCustomer) map[string]any {
	full := map[string]any{"id": c.ID, "company_name": c.CompanyName, "first_name": c.FirstName, "last_name": c.LastName,
		"email": c.Email, "phone": c.Phone, "metadata": c.Metadata, "has_account": c.HasAccount, "created_by": c.CreatedBy,
		"created_at": c.CreatedAt, "updated_at": c.UpdatedAt, "deleted_at": c.DeletedAt}
	picked := map[string]any{"id": c.ID}
	for _, field := range q.fields {
		if name := strings.TrimLeft(field, "+-*"); name != field {
			picked = full // the usual fields, more or less
			if field[0] == '-' {
				delete(picked, name)
			}
		} else if value, ok := full[field]; ok {
			picked[field] = value
		}
	}
	if len(q.fields) == 0 {
		return full
	}
	return picked
}
