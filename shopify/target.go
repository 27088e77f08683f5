package shopify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/lockstephq/lockstep"
)

// Options describe one shop. Shop and Tokens are required.
type Options struct {
	Shop   string      // its permanent address: acme.myshopify.com
	Tokens TokenSource // StaticToken, or NewClientCredentials
	APIURL string      // "{shop}" stands for the shop; empty means https://{shop}

	// Namespace is where the mark is kept. Empty means the app's own: only this
	// app can write there, and another app, or the same one made anew, does not
	// see it. "custom" is open to all apps and to staff.
	Namespace string

	// OnDelete is the policy for customers of deleted users. It is carried out by
	// who calls Release; here it says which scopes Check asks for.
	OnDelete lockstep.OnDelete

	// Tags are put on every customer that is linked, and taken off when the user
	// is deleted, when ReleasedTag is put on; empty means "clerk:deleted". All
	// other tags are left alone.
	Tags        []string
	ReleasedTag string

	// Consent is the place in the Clerk user where the user's consent to marketing
	// by e-mail is kept, "public_metadata.KEY"; empty means that none is written.
	Consent string

	Bucket Bucket                     // the shop's points; nil means one for this process
	Bulk   func(context.Context) bool // tells work that leaves a reserve for live changes; nil means none does

	// Wake gives a channel that a word of the bulk operation's end closes, such as
	// the webhook bulk_operations/finish; nobody listens any more when ctx ends. Nil
	// means that none comes.
	Wake func(ctx context.Context, operationID string) <-chan struct{}

	// PollEvery is how often a bulk operation is looked at without such a word; zero
	// means ever more seldom, down to every 10 s.
	PollEvery time.Duration

	HTTP     *http.Client  // nil means one of this target's own
	Timeout  time.Duration // for one request; zero means 10 s
	Patience time.Duration // how long a write waits for points; zero means 2 s, negative not at all
	Log      *slog.Logger  // nil means none; ids only are logged
}

// Target is one shop, as a lockstep.Target.
type Target struct {
	name      string
	namespace string
	tags      []string
	released  string
	consent   string // the mapped place; empty for none
	erases    bool   // the policy needs eraseScope
	client    *client
	wake      func(context.Context, string) <-chan struct{}
	pollEvery time.Duration
	ops       map[string]operation
	log       *slog.Logger

	defined    atomic.Bool   // the metafield definition is known to be there
	defining   chan struct{} // held by the one caller that may make it
	suspicious atomic.Value  // string: the id of a customer whose e-mail was hidden

	exportStall time.Duration // without another customer, before an export is given up

	phonesMasked atomic.Bool // Shopify shows numbers with asterisks
}

// New makes a target. It asks nobody; Check does.
func New(o Options) (*Target, error) {
	base, err := baseURL(o.Shop, o.APIURL)
	if err != nil {
		return nil, err
	}
	if o.Tokens == nil {
		return nil, errors.New("shopify: " + o.Shop + " has no access token: set SHOPIFY_ACCESS_TOKEN, or SHOPIFY_CLIENT_ID and SHOPIFY_CLIENT_SECRET")
	}
	log, released := cmp.Or(o.Log, slog.New(slog.DiscardHandler)), cmp.Or(o.ReleasedTag, "clerk:deleted")
	if err := checkTags(append([]string{released}, o.Tags...)); err != nil {
		return nil, err
	}
	t := &Target{
		name: "shopify:" + shopName(o.Shop), namespace: o.Namespace, tags: slices.Clone(o.Tags), released: released, log: log,
		wake: o.Wake, pollEvery: o.PollEvery, ops: operations(o.Consent != ""), consent: o.Consent, defining: make(chan struct{}, 1),
		exportStall: exportStall,
		erases:      o.OnDelete == lockstep.OnDeleteAnonymise || o.OnDelete == lockstep.OnDeleteDelete,
	}
	t.client = &client{
		target: t.name, url: base + "/admin/api/" + Version + "/graphql.json", http: httpClient(o.HTTP), log: log,
		timeout: cmp.Or(o.Timeout, 10*time.Second), patience: cmp.Or(o.Patience, 2*time.Second),
		tokens: o.Tokens, bucket: o.Bucket, bulk: o.Bulk,
	}
	if o.Bucket == nil {
		t.client.bucket = NewMemoryBucket()
	}
	return t, nil
}

// checkTags refuses tags that Shopify would store in another form, since they
// would seem to be missing for ever.
func checkTags(tags []string) error {
	for _, tag := range tags {
		if tag == "" || tag != strings.TrimSpace(tag) || strings.Contains(tag, ",") || utf8.RuneCountInString(tag) > 255 {
			return fmt.Errorf("shopify: the tag %q is none: at most 255 characters, no comma, no space around it", tag)
		}
	}
	return nil
}

