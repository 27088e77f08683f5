package app_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// A shop's customers are copied as they are: what bodies hold, and what they do
// not.
func TestCaptureOfEveryTopic(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	c := w.put(emulator.CustomerSpec{Email: "guest@example.test", Phone: "+4520123456", FirstName: "Ada", Tags: []string{"vip"}})
	w.settle()
	w.wantCaptured(c.ID, map[string]string{"email": "guest@example.test", "phone": "+4520123456", "first_name": "Ada", "last_name": "null",
		"state": "DISABLED", "tags": "{vip}", "locale": "en", "clerk_user_id": "null", "deleted_at": "null", "email_consent": "NOT_SUBSCRIBED", "unproven": "{}"})

	w.edit(c.ID, emulator.CustomerEdit{FirstName: new("Augusta"), Email: new("new@example.test")})
	w.settle()
	w.wantCaptured(c.ID, map[string]string{"email": "new@example.test", "first_name": "Augusta"})

	enabled := emulator.CustomerEnabled
	w.edit(c.ID, emulator.CustomerEdit{State: &enabled})
	w.settle()
	w.wantCaptured(c.ID, map[string]string{"state": "ENABLED"})

	must(t, w.acme.DeleteCustomer(c.ID))
	w.settle()
	w.wantCaptured(c.ID, map[string]string{"email": "null", "phone": "null", "first_name": "null", "tags": "{}"})
	if w.captured(c.ID, "deleted_at") == "null" {
		t.Error("the deletion is not captured")
	}
}

// ShopifySharp #1178: since 2025-01 bodies hold no tags and no consent. Only these
// topics tell of them, so each must be enough by itself; what they tell is read.
func TestComplaintTagsAndConsentGoneFromBodies(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	c := w.put(emulator.CustomerSpec{Email: "guest@example.test", Tags: []string{"plan:free"}})
	w.settle()
	at := time.Date(2026, 11, 9, 22, 41, 52, 0, time.UTC)
	for topic, step := range map[string]struct {
		edit emulator.CustomerEdit
		want map[string]string
	}{
		"customer.tags_added":                      {emulator.CustomerEdit{Tags: &[]string{"plan:free", "vip"}}, map[string]string{"tags": "{plan:free,vip}"}},
		"customer.tags_removed":                    {emulator.CustomerEdit{Tags: &[]string{}}, map[string]string{"tags": "{}"}},
		"customers_email_marketing_consent/update": {emulator.CustomerEdit{EmailConsent: &emulator.ShopConsent{State: "SUBSCRIBED", OptInLevel: "SINGLE_OPT_IN", UpdatedAt: &at}}, map[string]string{"email_consent": "SUBSCRIBED", "email_consent_at": "2026-11-09 22:41:52+00"}},
	} {
		w.edit(c.ID, emulator.CustomerEdit{Tags: &[]string{"plan:free"}})
		w.settle()
		w.acme.Webhooks.Hold()
		w.edit(c.ID, step.edit)
		ids := w.ofTopic(topic)
		must(t, w.acme.Webhooks.Release(ids[len(ids)-1])) // this one, and no customers/update
		w.settle()
		w.wantCaptured(c.ID, step.want)
	}
}

// Airfoil's notes on Shopify: webhooks are lost. The next one, of whatever topic,
// makes up for it.
func TestComplaintWebhookLost(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	c := w.put(emulator.CustomerSpec{Email: "guest@example.test"})
	w.settle()
	w.acme.Webhooks.Disturb(1, 0)
	w.edit(c.ID, emulator.CustomerEdit{FirstName: new("Ada")})
	w.acme.Webhooks.Disturb(0, 0)
	w.settle()
	w.wantCaptured(c.ID, map[string]string{"first_name": "null"})
	w.edit(c.ID, emulator.CustomerEdit{LastName: new("Byron")}) // tells of both: the body is not what is kept
	w.settle()
	w.wantCaptured(c.ID, map[string]string{"first_name": "Ada", "last_name": "Byron"})
}

