package emulator

import (
	"slices"
	"strings"
	"time"
)

// mutations are the root fields of the schema's Mutation. What is missing here
// answers with the code NOT_EMULATED.
func (s *Shop) mutations() map[string]any {
	return map[string]any{
		"bulkOperationRunQuery":               resolver(s.bulkRunQuery),
		"bulkOperationRunMutation":            resolver(s.bulkRunMutation),
		"bulkOperationCancel":                 resolver(s.bulkCancel),
		"stagedUploadsCreate":                 resolver(s.stagedUploadsCreate),
		"customerCreate":                      resolver(s.customerCreate),
		"customerUpdate":                      resolver(s.customerUpdate),
		"customerSet":                         resolver(s.customerSet),
		"customerDelete":                      resolver(s.customerDelete),
		"customerMerge":                       resolver(s.customerMerge),
		"customerRequestDataErasure":          resolver(s.requestErasure),
		"customerCancelDataErasure":           resolver(s.cancelErasure),
		"customerEmailMarketingConsentUpdate": resolver(s.emailConsentUpdate),
		"customerSmsMarketingConsentUpdate":   resolver(s.smsConsentUpdate),
		"tagsAdd":                             resolver(s.tagsAdd),
		"tagsRemove":                          resolver(s.tagsRemove),
		"metafieldDefinitionCreate":           resolver(s.definitionCreate),
		"metafieldDefinitionDelete":           resolver(s.definitionDelete),
		"metafieldsSet":                       resolver(s.metafieldsSet),
		"metafieldsDelete":                    resolver(s.metafieldsDelete),
		"webhookSubscriptionCreate":           resolver(s.subscriptionCreate),
		"webhookSubscriptionUpdate":           resolver(s.subscriptionUpdate),
		"webhookSubscriptionDelete":           resolver(s.subscriptionDelete),
	}
}

// userError is an entry of userErrors. Types without a code do not show one: the
// schema has no such field to ask for.
type userError struct {
	field   []string // nil is null
	message string
	code    string // "" is null
	index   int    // elementIndex, where the type has one
}

func (e userError) object(typename string) *object {
	fields := map[string]any{"field": nil, "message": e.message, "code": nil, "elementIndex": nil, "elementKey": nil}
	if e.field != nil {
		fields["field"] = e.field
	}
	if e.code != "" {
		fields["code"] = e.code
	}
	if len(e.field) > 1 && e.field[0] == "metafields" {
		fields["elementIndex"] = int64(e.index)
	}
	return &object{typename, fields}
}

// payload is the answer of a mutation with its userErrors.
func (s *Shop) payload(typename string, fields map[string]any, errs ...userError) *object {
	def := s.schema.Types[typename]
	list := make([]*object, len(errs))
	for i, e := range errs {
		list[i] = e.object(def.Fields.ForName("userErrors").Type.Name())
	}
	fields["userErrors"] = list
	return &object{typename, fields}
}

// userErrorsOf puts errors below the path of their input.
func userErrorsOf(errs []fieldError, below ...string) []userError {
	told := make([]userError, len(errs))
	for i, e := range errs {
		told[i] = userError{message: e.message, code: e.code}
		if e.field != "" {
			told[i].field = append(slices.Clone(below), e.field)
		}
	}
	return told
}

// newCustomer is what the API makes: without an account, but with its e-mail taken
// for verified.
func newCustomer(at time.Time) *ShopCustomer {
	return &ShopCustomer{
		State: CustomerDisabled, VerifiedEmail: true, Locale: "en",
		Tags: []string{}, Addresses: []ShopAddress{}, CreatedAt: at,
	}
}

func inputOf(args map[string]any, name string) map[string]any {
	input, _ := args[name].(map[string]any)
	return input
}

func (s *Shop) customerCreate(args map[string]any) (any, error) {
	const payload = "CustomerCreatePayload"
	input := inputOf(args, "input")
	if input["id"] != nil {
		return s.payload(payload, map[string]any{"customer": nil}, userError{field: []string{"id"}, message: "Cannot specify ID on creation"}), nil
	}
	c := newCustomer(s.options.Now())
	errs := userErrorsOf(s.applyInput(c, input))
	errs = append(errs, s.applyMetafields(c, input)...)
	consentErrs, err := s.applyConsents(c, input)
	if err != nil {
		return nil, err
	}
	errs = append(errs, consentErrs...)
	return s.finish(payload, nil, c, errs), nil
}

