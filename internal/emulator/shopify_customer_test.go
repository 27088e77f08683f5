package emulator

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

type in = map[string]any

// TestCustomerSetByCustomID: no match creates and marks in one step, a match
// updates, and a repetition finds its own record.
func TestCustomerSetByCustomID(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	w.equal("no definition", w.set(customID("user_1"), in{"firstName": "Ada"}).code(), "NOT_FOUND")
	w.equal("text", w.set(customID("user_1"), in{"firstName": "Ada"}).Errors[0].Message, noIDDefinition)
	w.define(w.acme)
	made := w.set(customID("user_1"), in{"email": " ada@example .com", "firstName": "Ada", "tags": []string{"b", "a, B", " c "}})
	w.equal("errors", made.userErrors("customerSet"), "[]")
	for path, want := range map[string]any{
		"email": "ada@example.com", "state": "DISABLED", "verifiedEmail": true, "locale": "en", "canDelete": true,
		"clerk.value": "user_1", "clerk.type": "id", "displayName": "Ada", "tags": []any{"a", "b", "c"}, "note": nil,
	} {
		w.equal(path, made.at("customerSet.customer."+path), want)
	}
	again := w.set(customID("user_1"), in{"email": "new@example.com"})
	w.equal("same record", again.at("customerSet.customer.id"), made.at("customerSet.customer.id"))
	w.equal("name untouched", again.at("customerSet.customer.firstName"), "Ada")
	w.equal("e-mail changed", again.at("customerSet.customer.email"), "new@example.com")
	w.equal("customers", w.acme.CustomerCount(), 1)
	w.wantErrors(w.set(customID("user_2"), in{"email": "NEW@example.com"}), "customerSet", "input.email|TAKEN|Email has already been taken")
	w.equal("nothing was made", w.acme.CustomerCount(), 1)
}

// TestParallelCustomerSets: many at once with one new custom id make one customer.
func TestParallelCustomerSets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	w.define(w.acme)
	var wg sync.WaitGroup
	ids := make([]any, 16)
	for i := range ids {
		wg.Go(func() {
			ids[i] = w.set(customID("user_1"), in{"email": "ada@example.com", "firstName": fmt.Sprint(i)}).at("customerSet.customer.id")
		})
	}
	wg.Wait()
	w.equal("ids", len(slices.Compact(ids)), 1)
	w.equal("customers", w.acme.CustomerCount(), 1)
}

func TestCustomerSetIdentifiers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	c := w.put(w.acme, CustomerSpec{Email: "Ada@example.com", Phone: "+16135550142"})
	other := w.put(w.acme, CustomerSpec{Email: "other@example.com", Phone: "+16135550143"})
	for _, test := range []struct {
		name              string
		identifier, input in
		want              string
	}{
		{"by e-mail, not repeated", in{"email": "ada@example.com"}, in{"firstName": "A"}, "input|MISSING_FIELD_REQUIRED|The input field corresponding to the identifier is required."},
		{"by e-mail, another one", in{"email": "ada@example.com"}, in{"email": "b@example.com"}, "input|INPUT_MISMATCH|The identifier value does not match the value of the corresponding field in the input."},
		{"by phone, another one", in{"phone": "+16135550142"}, in{"phone": "+16135550143"}, "input|INPUT_MISMATCH|The identifier value does not match the value of the corresponding field in the input."},
		{"unknown id", in{"id": "gid://shopify/Customer/5"}, in{"firstName": "A"}, "input|NOT_FOUND|Resource matching the identifier was not found."},
		{"id twice", in{"id": c.ID}, in{"id": c.ID}, "input|ID_NOT_ALLOWED|The id field is not allowed if identifier is provided."},
		{"taken e-mail", in{"id": other.ID}, in{"email": "ADA@example.com"}, "input.email|TAKEN|Email has already been taken"},
		{"taken phone", in{"id": other.ID}, in{"phone": "(613) 555-0142"}, "input.phone|TAKEN|Phone has already been taken"},
		{"bad phone", nil, in{"email": "x@example.com", "phone": "+1 613 555 0142 x5"}, "input.phone|INVALID|Phone is invalid"},
		{"bad e-mail", nil, in{"email": "foo@bar"}, "input.email|INVALID|Email is invalid"},
		{"nothing", nil, in{"email": "  "}, "|BLANK|A name, phone number, or email address must be present"},
		{"a null that is none", in{"id": c.ID}, in{"taxExempt": nil}, "input.taxExempt|INVALID|Tax exempt is of unexpected type NilClass"},
	} {
		before := w.acme.CustomerCount()
		if got := w.set(test.identifier, test.input).userErrors("customerSet"); !slices.Equal(got, []string{test.want}) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		w.equal(test.name+": customers", w.acme.CustomerCount(), before)
	}
	w.equal("by e-mail", w.set(in{"email": "ADA@example.com"}, in{"email": "ada@EXAMPLE.com", "lastName": "B"}).at("customerSet.customer.id"), c.ID)
	w.equal("by phone", w.set(in{"phone": "+1 613 555 0142"}, in{"phone": "+16135550142", "note": ""}).at("customerSet.customer.note"), "")
	w.equal("upsert", w.set(in{"email": "fresh@example.com"}, in{"email": "fresh@example.com"}).at("customerSet.customer.displayName"), "fresh@example.com")
}