func TestCaptureDuplicateWebhook(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	w.acme.Webhooks.Disturb(0, 1)
	c := w.put(emulator.CustomerSpec{Email: "guest@example.test"})
	w.settle()
	w.wantCaptured(c.ID, map[string]string{"email": "guest@example.test"})
	reads := w.requests("query nodes")
	id := w.acme.Webhooks.Messages()[0].ID
	for range 3 {
		must(t, w.acme.Webhooks.Resend(id))
	}
	w.settle()
	if n := testdb.Query[int](t, w.pool, `select count(*) from lockstep.deliveries where source = 'shopify' and target = $1`, acme); n != 1 {
		t.Errorf("%d deliveries, want 1", n)
	}
	if again := w.requests("query nodes"); again != reads {
		t.Errorf("duplicates made %d reads", again-reads)
	}
}

// Webhooks come in any order; the newest version is kept, and a deletion stands.
func TestCaptureReorderedWebhooks(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	w.acme.Webhooks.Hold()
	c := w.put(emulator.CustomerSpec{Email: "guest@example.test"})
	for i := range 5 {
		w.edit(c.ID, emulator.CustomerEdit{FirstName: new("Name" + strconv.Itoa(i))})
	}
	gone := w.put(emulator.CustomerSpec{Email: "gone@example.test"})
	must(t, w.acme.DeleteCustomer(gone.ID))
	var ids []string
	for _, m := range w.acme.Webhooks.Messages() {
		ids = append([]string{m.ID}, ids...)
	}
	for i, id := range ids { // newest first, one by one
		must(t, w.acme.Webhooks.Release(id))
		if i < len(ids)-1 {
			w.acme.Webhooks.Hold()
		}
		w.sentTo(w.acme, id, 200)
	}
	w.settle()
	w.wantCaptured(c.ID, map[string]string{"first_name": "Name4"})
	if w.captured(gone.ID, "deleted_at") == "null" {
		t.Error("the create that came after the deletion brought the customer back")
	}
}

// A burst of changes of one customer is one row, and few reads.
func TestCaptureCoalescesABurst(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	c := w.put(emulator.CustomerSpec{Email: "guest@example.test"})
	w.settle()
	must(t, w.shops.Faults.Set(emulator.Rule{Route: "acme query nodes", Rate: 1, Fault: emulator.Fault{Action: emulator.ActionPass, Delay: 300 * time.Millisecond}}))
	before := w.requests("query nodes")
	const burst = 60
	for i := range burst {
		w.edit(c.ID, emulator.CustomerEdit{FirstName: new("Name" + strconv.Itoa(i))})
	}
	w.settle()
	w.wantCaptured(c.ID, map[string]string{"first_name": "Name59"})
	if n := w.requests("query nodes") - before; n > burst/6 {
		t.Errorf("%d reads for %d changes of one customer", n, burst)
	}
}

// Our own writes come back as webhooks. They cost a read in a batch: nobody is
// looked up again, and nothing is written.
func TestCaptureEchoesCostNothing(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	const users = 20
	for i := range users {
		w.create("user." + strconv.Itoa(i))
	}
	w.eventually("all are linked", `select count(*) = $1 from lockstep.customer_links where status = 'linked' and applied = desired`, users)
	w.settle()
	if n := testdb.Query[int](t, w.pool, `select count(*) from lockstep.shopify_customers where clerk_user_id is not null`); n != users {
		t.Errorf("%d customers captured with their marks, want %d", n, users)
	}
	if n := testdb.Query[int64](t, w.pool, `select sum(desired - 1) from lockstep.customer_links`); n != 0 {
		t.Errorf("echoes had %d users looked at again", n)
	}
	if n := w.requests("mutation customerSet"); n != users {
		t.Errorf("%d writes for %d users", n, users)
	}
}

// A merchant's edit of what Lockstep owns is put right; of anything else, kept.
func TestCaptureMerchantsEditIsPutRight(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	u, c := w.linked("ada")
	w.edit(c.ID, emulator.CustomerEdit{Email: new("wrong@example.test"), FirstName: new("Wrong"), Note: new("likes owls"), Tags: &[]string{"vip"}})
	w.settle()
	w.eventually("the e-mail is right again", `select email = 'ada@example.test' from lockstep.shopify_customers where shopify_customer_id = $1`, c.ID)
	got := w.customerOf(u.ID)
	if got.ID != c.ID || got.Email != "ada@example.test" || got.FirstName != "ada" || got.Note == nil || *got.Note != "likes owls" || len(got.Tags) != 1 {
		t.Errorf("the customer is %+v", got)
	}
	writes := w.requests("mutation customerSet")
	w.edit(c.ID, emulator.CustomerEdit{Note: new("likes cats")})
	w.settle()
	if n := w.requests("mutation customerSet"); n != writes {
		t.Errorf("an edit of a note caused %d writes", n-writes)
	}
}

