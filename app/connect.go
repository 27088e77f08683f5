package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/inbox"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/shopify"
	"golang.org/x/sync/errgroup"
)

// shopOf is a target that is a shop.
type shopOf struct {
	*shopify.Target
	config ShopConfig
}

// shops are the shops of the settings, or the one that is named.
func (a *App) shops(only string) (list []shopOf, err error) {
	only = strings.ToLower(strings.TrimSpace(only))
	for _, t := range a.targets {
		shop, ok := lockstep.As[*shopify.Target](t)
		at := slices.IndexFunc(a.config.Shops, func(c ShopConfig) bool { return "shopify:"+c.Shop == t.Name() })
		if ok && at >= 0 && (only == "" || a.config.Shops[at].Shop == only) {
			list = append(list, shopOf{shop, a.config.Shops[at]})
		}
	}
	switch {
	case len(list) > 0:
		return list, nil
	case only != "":
		return nil, fmt.Errorf("%s is not in the settings: add it to shopify in lockstep.yaml, or set SHOPIFY_SHOP", only)
	}
	return nil, errors.New("no shop is in the settings: add it to shopify in lockstep.yaml, or set SHOPIFY_SHOP")
}

// shopPatience is how long one shop may take to answer a command.
const shopPatience = time.Minute

// eachShop does something for all shops at once. One that fails has no result,
// and its error is joined to the others'.
func eachShop[T any](ctx context.Context, shops []shopOf, do func(context.Context, shopOf) (T, error)) ([]T, error) {
	const atOnce = 8
	results, failed := make([]T, len(shops)), make([]error, len(shops))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, s := range shops {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, shopPatience)
			defer cancel()
			result, err := do(ctx, s)
			if err != nil {
				failed[i] = fmt.Errorf("%s: %w", s.config.Shop, err)
				return nil
			}
			results[i] = result
			return nil
		})
	}
	_ = group.Wait() // no shop's error ends the others
	return results, errors.Join(failed...)
}

// Connected is what ConnectShops did in one shop.
type Connected struct {
	Shop       string             `json:"shop"`
	Endpoint   string             `json:"endpoint"`
	Report     shopify.Report     `json:"report"`
	Subscribed shopify.Subscribed `json:"subscribed"`
}

// ConnectShops gets shops ready, all of them or the one that is named: it checks
// what the app may do and see, makes the metafield definition, and has the shop
// send its webhooks to publicURL, or to where LOCKSTEP_PUBLIC_URL says. It may be
// repeated. A shop that fails leaves the others alone.
func (a *App) ConnectShops(ctx context.Context, only, publicURL string) ([]Connected, error) {
	endpoint := a.config.ShopifyEndpoint
	if publicURL != "" {
		var err error
		if endpoint, err = shopify.Endpoint(publicURL); err != nil {
			return nil, fmt.Errorf("--url %w", err)
		}
	}
	if endpoint == "" {
		return nil, errors.New("where do the webhooks go? Add --url https://lockstep.example.com, or set LOCKSTEP_PUBLIC_URL")
	}
	shops, err := a.shops(only)
	if err != nil {
		return nil, err
	}
	if err := a.store.Ping(ctx); err != nil {
		return nil, err
	}
	in, err := inbox.New(a.inboxConfig())
	if err != nil {
		return nil, err
	}
	return eachShop(ctx, shops, func(ctx context.Context, s shopOf) (Connected, error) { return connect(ctx, in, s, endpoint) })
}

func connect(ctx context.Context, in *inbox.Inbox, s shopOf, endpoint string) (c Connected, err error) {
	c.Shop, c.Endpoint = s.config.Shop, endpoint
	if len(s.config.webhookSecrets()) == 0 {
		return c, &SettingError{"SHOPIFY_WEBHOOK_SECRET", errors.New("is missing, so no webhook of the shop could be believed: set it to the app's client secret")}
	}
	c.Report = s.Inspect(ctx, endpoint)
	if _, stops := c.Report.Problems(); stops != nil {
		return c, stops
	}
	if access := c.Report.Findings[0]; access.Problem != "" {
		return c, errors.New(access.Problem)
	}
	if err := s.Setup(ctx); err != nil {
		return c, err
	}
	if c.Subscribed, err = s.Subscribe(ctx, endpoint); err != nil {
		return c, err
	}
	return c, in.Connect(ctx, s.Name(), endpoint)
}

