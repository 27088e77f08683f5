package emulator

import (
	"fmt"
	"testing"
	"time"
)

// snapshot is what the facts call a snapshot: e-mail, phone, SMS consent, metafield.
const snapshot = `{ id firstName tags defaultEmailAddress { emailAddress } defaultPhoneNumber { phoneNumber smsMarketingConsent { state } } metafield(key: "clerk_user_id") { value } }`

// TestCosts holds the table of the facts and captured requests.
func TestCosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{SearchLag: -1})
	w.define(w.acme)
	c := w.put(w.acme, CustomerSpec{Email: "ada@example.com"})
	v := in{"id": c.ID, "none": "gid://shopify/Customer/5"}
	id := `customerByIdentifier(identifier: {id: $id}) `
	for _, test := range []struct {
		name, query       string
		requested, actual int
	}{
		{"lookup", `query($id: ID!) { ` + id + `{ id } }`, 1, 1},
		{"lookup with snapshot", `query($id: ID!) { ` + id + snapshot + ` }`, 5, 4}, // no phone: nothing below it
		{"lookup in vain", `query($none: ID!) { customerByIdentifier(identifier: {id: $none}) ` + snapshot + ` }`, 5, 1},
		{"resolve", `query($id: ID!) { a: ` + id + snapshot + ` b: customerByIdentifier(identifier: {emailAddress: "x@example.com"}) ` + snapshot + ` }`, 10, 5},
		{"nodes", `query($id: ID!) { nodes(ids: [$id, $id, $id]) { ... on Customer ` + snapshot + ` } }`, 5, 4},
		{"customers, ids", `{ customers(first: 250) { nodes { id } } }`, 13, 3},
		{"customers, snapshot", `{ customers(first: 250) { nodes ` + snapshot + ` pageInfo { endCursor } } }`, 57, 6},
		{"customers, edges", `{ customers(first: 250) { edges { cursor node { id } } } }`, 13, 3},
		{"an empty search", `{ customerByIdentifier(identifier: {emailAddress: "a@example.com"}) { email defaultEmailAddress { emailAddress } } customers(first: 5, query: "email:a@example.com") { nodes { email defaultEmailAddress { emailAddress } } } }`, 10, 6},
		{"count", `{ customersCount { count } }`, 10, 10},
		{"scopes", `{ currentAppInstallation { accessScopes { handle } } }`, 2, 2},
		{"free fields", `query($id: ID!) { customer(id: $id) { amountSpent { amount } defaultAddress { city } } }`, 1, 1},
		{"set, bare", `mutation($id: ID!) { customerSet(identifier: {id: $id}, input: {lastName: "B"}) { customer { id } userErrors { message } } }`, 10, 10},
		{"set, snapshot", `mutation($id: ID!) { customerSet(identifier: {id: $id}, input: {phone: "+16135550142"}) { customer ` + snapshot + ` userErrors { message } } }`, 14, 14},
		{"set, failed", `mutation($none: ID!) { customerSet(identifier: {id: $none}, input: {lastName: "B"}) { customer ` + snapshot + ` userErrors { message } } }`, 14, 10},
		{"set, with a page", `mutation { customerSet(identifier: {customId: {key: "clerk_user_id", value: "u"}}, input: {lastName: "B"}) { customer { id metafield(key: "clerk_user_id") { value } metafields(first: 5) { nodes { id } pageInfo { hasNextPage } } } userErrors { message } } }`, 16, 14},
		{"create", `mutation { customerCreate(input: {email: "b@example.com"}) { customer { defaultEmailAddress { emailAddress } defaultPhoneNumber { phoneNumber } } userErrors { message } } }`, 12, 12},
		{"create, failed", `mutation { customerCreate(input: {email: "b@example.com"}) { customer { defaultEmailAddress { emailAddress } defaultPhoneNumber { phoneNumber } } userErrors { message } } }`, 12, 10},
		{"metafieldsSet", `mutation($id: ID!) { metafieldsSet(metafields: [{ownerId: $id, key: "clerk_user_id", value: "u1"}]) { metafields { id } userErrors { message } } }`, 10, 10},
		{"tagsAdd", `mutation($id: ID!) { tagsAdd(id: $id, tags: ["a"]) { node { id } userErrors { message } } }`, 10, 10},
		{"consent", `mutation($id: ID!) { customerEmailMarketingConsentUpdate(input: {customerId: $id, emailMarketingConsent: {marketingState: SUBSCRIBED}}) { customer { id } userErrors { message } } }`, 10, 10},
		{"webhook", `mutation { webhookSubscriptionCreate(topic: CUSTOMERS_UPDATE, webhookSubscription: {uri: "https://lockstep.example.com/"}) { webhookSubscription { id } userErrors { message } } }`, 10, 10},
		{"definition", `mutation { metafieldDefinitionCreate(definition: {ownerType: CUSTOMER, namespace: "custom", key: "k1", name: "K", type: "id"}) { createdDefinition { id type { name } capabilities { uniqueValues { enabled } } } userErrors { message } } }`, 13, 13},
		{"stagedUploadsCreate", `mutation { stagedUploadsCreate(input: [{filename: "f", mimeType: "text/jsonl", resource: BULK_MUTATION_VARIABLES}]) { stagedTargets { url parameters { name } } userErrors { message } } }`, 11, 10},
		{"bulkOperation", `{ bulkOperation(id: "gid://shopify/BulkOperation/1") { id status } }`, 1, 1},
		{"delete", `mutation($id: ID!) { customerDelete(input: {id: $id}) { deletedCustomerId userErrors { message } } }`, 10, 10},
	} {
		reply := w.run(test.query, pick(v, test.query))
		cost := reply.Extensions.Cost
		if cost.Actual == nil || cost.Requested != test.requested || *cost.Actual != test.actual {
			t.Errorf("%s: requested %d, actual %v, want %d and %d (%+v)", test.name, cost.Requested, deref(cost.Actual), test.requested, test.actual, reply.Errors)
		}
	}
}