// Airfoil's notes on Shopify: who ignores nulls cannot clear a field. An e-mail
// that a merchant takes away is noticed, and comes back: Shopify shows those of
// other customers, so null is no lack of access.
func TestComplaintNullsCannotBeCleared(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	w.linked("grace")
	u, c := w.linked("ada")
	w.edit(c.ID, emulator.CustomerEdit{Email: new("")})
	w.eventually("it is put right", `select count(*) = 2 from lockstep.history where clerk_user_id = $1 and target = $2`, u.ID, acme)
	w.settle()
	if got := w.customerOf(u.ID); got.ID != c.ID || got.Email != "ada@example.test" {
		t.Errorf("the customer is %+v", got)
	}
}

// Deleted in the shop: the link is dropped, and the user gets a customer again.
func TestCaptureDeletedCustomerIsMadeAgain(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	u, c := w.linked("ada")
	must(t, w.acme.DeleteCustomer(c.ID))
	w.settle()
	got := w.customerOf(u.ID)
	if got.ID == c.ID || got.Email != "ada@example.test" || w.acme.CustomerCount() != 1 {
		t.Errorf("the customer is %+v, of %d", got, w.acme.CustomerCount())
	}
	if n := testdb.Query[int](t, w.pool, `select count(*) from lockstep.history where clerk_user_id = $1 and action = 'gone' and customer_id = $2`, u.ID, c.ID); n != 1 {
		t.Errorf("%d entries say that it is gone", n)
	}
}

// Merged in the shop: the link moves to the customer that was kept.
func TestCaptureMergedCustomer(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	u, c := w.linked("ada")
	older := w.put(emulator.CustomerSpec{Email: "ada.old@example.test", Orders: 3, Tags: []string{"vip"}})
	w.settle()
	kept, err := w.acme.MergeCustomers(older.ID, c.ID)
	must(t, err)
	if kept.ID == c.ID { // both have an e-mail: the second is kept
		kept, err = w.acme.Customer(c.ID)
		must(t, err)
	}
	w.settle()
	got := w.customerOf(u.ID)
	if got.ID != kept.ID || got.Email != "ada@example.test" || markOf(got) != u.ID || w.acme.CustomerCount() != 1 {
		t.Errorf("linked to %+v, %d customers", got, w.acme.CustomerCount())
	}
}

func TestCaptureMergedAway(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	u, c := w.linked("ada")
	older := w.put(emulator.CustomerSpec{Email: "ada.old@example.test", Orders: 3, Tags: []string{"vip"}})
	w.settle()
	kept, err := w.acme.MergeCustomers(c.ID, older.ID)
	must(t, err)
	if kept.ID != older.ID {
		t.Fatalf("kept %s, want the older one", kept.ID)
	}
	w.settle()
	got := w.customerOf(u.ID)
	if got.ID != older.ID || got.Email != "ada@example.test" || markOf(got) != u.ID || w.acme.CustomerCount() != 1 || got.Orders != 3 {
		t.Errorf("linked to %+v, %d customers", got, w.acme.CustomerCount())
	}
	if w.captured(c.ID, "deleted_at") == "null" || w.captured(older.ID, "email") != "ada@example.test" {
		t.Errorf("captured: deleted %s, kept %s", w.captured(c.ID, "deleted_at"), w.captured(older.ID, "email"))
	}
}

// Our mark without a link: whoever lost the link, the user is linked again.
func TestCaptureMarkWithoutLink(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	u, c := w.linked("ada")
	_, err := w.pool.Exec(t.Context(), `update lockstep.customer_links set customer_id = null, status = 'failed'`)
	must(t, err)
	w.edit(c.ID, emulator.CustomerEdit{LastName: new("Byron")})
	w.settle()
	if got := w.customerOf(u.ID); got.ID != c.ID || got.LastName != "Lovelace" {
		t.Errorf("linked to %+v", got)
	}
}