// Erased counts what was erased, by table.
type Erased = postgres.Erased

// Disconnected is what DisconnectShop did.
type Disconnected struct {
	Shop         string `json:"shop"`
	Unsubscribed int    `json:"unsubscribed"`
	Erased       Erased `json:"erased,omitempty"` // nil: everything was kept
}

// DisconnectShop ends the work in a shop: its webhooks, and what Lockstep writes
// there. With drop it erases the links and captured customers; the shop's own
// customers stay. A shop that cannot be reached is disconnected all the same, and
// the error says what is left to do there.
func (a *App) DisconnectShop(ctx context.Context, shop string, drop bool) (d Disconnected, err error) {
	shops, err := a.shops(shop)
	if err != nil {
		return d, err
	}
	if err := a.store.Ping(ctx); err != nil {
		return d, err
	}
	in, err := inbox.New(a.inboxConfig())
	if err != nil {
		return d, err
	}
	s := shops[0]
	endpoint, err := a.endpoint(ctx, s.Name())
	if err != nil {
		return d, err
	}
	reason := "disconnected: run `lockstep shopify connect --shop " + s.config.Shop + "` to bring it back, or take it out of the settings"
	if d.Erased, err = in.Disconnect(ctx, s.Name(), reason, drop); err != nil {
		return d, err
	}
	d.Shop = s.config.Shop
	ctx, cancel := context.WithTimeout(ctx, shopPatience)
	defer cancel()
	if d.Unsubscribed, err = s.Unsubscribe(ctx, endpoint); err != nil {
		return d, fmt.Errorf("lockstep left %s, but could not end its webhooks, which are ignored from now on: %w", d.Shop, err)
	}
	return d, nil
}

// endpoint is where a shop's webhooks are to go: by the settings, or else by
// `shopify connect`. Empty: it was never said.
func (a *App) endpoint(ctx context.Context, target string) (string, error) {
	if a.config.ShopifyEndpoint != "" {
		return a.config.ShopifyEndpoint, nil
	}
	endpoint, err := a.store.Endpoint(ctx, target)
	return endpoint, postgres.Redact(err)
}

// ShopReport is all that is known of one shop.
type ShopReport struct {
	Shop           string         `json:"shop"`
	Token          string         `json:"token"` // "static" or "client credentials"
	Endpoint       string         `json:"endpoint,omitempty"`
	PausedAt       *time.Time     `json:"paused_at,omitempty"`
	PausedReason   string         `json:"paused_reason,omitempty"`
	DisconnectedAt *time.Time     `json:"disconnected_at,omitempty"`
	Points         float64        `json:"points"` // available now, of Capacity
	Capacity       float64        `json:"points_capacity"`
	Rate           float64        `json:"points_per_second"`
	LastWebhook    *time.Time     `json:"last_webhook,omitempty"`
	Customers      int            `json:"customers_captured"`
	Live           shopify.Report `json:"live"` // what the shop itself says now
}

