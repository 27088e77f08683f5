package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/inbox"
	"github.com/lockstephq/lockstep/shopify"
)

// ShopConfig is one Shopify shop: from SHOPIFY_… in the environment, or an
// entry of the list "shopify" in the file.
type ShopConfig struct {
	Shop          string   `yaml:"shop"`
	AccessToken   string   `yaml:"access_token"`
	ClientID      string   `yaml:"client_id"`
	ClientSecret  string   `yaml:"client_secret"`
	WebhookSecret string   `yaml:"webhook_secret"` // several, separated by commas, while one is rotated
	APIURL        string   `yaml:"api_url"`
	Namespace     string   `yaml:"namespace"`
	Tags          []string `yaml:"tags"`

	// OnDelete says what becomes of the customer of a user who was deleted.
	OnDelete lockstep.OnDelete `yaml:"on_delete"`

	// Consent is the place in the Clerk user of the consent to marketing by e-mail.
	Consent string `yaml:"consent"`
}

// Format prints the shop alone, for every verb: the rest is secret.
func (c ShopConfig) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.Shop) }

// MarshalText is the same for JSON, YAML and log/slog.
func (c ShopConfig) MarshalText() ([]byte, error) { return []byte(c.Shop), nil }

// shops reads the shop of the environment and those of the file.
func (s *settings) shops() []ShopConfig {
	shops := s.fileShops
	if name := s.get("SHOPIFY_SHOP", ""); name != "" {
		shops = append(shops, ShopConfig{
			Shop: name, AccessToken: s.get("SHOPIFY_ACCESS_TOKEN", ""),
			ClientID: s.get("SHOPIFY_CLIENT_ID", ""), ClientSecret: s.get("SHOPIFY_CLIENT_SECRET", ""),
			WebhookSecret: s.get("SHOPIFY_WEBHOOK_SECRET", ""), APIURL: s.get("SHOPIFY_API_URL", ""),
			Consent: s.get("SHOPIFY_CONSENT", ""),
		})
	} else if s.get("SHOPIFY_CONSENT", "") != "" {
		s.wrong("SHOPIFY_CONSENT", "is for the shop of SHOPIFY_SHOP, which is not set: write consent under the shop in the file")
	}
	fallback := s.onDelete("SHOPIFY_ON_DELETE", s.get("SHOPIFY_ON_DELETE", ""))
	seen := map[string]bool{}
	for i := range shops {
		shops[i].Shop = strings.ToLower(strings.TrimSpace(shops[i].Shop))
		if own := shops[i].OnDelete; own != "" {
			shops[i].OnDelete = s.onDelete("on_delete of "+shops[i].Shop, string(own))
		}
		shops[i].OnDelete = cmp.Or(shops[i].OnDelete, fallback)
		s.checkShop(shops[i], seen)
	}
	s.checkConsent(shops)
	return shops
}

// endpoint is the address for shops' webhooks, if the public one is set.
func (s *settings) endpoint() string {
	public := s.get("LOCKSTEP_PUBLIC_URL", "")
	if public == "" {
		return ""
	}
	endpoint, err := shopify.Endpoint(public)
	if err != nil {
		s.wrong("LOCKSTEP_PUBLIC_URL", "%w", err)
	}
	return endpoint
}

// tokenKind says how a shop lets Lockstep in.
func (c ShopConfig) tokenKind() string {
	if c.AccessToken != "" {
		return "static"
	}
	return "client credentials"
}

// readShops reads the file's list "shopify".
func (s *settings) readShops(path string, value any) {
	data, err := yaml.Marshal(value)
	if err == nil {
		err = yaml.UnmarshalWithOptions(data, &s.fileShops, yaml.Strict())
	}
	if err != nil { // its text would quote the file
		s.wrong(path, "shopify must be a list of shops: see docs/SETTINGS.md for the names")
		return
	}
	for i := range s.fileShops {
		c := &s.fileShops[i]
		for _, field := range []*string{&c.Shop, &c.AccessToken, &c.ClientID, &c.ClientSecret, &c.WebhookSecret, &c.APIURL, &c.Consent} {
			if *field, err = s.expand(*field); err != nil {
				s.wrong(path, "shopify %w", err)
			}
		}
	}
}

// shopName is a shop's permanent address (shopify.dev, "myshopify.com domain").
var shopName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*\.myshopify\.com$`)

func (s *settings) checkShop(c ShopConfig, seen map[string]bool) {
	switch {
	case !shopName.MatchString(c.Shop):
		s.wrong("SHOPIFY_SHOP", "must be the shop's permanent address, such as acme.myshopify.com")
		return
	case seen[c.Shop]:
		s.wrong("SHOPIFY_SHOP", "names %s twice: remove one", c.Shop)
		return
	}
	seen[c.Shop] = true
	if _, err := c.options(); err != nil {
		s.wrong("SHOPIFY_ACCESS_TOKEN", "of %s: %w", c.Shop, err)
	}
	if _, err := shopVerifiers([]ShopConfig{c}); err != nil {
		s.errs = append(s.errs, fmt.Errorf("%w: copy the app's client secret from Shopify's Dev Dashboard, or from the app's page in the shop's admin", err))
	}
}

var errNoShopToken = errors.New("is missing: set it, or both SHOPIFY_CLIENT_ID and SHOPIFY_CLIENT_SECRET, from the app's page in Shopify's Dev Dashboard")

// options are the shop's, without what the whole process shares.
func (c ShopConfig) options() (shopify.Options, error) {
	o := shopify.Options{Shop: c.Shop, APIURL: c.APIURL, Namespace: c.Namespace, Tags: c.Tags, OnDelete: c.OnDelete, Consent: c.Consent}
	switch {
	case c.AccessToken != "":
		o.Tokens = shopify.StaticToken(c.AccessToken)
	case c.ClientID != "" && c.ClientSecret != "":
		tokens, err := shopify.NewClientCredentials(c.Shop, c.APIURL, c.ClientID, c.ClientSecret)
		if err != nil {
			return o, err
		}
		o.Tokens = tokens
	default:
		return o, errNoShopToken
	}
	return o, nil
}

func (a *App) shopTarget(c ShopConfig, bucket shopify.Bucket) (*shopify.Target, error) {
	o, err := c.options()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Shop, err)
	}
	o.Bucket, o.Bulk, o.Log = bucket, inbox.IsBulk, a.log
	o.PollEvery, o.Wake = a.bulkPoll, a.wakeFor("shopify:"+c.Shop)
	return shopify.New(o)
}

// wakeFor tells who waits for a bulk operation of a target that a webhook came.
// Whoever received it, the delivery's row says so; a pooler lets no notification
// through. A database that is away leaves it to the waiting one's own looks.
func (a *App) wakeFor(target string) func(context.Context, string) <-chan struct{} {
	const every = 250 * time.Millisecond
	return func(ctx context.Context, operation string) <-chan struct{} {
		word := make(chan struct{})
		go func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for {
				if told, err := a.store.OperationTold(ctx, target, operation); err == nil && told {
					close(word)
					return
				}
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
		}()
		return word
	}
}
