package emulator

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a customer's fields (captured by github.com/airhorns/shopify-draft-proxy).
const (
	maxText = 255 // runes of a name, e-mail, phone or tag
	maxNote = 5000
	maxTags = 250
)

var (
	emailPattern  = regexp.MustCompile(`^[^@\s,;<>()"]+@[^@\s.,;<>()"]+(\.[^@\s.,;<>()"]+)+$`)
	phonePattern  = regexp.MustCompile(`^\+[1-9]\d{6,14}$`)
	northAmerican = regexp.MustCompile(`^\+1[2-9]\d{2}[2-9]\d{6}$`)
	localePattern = regexp.MustCompile(`^[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?$`)
	phonePadding  = strings.NewReplacer(" ", "", "-", "", ".", "", "(", "", ")", "", "\u00a0", "")
)

// fieldError is what is wrong with one field of a customer. Mutations show it as a
// userError, with or without the code.
type fieldError struct {
	field   string // "" for the customer as a whole
	code    string // of CustomerSetUserErrorCode
	message string
}

func tooLong(field, label string, text string, limit int) []fieldError {
	if utf8.RuneCountInString(text) <= limit {
		return nil
	}
	if limit == maxNote {
		return []fieldError{{field, "TOO_LONG", label + " is too long (maximum is 5000 characters)"}}
	}
	return []fieldError{{field, "TOO_LONG", label + " is too long (maximum is 255 characters)"}}
}

// normalEmail strips white space, also inside, and keeps the case.
func normalEmail(email string) (string, []fieldError) {
	email = stripSpace(email)
	errs := tooLong("email", "Email", email, maxText)
	if email != "" && (errs != nil || !emailPattern.MatchString(email)) {
		errs = append(errs, fieldError{"email", "INVALID", "Email is invalid"})
	}
	return email, errs
}

func stripSpace(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)
}

// normalPhone gives E.164. A number without a country code is taken as one of the
// shop's own country, which is in North America; that is inferred.
func normalPhone(phone string) (string, []fieldError) {
	phone = strings.TrimSpace(phone)
	errs := tooLong("phone", "Phone", phone, maxText)
	if phone == "" {
		return "", nil
	}
	number := phonePadding.Replace(phone)
	if len(number) == 10 && !strings.HasPrefix(number, "+") {
		number = "+1" + number
	}
	valid := phonePattern.MatchString(number)
	if strings.HasPrefix(number, "+1") {
		valid = northAmerican.MatchString(number)
	}
	if errs != nil || !valid {
		errs = append(errs, fieldError{"phone", "INVALID", "Phone is invalid"})
	}
	return number, errs
}

// normalTags splits at commas, trims, drops what is there already but for case,
// and sorts.
func normalTags(tags []string) ([]string, []fieldError) {
	seen, kept := map[string]bool{}, []string{}
	var errs []fieldError
	for _, entry := range tags {
		for tag := range strings.SplitSeq(entry, ",") {
			tag = strings.TrimSpace(tag)
			if tag == "" || seen[strings.ToLower(tag)] {
				continue
			}
			if utf8.RuneCountInString(tag) > maxText {
				errs = []fieldError{{"tags", "TOO_LONG", "Tags is too long (maximum is 255 characters)"}}
			}
			seen[strings.ToLower(tag)] = true
			kept = append(kept, tag)
		}
	}
	slices.SortFunc(kept, compareTags)
	if len(kept) > maxTags {
		errs = append(errs, fieldError{"tags", "TOO_LONG", "Tags cannot be more than 250"})
	}
	return kept, errs
}

func compareTags(a, b string) int {
	return cmp.Or(strings.Compare(strings.ToLower(a), strings.ToLower(b)), strings.Compare(a, b))
}

// addedTags returns the tags of a that b has not.
func addedTags(a, b []string) []string {
	var added []string
	for _, tag := range a {
		if !slices.Contains(b, tag) {
			added = append(added, tag)
		}
	}
	return added
}