// TestListsReplaceOnlyWhenGiven: tags and addresses of others survive a write that
// does not send them, and only that.
func TestListsReplaceOnlyWhenGiven(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	c := w.put(w.acme, CustomerSpec{Email: "a@example.com", Tags: []string{"vip"}, Note: new("hello"), Addresses: []ShopAddress{{Address1: "1 Example Street"}, {Address1: "2"}}})
	id := in{"id": c.ID}
	w.equal("absent", w.set(id, in{"firstName": "A"}).at("customerSet.customer.defaultAddress.address1"), "1 Example Street")
	w.equal("null", w.set(id, in{"addresses": nil, "tags": nil}).at("customerSet.customer.tags"), []any{"vip"})
	w.equal("tags", w.set(id, in{"tags": []string{"new"}}).at("customerSet.customer.tags"), []any{"new"})
	two := in{"address1": "9 Other Road", "provinceCode": "ON"}
	w.equal("given", w.set(id, in{"addresses": []in{two, two}}).at("customerSet.customer.addressesV2.nodes"), []any{in{"address1": "9 Other Road", "provinceCode": "ON"}})
	w.equal("cleared", w.set(id, in{"addresses": []in{}}).at("customerSet.customer.defaultAddress"), nil)
	w.equal("note", w.set(id, in{}).at("customerSet.customer.note"), "hello")
}

const createMutation = `mutation($input: CustomerInput!) { customerCreate(input: $input) { customer { id email phone firstName tags defaultEmailAddress { marketingState } m: metafield(namespace: "custom", key: "k1") { value } } userErrors { field message } } }`
const updateMutation = `mutation($input: CustomerInput!) { customerUpdate(input: $input) { customer { id email } userErrors { field message } } }`

func TestValueRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	w.put(w.acme, CustomerSpec{Email: "ada@example.com", Phone: "+16135550142"})
	long := strings.Repeat("x", 256)
	tags := make([]string, 250)
	for i := range tags {
		tags[i] = fmt.Sprintf("t%d,u%d", i, i)
	}
	for _, test := range []struct {
		input in
		want  []string
	}{
		{in{"id": "gid://shopify/Customer/1"}, []string{"id||Cannot specify ID on creation"}},
		{in{"email": "not-an-email"}, []string{"email||Email is invalid"}},
		{in{"email": "foo@@bar.com"}, []string{"email||Email is invalid"}},
		{in{"email": long + "@example.com"}, []string{"email||Email is too long (maximum is 255 characters)", "email||Email is invalid"}},
		{in{"email": "A D A@example.com"}, []string{"email||Email has already been taken"}},
		{in{"phone": "+1234abcd"}, []string{"phone||Phone is invalid"}},
		{in{"phone": "+1 (613) 555-0142"}, []string{"phone||Phone has already been taken"}},
		{in{"phone": "+" + strings.Repeat("1", 256)}, []string{"phone||Phone is too long (maximum is 255 characters)", "phone||Phone is invalid"}},
		{in{"firstName": long}, []string{"firstName||First name is too long (maximum is 255 characters)"}},
		{in{"lastName": long}, []string{"lastName||Last name is too long (maximum is 255 characters)"}},
		{in{"firstName": "A", "note": strings.Repeat("n", 5001)}, []string{"note||Note is too long (maximum is 5000 characters)"}},
		{in{"firstName": "A", "tags": []string{long}}, []string{"tags||Tags is too long (maximum is 255 characters)"}},
		{in{"firstName": "A", "tags": tags}, []string{"tags||Tags cannot be more than 250"}},
		{in{"firstName": "A", "locale": "not-a-locale"}, []string{"locale||Locale is invalid"}},
		{in{"firstName": "  ", "lastName": nil, "phone": ""}, []string{"||A name, phone number, or email address must be present"}},
		{in{"firstName": "A", "smsMarketingConsent": in{"marketingState": "SUBSCRIBED"}}, []string{"smsMarketingConsent||A contact method is needed to set a marketing consent"}},
	} {
		w.wantErrors(w.run(createMutation, in{"input": test.input}), "customerCreate", test.want...)
	}
	w.equal("customers", w.acme.CustomerCount(), 1)
	made := w.want(createMutation, in{"input": in{
		"email": "B@example.com", "phone": "+49 30 901820", "firstName": " Bea ", "tags": []string{"zeta", "Alpha", "ALPHA", "beta"},
		"emailMarketingConsent": in{"marketingState": "SUBSCRIBED"}, "metafields": []in{{"namespace": "custom", "key": "k1", "type": "single_line_text_field", "value": "v"}},
	}})
	want := in{
		"email": "B@example.com", "phone": "+4930901820", "firstName": "Bea", "tags": []any{"Alpha", "beta", "zeta"},
		"defaultEmailAddress.marketingState": "SUBSCRIBED", "m.value": "v",
	}
	for path, want := range want {
		w.equal(path, made.at("customerCreate.customer."+path), want)
	}
}

func TestCustomerUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	c := w.put(w.acme, CustomerSpec{Email: "ada@example.com"})
	w.wantErrors(w.run(updateMutation, in{"input": in{"id": "gid://shopify/Customer/5", "email": "x@example.com"}}), "customerUpdate", "id||Customer does not exist")
	w.wantErrors(w.run(updateMutation, in{"input": in{"id": c.ID, "emailMarketingConsent": in{"marketingState": "SUBSCRIBED"}}}), "customerUpdate",
		"emailMarketingConsent||To update emailMarketingConsent, please use the customerEmailMarketingConsentUpdate Mutation instead")
	bad := in{"id": c.ID, "email": "new@example.com", "metafields": []in{{"namespace": "custom", "key": "k1", "type": "number_integer", "value": "x"}}}
	w.wantErrors(w.run(updateMutation, in{"input": bad}), "customerUpdate", "metafields.0.value||Value must be a valid number_integer.")
	got, _ := w.acme.Customer(c.ID)
	w.equal("unchanged", got.Email, "ada@example.com")
	w.clock.Add(5e9)
	w.want(updateMutation, in{"input": in{"id": c.ID, "email": "ada@example.com"}})
	got, _ = w.acme.Customer(c.ID)
	w.equal("a write of the same makes no version", got.UpdatedAt, c.UpdatedAt)
}

