package inbox_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
)

// markKey is the metafield that carries a user's id in a shop.
const markKey = "clerk_user_id"

// departing users are deleted once they have their customers.
const departing = 10

// The plan is Plus, so that faults and not limits decide how long it takes.
func TestCrashWithMedusaAndTwoShops(t *testing.T) {
	crashTest(t, []emulator.ShopSpec{
		{Domain: "acme.myshopify.com", Plan: emulator.PlanPlus}, {Domain: "globex.myshopify.com", Plan: emulator.PlanPlus},
	}, app.RoleAll)
}

// openShops serves emulated shops, which pass through wrap unless it is nil,
// and puts them into the settings by the file that LOCKSTEP_CONFIG names.
func (w *crash) openShops(specs []emulator.ShopSpec, wrap func(http.Handler) http.Handler) {
	w.t.Helper()
	shops, err := emulator.NewShopify(emulator.ShopifyOptions{Shops: specs})
	must(w.t, err)
	w.t.Cleanup(shops.Close)
	handler := http.Handler(shops)
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewServer(handler)
	w.t.Cleanup(server.Close)
	shops.SetBaseURL(server.URL)
	w.shops = shops
	file := filepath.Join(w.t.TempDir(), "lockstep.yaml")
	must(w.t, os.WriteFile(file, []byte(shops.ConfigYAML()), 0o600))
	w.env = append(w.env, "LOCKSTEP_CONFIG="+file)
}

// failShops makes one request in five fail: a third of those after the commit,
// a third before it, and a third with a refusal. Each rule sees what the ones
// before it let through, hence the rising rates.
func (w *crash) failShops() {
	w.t.Helper()
	const each = 0.2 / 3
	must(w.t, w.shops.Faults.Set(
		emulator.Rule{Rate: each, Fault: emulator.Fault{Action: emulator.ActionDropAfter}},
		emulator.Rule{Rate: each / (1 - each), Fault: emulator.Fault{Action: emulator.ActionDropBefore}},
		emulator.Rule{Rate: each / (1 - 2*each), Fault: emulator.Fault{Action: emulator.ActionRefuse, Status: http.StatusServiceUnavailable}},
	))
}

// deleteLinked deletes users who have their customers by now; most of those
// deleted before never had any.
func (w *crash) deleteLinked(ctx context.Context) {
	w.t.Helper()
	for _, u := range w.clerk.Users()[:departing] {
		must(w.t, w.clerk.DeleteUser(u.ID))
		w.gone++
	}
	must(w.t, w.clerk.Webhooks.Wait(ctx))
	w.settle(ctx)
}

// checkShops compares what Clerk, the links and each shop hold.
func (w *crash) checkShops() {
	w.t.Helper()
	if w.shops == nil {
		return
	}
	calls := map[string]int{}
	for _, c := range w.shops.Faults.Counts() {
		outcome, _, _ := strings.Cut(c.Outcome, " ")
		calls[outcome] += c.N
	}
	w.t.Logf("calls to the shops by outcome: %v", calls)
	for _, outcome := range []string{"drop_after", "drop_before", "refuse"} {
		if calls[outcome] == 0 {
			w.t.Errorf("no call had the outcome %s", outcome)
		}
	}
	for _, shop := range w.shops.Shops() {
		w.checkShop(shop)
	}
}

func (w *crash) checkShop(shop *emulator.Shop) {
	w.t.Helper()
	marked, customers := marks(shop), shop.Customers()
	users := w.clerk.Users()
	for _, u := range users {
		own := marked[u.ID]
		if len(own) != 1 {
			w.t.Errorf("%s: %s has %d customers", shop.Name(), u.ID, len(own))
			continue
		}
		c := own[0]
		if c.Email != strings.ToLower(u.PrimaryEmail()) || c.FirstName != *u.FirstName || c.LastName != *u.LastName {
			w.t.Errorf("%s: the customer of %s is not in step", shop.Name(), u.ID)
		}
		var linked bool
		err := w.pool.QueryRow(w.t.Context(), `select status = 'linked' and customer_id = $3 from lockstep.customer_links
			where clerk_user_id = $1 and target = $2`, u.ID, "shopify:"+shop.Domain(), c.ID).Scan(&linked)
		if err != nil || !linked {
			w.t.Errorf("%s: %s is not linked to the customer it has: %v", shop.Name(), u.ID, err)
		}
	}
	released := slices.DeleteFunc(customers, func(c emulator.ShopCustomer) bool { return markOf(c) != "" })
	for _, c := range released { // by a user who was deleted; none was there before
		if !slices.Contains(c.Tags, "clerk:deleted") {
			w.t.Errorf("%s: customer %s has no mark and was not released", shop.Name(), c.ID)
		}
	}
	w.t.Logf("%s: %d users, %d customers marked, %d released", shop.Name(), len(users), len(marked), len(released))
	if len(marked) != len(users) || len(released) < departing || len(released) > w.gone {
		w.t.Errorf("%s: customers and users do not match", shop.Name())
	}
}

// marks lists a shop's customers by the user whose mark they carry.
func marks(shop *emulator.Shop) map[string][]emulator.ShopCustomer {
	byUser := map[string][]emulator.ShopCustomer{}
	for _, c := range shop.Customers() {
		if user := markOf(c); user != "" {
			byUser[user] = append(byUser[user], c)
		}
	}
	return byUser
}

func markOf(c emulator.ShopCustomer) string {
	for _, m := range c.Metafields {
		if m.Key == markKey {
			return m.Value
		}
	}
	return ""
}
