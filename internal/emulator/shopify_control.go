package emulator

import (
	"fmt"
	"net/http"
	"strings"
)

const shopPrefix = controlPrefix + "shopify/"

// controlRoutes makes the routes for use without Go; see docs/EMULATORS.md. Faults
// and webhooks have the routes that every emulator has, below the part that they
// belong to.
func (s *Shopify) controlRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	handleControl(mux, "GET", "shopify/settings", s.controlSettings)
	handleControl(mux, "GET", "shopify/shops", func(*http.Request) (any, error) {
		return map[string]any{"shops": s.shopSummaries()}, nil
	})
	handleControl(mux, "POST", "shopify/shops", s.controlOpen)
	s.customerControls(mux)
	s.shopControls(mux)
	faults := http.NewServeMux()
	controlFaults(faults, s.Faults)
	for _, route := range []string{"GET faults", "PUT faults", "DELETE faults", "GET requests"} {
		method, path, _ := strings.Cut(route, " ")
		mux.Handle(method+" "+shopPrefix+path, moved(faults, shopPrefix))
	}
	mux.HandleFunc(shopPrefix+"{shop}/", s.controlWebhooks)
	return mux
}

// moved serves what is under a prefix as if it were under /_control/.
func moved(to http.Handler, prefix string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner := r.Clone(r.Context())
		inner.URL.Path = controlPrefix + strings.TrimPrefix(r.URL.Path, prefix)
		inner.URL.RawPath = ""
		to.ServeHTTP(w, inner)
	})
}

// controlWebhooks serves the routes for the webhooks of one shop.
func (s *Shopify) controlWebhooks(w http.ResponseWriter, r *http.Request) {
	shop, err := s.shopOf(r)
	if err != nil {
		writeJSON(w, controlStatus(err), map[string]string{"error": err.Error()})
		return
	}
	mux := http.NewServeMux()
	controlOutbox(mux, shop.Webhooks)
	moved(mux, shopPrefix+r.PathValue("shop")+"/").ServeHTTP(w, r)
}

func (s *Shopify) shopOf(r *http.Request) (*Shop, error) {
	shop := s.Shop(r.PathValue("shop"))
	if shop == nil {
		return nil, &ShopError{http.StatusNotFound, "no shop " + r.PathValue("shop")}
	}
	return shop, nil
}

// onShop answers with what a function makes of the shop and the body.
func onShop[T any](s *Shopify, serve func(shop *Shop, r *http.Request, body T) (any, error)) controlFunc {
	return func(r *http.Request) (any, error) {
		shop, err := s.shopOf(r)
		if err != nil {
			return nil, err
		}
		var body T
		if err := readControl(r, &body); err != nil {
			return nil, err
		}
		return serve(shop, r, body)
	}
}

// noBody is the body of routes that have none.
type noBody struct{}

func customerID(r *http.Request) string { return "gid://shopify/Customer/" + r.PathValue("id") }

func (s *Shopify) customerControls(mux *http.ServeMux) {
	handleControl(mux, "GET", "shopify/{shop}/customers", onShop(s, func(shop *Shop, r *http.Request, _ noBody) (any, error) {
		if email := r.URL.Query().Get("email"); email != "" {
			return shop.CustomerByEmail(email)
		}
		return map[string]any{"customers": shop.Customers()}, nil
	}))
	handleControl(mux, "POST", "shopify/{shop}/customers", onShop(s, func(shop *Shop, _ *http.Request, spec CustomerSpec) (any, error) {
		return shop.PutCustomer(spec)
	}))
	handleControl(mux, "GET", "shopify/{shop}/customers/{id}", onShop(s, func(shop *Shop, r *http.Request, _ noBody) (any, error) {
		return shop.Customer(customerID(r))
	}))
	handleControl(mux, "PATCH", "shopify/{shop}/customers/{id}", onShop(s, func(shop *Shop, r *http.Request, edit CustomerEdit) (any, error) {
		return shop.EditCustomer(customerID(r), edit)
	}))
	handleControl(mux, "DELETE", "shopify/{shop}/customers/{id}", onShop(s, func(shop *Shop, r *http.Request, _ noBody) (any, error) {
		return done(shop.DeleteCustomer(customerID(r)))
	}))
	handleControl(mux, "POST", "shopify/{shop}/customers/{id}/orders", onShop(s, func(shop *Shop, r *http.Request, _ noBody) (any, error) {
		return shop.AddOrder(customerID(r))
	}))
	handleControl(mux, "POST", "shopify/{shop}/customers/{id}/merge", onShop(s, func(shop *Shop, r *http.Request, body struct {
		Into string `json:"into"`
	}) (any, error) {
		return shop.MergeCustomers(customerID(r), body.Into)
	}))
	handleControl(mux, "POST", "shopify/{shop}/comply", onShop(s, func(shop *Shop, _ *http.Request, body struct {
		Topic    string `json:"topic"`
		Customer string `json:"customer"`
	}) (any, error) {
		return messageID(shop.Comply(body.Topic, body.Customer))
	}))
}