func TestCustomerByIdentifier(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{SearchLag: -1})
	const query = `query($i: CustomerIdentifierInput!) { customerByIdentifier(identifier: $i) { id } }`
	w.equal("no definition", w.run(query, in{"i": customID("user_1")}).code(), "NOT_FOUND")
	w.define(w.acme)
	w.set(customID("user_1"), in{"email": "ada@example.com", "phone": "+16135550142"})
	c := w.acme.Customers()[0]
	for _, identifier := range []in{{"id": c.ID}, {"emailAddress": " ADA@exam ple.com "}, {"phoneNumber": "+1 (613) 555-0142"}, customID("user_1")} {
		w.equal(fmt.Sprint(identifier), w.want(query, in{"i": identifier}).at("customerByIdentifier.id"), c.ID)
	}
	for _, identifier := range []in{{"emailAddress": "ada@example"}, {"emailAddress": "da@example.com"}, customID("user_")} {
		w.equal(fmt.Sprint(identifier), w.want(query, in{"i": identifier}).at("customerByIdentifier"), nil)
	}
	w.equal("another shop", w.bolt.CustomerCount(), 0)
}

func TestTags(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	c := w.put(w.acme, CustomerSpec{FirstName: "A", Tags: []string{"vip", "Wholesale"}})
	const change = `mutation($id: ID!, $add: [String!]!, $remove: [String!]!) {
		tagsAdd(id: $id, tags: $add) { node { id ... on Customer { tags } } userErrors { field message } }
		tagsRemove(id: $id, tags: $remove) { node { ... on Customer { tags } } userErrors { field message } } }`
	reply := w.want(change, in{"id": c.ID, "add": []string{"clerk, plan:pro", "VIP"}, "remove": []string{"WHOLESALE", "absent"}})
	w.equal("added", reply.at("tagsAdd.node.tags"), []any{"clerk", "plan:pro", "vip", "Wholesale"})
	w.equal("removed", reply.at("tagsRemove.node.tags"), []any{"clerk", "plan:pro", "vip"})
	w.equal("points", *reply.Extensions.Cost.Actual, 20)
	w.wantErrors(w.run(change, in{"id": "gid://shopify/Customer/5", "add": []string{}, "remove": []string{}}), "tagsAdd", "id||Customer does not exist")
}

func TestEmailConsent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	c := w.put(w.acme, CustomerSpec{Email: "ada@example.com"})
	bare := w.put(w.acme, CustomerSpec{FirstName: "Bare"})
	const query = `mutation($input: CustomerEmailMarketingConsentUpdateInput!) { customerEmailMarketingConsentUpdate(input: $input) {
		customer { defaultEmailAddress { marketingState marketingOptInLevel marketingUpdatedAt } } userErrors { code field message } } }`
	const root = "customerEmailMarketingConsentUpdate"
	update := func(id string, consent in) gqlReply {
		return w.run(query, in{"input": in{"customerId": id, "emailMarketingConsent": consent}})
	}
	for _, state := range []string{"NOT_SUBSCRIBED", "REDACTED", "INVALID"} {
		w.equal(state, update(c.ID, in{"marketingState": state}).Errors[0].Message, "Cannot specify "+state+" as a marketing state input")
	}
	w.wantErrors(update("gid://shopify/Customer/5", in{"marketingState": "SUBSCRIBED"}), root, "input.customerId|INVALID|Customer not found")
	w.wantErrors(update(c.ID, in{"marketingState": "SUBSCRIBED", "consentUpdatedAt": "2999-01-01T00:00:00Z"}), root,
		"input.emailMarketingConsent.consentUpdatedAt|INVALID|Consent updated at must not be in the future")
	w.wantErrors(update(c.ID, in{"marketingState": "PENDING"}), root,
		"input.emailMarketingConsent.marketingOptInLevel|INVALID|Marketing opt in level must be confirmed opt-in for pending consent state")
	w.equal("no e-mail", update(bare.ID, in{"marketingState": "SUBSCRIBED"}).userErrors(root), "[]")
	before, _ := w.acme.Customer(c.ID)
	w.equal("still", before.EmailConsent, ShopConsent{})
	reply := update(c.ID, in{"marketingState": "SUBSCRIBED", "marketingOptInLevel": "UNKNOWN", "consentUpdatedAt": "2026-04-25T01:00:00Z"})
	w.equal("consent", reply.at(root+".customer.defaultEmailAddress"), in{"marketingState": "SUBSCRIBED", "marketingOptInLevel": "UNKNOWN", "marketingUpdatedAt": "2026-04-25T01:00:00Z"})
}

func TestCustomerDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	c := w.put(w.acme, CustomerSpec{Email: "ada@example.com", Orders: 1})
	free := w.put(w.acme, CustomerSpec{Email: "free@example.com"})
	const query = `mutation($input: CustomerDeleteInput!) { customerDelete(input: $input) { deletedCustomerId shop { id } userErrors { field message } } }`
	w.wantErrors(w.run(query, in{"input": in{"id": c.ID}}), "customerDelete", "id||Customer can’t be deleted because they have associated orders")
	w.equal("canDelete", w.want(`query($id: ID!) { customer(id: $id) { canDelete numberOfOrders } }`, in{"id": c.ID}).at("customer"), in{"canDelete": false, "numberOfOrders": "1"})
	w.equal("deleted", w.want(query, in{"input": in{"id": free.ID}}).at("customerDelete.deletedCustomerId"), free.ID)
	w.wantErrors(w.run(query, in{"input": in{"id": free.ID}}), "customerDelete", "id||Customer can't be found")
	reply := w.want(`query($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }`, in{"ids": []string{free.ID, c.ID, "gid://shopify/Order/1"}})
	w.equal("nodes", reply.Data["nodes"], []any{nil, in{"__typename": "Customer", "id": c.ID}, nil})
	w.equal("the e-mail is free", w.set(nil, in{"email": "FREE@example.com"}).userErrors("customerSet"), "[]")
}

func TestErasure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	c := w.put(w.acme, CustomerSpec{Email: "ada@example.com"})
	const request = `mutation($id: ID!) { customerRequestDataErasure(customerId: $id) { customerId userErrors { code field message } } }`
	const cancel = `mutation($id: ID!) { customerCancelDataErasure(customerId: $id) { customerId userErrors { code field message } } }`
	w.wantErrors(w.run(cancel, in{"id": c.ID}), "customerCancelDataErasure", "customerId|NOT_BEING_ERASED|Customer's data is not scheduled for erasure")
	w.wantErrors(w.run(request, in{"id": "gid://shopify/Customer/5"}), "customerRequestDataErasure", "customerId|DOES_NOT_EXIST|Customer does not exist")
	w.want(request, in{"id": c.ID})
	got, _ := w.acme.Customer(c.ID)
	w.equal("no visible change", []any{got.Email, got.UpdatedAt, got.Erasing}, []any{c.Email, c.UpdatedAt, true})
	w.want(cancel, in{"id": c.ID})
}

