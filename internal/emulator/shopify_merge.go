package emulator

import (
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// mergeJob is a merge that was asked for.
type mergeJob struct {
	id        string // "gid://shopify/Job/…"
	plan      mergePlan
	done      bool
	requested bool // by the API, not by the merchant
}

// mergePlan is what a merge would do.
type mergePlan struct {
	kept, gone *ShopCustomer
	override   map[string]any
	merged     *ShopCustomer // kept, as it would be
	blocked    []mergeBlock
}

// mergeBlock is a reason why two customers cannot be merged.
type mergeBlock struct {
	message string
	fields  []string // of CustomerMergeErrorFieldType
	code    string   // of CustomerMergeErrorCode
}

// planMerge decides who is kept (an override of the e-mail, then who has an e-mail,
// then who has an account or consented, then the second) and what becomes of the
// fields.
func (s *Shop) planMerge(one, two *ShopCustomer, override map[string]any) mergePlan {
	kept, gone := two, one
	switch keep := textOf(override["customerIdOfEmailToKeep"]); {
	case keep == one.ID, keep == "" && prefers(one, two):
		kept, gone = one, two
	}
	merged := s.mergeRecords(kept, gone, override)
	return mergePlan{kept, gone, override, merged, mergeBlocks(one, two, merged)}
}

// mergeRecords is the kept customer with what it gets from the other.
func (s *Shop) mergeRecords(kept, gone *ShopCustomer, override map[string]any) *ShopCustomer {
	merged := kept.clone()
	mergeTexts(merged, kept, gone, override)
	if keep := textOf(override["customerIdOfDefaultAddressToKeep"]); keep == gone.ID {
		merged.Addresses = append(slices.Clone(gone.Addresses), kept.Addresses...)
	} else {
		merged.Addresses = append(slices.Clone(kept.Addresses), gone.Addresses...)
	}
	for _, m := range gone.Metafields {
		if merged.metafield(m.Namespace, m.Key) == nil {
			m.Number = s.number() // copied under an id of its own
			merged.Metafields = append(merged.Metafields, m)
		}
	}
	merged.Orders += gone.Orders
	return merged
}

// prefers reports whether the first is kept without an override of the e-mail.
func prefers(one, two *ShopCustomer) bool {
	for _, has := range []func(*ShopCustomer) bool{
		func(c *ShopCustomer) bool { return c.Email != "" },
		func(c *ShopCustomer) bool { return c.State == CustomerEnabled },
		func(c *ShopCustomer) bool { return c.EmailConsent.state() == "SUBSCRIBED" },
	} {
		if has(one) != has(two) {
			return has(one)
		}
	}
	return false
}

func mergeTexts(merged, kept, gone *ShopCustomer, override map[string]any) {
	for _, field := range []struct {
		name string
		of   func(*ShopCustomer) *string
	}{
		{"customerIdOfFirstNameToKeep", func(c *ShopCustomer) *string { return &c.FirstName }},
		{"customerIdOfLastNameToKeep", func(c *ShopCustomer) *string { return &c.LastName }},
		{"customerIdOfPhoneNumberToKeep", func(c *ShopCustomer) *string { return &c.Phone }},
		{"customerIdOfEmailToKeep", func(c *ShopCustomer) *string { return &c.Email }},
	} {
		if textOf(override[field.name]) == gone.ID || *field.of(kept) == "" {
			*field.of(merged) = *field.of(gone)
		}
	}
	merged.Tags, _ = normalTags(append(slices.Clone(kept.Tags), gone.Tags...))
	if tags := listOf(override["tags"]); tags != nil {
		merged.Tags, _ = normalTags(textsOf(tags))
	}
	switch note, given := override["note"].(string); {
	case given:
		merged.Note = &note
	case kept.Note != nil && gone.Note != nil:
		joined := *kept.Note + " " + *gone.Note
		merged.Note = &joined
	case kept.Note == nil:
		merged.Note = gone.Note
	}
}

// mergeBlocks follows help.shopify.com; the texts are inferred.
func mergeBlocks(one, two, merged *ShopCustomer) []mergeBlock {
	var blocks []mergeBlock
	for _, c := range []*ShopCustomer{one, two} {
		fields := slices.Clone(c.MergeBlockers)
		if c.Multipass != "" {
			fields = append(fields, "MULTIPASS_IDENTIFIER")
		}
		if c.Erasing {
			fields = append(fields, "PENDING_DATA_REQUEST")
		}
		for _, field := range fields {
			code := "INVALID_CUSTOMER"
			if field == "GIFT_CARDS" {
				code = "CUSTOMER_HAS_GIFT_CARDS"
			}
			blocks = append(blocks, mergeBlock{c.displayName() + " can’t be merged.", []string{field}, code})
		}
	}
	if len(merged.Tags) > maxTags {
		blocks = append(blocks, mergeBlock{"Customers must have 250 tags or less.", []string{"OVERRIDE_FIELDS"}, "OVERRIDE_ATTRIBUTE_INVALID"})
	}
	if merged.Note != nil && utf8.RuneCountInString(*merged.Note) > maxNote {
		blocks = append(blocks, mergeBlock{"Customer notes must be 5,000 characters or less.", []string{"OVERRIDE_FIELDS"}, "OVERRIDE_ATTRIBUTE_INVALID"})
	}
	return blocks
}

func (s *Shop) customerMerge(args map[string]any) (any, error) {
	const payload = "CustomerMergePayload"
	refuse := func(errs ...userError) (any, error) {
		return s.payload(payload, map[string]any{"job": nil, "resultingCustomerId": nil}, errs...), nil
	}
	for _, name := range []string{"customerOneId", "customerTwoId"} {
		if s.store.find(textOf(args[name])) == nil {
			number := gidNumber("Customer", textOf(args[name]))
			return refuse(userError{field: []string{name}, code: "INVALID_CUSTOMER_ID", message: "Customer does not exist with ID " + strconv.FormatInt(number, 10)})
		}
	}
	one, two := s.store.find(textOf(args["customerOneId"])), s.store.find(textOf(args["customerTwoId"]))
	if one == two {
		return refuse(userError{code: "INVALID_CUSTOMER_ID", message: "Customers IDs should not match"})
	}
	plan := s.planMerge(one, two, inputOf(args, "overrideFields"))
	var errs []userError
	for _, block := range plan.blocked {
		errs = append(errs, userError{code: block.code, message: block.message})
	}
	if len(errs) > 0 {
		return refuse(errs...)
	}
	job := s.startMerge(plan, true)
	// Captured: the job is not done in the answer, but is by the time of a poll.
	return s.payload(payload, map[string]any{"job": s.jobObject(job.id, false), "resultingCustomerId": plan.kept.ID}), nil
}

// startMerge merges at once, or leaves the job for FinishMerges. The caller holds
// s.mu.
func (s *Shop) startMerge(plan mergePlan, requested bool) *mergeJob {
	job := &mergeJob{id: "gid://shopify/Job/" + s.random.uuid(), plan: plan, requested: requested}
	s.jobs[job.id] = job
	if !s.access.asyncMerges || !requested {
		s.finishMerge(job)
	}
	return job
}

// FinishMerges ends the merges that the shop was told to leave pending
// (ShopSpec.AsyncMerges). It returns how many.
func (s *Shop) FinishMerges() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	finished := 0
	for _, id := range sortedKeys(s.jobs) {
		if job := s.jobs[id]; !job.done {
			s.finishMerge(job)
			finished++
		}
	}
	return finished
}