// applyInput changes a customer as CustomerInput or CustomerSetInput say: absent
// fields stay, null ones are cleared, given lists replace.
func (s *Shop) applyInput(c *ShopCustomer, input map[string]any) []fieldError {
	var errs []fieldError
	texts := []struct {
		name, label string
		into        *string
	}{{"firstName", "First name", &c.FirstName}, {"lastName", "Last name", &c.LastName}}
	for _, text := range texts {
		if value, given := input[text.name]; given {
			*text.into = strings.TrimSpace(textOf(value))
			errs = append(errs, tooLong(text.name, text.label, *text.into, maxText)...)
		}
	}
	errs = append(errs, s.applyContact(c, input)...)
	errs = append(errs, applyDetails(c, input)...)
	if addresses := listOf(input["addresses"]); addresses != nil { // null is a no-op
		s.replaceAddresses(c, addresses)
	}
	if len(errs) == 0 && c.FirstName == "" && c.LastName == "" && c.Email == "" && c.Phone == "" {
		errs = append(errs, fieldError{"", "BLANK", "A name, phone number, or email address must be present"})
	}
	return errs
}

// applyContact sets e-mail and phone, each unique in the shop.
func (s *Shop) applyContact(c *ShopCustomer, input map[string]any) []fieldError {
	var errs []fieldError
	if value, given := input["email"]; given {
		email, wrong := normalEmail(textOf(value))
		if other := s.store.findEmail(email); wrong == nil && other != nil && other.number != c.number {
			wrong = []fieldError{{"email", "TAKEN", "Email has already been taken"}}
		}
		c.Email, errs = email, append(errs, wrong...)
	}
	if value, given := input["phone"]; given {
		phone, wrong := normalPhone(textOf(value))
		if other := s.store.findPhone(phone); wrong == nil && other != nil && other.number != c.number {
			wrong = []fieldError{{"phone", "TAKEN", "Phone has already been taken"}}
		}
		c.Phone, errs = phone, append(errs, wrong...)
	}
	return errs
}

func applyDetails(c *ShopCustomer, input map[string]any) []fieldError {
	var errs []fieldError
	if value, given := input["note"]; given {
		c.Note = nil
		if text, ok := value.(string); ok {
			c.Note = &text
		}
		errs = append(errs, tooLong("note", "Note", textOf(value), maxNote)...)
	}
	if locale, ok := input["locale"].(string); ok {
		if !localePattern.MatchString(locale) {
			errs = append(errs, fieldError{"locale", "INVALID", "Locale is invalid"})
		}
		c.Locale = locale
	}
	if tags := listOf(input["tags"]); tags != nil {
		kept, wrong := normalTags(textsOf(tags))
		c.Tags, errs = kept, append(errs, wrong...)
	}
	if value, given := input["taxExempt"]; given {
		exempt, ok := value.(bool)
		if !ok {
			errs = append(errs, fieldError{"taxExempt", "INVALID", "Tax exempt is of unexpected type NilClass"})
		}
		c.TaxExempt = exempt
	}
	if value, given := input["multipassIdentifier"]; given {
		c.Multipass = textOf(value)
	}
	return errs
}

// replaceAddresses replaces the list, duplicates coalesced; the first is the
// default.
func (s *Shop) replaceAddresses(c *ShopCustomer, inputs []any) {
	c.Addresses = []ShopAddress{}
	for _, input := range inputs {
		address := addressFrom(ShopAddress{FirstName: c.FirstName, LastName: c.LastName}, input)
		if !slices.Contains(c.Addresses, address) {
			c.Addresses = append(c.Addresses, address)
		}
	}
	for i := range c.Addresses {
		c.Addresses[i].Number = s.number()
	}
}

// addressFrom puts a MailingAddressInput over an address.
func addressFrom(a ShopAddress, input any) ShopAddress {
	fields, _ := input.(map[string]any)
	for name, into := range map[string]*string{
		"firstName": &a.FirstName, "lastName": &a.LastName, "company": &a.Company,
		"address1": &a.Address1, "address2": &a.Address2, "city": &a.City,
		"provinceCode": &a.Province, "countryCode": &a.CountryCode, "zip": &a.Zip, "phone": &a.Phone,
	} {
		if value, given := fields[name]; given {
			*into = textOf(value)
		}
	}
	return a
}

// textOf is a text argument; null is "".
func textOf(value any) string {
	text, _ := value.(string)
	return text
}

// listOf is a list argument: nil for null, and one value for a list of it, as
// GraphQL has it for literals.
func listOf(value any) []any {
	switch v := value.(type) {
	case nil:
		return nil
	case []any:
		return append([]any{}, v...)
	}
	return []any{value}
}

func textsOf(list []any) []string {
	texts := make([]string, len(list))
	for i, value := range list {
		texts[i] = textOf(value)
	}
	return texts
}