func (s *Shop) customerUpdate(args map[string]any) (any, error) {
	const payload = "CustomerUpdatePayload"
	input := inputOf(args, "input")
	old := s.store.find(textOf(input["id"]))
	if old == nil {
		return s.payload(payload, map[string]any{"customer": nil}, userError{field: []string{"id"}, message: "Customer does not exist"}), nil
	}
	var errs []userError
	for _, name := range []string{"emailMarketingConsent", "smsMarketingConsent", "whatsAppMarketingConsent"} {
		if input[name] != nil {
			mutation := "customer" + strings.ToUpper(name[:1]) + name[1:] + "Update"
			errs = append(errs, userError{field: []string{name}, message: "To update " + name + ", please use the " + mutation + " Mutation instead"})
		}
	}
	c := old.clone()
	errs = append(errs, userErrorsOf(s.applyInput(c, input))...)
	errs = append(errs, s.applyMetafields(c, input)...)
	return s.finish(payload, old, c, errs), nil
}

// finish stores a customer unless there are errors, and answers.
func (s *Shop) finish(payload string, old, c *ShopCustomer, errs []userError) *object {
	if len(errs) > 0 {
		return s.payload(payload, map[string]any{"customer": nil}, errs...)
	}
	return s.payload(payload, map[string]any{"customer": s.customerObject(s.commit(old, c))})
}

// customerSet creates or updates by an identifier; it never guesses.
func (s *Shop) customerSet(args map[string]any) (any, error) {
	const payload = "CustomerSetPayload"
	identifier, input := inputOf(args, "identifier"), inputOf(args, "input")
	old, fresh, wrong, err := s.identify(identifier, input)
	if err != nil {
		return nil, err
	}
	if wrong != nil {
		return s.payload(payload, map[string]any{"customer": nil}, *wrong), nil
	}
	c := fresh
	if old != nil {
		c = old.clone()
	}
	errs := userErrorsOf(s.applyInput(c, input), "input")
	return s.finish(payload, old, c, errs), nil
}

// identify finds the customer that customerSet means, or makes the one to create.
func (s *Shop) identify(identifier, input map[string]any) (old, fresh *ShopCustomer, wrong *userError, err error) {
	fresh = newCustomer(s.options.Now())
	id := cmpAny(identifier["id"], input["id"])
	switch {
	case identifier != nil && input["id"] != nil:
		return nil, nil, &userError{field: []string{"input"}, message: "The id field is not allowed if identifier is provided.", code: "ID_NOT_ALLOWED"}, nil
	case identifier != nil && !exactlyOne(identifier):
		return nil, nil, nil, codedError("INVALID_VARIABLE", "'CustomerSetIdentifiers' requires exactly one argument, but %d were provided.", len(identifier))
	case id != nil:
		if old = s.store.find(textOf(id)); old == nil {
			wrong = &userError{field: []string{"input"}, message: "Resource matching the identifier was not found.", code: "NOT_FOUND"}
		}
	case identifier["email"] != nil:
		email, _ := normalEmail(textOf(identifier["email"]))
		repeated, _ := normalEmail(textOf(input["email"]))
		wrong = mismatch(input["email"], strings.EqualFold(email, repeated))
		old = s.store.findEmail(email)
	case identifier["phone"] != nil:
		phone, _ := normalPhone(textOf(identifier["phone"]))
		repeated, _ := normalPhone(textOf(input["phone"]))
		wrong = mismatch(input["phone"], phone == repeated)
		old = s.store.findPhone(phone)
	case identifier["customId"] != nil:
		old, err = s.identifyCustom(fresh, inputOf(identifier, "customId"))
	}
	return old, fresh, wrong, err
}

// cmpAny returns the first value that is not null.
func cmpAny(values ...any) any {
	for _, value := range values {
		if value != nil {
			return value
		}
	}
	return nil
}

// mismatch checks that the input repeats the value of the identifier.
func mismatch(repeated any, equal bool) *userError {
	if repeated == nil {
		return &userError{field: []string{"input"}, message: "The input field corresponding to the identifier is required.", code: "MISSING_FIELD_REQUIRED"}
	}
	if !equal {
		return &userError{field: []string{"input"}, message: "The identifier value does not match the value of the corresponding field in the input.", code: "INPUT_MISMATCH"}
	}
	return nil
}

