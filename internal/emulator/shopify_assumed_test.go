package emulator

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestAssumed is what nobody has seen a shop do: (a) to (g) of "Test first on a
// development shop" in section 7 of the facts. docs/EMULATORS.md lists the same;
// whoever has tried one there corrects both.
func TestAssumed(t *testing.T) {
	t.Parallel()
	t.Run("a: customerSet by a custom id with a taken e-mail is TAKEN and makes nobody", func(t *testing.T) {
		w := newWorld(t, ShopifyOptions{})
		w.define(w.acme)
		holder := w.put(w.acme, CustomerSpec{Email: "ada@example.com"})
		w.wantErrors(w.set(customID("user_1"), in{"email": "Ada@example.com", "firstName": "Eve"}), "customerSet", "input.email|TAKEN|Email has already been taken")
		w.equal("customers", w.acme.CustomerCount(), 1)
		got, err := w.acme.Customer(holder.ID)
		w.equal("the holder", []any{got.FirstName, len(got.Metafields), err}, []any{"", 0, nil})
	})
	t.Run("b: two parallel customerSets with one new custom id make one customer", TestParallelCustomerSets)
	t.Run("c: customerCreate with a value that another customer carries makes nobody", func(t *testing.T) {
		w := newWorld(t, ShopifyOptions{})
		w.define(w.acme)
		w.set(customID("user_1"), in{"email": "ada@example.com"})
		reply := w.run(createMutation, in{"input": in{"email": "eve@example.com", "metafields": []in{{"key": "clerk_user_id", "value": "user_1"}}}})
		w.equal("refused", reply.userErrors("customerCreate"), "[metafields.0.value||"+valueTaken+"]")
		w.equal("customers", w.acme.CustomerCount(), 1)
	})
	t.Run("d: a change of metafields alone sends no customers/update", func(t *testing.T) {
		rc := &receiver{}
		w := newWorld(t, shopReceiver(rc))
		w.define(w.acme)
		c := w.put(w.acme, CustomerSpec{Email: "ada@example.com"})
		w.equal("marked", w.setMetafields(in{"ownerId": c.ID, "key": "clerk_user_id", "value": "user_1"}).userErrors("metafieldsSet"), "[]")
		waitFor(t, w.acme.Webhooks)
		w.equal("topics", slices.Contains(rc.topics(), "customers/update"), false)
	})
	t.Run("e: every attempt of a webhook carries one id", func(t *testing.T) {
		rc := &receiver{answer: func(n int, _ *http.Request) (*http.Response, error) {
			if n < 3 {
				return reply(http.StatusInternalServerError), nil
			}
			return reply(http.StatusOK), nil
		}}
		options := shopReceiver(rc)
		options.RetryScale = 1e-9
		w := newWorld(t, options)
		w.put(w.acme, CustomerSpec{Email: "ada@example.com"})
		waitFor(t, w.acme.Webhooks)
		ids := idsOf(rc)
		w.equal("it was tried again", len(ids) > 1, true)
		w.equal("ids", len(slices.Compact(ids)), 1)
	})
	t.Run("f: nodes of 250 ids costs what nodes of one does", func(t *testing.T) {
		w := newWorld(t, ShopifyOptions{})
		w.define(w.acme)
		for i := range 250 {
			w.put(w.acme, CustomerSpec{Email: fmt.Sprintf("u%d@example.com", i)})
		}
		var ids []string
		for _, c := range w.acme.Customers() {
			ids = append(ids, c.ID)
		}
		const query = `query($ids: [ID!]!) { nodes(ids: $ids) { ... on Customer ` + snapshot + ` } }`
		one, all := w.run(query, in{"ids": ids[:1]}), w.run(query, in{"ids": ids})
		w.equal("points", []int{all.Extensions.Cost.Requested, *all.Extensions.Cost.Actual}, []int{one.Extensions.Cost.Requested, *one.Extensions.Cost.Actual})
		w.equal("customers", len(all.at("nodes").([]any)), 250)
	})
	t.Run("g: another e-mail leaves the consent to marketing as it is", func(t *testing.T) {
		w := newWorld(t, ShopifyOptions{})
		at := w.clock.Now()
		c := w.put(w.acme, CustomerSpec{Email: "ada@example.com", EmailConsent: ShopConsent{"SUBSCRIBED", "CONFIRMED_OPT_IN", &at}})
		w.equal("changed", w.set(in{"id": c.ID}, in{"email": "ada@example.net"}).userErrors("customerSet"), "[]")
		got, err := w.acme.Customer(c.ID)
		w.equal("consent", []any{got.EmailConsent, err}, []any{c.EmailConsent, nil})
		if !strings.HasSuffix(got.Email, ".net") {
			t.Errorf("the e-mail is %s", got.Email)
		}
	})
}
