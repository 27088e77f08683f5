package emulator

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const metafieldsSetMutation = `mutation($metafields: [MetafieldsSetInput!]!) { metafieldsSet(metafields: $metafields) {
	metafields { id namespace key value compareDigest owner { ... on Customer { id } } } userErrors { code field message elementIndex } } }`

func (w *world) setMetafields(inputs ...in) gqlReply {
	w.t.Helper()
	return w.run(metafieldsSetMutation, in{"metafields": inputs})
}

// TestClaim: a null compareDigest writes only if nobody has; a value has one owner.
func TestClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	w.define(w.acme)
	a, b := w.put(w.acme, CustomerSpec{Email: "a@example.com"}), w.put(w.acme, CustomerSpec{Email: "b@example.com"})
	claim := func(owner, value string) in {
		return in{"ownerId": owner, "key": "clerk_user_id", "value": value, "compareDigest": nil}
	}
	first := w.setMetafields(claim(a.ID, "user_1"))
	w.equal("namespace", first.at("metafieldsSet.metafields.0.namespace"), "app--1")
	digest := first.at("metafieldsSet.metafields.0.compareDigest")
	w.wantErrors(w.setMetafields(claim(a.ID, "user_1")), "metafieldsSet", "metafields.0|STALE_OBJECT|"+valueStale)
	w.wantErrors(w.setMetafields(claim(a.ID, "user_2")), "metafieldsSet", "metafields.0|STALE_OBJECT|"+valueStale)
	w.wantErrors(w.setMetafields(claim(b.ID, "user_1")), "metafieldsSet", "metafields.0.value|TAKEN|"+valueTaken)
	for _, test := range []struct {
		name  string
		input in
		want  string
	}{
		{"stale", in{"ownerId": a.ID, "key": "clerk_user_id", "value": "user_2", "compareDigest": "stale"}, "metafields.0|STALE_OBJECT|" + valueStale},
		{"of nothing", in{"ownerId": b.ID, "key": "clerk_user_id", "value": "user_2", "compareDigest": digest}, "metafields.0|INVALID_COMPARE_DIGEST|Invalid `compareDigest` value."},
		{"no owner", in{"ownerId": "gid://shopify/Customer/5", "key": "clerk_user_id", "value": "x"}, "metafields.0.ownerId|INVALID|Owner does not exist."},
		{"blank", in{"ownerId": b.ID, "key": "clerk_user_id", "value": ""}, "metafields.0.value|BLANK|Value can't be blank."},
		{"no type", in{"ownerId": b.ID, "namespace": "custom", "key": "free", "value": "x"}, "metafields.0.type|INVALID_TYPE|Type can't be blank"},
		{"wrong type", in{"ownerId": b.ID, "key": "clerk_user_id", "type": "json", "value": "{}"}, "metafields.0.type|INVALID_TYPE|Type json is not valid for this metafield."},
		{"too long", in{"ownerId": b.ID, "key": "clerk_user_id", "value": strings.Repeat("x", 2049)}, "metafields.0.value|TOO_LONG|Value is too long (maximum is 2048 bytes)"},
	} {
		if got := w.setMetafields(test.input).userErrors("metafieldsSet"); fmt.Sprint(got) != fmt.Sprint([]string{test.want}) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	w.equal("with its digest", w.setMetafields(in{"ownerId": a.ID, "key": "clerk_user_id", "value": "user_3", "compareDigest": digest}).userErrors("metafieldsSet"), "[]")
	same := w.setMetafields(in{"ownerId": a.ID, "key": "clerk_user_id", "value": "user_3"})
	w.equal("an equal value is a no-op", same.userErrors("metafieldsSet"), "[]")
	w.equal("customerCreate", w.run(createMutation, in{"input": in{"email": "c@example.com", "metafields": []in{{"key": "clerk_user_id", "value": "user_3"}}}}).userErrors("customerCreate"), "[metafields.0.value||"+valueTaken+"]")
}

func TestMetafieldsSetIsAtomic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	w.define(w.acme)
	var inputs []in
	for i := range 26 {
		c := w.put(w.acme, CustomerSpec{Email: fmt.Sprintf("u%d@example.com", i)})
		inputs = append(inputs, in{"ownerId": c.ID, "key": "clerk_user_id", "value": fmt.Sprintf("user_%d", i%25), "compareDigest": nil})
	}
	w.wantErrors(w.setMetafields(inputs...), "metafieldsSet", "metafields|LESS_THAN_OR_EQUAL_TO|Exceeded the maximum metafields input limit of 25.")
	w.wantErrors(w.setMetafields(inputs[0], inputs[25]), "metafieldsSet", "metafields.1.value|TAKEN|"+valueTaken)
	w.equal("nothing written", len(w.acme.Customers()[0].Metafields), 0)
	w.equal("25", w.setMetafields(inputs[:25]...).userErrors("metafieldsSet"), "[]")
	deleted := w.want(`mutation($m: [MetafieldIdentifierInput!]!) { metafieldsDelete(metafields: $m) { deletedMetafields { ownerId namespace key } userErrors { field message } } }`,
		in{"m": []in{{"ownerId": inputs[0]["ownerId"], "namespace": "$app", "key": "clerk_user_id"}, {"ownerId": inputs[25]["ownerId"], "namespace": "$app", "key": "clerk_user_id"}}})
	w.equal("deleted", deleted.at("metafieldsDelete.deletedMetafields"), []any{in{"ownerId": inputs[0]["ownerId"], "namespace": "app--1", "key": "clerk_user_id"}, nil})
	w.equal("free again", w.setMetafields(inputs[25]).userErrors("metafieldsSet"), "[]")
}