// identifyCustom finds a customer by its id metafield, or puts the metafield on
// the one to create.
func (s *Shop) identifyCustom(fresh *ShopCustomer, custom map[string]any) (*ShopCustomer, error) {
	def, err := s.idDefinition(custom)
	if err != nil {
		return nil, err
	}
	value := textOf(custom["value"])
	if old := s.store.findMetafield(def.namespace, def.key, value); old != nil {
		return old, nil
	}
	s.putMetafield(fresh, def.namespace, def.key, def.kind, value)
	return nil, nil
}

func (s *Shop) customerDelete(args map[string]any) (any, error) {
	const payload = "CustomerDeletePayload"
	id := textOf(inputOf(args, "input")["id"])
	c := s.store.find(id)
	message := ""
	switch {
	case c == nil:
		message = "Customer can't be found"
	case c.Orders > 0:
		message = "Customer can’t be deleted because they have associated orders"
	}
	fields := map[string]any{"deletedCustomerId": nil, "shop": s.shopObject()}
	if message != "" {
		return s.payload(payload, fields, userError{field: []string{"id"}, message: message}), nil
	}
	s.drop(c)
	fields["deletedCustomerId"] = c.ID
	return s.payload(payload, fields), nil
}

func (s *Shop) tagsAdd(args map[string]any) (any, error) {
	return s.changeTags("TagsAddPayload", args, func(old, given []string) []string { return append(slices.Clone(old), given...) })
}

func (s *Shop) tagsRemove(args map[string]any) (any, error) {
	return s.changeTags("TagsRemovePayload", args, func(old, given []string) []string {
		return slices.DeleteFunc(slices.Clone(old), func(tag string) bool {
			return slices.ContainsFunc(given, func(other string) bool { return strings.EqualFold(tag, other) })
		})
	})
}

func (s *Shop) changeTags(payload string, args map[string]any, change func(old, given []string) []string) (any, error) {
	id := textOf(args["id"])
	old := s.store.find(id)
	if old == nil {
		return s.payload(payload, map[string]any{"node": nil}, userError{field: []string{"id"}, message: "Customer does not exist"}), nil
	}
	asked, _ := normalTags(textsOf(listOf(args["tags"])))
	tags, errs := normalTags(change(old.Tags, asked))
	if len(errs) > 0 {
		return s.payload(payload, map[string]any{"node": s.customerObject(old)}, userErrorsOf(errs)...), nil
	}
	c := old.clone()
	c.Tags = tags
	return s.payload(payload, map[string]any{"node": s.customerObject(s.commit(old, c))}), nil
}

func (s *Shop) requestErasure(args map[string]any) (any, error) {
	return s.erase("CustomerRequestDataErasurePayload", textOf(args["customerId"]), true), nil
}

func (s *Shop) cancelErasure(args map[string]any) (any, error) {
	return s.erase("CustomerCancelDataErasurePayload", textOf(args["customerId"]), false), nil
}

// erase records the wish; the customer itself does not change.
func (s *Shop) erase(payload, id string, wish bool) *object {
	old := s.store.find(id)
	if old == nil {
		return s.payload(payload, map[string]any{"customerId": nil}, userError{field: []string{"customerId"}, message: "Customer does not exist", code: "DOES_NOT_EXIST"})
	}
	if !wish && !old.Erasing {
		return s.payload(payload, map[string]any{"customerId": nil}, userError{field: []string{"customerId"}, message: "Customer's data is not scheduled for erasure", code: "NOT_BEING_ERASED"})
	}
	c := old.clone()
	c.Erasing = wish
	s.store.put(c)
	return s.payload(payload, map[string]any{"customerId": c.ID})
}

// commit stores a new version, indexes it and sends its webhooks. One that
// changes nothing stays without a trace. The caller holds s.mu.
func (s *Shop) commit(old, c *ShopCustomer) *ShopCustomer {
	if old != nil && old.same(c) {
		return old
	}
	c.UpdatedAt = s.options.Now()
	s.store.put(c)
	s.index.note(c.number, c)
	s.announce(old, c)
	return c
}

// drop deletes a customer. The caller holds s.mu.
func (s *Shop) drop(c *ShopCustomer) {
	s.store.remove(c)
	s.index.note(c.number, nil)
	s.announceDeletion(c)
}