func (s *Shop) finishMerge(job *mergeJob) {
	job.done = true
	kept, gone := s.store.byNumber[job.plan.kept.number], s.store.byNumber[job.plan.gone.number]
	if kept == nil || gone == nil {
		return // one was deleted in the meantime
	}
	s.store.remove(gone)
	s.index.note(gone.number, nil)
	s.commit(kept, s.mergeRecords(kept, gone, job.plan.override))
	s.announceMerge(job)
}

// mergeRequest is a job as answers show it.
func (s *Shop) mergeRequest(job *mergeJob) *object {
	status := "IN_PROGRESS"
	if job.done {
		status = "COMPLETED"
	}
	return &object{"CustomerMergeRequest", map[string]any{
		"jobId": job.id, "resultingCustomerId": job.plan.kept.ID, "status": status, "customerMergeErrors": []*object{},
	}}
}

func (s *Shop) mergeJobStatus(args map[string]any) (any, error) {
	job := s.jobs[textOf(args["jobId"])]
	if job == nil {
		return nil, nil
	}
	return s.mergeRequest(job), nil
}

func (s *Shop) mergePreview(args map[string]any) (any, error) {
	one, two := s.store.find(textOf(args["customerOneId"])), s.store.find(textOf(args["customerTwoId"]))
	switch {
	case one == nil || two == nil:
		return nil, codedError("RESOURCE_NOT_FOUND", "Customer does not exist.")
	case one == two:
		return nil, codedError("BAD_REQUEST", "Customers must be different.")
	}
	plan := s.planMerge(one, two, inputOf(args, "overrideFields"))
	merged := s.seen(plan.merged)
	fields := map[string]any{
		"resultingCustomerId": plan.kept.ID, "blockingFields": nil, "customerMergeErrors": nil,
		"defaultFields": &object{"CustomerMergePreviewDefaultFields", map[string]any{
			"displayName": merged.displayName(), "email": s.emailObject(merged), "phoneNumber": s.phoneObject(merged),
			"firstName": nullable(merged.FirstName), "lastName": nullable(merged.LastName), "note": noteOf(merged),
			"orderCount": strconv.Itoa(merged.Orders), "tags": merged.Tags,
		}},
	}
	if len(plan.blocked) > 0 {
		fields["resultingCustomerId"], fields["defaultFields"] = nil, nil
		fields["blockingFields"] = &object{"CustomerMergePreviewBlockingFields", map[string]any{"note": noteOf(merged), "tags": merged.Tags}}
		fields["customerMergeErrors"] = mergeErrors(plan.blocked)
	}
	return &object{"CustomerMergePreview", fields}, nil
}

func mergeErrors(blocks []mergeBlock) []*object {
	list := make([]*object, len(blocks))
	for i, block := range blocks {
		list[i] = &object{"CustomerMergeError", map[string]any{"message": block.message, "errorFields": block.fields}}
	}
	return list
}

// MergeCustomers merges as the merchant does in the admin. It returns the kept
// customer.
func (s *Shop) MergeCustomers(oneID, twoID string) (ShopCustomer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, two := s.store.find(oneID), s.store.find(twoID)
	switch {
	case one == nil:
		return ShopCustomer{}, noCustomer(oneID)
	case two == nil:
		return ShopCustomer{}, noCustomer(twoID)
	case one == two:
		return ShopCustomer{}, fmt.Errorf("the customers must be different")
	}
	plan := s.planMerge(one, two, nil)
	if len(plan.blocked) > 0 {
		return ShopCustomer{}, fmt.Errorf("blocked by %v: %s", plan.blocked[0].fields, plan.blocked[0].message)
	}
	s.startMerge(plan, false)
	return *s.store.byNumber[plan.kept.number].clone(), nil
}
