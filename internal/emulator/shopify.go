package emulator

import (
	"cmp"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

//go:embed shopify.graphql
var shopifySchema string

// NewestShopifyVersion is the version of the Admin API that is emulated.
const NewestShopifyVersion = "2026-10"

const myshopify = ".myshopify.com"

// ShopifyVersions returns the versions that Shopify served in November 2026,
// oldest first; 2027-01 was a release candidate (shopify.dev, "About Shopify API
// versioning"). Each is answered with the schema of NewestShopifyVersion.
func ShopifyVersions() []string {
	return []string{"2026-01", "2026-04", "2026-07", NewestShopifyVersion, "2027-01", "unstable"}
}

// ShopifyOptions says how a Shopify emulator behaves. The zero value works, but
// has no shop.
type ShopifyOptions struct {
	BaseURL string // where the emulator is reached, "http://127.0.0.1:9401"; see also SetBaseURL
	Shops   []ShopSpec

	Versions []string // served, oldest first; default ShopifyVersions
	Now      func() time.Time
	// Seed makes secrets, chance and ids of webhooks repeatable; zero draws one.
	Seed uint64
	// SearchLag is how far customers(query:) is behind the writes. Zero means 3 s
	// (Shopify names no number); a negative one waits for Shop.IndexNow.
	SearchLag time.Duration

	Schedule    []time.Duration // waits before each webhook attempt; default ShopifySchedule
	RetryScale  float64         // multiplies the schedule; default 1
	MaxFailures int             // attempts failing in a row that delete a subscription; default 8; negative: none do
	Senders     int             // webhooks under way at once per shop; default 16; 1 keeps their order
	Client      *http.Client    // sends the webhooks; default one of its own
}

// Shopify is the emulated part of Shopify that deals with customers: several
// shops behind one http.Handler, each reached by its host name or under a path
// /{shop}/. It executes GraphQL against the published schema of version 2026-10
// and is safe for concurrent use.
type Shopify struct {
	Faults *Faults // what goes wrong with requests to all shops

	options   ShopifyOptions
	schema    *ast.Schema
	documents *documents
	mux       *http.ServeMux
	handler   http.Handler

	mu      sync.RWMutex
	baseURL string
	shops   []*Shop // in the order of adding
}

// NewShopify makes an emulator with its shops.
func NewShopify(options ShopifyOptions) (*Shopify, error) {
	o := options.withDefaults()
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "shopify.graphql", Input: shopifySchema})
	if err != nil {
		return nil, fmt.Errorf("load Shopify's schema: %w", err)
	}
	s := &Shopify{
		Faults: newFaults(o.Seed), options: o, schema: schema,
		documents: newDocuments(schema), baseURL: strings.TrimSuffix(o.BaseURL, "/"),
	}
	s.mux = s.controlRoutes()
	s.handler = s.Faults.Inject(http.HandlerFunc(s.serveCall), callRoute, writeShopFault)
	for _, spec := range o.Shops {
		if _, err := s.AddShop(spec); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

func (o ShopifyOptions) withDefaults() ShopifyOptions {
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Versions == nil {
		o.Versions = ShopifyVersions()
	}
	if o.Schedule == nil {
		o.Schedule = ShopifySchedule()
	}
	o.SearchLag = cmp.Or(o.SearchLag, 3*time.Second)
	o.RetryScale = cmp.Or(o.RetryScale, 1)
	o.MaxFailures = cmp.Or(o.MaxFailures, 8)
	return o
}

// AddShop opens a shop. It fails when its name is none or is taken.
func (s *Shopify) AddShop(spec ShopSpec) (*Shop, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := shopName(spec.Domain)
	if name == "" || strings.ContainsAny(name, "/?# \t") || name == strings.Trim(controlPrefix, "/") {
		return nil, fmt.Errorf("%q is no shop domain: use acme%s", spec.Domain, myshopify)
	}
	if slices.ContainsFunc(s.shops, func(other *Shop) bool { return other.name == name }) {
		return nil, fmt.Errorf("there is a shop %s already", name)
	}
	shop := newShop(s.options, s.schema, spec, len(s.shops))
	shop.storageURL = func() string { return strings.ReplaceAll(s.APIURL(), "{shop}", shop.Domain()) }
	s.shops = append(s.shops, shop)
	return shop, nil
}

// Shop returns a shop by its name or domain, or nil.
func (s *Shopify) Shop(domain string) *Shop {
	s.mu.RLock()
	defer s.mu.RUnlock()
	name := shopName(domain)
	for _, shop := range s.shops {
		if shop.name == name {
			return shop
		}
	}
	return nil
}

// Shops returns all shops in the order of adding.
func (s *Shopify) Shops() []*Shop {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.shops)
}

// shopName is "acme" of "acme.myshopify.com".
func shopName(domain string) string {
	return strings.TrimSuffix(strings.ToLower(domain), myshopify)
}

// Close stops sending webhooks and working on bulk operations.
func (s *Shopify) Close() {
	for _, shop := range s.Shops() {
		shop.stop()
		shop.closeFiles()
		shop.Webhooks.Close()
	}
}

// SetBaseURL says where the emulator is reached, once its listener is open.
func (s *Shopify) SetBaseURL(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.baseURL = strings.TrimSuffix(url, "/")
}

// APIURL is the value for SHOPIFY_API_URL: "http://127.0.0.1:9401/{shop}", where
// {shop} stands for the shop's domain.
func (s *Shopify) APIURL() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.baseURL + "/{shop}"
}

// Settings returns the settings that point Lockstep at the first shop; see
// ConfigYAML for several.
func (s *Shopify) Settings() []Setting {
	shops := s.Shops()
	if len(shops) == 0 {
		return []Setting{{"SHOPIFY_API_URL", s.APIURL()}}
	}
	return shops[0].settings(s.APIURL())
}

// ConfigYAML returns the "shopify:" part of lockstep.yaml for all shops.
func (s *Shopify) ConfigYAML() string {
	var b strings.Builder
	b.WriteString("shopify:\n")
	for _, shop := range s.Shops() {
		lead := "  - "
		for _, setting := range shop.settings(s.APIURL()) {
			name := strings.ToLower(strings.TrimPrefix(setting.Name, "SHOPIFY_"))
			fmt.Fprintf(&b, "%s%s: %q\n", lead, name, setting.Value)
			lead = "    "
		}
	}
	return b.String()
}

// ServeHTTP serves the shops' Admin API, their token grant, their files and the
// control routes under /_control/shopify/.
func (s *Shopify) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, controlPrefix) {
		s.mux.ServeHTTP(w, r)
		return
	}
	if _, path := locateShop(r); strings.HasPrefix(path, storagePath) {
		s.serveStorage(w, r)
		return
	}
	s.handler.ServeHTTP(w, s.readCall(r))
}