// Shops reports on every shop of the settings.
func (a *App) Shops(ctx context.Context) ([]ShopReport, error) {
	shops, err := a.shops("")
	if err != nil {
		return nil, err
	}
	if err := a.store.Ping(ctx); err != nil {
		return nil, err
	}
	names := make([]string, len(shops))
	for i, s := range shops {
		names[i] = s.Name()
	}
	live, err := eachShop(ctx, shops, func(ctx context.Context, s shopOf) (shopify.Report, error) {
		endpoint, err := a.endpoint(ctx, s.Name())
		return s.Inspect(ctx, endpoint), err
	})
	if err != nil {
		return nil, err
	}
	states, err := a.store.ShopStates(ctx, names)
	if err != nil {
		return nil, err
	}
	reports := make([]ShopReport, len(shops))
	for i, st := range states {
		reports[i] = ShopReport{
			Shop: shops[i].config.Shop, Token: shops[i].config.tokenKind(), Endpoint: st.Endpoint,
			PausedAt: st.PausedAt, PausedReason: st.PausedReason, DisconnectedAt: st.DisconnectedAt,
			Points: st.Points, Capacity: st.Capacity, Rate: st.Rate, LastWebhook: st.LastWebhook, Customers: st.Customers, Live: live[i],
		}
	}
	return reports, nil
}

// inspect is the periodic look at a target. Subscriptions that are gone are made
// again if it is known where webhooks go; otherwise nobody said that they should
// come.
func (a *App) inspect(ctx context.Context, t lockstep.Target) (problems []string, stops error) {
	shop, ok := lockstep.As[*shopify.Target](t)
	if !ok {
		return nil, nil
	}
	endpoint, err := a.endpoint(ctx, t.Name())
	if err != nil {
		return []string{err.Error()}, nil
	}
	if !a.believes(shop) {
		endpoint = "" // its webhooks would be refused
	}
	report := shop.Inspect(ctx, endpoint)
	if endpoint == "" {
		report.Findings = slices.DeleteFunc(report.Findings, func(f shopify.Finding) bool { return f.Check == "webhooks" })
	}
	if endpoint != "" && len(report.Missing) > 0 {
		if err = a.subscribeAgain(ctx, shop, endpoint, report.Missing); err == nil {
			report = shop.Inspect(ctx, endpoint)
		}
	}
	problems, stops = report.Problems()
	if err != nil && stops == nil {
		problems = append(problems, err.Error())
	}
	return problems, stops
}

// believes reports whether a shop has a secret to check its webhooks with.
func (a *App) believes(shop *shopify.Target) bool {
	return slices.ContainsFunc(a.config.Shops, func(c ShopConfig) bool {
		return "shopify:"+c.Shop == shop.Name() && len(c.webhookSecrets()) > 0
	})
}

// subscribeAgain makes subscriptions that Shopify deleted, as it does when a
// webhook failed eight times in a row.
func (a *App) subscribeAgain(ctx context.Context, shop *shopify.Target, endpoint string, missing []string) error {
	if _, err := shop.Subscribe(ctx, endpoint); err != nil {
		return fmt.Errorf("webhook subscriptions that Shopify deleted cannot be made again: %w", err)
	}
	a.log.Warn("made webhook subscriptions that Shopify had deleted: what changed meanwhile was not told", "target", shop.Name(), "topics", missing)
	return nil
}

// PrivacyRequest is what privacy law asked of a shop's customers, and what was
// done.
type PrivacyRequest = postgres.PrivacyRequest

// ErrNoRequest is a number that no privacy request has.
var ErrNoRequest = postgres.ErrNoRequest

// PrivacyPage is how many requests of privacy law, or erasures, a list holds.
const PrivacyPage = 500

// PrivacyRequests lists requests of privacy law, the newest first, without the
// personal data that a report holds: those with a lower number than before, at
// most PrivacyPage; zero begins at the newest.
func (a *App) PrivacyRequests(ctx context.Context, before int64) ([]PrivacyRequest, error) {
	if err := a.store.Ping(ctx); err != nil {
		return nil, err
	}
	return a.store.PrivacyRequests(ctx, before, PrivacyPage)
}

// PrivacyRequest reads one with its report; ErrNoRequest if there is none.
func (a *App) PrivacyRequest(ctx context.Context, id int64) (PrivacyRequest, error) {
	if err := a.store.Ping(ctx); err != nil {
		return PrivacyRequest{}, err
	}
	return a.store.PrivacyRequest(ctx, id)
}
