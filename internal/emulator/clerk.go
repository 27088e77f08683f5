package emulator

import (
	"cmp"
	"crypto/rsa"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Limits of a Clerk instance (clerk.com/docs, guides/how-clerk-works/system-limits).
const (
	DevelopmentRateLimit = 100  // requests per 10 seconds
	ProductionRateLimit  = 1000 // requests per 10 seconds
	DevelopmentMaxUsers  = 100
)

// ClerkOptions says how a Clerk emulator behaves. The zero value works.
type ClerkOptions struct {
	BaseURL    string // where the emulator is reached, "http://127.0.0.1:9400"; default a host that is not; see also SetBaseURL
	Issuer     string // iss of tokens; default BaseURL
	SecretKey  string // default "sk_test_…" at random
	InstanceID string // default "ins_…" at random

	WebhookURL     string   // see also SetWebhookURL
	WebhookSecrets []string // "whsec_…"; each signs; default one at random

	Key *rsa.PrivateKey // signs tokens; default a new one of 2048 bits
	Now func() time.Time
	// Seed makes secrets, chance and ids (but for the time in them) repeatable;
	// zero draws one.
	Seed uint64

	RateLimit int // requests per 10 s, and 10 writes per 10 s and user; zero for no limits
	MaxUsers  int // zero for no limit

	Schedule   []time.Duration // waits before each webhook attempt; default SvixSchedule
	RetryScale float64         // multiplies the schedule; default 1
	Senders    int             // webhooks under way at once; default 16; 1 keeps their order
	Client     *http.Client    // sends the webhooks; default one of its own
}

// Clerk is an emulated Clerk instance: the part of its Backend API that deals
// with users, its signing keys and its webhooks. It follows version 2026-05-12
// of the API (github.com/clerk/openapi-specs). It is safe for concurrent use.
type Clerk struct {
	Faults   *Faults // what goes wrong with requests to the API
	Webhooks *Outbox // what was sent, and what goes wrong with it

	options ClerkOptions
	random  *source
	clock   *clock
	mux     *http.ServeMux
	handler http.Handler
	limits  *rateLimit

	mu      sync.RWMutex
	baseURL string
	secrets []string
	signers [][]byte // the secrets, decoded
	users   *userStore
	keys    []signingKey // the last one signs
}

// NewClerk makes an emulator. It fails on a webhook secret that is none.
func NewClerk(options ClerkOptions) (*Clerk, error) {
	o := options.withDefaults()
	signers, err := svixKeys(o.WebhookSecrets)
	if err != nil {
		return nil, err
	}
	c := &Clerk{
		Faults:  newFaults(o.Seed),
		options: o, random: newSource(o.Seed, idStream), clock: &clock{now: o.Now},
		limits:  newRateLimit(o.RateLimit, o.Now),
		baseURL: cmp.Or(o.BaseURL, "https://clerk.example.test"), secrets: o.WebhookSecrets, signers: signers,
		users: newUserStore(o.MaxUsers),
	}
	if err := c.addKey(o.InstanceID, o.Key); err != nil {
		return nil, err
	}
	c.Webhooks = newOutbox(outboxOptions{
		url: o.WebhookURL, sign: c.sign, schedule: scale(o.Schedule, o.RetryScale), timeout: svixTimeout,
		senders: o.Senders, client: o.Client, now: o.Now, seed: o.Seed, messageID: "msg_",
	})
	c.mux = c.routes()
	c.handler = c.Faults.Inject(c.mux, c.routeName, writeFault)
	return c, nil
}

func (o ClerkOptions) withDefaults() ClerkOptions {
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Schedule == nil {
		o.Schedule = SvixSchedule()
	}
	if o.RetryScale == 0 {
		o.RetryScale = 1
	}
	random := newSource(o.Seed, 0)
	o.SecretKey = cmp.Or(o.SecretKey, "sk_test_"+random.hex(24))
	const madeAt = 1_767_225_600 // the start of 2026; fixed, so that a seed always gives one id
	o.InstanceID = cmp.Or(o.InstanceID, random.id("ins_", time.Unix(madeAt, 0)))
	if len(o.WebhookSecrets) == 0 {
		o.WebhookSecrets = []string{"whsec_" + random.base64(32)}
	}
	return o
}

// ServeHTTP serves the Backend API under /v1/, the public keys under
// /.well-known/jwks.json and the control routes under /_control/.
func (c *Clerk) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// Close stops sending webhooks.
func (c *Clerk) Close() { c.Webhooks.Close() }

// SetBaseURL says where the emulator is reached, once its listener is open.
func (c *Clerk) SetBaseURL(url string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.baseURL = strings.TrimSuffix(url, "/")
}

// SetWebhookURL says where webhooks go; see [Outbox.SetURL].
func (c *Clerk) SetWebhookURL(url string) { c.Webhooks.SetURL(url) }

// SetWebhookSecrets replaces the secrets that sign webhooks: two while one is
// being rotated. It fails, and changes nothing, on a secret that is none.
func (c *Clerk) SetWebhookSecrets(secrets ...string) error {
	signers, err := svixKeys(secrets)
	if err != nil {
		return err
	}
	if len(signers) == 0 {
		return fmt.Errorf("at least one webhook secret is needed")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secrets, c.signers = secrets, signers
	return nil
}

// SecretKey is the key the Backend API asks for.
func (c *Clerk) SecretKey() string { return c.options.SecretKey }

// InstanceID is the id in webhooks and, until a rotation, of the signing key.
func (c *Clerk) InstanceID() string { return c.options.InstanceID }

// Issuer is the iss of the tokens minted from now on.
func (c *Clerk) Issuer() string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return cmp.Or(c.options.Issuer, c.baseURL)
}

// Settings returns the settings that point Lockstep at the emulator.
func (c *Clerk) Settings() []Setting {
	c.mu.RLock()
	baseURL, secrets := c.baseURL, strings.Join(c.secrets, ",")
	c.mu.RUnlock()
	return []Setting{
		{"CLERK_API_URL", baseURL},
		{"CLERK_SECRET_KEY", c.SecretKey()},
		{"CLERK_WEBHOOK_SECRET", secrets},
		{"CLERK_ISSUER", c.Issuer()},
		{"CLERK_JWT_KEY", c.PublicKeyPEM()},
		{"CLERK_INSTANCE_ID", c.InstanceID()},
	}
}

func (c *Clerk) sign(id string, at time.Time, body []byte) http.Header {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return svixHeaders(c.signers, id, at, body)
}

// routeName names a request for faults and counters by its pattern, such as
// "GET /v1/users/{user_id}". Control routes have none: they never fail.
func (c *Clerk) routeName(r *http.Request) string {
	_, pattern := c.mux.Handler(r)
	if strings.Contains(pattern, " "+controlPrefix) {
		return ""
	}
	return pattern
}