// TestIDsAreInt64: some are beyond what a float64 holds, and none is the same in
// two shops.
func TestIDsAreInt64(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	beyond, seen := 0, map[string]bool{}
	for _, shop := range []*Shop{w.acme, w.bolt} {
		for i := range 6 {
			c := w.put(shop, CustomerSpec{Email: fmt.Sprintf("u%d@example.com", i)})
			if seen[c.ID] {
				t.Errorf("%s is in two shops", c.ID)
			}
			seen[c.ID] = true
			if number := gidNumber("Customer", c.ID); int64(float64(number)) != number {
				beyond++
			}
		}
	}
	if beyond < 4 {
		t.Errorf("%d of 12 ids are beyond float64", beyond)
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{Shops: []ShopSpec{{Domain: "acme", AsyncMerges: true}, {Domain: "bolt"}}})
	w.define(w.acme)
	one := w.put(w.acme, CustomerSpec{Email: "one@example.com", FirstName: "Merge", LastName: "One", Note: new("one"), Tags: []string{"a"}, Orders: 2,
		Metafields: []ShopMetafield{{Key: "clerk_user_id", Type: "id", Value: "user_1"}}, Addresses: []ShopAddress{{Address1: "1"}}})
	two := w.put(w.acme, CustomerSpec{Phone: "+16135550142", LastName: "Two", Note: new("two"), Tags: []string{"b"}, Addresses: []ShopAddress{{Address1: "2"}}})
	const merge = `mutation($one: ID!, $two: ID!) { customerMerge(customerOneId: $one, customerTwoId: $two) { resultingCustomerId job { id done } userErrors { code field message } } }`
	const status = `query($job: ID!) { customerMergeJobStatus(jobId: $job) { status resultingCustomerId } job(id: $job) { done } }`
	w.wantErrors(w.run(merge, in{"one": one.ID, "two": one.ID}), "customerMerge", "|INVALID_CUSTOMER_ID|Customers IDs should not match")
	w.wantErrors(w.run(merge, in{"one": one.ID, "two": "gid://shopify/Customer/9"}), "customerMerge", "customerTwoId|INVALID_CUSTOMER_ID|Customer does not exist with ID 9")
	reply := w.want(merge, in{"one": one.ID, "two": two.ID})
	w.equal("the one with an e-mail is kept", reply.at("customerMerge.resultingCustomerId"), one.ID)
	job := in{"job": reply.at("customerMerge.job.id")}
	w.equal("status", w.want(status, job).at("customerMergeJobStatus.status"), "IN_PROGRESS")
	w.equal("both are there", w.acme.CustomerCount(), 2)
	w.equal("finished", w.acme.FinishMerges(), 1)
	w.equal("status", w.want(status, job).at("customerMergeJobStatus.status"), "COMPLETED")
	kept, _ := w.acme.Customer(one.ID)
	w.equal("merged", []any{kept.Phone, *kept.Note, kept.Tags, kept.Orders, len(kept.Addresses), kept.Addresses[0].Address1, len(kept.Metafields)},
		[]any{"+16135550142", "one two", []string{"a", "b"}, 2, 2, "1", 1})
	w.wantErrors(w.run(updateMutation, in{"input": in{"id": two.ID, "email": "x@example.com"}}), "customerUpdate", "id||Customer does not exist")
}

func TestMergeKeepsWhatItMust(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	w.define(w.bolt)
	a := w.put(w.bolt, CustomerSpec{Email: "a@example.com"})
	b := w.put(w.bolt, CustomerSpec{Email: "b@example.com", Metafields: []ShopMetafield{{Key: "clerk_user_id", Type: "id", Value: "user_b"}}})
	blocked := w.put(w.bolt, CustomerSpec{Email: "c@example.com", MergeBlockers: []string{"GIFT_CARDS"}})
	if _, err := w.bolt.MergeCustomers(a.ID, blocked.ID); err == nil {
		t.Error("gift cards did not block")
	}
	kept, err := w.bolt.MergeCustomers(b.ID, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.equal("the second is kept", kept.ID, a.ID)
	w.equal("the custom id moved", w.runIn(w.bolt, `query($i: CustomerIdentifierInput!) { customerByIdentifier(identifier: $i) { id } }`, in{"i": customID("user_b")}).at("customerByIdentifier.id"), a.ID)
	const preview = `query($one: ID!, $two: ID!) { customerMergePreview(customerOneId: $one, customerTwoId: $two) { resultingCustomerId blockingFields { tags } customerMergeErrors { errorFields message } } }`
	w.equal("preview", w.runIn(w.bolt, preview, in{"one": a.ID, "two": blocked.ID}).at("customerMergePreview.customerMergeErrors.0.errorFields"), []any{"GIFT_CARDS"})
	w.equal("itself", w.runIn(w.bolt, preview, in{"one": a.ID, "two": a.ID}).code(), "BAD_REQUEST")
}
