package emulator

import (
	"cmp"
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// ShopSpec describes a shop to open. Only Domain is needed.
type ShopSpec struct {
	Domain string   `json:"domain"` // "acme" or "acme.myshopify.com"
	Name   string   `json:"name"`   // default the domain's first part
	Plan   ShopPlan `json:"plan"`   // default PlanStandard

	AccessToken  string   `json:"access_token"`  // static token; default "shpat_…" at random
	ClientID     string   `json:"client_id"`     // of the app; default at random
	Secrets      []string `json:"secrets"`       // the app's client secrets, oldest first; default one at random
	AppID        int64    `json:"app_id"`        // of $app namespaces; default 1
	Scopes       []string `json:"scopes"`        // default DefaultShopScopes
	AsyncMerges  bool     `json:"async_merges"`  // merges wait for FinishMerges
	WebhookURL   string   `json:"webhook_url"`   // gets every topic, as subscriptions of the app's configuration do
	NoCustomers  bool     `json:"no_customers"`  // no access to protected customer data
	MaskedPhones bool     `json:"masked_phones"` // phone numbers come back masked
}

// DefaultShopScopes returns the access scopes an app has in a new shop.
func DefaultShopScopes() []string {
	return []string{"read_customers", "write_customers", "read_customer_merge", "write_customer_merge", "write_customer_data_erasure"}
}

// Shop is one emulated shop with one app installed in it.
type Shop struct {
	Webhooks *Outbox // what was sent, and what goes wrong with it

	name     string // "acme"
	title    string
	position int64 // among the shops, from 0
	options  ShopifyOptions
	schema   *ast.Schema
	random   *source
	bucket   *bucket

	storageURL func() string // of the shop's files
	stopped    chan struct{} // closed when the emulator is
	stop       func()

	mu            sync.Mutex // held while an operation runs
	access        access
	store         *shopStore
	index         *searchIndex
	subscriptions []*subscription
	definitions   []*definition
	jobs          map[string]*mergeJob
	operations    []*bulkOperation
	uploads       map[string]*spool // by key; nil until the file has come
	bulk          BulkLife
	lastNumber    int64 // of ids but those of customers
	openedAt      time.Time
}

// access is what the shop lets the app do.
type access struct {
	plan        ShopPlan
	status      int // of every answer, such as 402, 404 or 423; zero when the shop is open
	token       string
	revoked     bool
	clientID    string
	secrets     []string
	minted      map[string]grant
	appID       int64
	scopes      []string
	asyncMerges bool
	noCustomers bool
	maskPhones  bool
}

// grant is a token from client credentials.
type grant struct {
	secret  string // that minted it; the token dies with it
	expires time.Time
}

const (
	grantSeconds   = 86399 // shopify.dev, "Using the client credentials grant"
	shopUTCOffset  = -5 * 60 * 60
	shopTimezone   = "America/Jamaica" // UTC-5 all the year, so that no test depends on the season
	shopCurrency   = "CAD"
	firstNumber    = 44_900_000_000_000
	numberStep     = 32768                // ids of one shop are this far apart in captures
	firstCustomers = 1<<53 - 3*numberStep // the fourth customer's id is beyond what a float64 holds
)

func newShop(o ShopifyOptions, schema *ast.Schema, spec ShopSpec, position int) *Shop {
	name := shopName(spec.Domain)
	random := newSource(o.Seed, idStream+1<<32+uint64(position))
	shop := &Shop{
		name: name, title: cmp.Or(spec.Name, name), position: int64(position), options: o, schema: schema, random: random,
		access: newAccess(spec, random),
		jobs:   map[string]*mergeJob{}, uploads: map[string]*spool{}, openedAt: o.Now(), stopped: make(chan struct{}),
		lastNumber: firstNumber + int64(position),
		// Odd above 2^53, so that a float64 cannot hold it, and another in each shop.
		store: newShopStore(firstCustomers + 1 + 2*int64(position)),
		index: newSearchIndex(o.SearchLag, o.Now),
	}
	shop.stop = sync.OnceFunc(func() { close(shop.stopped) })
	shop.bucket = newBucket(shop.access.plan.RestoreRate(), o.Now)
	shop.Webhooks = newOutbox(outboxOptions{
		url: spec.WebhookURL, sign: shop.sign, schedule: scale(o.Schedule, o.RetryScale), timeout: shopifyTimeout,
		senders: o.Senders, client: o.Client, now: o.Now, seed: o.Seed + uint64(position),
		newID: func(random *source, _ time.Time) string { return random.uuid() }, attempted: shop.noteDelivery,
	})
	return shop
}

func newAccess(spec ShopSpec, random *source) access {
	a := access{
		plan: cmp.Or(spec.Plan, PlanStandard), token: cmp.Or(spec.AccessToken, "shpat_"+random.hex(16)),
		clientID: cmp.Or(spec.ClientID, random.hex(16)), secrets: slices.Clone(spec.Secrets),
		minted: map[string]grant{}, appID: cmp.Or(spec.AppID, 1), scopes: slices.Clone(spec.Scopes),
		asyncMerges: spec.AsyncMerges, noCustomers: spec.NoCustomers, maskPhones: spec.MaskedPhones,
	}
	if len(a.secrets) == 0 {
		a.secrets = []string{"shpss_" + random.hex(16)}
	}
	if a.scopes == nil {
		a.scopes = DefaultShopScopes()
	}
	return a
}

// Name is the first part of the domain: "acme".
func (s *Shop) Name() string { return s.name }

// Domain is the shop's domain: "acme.myshopify.com".
func (s *Shop) Domain() string { return s.name + myshopify }

// AccessToken is the static token.
func (s *Shop) AccessToken() string { return s.readAccess().token }

// ClientID is the app's client id.
func (s *Shop) ClientID() string { return s.readAccess().clientID }

// Secrets returns the app's client secrets, oldest first; the first signs
// webhooks.
func (s *Shop) Secrets() []string { return slices.Clone(s.readAccess().secrets) }

func (s *Shop) readAccess() access {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.access
}

func (s *Shop) settings(apiURL string) []Setting {
	return []Setting{
		{"SHOPIFY_SHOP", s.Domain()},
		{"SHOPIFY_ACCESS_TOKEN", s.AccessToken()},
		{"SHOPIFY_WEBHOOK_SECRET", strings.Join(s.Secrets(), ",")},
		{"SHOPIFY_API_URL", apiURL},
	}
}

// SetPlan changes the plan, and with it how fast points come back.
func (s *Shop) SetPlan(plan ShopPlan) error {
	if !slices.Contains([]ShopPlan{PlanStandard, PlanAdvanced, PlanPlus, PlanEnterprise}, plan) {
		return fmt.Errorf("unknown plan %q", plan)
	}
	s.mu.Lock()
	s.access.plan = plan
	s.mu.Unlock()
	s.bucket.setRate(plan.RestoreRate())
	return nil
}

// SetRestoreRate makes points come back at a rate of no plan, in points per
// second.
func (s *Shop) SetRestoreRate(rate float64) { s.bucket.setRate(rate) }

// Drain takes points from the bucket, as another process of the app would.
func (s *Shop) Drain(points float64) { s.bucket.drain(points) }

// Usage says what was taken from the bucket since the start or the last reset.
func (s *Shop) Usage() ShopUsage { return s.bucket.count(false) }

// ResetUsage starts the counting of Usage anew and returns what it was.
func (s *Shop) ResetUsage() ShopUsage { return s.bucket.count(true) }

// SetStatus makes the shop answer every request with an HTTP status: 402 or 423
// when it is frozen, 403, 404 when it is gone. Zero opens it again.
func (s *Shop) SetStatus(status int) { s.setAccess(func(a *access) { a.status = status }) }

// Revoke makes the static token and all minted ones invalid, as uninstalling the
// app does. Restore makes the static one valid again.
func (s *Shop) Revoke() {
	s.setAccess(func(a *access) { a.revoked, a.minted = true, map[string]grant{} })
}

// Restore ends Revoke.
func (s *Shop) Restore() { s.setAccess(func(a *access) { a.revoked = false }) }

// SetScopes replaces the access scopes that the app has.
func (s *Shop) SetScopes(scopes ...string) {
	s.setAccess(func(a *access) { a.scopes = slices.Clone(scopes) })
}

// SetCustomerData gives or takes access to protected customer data. Without it
// names, e-mails, phones and addresses are null, in webhooks too (shopify.dev,
// "Work with protected customer data").
func (s *Shop) SetCustomerData(approved bool) {
	s.setAccess(func(a *access) { a.noCustomers = !approved })
}

// SetApp makes the requests come from another app: metafields in the namespace
// $app of the one before are out of its reach.
func (s *Shop) SetApp(id int64) { s.setAccess(func(a *access) { a.appID = id }) }

// SetSecrets replaces the client secrets, oldest first. Tokens minted with one
// that is gone are invalid.
func (s *Shop) SetSecrets(secrets ...string) error {
	if len(secrets) == 0 || slices.Contains(secrets, "") {
		return fmt.Errorf("at least one secret is needed, and none may be empty")
	}
	s.setAccess(func(a *access) { a.secrets = slices.Clone(secrets) })
	return nil
}

func (s *Shop) setAccess(change func(*access)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.access)
}

