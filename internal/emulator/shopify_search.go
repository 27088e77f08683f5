package emulator

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// searchIndex is what customers(query:) looks into: the customers as they were a
// while ago (captured: empty right after a write).
type searchIndex struct {
	lag time.Duration // negative: until now is called
	now func() time.Time

	entries map[int64]*ShopCustomer
	pending []indexing // oldest first
}

// indexing is a write that the index has not seen.
type indexing struct {
	at       time.Time
	number   int64
	customer *ShopCustomer // nil for a deletion
}

func newSearchIndex(lag time.Duration, now func() time.Time) *searchIndex {
	return &searchIndex{lag: lag, now: now, entries: map[int64]*ShopCustomer{}}
}

// note takes a write in.
func (x *searchIndex) note(number int64, c *ShopCustomer) {
	x.catchUp(false)
	x.pending = append(x.pending, indexing{x.now(), number, c})
}

// catchUp applies the writes that are old enough, or all.
func (x *searchIndex) catchUp(all bool) {
	if !all && x.lag < 0 {
		return
	}
	now, done := x.now(), 0
	for _, p := range x.pending {
		if !all && now.Sub(p.at) < x.lag {
			break
		}
		if p.customer == nil {
			delete(x.entries, p.number)
		} else {
			x.entries[p.number] = p.customer
		}
		done++
	}
	x.pending = x.pending[done:]
}

// IndexNow makes the search find everything written so far.
func (s *Shop) IndexNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.catchUp(true)
}

// search returns the candidates that match, up to a limit; 0 is none.
func (x *searchIndex) search(query search, candidates []int64, limit int) []int64 {
	x.catchUp(false)
	var found []int64
	for _, number := range candidates {
		if c := x.entries[number]; c != nil && query.matches(c) {
			if found = append(found, number); len(found) == limit {
				break
			}
		}
	}
	return found
}

// search is a query of Shopify's search syntax (shopify.dev, "Shopify API search
// syntax"), as far as it is emulated: alternatives of terms that must all match.
type search [][]term

// term is field:value, field:>value, or a bare word.
type term struct {
	field    string // "" for a bare word
	operator string // "", ">", ">=", "<" or "<="
	value    string // in lower case
	quoted   bool
	negative bool
}

// parseSearch never fails: Shopify ignores what it does not understand.
func parseSearch(text string) search {
	var query search
	var all []term
	negative := false
	for _, word := range searchWords(text) {
		switch word {
		case "AND":
		case "OR":
			query, all = append(query, all), nil
		case "NOT":
			negative = true
		default:
			t := parseTerm(word)
			t.negative = t.negative != negative
			all, negative = append(all, t), false
		}
	}
	if len(all) > 0 {
		query = append(query, all)
	}
	return query
}

// searchWords splits at white space outside of quotes; brackets are dropped.
func searchWords(text string) []string {
	var quote rune
	return strings.FieldsFunc(text, func(r rune) bool {
		switch {
		case quote == 0 && (r == '"' || r == '\''):
			quote = r
		case r == quote:
			quote = 0
		}
		return quote == 0 && (unicode.IsSpace(r) || r == '(' || r == ')')
	})
}

func parseTerm(word string) term {
	t := term{}
	word, t.negative = strings.CutPrefix(word, "-")
	if field, value, ok := strings.Cut(word, ":"); ok && !strings.ContainsAny(field, `"'`) {
		t.field, word = field, value
	}
	for _, operator := range []string{">=", "<=", ">", "<"} {
		if rest, ok := strings.CutPrefix(word, operator); ok && t.field != "" {
			t.operator, word = operator, rest
			break
		}
	}
	bare := strings.Trim(word, `"'`)
	t.quoted, t.value = bare != word, strings.ToLower(bare)
	return t
}

func (q search) empty() bool { return len(q) == 0 }

// ignore drops the terms of a field.
func (q search) ignore(field string) {
	for i := range q {
		q[i] = slices.DeleteFunc(q[i], func(t term) bool { return t.field == field })
	}
}

// lowestID is the id that id:>… starts after, to save looking at those below.
func (q search) lowestID() int64 {
	if len(q) != 1 {
		return 0
	}
	for _, t := range q[0] {
		if n, ok := searchNumber(t.value); ok && t.field == "id" && t.operator == ">" && !t.negative {
			return n
		}
	}
	return 0
}

func (q search) matches(c *ShopCustomer) bool {
	return slices.ContainsFunc(q, func(all []term) bool {
		return !slices.ContainsFunc(all, func(t term) bool { return t.matches(c) == t.negative })
	})
}

func (t term) matches(c *ShopCustomer) bool {
	switch t.field {
	case "id":
		n, ok := searchNumber(t.value)
		return ok && t.ordered(cmp.Compare(c.number, n))
	case "updated_at":
		return t.day(c.UpdatedAt)
	case "customer_date", "created_at":
		return t.day(c.CreatedAt)
	case "email":
		return t.text(c.Email)
	case "phone":
		return t.phone(c.Phone)
	case "first_name":
		return t.text(c.FirstName)
	case "last_name":
		return t.text(c.LastName)
	case "state":
		return strings.EqualFold(c.State, t.value)
	case "tag":
		return slices.ContainsFunc(c.Tags, func(tag string) bool { return strings.EqualFold(tag, t.value) })
	case "":
		return t.text(c.Email) || t.text(c.FirstName) || t.text(c.LastName) || t.phone(c.Phone)
	}
	return true // an unknown field is ignored
}

func (t term) ordered(order int) bool {
	switch t.operator {
	case ">":
		return order > 0
	case ">=":
		return order >= 0
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	}
	return order == 0
}

// day compares days: the documentation gives no finer filter.
func (t term) day(at time.Time) bool {
	day, ok := searchTime(strings.ToUpper(t.value))
	return ok && t.ordered(at.UTC().Truncate(24*time.Hour).Compare(day))
}

// text matches a quoted value as a whole. An unquoted one is cut into words, each
// of which may be the start of some word of the field: so ann@example.com finds
// mary.ann@example.com and anna@example.com too (microsoft/BCApps #6459).
func (t term) text(field string) bool {
	if t.quoted {
		return strings.EqualFold(field, t.value)
	}
	have := searchTokens(field)
	for _, want := range searchTokens(t.value) {
		prefix := strings.TrimSuffix(want, "*")
		if !slices.ContainsFunc(have, func(token string) bool { return strings.HasPrefix(token, prefix) }) {
			return false
		}
	}
	return len(have) > 0
}

func searchTokens(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '*'
	})
}

// phone matches digits anywhere in the number, so that a number written with
// spaces finds strangers (microsoft/BCApps PR #10256).
func (t term) phone(number string) bool {
	if t.quoted {
		return number == t.value
	}
	digits := strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return r
		}
		return -1
	}, t.value)
	return digits != "" && strings.Contains(number, digits)
}