// A conflict ends when the merchant takes its cause away, not minutes later.
func TestCaptureEndsAConflict(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	account := w.put(emulator.CustomerSpec{Email: "ada@example.test", State: emulator.CustomerEnabled})
	u := w.create("ada")
	w.eventually("the account stands in the way", `select coalesce((select status = 'conflict' and applied = desired from lockstep.customer_links where clerk_user_id = $1), false)`, u.ID)
	must(t, w.acme.DeleteCustomer(account.ID))
	w.eventually("linked", isLinked, u.ID)
}

// Fields that Shopify hides from the app are null, like those that are empty.
// Neither is what was known forgotten, nor is anything written to fill them.
func TestCaptureNullForLackOfAccess(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	_, c := w.linked("ada")
	guest := w.put(emulator.CustomerSpec{Email: "guest@example.test", Phone: "+4520123456", FirstName: "Guest"})
	w.settle()
	writes := w.requests("mutation *")
	w.acme.SetCustomerData(false)
	for _, id := range []string{c.ID, guest.ID} {
		w.edit(id, emulator.CustomerEdit{Tags: &[]string{"vip"}})
	}
	fresh := w.put(emulator.CustomerSpec{Email: "fresh@example.test"})
	w.settle()
	w.wantCaptured(c.ID, map[string]string{"email": "ada@example.test", "first_name": "ada", "tags": "{vip}"})
	w.wantCaptured(guest.ID, map[string]string{"email": "guest@example.test", "phone": "+4520123456", "first_name": "Guest", "tags": "{vip}", "unproven": "{email,phone,name}"})
	w.wantCaptured(fresh.ID, map[string]string{"email": "null", "unproven": "{email,phone,name}"})
	if n := w.requests("mutation *") - writes; n != 0 {
		t.Errorf("%d writes without seeing anything", n)
	}
	w.acme.SetCustomerData(true)
	w.edit(guest.ID, emulator.CustomerEdit{Phone: new("")})
	w.edit(fresh.ID, emulator.CustomerEdit{LastName: new("Fresh")})
	w.settle()
	w.wantCaptured(fresh.ID, map[string]string{"email": "fresh@example.test"})
	if got := w.captured(guest.ID, "phone") + w.captured(guest.ID, "unproven"); got != "+4520123456{phone}" && got != "null{}" {
		t.Errorf("a phone that is gone, while no customer shows one: %s", got)
	}
}

// Another app insists on a value of its own. We do not fight it at the speed of
// webhooks: a customer that was put right often of late waits, then longer.
func TestCaptureDoesNotFight(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	u, c := w.linked("ada")
	_, err := w.pool.Exec(t.Context(), `insert into lockstep.history (clerk_user_id, target, customer_id, action, reason)
		select $1, $2, $3, 'update', 'fields differ' from generate_series(1, 6)`, u.ID, acme, c.ID)
	must(t, err)
	writes := w.requests("mutation customerSet")
	w.edit(c.ID, emulator.CustomerEdit{FirstName: new("ADA")})
	w.eventually("it waits", `select exists (select from lockstep.shopify_changes where customer_id = $1 and due_at > now() + interval '10 seconds' and lease_until is null)`, c.ID)
	if n := w.requests("mutation customerSet") - writes; n != 0 {
		t.Errorf("%d writes at once", n)
	}
	_, err = w.pool.Exec(t.Context(), `update lockstep.history set at = at - interval '1 minute' where action = 'update'`)
	must(t, err)
	w.edit(c.ID, emulator.CustomerEdit{Note: new("another webhook")})
	w.settle()
	if got := w.customerOf(u.ID); got.FirstName != "ada" {
		t.Errorf("it was never put right: %+v", got)
	}
}

// A change whose job was lost is read all the same.
func TestCaptureWithoutAJob(t *testing.T) {
	t.Parallel()
	w := newShopWorld(t, nil)
	w.acme.Webhooks.Disturb(1, 0)
	c := w.put(emulator.CustomerSpec{Email: "guest@example.test"})
	_, err := w.pool.Exec(t.Context(), `insert into lockstep.shopify_changes (target, customer_id, due_at) values ($1, $2, now() - interval '1 minute')`, acme, c.ID)
	must(t, err)
	w.settle()
	w.wantCaptured(c.ID, map[string]string{"email": "guest@example.test"})
}
