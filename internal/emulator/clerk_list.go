package emulator

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	defaultPage     = 10
	maxPage         = 500
	maxFilterValues = 100
)

// userQuery is a request for a list of users.
type userQuery struct {
	limit, offset int
	after         string // id of the user before the first one wanted
	order         string // field, without its sign
	descending    bool
	match         []func(*User) bool
}

// parseUserQuery reads the parameters of GET /users. It fails with a
// *ClerkError of status 422.
func parseUserQuery(values url.Values) (userQuery, error) {
	q, err := parseUserFilters(values)
	if err != nil {
		return q, err
	}
	if q.limit, err = intParam(values, "limit", defaultPage, 1, maxPage); err != nil {
		return q, err
	}
	const anyOffset = 1<<31 - 1
	if q.offset, err = intParam(values, "offset", 0, 0, anyOffset); err != nil {
		return q, err
	}
	if err := q.parseOrder(values); err != nil {
		return q, err
	}
	q.after = values.Get("starting_after")
	if q.after != "" && (q.order != "created_at" || q.offset != 0) {
		return q, invalid(codeParamInvalid, "starting_after needs ordering by created_at and no offset")
	}
	return q, nil
}

func (q *userQuery) parseOrder(values url.Values) error {
	order := cmp.Or(values.Get("order_by"), "-created_at")
	q.order = strings.TrimLeft(order, "+-")
	q.descending = strings.HasPrefix(order, "-")
	if len(order)-len(q.order) > 1 || (q.order != "created_at" && orderings(q.order) == nil) {
		return invalid(codeParamInvalid, "order_by %q is unknown; a + must be encoded as %%2B", order)
	}
	return nil
}

// parseUserFilters reads the parameters that GET /users and GET /users/count
// share.
func parseUserFilters(values url.Values) (userQuery, error) {
	var q userQuery
	for _, filter := range userFilters() {
		wanted := values[filter.name]
		if len(wanted) == 0 {
			continue
		}
		if len(wanted) > maxFilterValues {
			return q, invalid(codeParamInvalid, "%s takes at most %d values", filter.name, maxFilterValues)
		}
		match, err := filter.make(filter.name, wanted)
		if err != nil {
			return q, err
		}
		q.match = append(q.match, match)
	}
	return q, nil
}

// userFilter makes a predicate of the values of a parameter.
type userFilter struct {
	name string
	make func(name string, values []string) (func(*User) bool, error)
}

func userFilters() []userFilter {
	return []userFilter{
		{"user_id", among(func(u *User) []string { return []string{u.ID} })},
		{"external_id", among(func(u *User) []string { return present(u.ExternalID) })},
		{"email_address", among(emailsOf)},
		{"phone_number", among(phonesOf)},
		{"username", among(func(u *User) []string { return present(u.Username) })},
		{"web3_wallet", among(none)},
		{"organization_id", among(none)},
		{"provider", among(func(u *User) []string { return accounts(u, func(a ExternalAccount) string { return a.Provider }) })},
		{"provider_user_id", among(func(u *User) []string { return accounts(u, func(a ExternalAccount) string { return a.ProviderUserID }) })},
		{"query", containing(func(u *User) []string {
			return slices.Concat([]string{u.ID}, emailsOf(u), phonesOf(u), present(u.Username), namesOf(u))
		})},
		{"email_address_query", containing(emailsOf)},
		{"phone_number_query", containing(phonesOf)},
		{"username_query", containing(func(u *User) []string { return present(u.Username) })},
		{"name_query", containing(namesOf)},
		{"banned", banned},
		{"created_at_before", before(func(u *User) *int64 { return &u.CreatedAt })},
		{"created_at_after", after(func(u *User) *int64 { return &u.CreatedAt })},
		{"last_active_at_before", before(func(u *User) *int64 { return u.LastActiveAt })},
		{"last_active_at_after", after(func(u *User) *int64 { return u.LastActiveAt })},
		{"last_active_at_since", after(func(u *User) *int64 { return u.LastActiveAt })},
		{"last_sign_in_at_before", before(func(u *User) *int64 { return u.LastSignInAt })},
		{"last_sign_in_at_after", after(func(u *User) *int64 { return u.LastSignInAt })},
	}
}

// among keeps users that have one of the values, compared without case. Ids may
// carry a sign: "-user_…" leaves the user out.
func among(of func(*User) []string) func(string, []string) (func(*User) bool, error) {
	return func(name string, values []string) (func(*User) bool, error) {
		in, out := map[string]bool{}, map[string]bool{}
		for _, value := range values {
			value = strings.ToLower(value)
			if strings.HasSuffix(name, "_id") && strings.HasPrefix(value, "-") {
				out[value[1:]] = true
				continue
			}
			if strings.HasSuffix(name, "_id") {
				value = strings.TrimPrefix(value, "+")
			}
			in[value] = true
		}
		return func(u *User) bool {
			has := func(set map[string]bool) bool {
				return slices.ContainsFunc(of(u), func(s string) bool { return set[strings.ToLower(s)] })
			}
			return (len(in) == 0 || has(in)) && !has(out)
		}, nil
	}
}

// containing keeps users with the text in one of the values, without case.
func containing(of func(*User) []string) func(string, []string) (func(*User) bool, error) {
	return func(_ string, values []string) (func(*User) bool, error) {
		text := strings.ToLower(values[0])
		return func(u *User) bool {
			return slices.ContainsFunc(of(u), func(s string) bool { return strings.Contains(strings.ToLower(s), text) })
		}, nil
	}
}