func shopName(shop string) string { return strings.ToLower(strings.TrimSpace(shop)) }

// hostName is a name and not a path, a port or a user.
const hostName = `^[a-z0-9][a-z0-9-]*(\.[a-z0-9-]+)*$`

// baseURL is a shop's address, without a slash at its end. Only Shopify's own
// names are accepted there: the access token is sent to it.
func baseURL(shop, apiURL string) (string, error) {
	shop = shopName(shop)
	if !regexp.MustCompile(hostName).MatchString(shop) || apiURL == "" && !strings.HasSuffix(shop, ".myshopify.com") {
		return "", fmt.Errorf("shopify: %q is no shop: name it by its permanent address, such as acme.myshopify.com", shop)
	}
	base := strings.ReplaceAll(cmp.Or(apiURL, "https://{shop}"), "{shop}", shop)
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", errors.New("shopify: SHOPIFY_API_URL is no http or https address, such as https://{shop}")
	}
	return strings.TrimSuffix(base, "/"), nil
}

// httpClient follows no redirect: the access token would go along.
func httpClient(given *http.Client) *http.Client {
	own := http.Client{}
	if given != nil {
		own = *given
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if base, ok := http.DefaultTransport.(*http.Transport); ok && own.Transport == nil {
		transport := base.Clone()
		transport.MaxIdleConnsPerHost = 32 // as many as a target has workers
		own.Transport = transport
	}
	return &own
}

// Name implements lockstep.Target: "shopify:acme.myshopify.com".
func (t *Target) Name() string { return t.name }

// checked is the answer to the operation check.
type checked struct {
	Installation struct {
		Scopes []struct {
			Handle string `json:"handle"`
		} `json:"accessScopes"`
	} `json:"currentAppInstallation"`
	Definition *definition `json:"metafieldDefinition"`
	Customers  struct {
		Nodes []snapshot `json:"nodes"`
	} `json:"customers"`
}

// Check implements lockstep.Target: token, scopes, version of the API, type of
// the mark's definition if there is one, and access to protected customer data.
func (t *Target) Check(ctx context.Context) error {
	got, err := t.check(ctx)
	if err != nil {
		return err
	}
	return errors.Join(t.checkScopes(got), t.checkVersion(), t.ops["check"].wrongType(got.Definition), t.checkAccess(ctx, got.Customers.Nodes))
}

func (t *Target) check(ctx context.Context) (got checked, err error) {
	err = t.client.run(ctx, t.ops["check"], map[string]any{"definition": t.place(map[string]any{"ownerType": "CUSTOMER"})}, &got)
	return got, err
}

func (c checked) scopes() []string {
	scopes := make([]string, len(c.Installation.Scopes))
	for i, s := range c.Installation.Scopes {
		scopes[i] = s.Handle
	}
	return scopes
}

// scopes are what the app may do.
func (t *Target) scopes(ctx context.Context) ([]string, error) {
	got, err := t.check(ctx)
	return got.scopes(), err
}

func (t *Target) checkScopes(got checked) error {
	want := []string{"read_customers", "write_customers"}
	if t.erases {
		want = append(want, eraseScope)
	}
	var missing []string
	for _, scope := range want {
		has := false
		for _, s := range got.Installation.Scopes {
			has = has || s.Handle == scope || scope == "read_customers" && s.Handle == "write_customers" // which includes reading
		}
		if !has {
			missing = append(missing, scope)
		}
	}
	if len(missing) > 0 {
		return t.ops["check"].failf(lockstep.ErrRefused, "the app lacks the scope %s: grant it and install the app again", strings.Join(missing, " and "))
	}
	return nil
}

func (t *Target) checkVersion() error {
	if got := t.client.served.Load(); got != nil {
		return t.ops["check"].failf(lockstep.ErrRefused, "Shopify answers with version %s of its API, not %s: upgrade lockstep", *got, Version)
	}
	return nil
}

// fewHidden is how many customers may lack everything because their data was
// erased; if all of more do, the app is not shown it.
const fewHidden = 3

// checkAccess looks whether the shop's last customers all lack what Shopify
// wants one of, which a few do whose data was erased; and again at the customer
// that gave it away before.
func (t *Target) checkAccess(ctx context.Context, last []snapshot) error {
	if err := t.hiddenPage("check", last); err != nil {
		return err
	}
	id, _ := t.suspicious.Load().(string)
	if id == "" {
		return nil
	}
	s, err := t.read(ctx, id)
	if err != nil {
		return err
	}
	if s != nil && s.Email == nil {
		return t.hiddenData("check", id)
	}
	t.suspicious.Store("")
	return nil
}

// hiddenData is the refusal for lack of access to protected customer data.
func (t *Target) hiddenData(op, id string) error {
	t.suspicious.Store(id)
	return t.ops[op].failf(lockstep.ErrRefused, "%s", dataAdvice)
}