func TestDefinitions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	const create = `mutation($d: MetafieldDefinitionInput!) { metafieldDefinitionCreate(definition: $d) { createdDefinition { id namespace capabilities { uniqueValues { enabled } } } userErrors { code field message } } }`
	const root = "metafieldDefinitionCreate"
	define := func(more in) gqlReply {
		d := in{"ownerType": "CUSTOMER", "namespace": "custom", "key": "clerk_user_id", "name": "Clerk", "type": "id"}
		for name, value := range more {
			d[name] = value
		}
		return w.run(create, in{"d": d})
	}
	w.equal("unique", define(nil).at(root+".createdDefinition.capabilities.uniqueValues.enabled"), true)
	w.wantErrors(define(nil), root, "definition.key|TAKEN|Key is in use for Customer metafields on the 'custom' namespace.")
	w.equal("another namespace", define(in{"namespace": "$app:ids"}).at(root+".createdDefinition.namespace"), "app--1--ids")
	w.wantErrors(define(in{"key": "k2", "capabilities": in{"uniqueValues": in{"enabled": false}}}), root,
		"definition|CAPABILITY_REQUIRED_BUT_DISABLED|Capability unique_values is required for type id but is disabled")
	w.wantErrors(define(in{"key": "k2", "type": "json", "capabilities": in{"uniqueValues": in{"enabled": true}}}), root,
		"definition|INVALID_CAPABILITY|The capability unique_values is not valid for this definition.")
	w.wantErrors(define(in{"key": "k2", "type": "nonsense"}), root, "definition.type|INCLUSION|Type name nonsense is not a valid type.")
	w.wantErrors(define(in{"key": "k"}), root, "definition.key|INVALID_CHARACTER|Key is invalid.")
	w.equal("other app", define(in{"namespace": "app--2"}).code(), "ACCESS_DENIED")
	w.put(w.acme, CustomerSpec{FirstName: "A", Metafields: []ShopMetafield{{Namespace: "custom", Key: "used", Value: "x"}}})
	w.wantErrors(define(in{"key": "used"}), root, "definition.key|UNSTRUCTURED_ALREADY_EXISTS|Unstructured metafields exist for this namespace and key.")
	for i := range 254 {
		w.clock.Add(time.Second) // or the bucket runs dry
		define(in{"key": fmt.Sprintf("key_%d", i), "type": "json"})
	}
	w.equal("257", strings.Split(define(in{"key": "too_many"}).userErrors(root)[0], "|")[1], "RESOURCE_TYPE_LIMIT_EXCEEDED")
}

// TestAnotherApp cannot see what the namespace $app of the first holds.
func TestAnotherApp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	w.define(w.acme)
	w.set(customID("user_1"), in{"email": "a@example.com"})
	c := w.acme.Customers()[0]
	w.acme.SetApp(2)
	w.equal("lookup", w.set(customID("user_1"), in{"email": "a@example.com"}).code(), "NOT_FOUND")
	read := w.want(`query($id: ID!) { customer(id: $id) { own: metafield(key: "clerk_user_id") { value } other: metafield(namespace: "app--1", key: "clerk_user_id") { value } metafields(first: 5) { nodes { value } } } }`, in{"id": c.ID})
	w.equal("read", read.Data["customer"], in{"own": nil, "other": nil, "metafields": in{"nodes": []any{}}})
	w.equal("write", w.setMetafields(in{"ownerId": c.ID, "namespace": "app--1", "key": "clerk_user_id", "value": "x"}).code(), "ACCESS_DENIED")
}

func TestDefinitionDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ShopifyOptions{})
	w.define(w.acme)
	w.set(customID("user_1"), in{"email": "a@example.com"})
	const query = `mutation($i: MetafieldDefinitionIdentifierInput!, $all: Boolean!) { metafieldDefinitionDelete(identifier: $i, deleteAllAssociatedMetafields: $all) { deletedDefinitionId userErrors { code field message } } }`
	i := in{"ownerType": "CUSTOMER", "key": "clerk_user_id"}
	w.equal("in use", strings.Split(w.run(query, in{"i": i, "all": false}).userErrors("metafieldDefinitionDelete")[0], "|")[1], "ID_TYPE_DELETION_ERROR")
	w.want(query, in{"i": i, "all": true})
	w.equal("values", len(w.acme.Customers()[0].Metafields), 0)
	w.equal("lookup", w.set(customID("user_1"), in{"email": "a@example.com"}).code(), "NOT_FOUND")
}