func banned(name string, values []string) (func(*User) bool, error) {
	want, err := strconv.ParseBool(values[0])
	if err != nil {
		return nil, invalid(codeParamInvalid, "%s must be true or false", name)
	}
	return func(u *User) bool { return u.Banned == want }, nil
}

func before(of func(*User) *int64) func(string, []string) (func(*User) bool, error) {
	return compareTime(of, func(at, limit int64) bool { return at < limit })
}

func after(of func(*User) *int64) func(string, []string) (func(*User) bool, error) {
	return compareTime(of, func(at, limit int64) bool { return at > limit })
}

func compareTime(of func(*User) *int64, holds func(at, limit int64) bool) func(string, []string) (func(*User) bool, error) {
	return func(name string, values []string) (func(*User) bool, error) {
		limit, err := strconv.ParseInt(values[0], 10, 64)
		if err != nil {
			return nil, invalid(codeParamInvalid, "%s must be a time in milliseconds", name)
		}
		return func(u *User) bool {
			at := of(u)
			return at != nil && holds(*at, limit)
		}, nil
	}
}

func (q userQuery) matches(u *User) bool {
	for _, match := range q.match {
		if !match(u) {
			return false
		}
	}
	return true
}

// list returns one page. Ordering by creation, which long walks use, reads only
// the page; every other ordering sorts all users.
func (s *userStore) list(q userQuery) ([]*User, error) {
	ordered := s.byCreation
	if q.order != "created_at" {
		ordered = slices.Clone(ordered)
		compare := orderings(q.order)
		slices.SortStableFunc(ordered, func(a, b *slot) int { return compare(a.user, b.user) })
	}
	at, err := s.start(q)
	if err != nil {
		return nil, err
	}
	step := 1
	if q.descending {
		step = -1
	}
	page, skip := []*User{}, q.offset
	for ; at >= 0 && at < len(ordered) && len(page) < q.limit; at += step {
		switch u := ordered[at].user; {
		case !q.matches(u):
		case skip > 0:
			skip--
		default:
			page = append(page, u)
		}
	}
	return page, nil
}

// start is the index of the first candidate. A cursor that names no user is
// refused: what Clerk answers when the user was deleted between two pages is
// not documented, and this is the harder case for a client.
func (s *userStore) start(q userQuery) (int, error) {
	switch {
	case q.after == "" && q.descending:
		return len(s.byCreation) - 1, nil
	case q.after == "":
		return 0, nil
	}
	cursor := s.get(q.after)
	if cursor == nil {
		return 0, invalid(codeParamInvalid, "starting_after names no user")
	}
	at, _ := slices.BinarySearchFunc(s.byCreation, cursor, compareSlot)
	if q.descending {
		return at - 1, nil
	}
	return at + 1, nil
}

func (s *userStore) count(q userQuery) int {
	if len(q.match) == 0 {
		return len(s.byID)
	}
	n := 0
	for _, place := range s.byCreation {
		if q.matches(place.user) {
			n++
		}
	}
	return n
}

// orderings returns how to compare users by a field, nil for an unknown one.
func orderings(field string) func(a, b *User) int {
	text := func(of func(*User) string) func(a, b *User) int {
		return func(a, b *User) int { return cmp.Compare(strings.ToLower(of(a)), strings.ToLower(of(b))) }
	}
	number := func(of func(*User) int64) func(a, b *User) int {
		return func(a, b *User) int { return cmp.Compare(of(a), of(b)) }
	}
	switch field {
	case "updated_at":
		return number(func(u *User) int64 { return u.UpdatedAt })
	case "last_active_at":
		return number(func(u *User) int64 { return orZero(u.LastActiveAt) })
	case "last_sign_in_at":
		return number(func(u *User) int64 { return orZero(u.LastSignInAt) })
	case "email_address":
		return text((*User).PrimaryEmail)
	case "phone_number":
		return text((*User).PrimaryPhone)
	case "first_name":
		return text(func(u *User) string { return orEmpty(u.FirstName) })
	case "last_name":
		return text(func(u *User) string { return orEmpty(u.LastName) })
	case "username":
		return text(func(u *User) string { return orEmpty(u.Username) })
	case "web3wallet":
		return text(func(*User) string { return "" })
	}
	return nil
}

func intParam(values url.Values, name string, missing, low, high int) (int, error) {
	text := values.Get(name)
	if text == "" {
		return missing, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return 0, invalid(codeParamInvalid, "%s must be a number from %d to %d", name, low, high)
	}
	return n, nil
}

func emailsOf(u *User) []string {
	list := make([]string, len(u.EmailAddresses))
	for i, email := range u.EmailAddresses {
		list[i] = email.EmailAddress
	}
	return list
}

func phonesOf(u *User) []string {
	list := make([]string, len(u.PhoneNumbers))
	for i, phone := range u.PhoneNumbers {
		list[i] = phone.PhoneNumber
	}
	return list
}

func namesOf(u *User) []string {
	return []string{strings.TrimSpace(orEmpty(u.FirstName) + " " + orEmpty(u.LastName))}
}

func accounts(u *User, of func(ExternalAccount) string) []string {
	list := make([]string, len(u.ExternalAccounts))
	for i, account := range u.ExternalAccounts {
		list[i] = of(account)
	}
	return list
}

func none(*User) []string { return nil }

func present(s *string) []string {
	if s == nil {
		return nil
	}
	return []string{*s}
}

func orZero(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}