func deref(n *int) int {
	if n == nil {
		return -1
	}
	return *n
}

// pick keeps the variables that a query names.
func pick(all in, query string) in {
	picked := in{}
	for name, value := range all {
		if containsWord(query, "$"+name+":") {
			picked[name] = value
		}
	}
	return picked
}

func containsWord(text, word string) bool {
	for i := range text {
		if len(text)-i >= len(word) && text[i:i+len(word)] == word {
			return true
		}
	}
	return false
}

func TestNodeFactor(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{0: 0, 1: 1, 2: 1, 3: 2, 5: 3, 10: 4, 20: 5, 50: 7, 250: 11} {
		if got := nodeFactor(n); got != want {
			t.Errorf("%d nodes: %d, want %d", n, got, want)
		}
	}
}

func TestOneRequestHasALimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	reply := w.run(`{ customers(first: 250) { nodes { metafields(first: 250) { nodes { id } } addressesV2(first: 250) { nodes { id } } a: metafields(first: 250) { nodes { id } } b: metafields(first: 250) { nodes { id } } c: metafields(first: 250) { nodes { id } } d: metafields(first: 250) { nodes { id } } e: metafields(first: 250) { nodes { id } } } } }`, nil)
	w.equal("code", reply.code(), "MAX_COST_EXCEEDED")
	w.equal("cost", reply.Errors[0].Extensions["cost"], 1014)
	w.equal("nothing was taken", w.acme.Usage().Used, 0)
}

func TestPlans(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{Shops: []ShopSpec{{Domain: "acme", Plan: PlanAdvanced}, {Domain: "bolt"}}})
	status := func(shop *Shop) throttleStatus {
		return w.runIn(shop, `{ shop { id } }`, nil).Extensions.Cost.Status
	}
	w.equal("advanced", status(w.acme), throttleStatus{4000, 3999, 200})
	w.equal("standard", status(w.bolt), throttleStatus{2000, 1999, 100})
	for plan, rate := range map[ShopPlan]float64{PlanPlus: 1000, PlanEnterprise: 2000, PlanStandard: 100} {
		if err := w.acme.SetPlan(plan); err != nil {
			t.Fatal(err)
		}
		w.equal(string(plan), status(w.acme).RestoreRate, rate)
	}
	if err := w.acme.SetPlan("gold"); err == nil {
		t.Error("a plan that is none")
	}
}

// TestThrottling: what was requested must be there up front; what was not needed
// comes back at once, the rest with time.
func TestThrottling(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	const page = `{ customers(first: 250) { nodes { id } } }`
	w.acme.Drain(1990)
	refused := w.run(page, nil)
	w.equal("code", refused.code(), "THROTTLED")
	w.equal("status", refused.Status, 200)
	w.equal("message", refused.Errors[0].Message, "Throttled")
	w.equal("cost", fmt.Sprint(refused.Extensions.Cost.Requested, refused.Extensions.Cost.Actual == nil, refused.Extensions.Cost.Status), "13 true {2000 10 100}")
	w.equal("no data", refused.Data == nil, true)
	w.clock.Add(29 * time.Millisecond)
	w.equal("too early", w.run(page, nil).code(), "THROTTLED")
	w.clock.Add(time.Millisecond) // (13 − 10) ÷ 100 s in all
	served := w.run(page, nil)
	w.equal("served", served.code(), "")
	w.equal("left", served.Extensions.Cost.Status.CurrentlyAvailable, 0)
	w.equal("another shop", w.runIn(w.bolt, page, nil).code(), "")
	w.clock.Add(time.Hour)
	w.equal("no more than full", w.run(`{ shop { id } }`, nil).Extensions.Cost.Status.CurrentlyAvailable, 1999)
	usage := w.acme.ResetUsage()
	w.equal("usage", fmt.Sprint(usage.Requests, usage.Used, usage.Throttled), "2 14 2")
	w.equal("reset", w.acme.Usage(), ShopUsage{})
}

// TestRefund: the difference to the actual cost is back before the next request.
func TestRefund(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	const lookup = `{ customerByIdentifier(identifier: {emailAddress: "nobody@example.com"}) ` + snapshot + ` }`
	for range 5 {
		w.run(lookup, nil)
	}
	w.equal("usage", fmt.Sprint(w.acme.Usage().Used), "5")
	w.equal("available", w.run(lookup, nil).Extensions.Cost.Status.CurrentlyAvailable, 1994)
}

// TestUsedOverRestored: a client that keeps the bucket just above empty uses what
// comes back, and the counters show it.
func TestUsedOverRestored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	w.acme.Drain(2000)
	w.acme.ResetUsage()
	const set = `mutation { tagsAdd(id: "gid://shopify/Customer/1", tags: []) { userErrors { message } } }`
	for range 600 { // a minute
		w.clock.Add(100 * time.Millisecond)
		w.run(set, nil)
	}
	usage := w.acme.Usage()
	w.equal("throttled", usage.Throttled, 0)
	if ratio := usage.Used / usage.Restored; ratio < 0.99 || ratio > 1.01 || usage.Offered != usage.Restored {
		t.Errorf("used ÷ restored = %v of %+v", ratio, usage)
	}
	w.acme.SetRestoreRate(2)
	w.clock.Add(time.Minute)
	w.equal("two points a second", w.run(`{ shop { id } }`, nil).Extensions.Cost.Status, throttleStatus{40, 39, 2})
}