func (s *Shopify) shopControls(mux *http.ServeMux) {
	handleControl(mux, "GET", "shopify/{shop}", onShop(s, func(shop *Shop, _ *http.Request, _ noBody) (any, error) {
		return shop.summary(s.APIURL()), nil
	}))
	handleControl(mux, "PATCH", "shopify/{shop}", onShop(s, func(shop *Shop, _ *http.Request, change ShopChange) (any, error) {
		if err := shop.Change(change); err != nil {
			return nil, err
		}
		return shop.summary(s.APIURL()), nil
	}))
	handleControl(mux, "POST", "shopify/{shop}/index", onShop(s, func(shop *Shop, _ *http.Request, _ noBody) (any, error) {
		shop.IndexNow()
		return done(nil)
	}))
	handleControl(mux, "POST", "shopify/{shop}/finish-merges", onShop(s, func(shop *Shop, _ *http.Request, _ noBody) (any, error) {
		return map[string]int{"finished": shop.FinishMerges()}, nil
	}))
	handleControl(mux, "GET", "shopify/{shop}/bulk", onShop(s, func(shop *Shop, _ *http.Request, _ noBody) (any, error) {
		return map[string]any{"operations": shop.BulkOperations()}, nil
	}))
	handleControl(mux, "PUT", "shopify/{shop}/bulk", onShop(s, func(shop *Shop, _ *http.Request, life BulkLife) (any, error) {
		return done(shop.SetBulk(life))
	}))
	handleControl(mux, "GET", "shopify/{shop}/usage", onShop(s, func(shop *Shop, _ *http.Request, _ noBody) (any, error) {
		return shop.Usage(), nil
	}))
	handleControl(mux, "DELETE", "shopify/{shop}/usage", onShop(s, func(shop *Shop, _ *http.Request, _ noBody) (any, error) {
		return shop.ResetUsage(), nil
	}))
	handleControl(mux, "DELETE", "shopify/{shop}/subscriptions", onShop(s, func(shop *Shop, _ *http.Request, _ noBody) (any, error) {
		return map[string]int{"deleted": shop.DropSubscriptions()}, nil
	}))
}

// ShopChange changes the life of a shop; nil leaves a thing alone. See the methods
// of Shop that are named alike.
type ShopChange struct {
	Plan         *ShopPlan `json:"plan"`
	RestoreRate  *float64  `json:"restore_rate"` // points per second
	Drain        float64   `json:"drain"`        // points
	Status       *int      `json:"status"`
	Revoked      *bool     `json:"revoked"`
	Scopes       *[]string `json:"scopes"`
	CustomerData *bool     `json:"customer_data"`
	Secrets      *[]string `json:"secrets"`
	AppID        *int64    `json:"app_id"`
}

// Change applies a change. It fails on one that makes no sense, and may then have
// applied a part.
func (s *Shop) Change(change ShopChange) error {
	if change.Plan != nil {
		if err := s.SetPlan(*change.Plan); err != nil {
			return err
		}
	}
	if change.RestoreRate != nil {
		if *change.RestoreRate <= 0 {
			return fmt.Errorf("a restore rate is more than 0 points per second")
		}
		s.SetRestoreRate(*change.RestoreRate)
	}
	if change.Secrets != nil {
		if err := s.SetSecrets(*change.Secrets...); err != nil {
			return err
		}
	}
	s.Drain(change.Drain)
	s.setAccess(func(a *access) {
		set(&a.status, change.Status)
		set(&a.scopes, change.Scopes)
		set(&a.appID, change.AppID)
		if change.CustomerData != nil {
			a.noCustomers = !*change.CustomerData
		}
	})
	if change.Revoked != nil && *change.Revoked {
		s.Revoke()
	} else if change.Revoked != nil {
		s.Restore()
	}
	return nil
}

// shopSummary is a shop in the control routes.
type shopSummary struct {
	Domain        string            `json:"domain"`
	Plan          ShopPlan          `json:"plan"`
	Status        int               `json:"status"`
	Revoked       bool              `json:"revoked"`
	Scopes        []string          `json:"scopes"`
	Customers     int               `json:"customers"`
	Subscriptions []string          `json:"subscriptions"` // topics
	ClientID      string            `json:"client_id"`
	Settings      map[string]string `json:"settings"`
	Usage         ShopUsage         `json:"usage"`
}

func (s *Shop) summary(apiURL string) shopSummary {
	summary := shopSummary{Domain: s.Domain(), Settings: settingsMap(s.settings(apiURL)), Usage: s.Usage(), Subscriptions: []string{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.access
	summary.Plan, summary.Status, summary.Revoked, summary.Scopes, summary.ClientID = a.plan, a.status, a.revoked, a.scopes, a.clientID
	summary.Customers = len(s.store.byNumber)
	for _, sub := range s.subscriptions {
		summary.Subscriptions = append(summary.Subscriptions, topicName(sub.topic))
	}
	return summary
}

func settingsMap(settings []Setting) map[string]string {
	values := map[string]string{}
	for _, setting := range settings {
		values[setting.Name] = setting.Value
	}
	return values
}

func (s *Shopify) shopSummaries() []shopSummary {
	list := []shopSummary{}
	for _, shop := range s.Shops() {
		list = append(list, shop.summary(s.APIURL()))
	}
	return list
}

func (s *Shopify) controlSettings(*http.Request) (any, error) {
	return map[string]any{"environment": settingsMap(s.Settings()), "yaml": s.ConfigYAML()}, nil
}

func (s *Shopify) controlOpen(r *http.Request) (any, error) {
	var spec ShopSpec
	if err := readControl(r, &spec); err != nil {
		return nil, err
	}
	shop, err := s.AddShop(spec)
	if err != nil {
		return nil, err
	}
	return shop.summary(s.APIURL()), nil
}