// Mint grants a token for client credentials, as POST /admin/oauth/access_token
// does. It fails when they are not the app's.
func (s *Shop) Mint(clientID, secret string) (token string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if clientID != s.access.clientID || !slices.Contains(s.access.secrets, secret) {
		return "", fmt.Errorf("the client id or secret is not the app's")
	}
	token = "shpat_" + s.random.hex(16)
	s.access.minted[token] = grant{secret, s.options.Now().Add(grantSeconds * time.Second)}
	return token, nil
}

// admits checks a token. The caller holds s.mu.
func (s *Shop) admits(token string) bool {
	a := &s.access
	if subtle.ConstantTimeCompare([]byte(token), []byte(a.token)) == 1 {
		return !a.revoked
	}
	minted, ok := a.minted[token]
	return ok && slices.Contains(a.secrets, minted.secret) && s.options.Now().Before(minted.expires)
}

// number gives the next id of something that is no customer. The caller holds
// s.mu.
func (s *Shop) number() int64 {
	s.lastNumber += numberStep
	return s.lastNumber
}

// may reports whether the app has a scope; writing includes reading.
func (a *access) may(scope string) bool {
	if slices.Contains(a.scopes, scope) {
		return true
	}
	read, isRead := strings.CutPrefix(scope, "read_")
	return isRead && slices.Contains(a.scopes, "write_"+read)
}
