package app

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/clerk"
	"github.com/lockstephq/lockstep/internal/postgres"
)

// Config is every setting, read and checked. docs/SETTINGS.md describes them.
type Config struct {
	DatabaseURL         string
	RolePassword        string // given to the role of `migrate up --role`
	Addr                string
	CORSOrigins         []string
	ClerkSecretKey      string
	ClerkWebhookSecrets []string
	ClerkInstanceID     string
	ClerkIssuer         string
	ClerkJWTKey         string
	ClerkAPIURL         string

	// ClerkAuthorizedParties are the origins whose tokens are admitted.
	ClerkAuthorizedParties []string

	OperatorToken  string
	MetricsAddr    string
	LogFormat      string        // "json", "text", or empty for what suits the output
	LogLevel       *slog.Level   // nil for the command's own
	TracesURL      string        // of a collector; empty for off
	WatchSilence   time.Duration // zero for off, as with the next
	WatchPending   time.Duration
	KeepDeliveries time.Duration // zero for ever, as with the next
	KeepHistory    time.Duration

	MedusaMode   string // "", "database", "api"
	MedusaSchema string
	MedusaAPI    MedusaAPIConfig

	// MedusaOnDelete says what becomes of the customer of a user who was deleted.
	MedusaOnDelete lockstep.OnDelete

	// MedusaAccounts is "clerk" if users sign in to Medusa as their customers.
	MedusaAccounts string

	Shops []ShopConfig

	Reconcile ReconcileConfig

	// ShopifyEndpoint is where shops send their webhooks, by LOCKSTEP_PUBLIC_URL;
	// empty: where `shopify connect` said.
	ShopifyEndpoint string
}

// Need says which settings a command cannot do without.
type Need int

// The needs of commands.
const (
	NeedDatabase Need = iota // all commands but version, emulate and demo
	NeedWeb                  // serve, in the roles all and web
	NeedNothing              // migrate export
	NeedClerk                // commands that read Clerk's users
)

// known are the settings that a file may hold; the environment has the same
// names. Those of parts to come are accepted, so that one file serves upgrades.
var known = []string{
	"DATABASE_URL", "LOCKSTEP_ROLE_PASSWORD", "LOCKSTEP_ADDR", "LOCKSTEP_PUBLIC_URL", "LOCKSTEP_OPERATOR_TOKEN", "LOCKSTEP_CORS_ORIGINS",
	"LOCKSTEP_RECONCILE_SHALLOW", "LOCKSTEP_RECONCILE_DEEP", "LOCKSTEP_RECONCILE_MAX_DELETIONS",
	"LOCKSTEP_METRICS_ADDR", "LOCKSTEP_LOG_FORMAT", "LOCKSTEP_LOG_LEVEL",
	"LOCKSTEP_WATCH_SILENCE", "LOCKSTEP_WATCH_PENDING", "LOCKSTEP_KEEP_DELIVERIES", "LOCKSTEP_KEEP_HISTORY",
	"CLERK_SECRET_KEY", "CLERK_WEBHOOK_SECRET", "CLERK_JWT_KEY", "CLERK_ISSUER", "CLERK_PUBLISHABLE_KEY",
	"CLERK_AUTHORIZED_PARTIES", "CLERK_INSTANCE_ID", "CLERK_API_URL",
	"MEDUSA_MODE", "MEDUSA_SCHEMA", "MEDUSA_ACCOUNTS", "MEDUSA_ON_DELETE", "MEDUSA_API_URL", "MEDUSA_API_KEY", "MEDUSA_ADMIN_EMAIL", "MEDUSA_ADMIN_PASSWORD",
	"SHOPIFY_SHOP", "SHOPIFY_ACCESS_TOKEN", "SHOPIFY_CLIENT_ID", "SHOPIFY_CLIENT_SECRET", "SHOPIFY_WEBHOOK_SECRET", "SHOPIFY_API_URL",
	"SHOPIFY_ON_DELETE", "SHOPIFY_CONSENT",
}

// SettingError is a setting that is missing or wrong. Its text names the
// setting and what to type, and never repeats a value.
type SettingError struct {
	Name string
	Err  error
}

func (e *SettingError) Error() string { return e.Name + " " + e.Err.Error() }
func (e *SettingError) Unwrap() error { return e.Err }

// settings looks a name up: the environment wins over the file.
type settings struct {
	getenv    func(string) string
	file      map[string]string
	fileShops []ShopConfig
	errs      []error
}

// LoadConfig reads the environment and, if there is one, the file that
// LOCKSTEP_CONFIG names (lockstep.yaml by default). It reports everything that
// is wrong at once.
func LoadConfig(getenv func(string) string, need Need) (Config, error) {
	s := &settings{getenv: getenv}
	if err := s.readFile(); err != nil {
		return Config{}, err
	}
	c := s.config()
	s.check(c, need)
	return c, errors.Join(s.errs...)
}

func (s *settings) config() Config {
	c := Config{
		DatabaseURL:         s.get("DATABASE_URL", ""),
		RolePassword:        s.get("LOCKSTEP_ROLE_PASSWORD", ""),
		Addr:                s.get("LOCKSTEP_ADDR", ":8080"),
		CORSOrigins:         s.list("LOCKSTEP_CORS_ORIGINS"),
		ClerkSecretKey:      s.get("CLERK_SECRET_KEY", ""),
		ClerkWebhookSecrets: s.list("CLERK_WEBHOOK_SECRET"),
		ClerkInstanceID:     s.get("CLERK_INSTANCE_ID", ""),
		ClerkIssuer:         s.issuer(),
		ClerkJWTKey:         s.get("CLERK_JWT_KEY", ""),
		ClerkAPIURL:         s.get("CLERK_API_URL", "https://api.clerk.com"),

		ClerkAuthorizedParties: s.list("CLERK_AUTHORIZED_PARTIES"),

		MedusaMode:   s.get("MEDUSA_MODE", ""),
		MedusaSchema: s.get("MEDUSA_SCHEMA", "medusa"),
		MedusaAPI:    s.medusaAPI(),

		MedusaAccounts: s.get("MEDUSA_ACCOUNTS", ""),
		MedusaOnDelete: s.onDelete("MEDUSA_ON_DELETE", s.get("MEDUSA_ON_DELETE", "")),

		Shops: s.shops(),

		Reconcile:       s.reconcile(),
		ShopifyEndpoint: s.endpoint(),
	}
	s.operate(&c)
	return c
}

func (s *settings) check(c Config, need Need) {
	if _, err := postgres.ParseURL(c.DatabaseURL); err != nil && need != NeedNothing {
		s.wrong("DATABASE_URL", "%w: set it to your database's, such as postgres://user:password@host:5432/database", err)
	}
	switch need {
	case NeedWeb:
		s.checkClerk(c)
	case NeedClerk:
		s.checkClerkAPI(c)
	}
	if id := c.ClerkInstanceID; id != "" && !strings.HasPrefix(id, "ins_") {
		s.wrong("CLERK_INSTANCE_ID", "must begin with ins_: copy it from Clerk's dashboard, or leave it out to pin the first instance that sends an event")
	}
	switch c.MedusaMode {
	case "", "off", "database":
	case "api":
		s.checkMedusaAPI(c.MedusaAPI)
	default:
		s.wrong("MEDUSA_MODE", "must be database or api, or left out")
	}
	s.checkMedusaAccounts(c)
	if strings.TrimSpace(c.MedusaSchema) == "" || strings.ContainsRune(c.MedusaSchema, 0) || len(c.MedusaSchema) > 63 {
		s.wrong("MEDUSA_SCHEMA", "is not a schema name: set it to databaseSchema of your medusa-config (default medusa)")
	}
}

// checkMedusaAccounts: Medusa's Admin API makes guests only, and changes none
// into an account.
func (s *settings) checkMedusaAccounts(c Config) {
	switch {
	case c.MedusaAccounts == "" || c.MedusaAccounts == "off":
	case c.MedusaAccounts != "clerk":
		s.wrong("MEDUSA_ACCOUNTS", "must be clerk, or left out")
	case c.MedusaMode != "database":
		s.wrong("MEDUSA_ACCOUNTS", "clerk needs MEDUSA_MODE=database: set that, or leave MEDUSA_ACCOUNTS out")
	}
}

func (s *settings) checkClerk(c Config) {
	if _, err := newVerifier(c); err != nil {
		s.wrong("CLERK_WEBHOOK_SECRET", "is not usable (%w): copy the signing secret (whsec_…) from Clerk's dashboard, Webhooks, your endpoint", err)
	}
	s.checkClerkAPI(c)
	if c.ClerkIssuer == "" {
		s.wrong("CLERK_ISSUER", "is missing: set it to the Frontend API URL of Clerk's dashboard, API keys, or set CLERK_PUBLISHABLE_KEY, which holds it")
	} else {
		s.checkTokens(c)
	}
}

func (s *settings) checkClerkAPI(c Config) {
	if _, err := newClerkClient(Config{ClerkSecretKey: c.ClerkSecretKey}); err != nil {
		s.wrong("CLERK_SECRET_KEY", "is not usable (%w): copy the secret key (sk_…) from Clerk's dashboard, API keys", err)
	} else if _, err := newClerkClient(c); err != nil {
		s.wrong("CLERK_API_URL", "is not usable (%w): leave it out", err)
	}
}

// checkTokens takes the settings of the token verifier one by one, so that an
// error names the right one.
func (s *settings) checkTokens(c Config) {
	part := Config{ClerkIssuer: c.ClerkIssuer}
	if _, err := newTokenVerifier(part); err != nil {
		s.wrong("CLERK_ISSUER", "is not usable (%w): copy the Frontend API URL from Clerk's dashboard, API keys", err)
		return
	}
	part.ClerkAuthorizedParties = c.ClerkAuthorizedParties
	if _, err := newTokenVerifier(part); err != nil {
		s.wrong("CLERK_AUTHORIZED_PARTIES", "is not usable (%w): set it to your sites' origins, comma-separated", err)
		return
	}
	part.ClerkJWTKey = c.ClerkJWTKey
	if _, err := newTokenVerifier(part); err != nil {
		s.wrong("CLERK_JWT_KEY", "is not usable (%w): copy the PEM public key from Clerk's dashboard, API keys, or leave it out", err)
	}
}

// issuer is CLERK_ISSUER or, without it, what the publishable key names.
func (s *settings) issuer() string {
	key := s.get("CLERK_PUBLISHABLE_KEY", "")
	if issuer := s.get("CLERK_ISSUER", ""); issuer != "" || key == "" {
		return issuer
	}
	issuer, err := clerk.Issuer(key)
	if err != nil {
		s.wrong("CLERK_PUBLISHABLE_KEY", "is not one (%w): copy it (pk_…) from Clerk's dashboard, API keys", err)
	}
	return issuer
}

// onDelete reads a policy for customers of deleted users.
func (s *settings) onDelete(name, value string) lockstep.OnDelete {
	how, err := lockstep.ParseOnDelete(value)
	if err != nil {
		s.wrong(name, "%w", err)
	}
	return how
}

func (s *settings) wrong(name, format string, args ...any) {
	s.errs = append(s.errs, &SettingError{name, fmt.Errorf(format, args...)})
}

func (s *settings) get(name, fallback string) string {
	for _, v := range []string{s.getenv(name), s.file[name]} {
		if v = strings.TrimSpace(v); v != "" {
			return v
		}
	}
	return fallback
}

// list splits at commas.
func (s *settings) list(name string) (values []string) {
	for v := range strings.SplitSeq(s.get(name, ""), ",") {
		if v = strings.TrimSpace(v); v != "" {
			values = append(values, v)
		}
	}
	return values
}

func (s *settings) readFile() error {
	path := s.getenv("LOCKSTEP_CONFIG")
	named := path != ""
	if !named {
		path = "lockstep.yaml"
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && !named {
		return nil
	}
	if err != nil {
		return &SettingError{"LOCKSTEP_CONFIG", fmt.Errorf("names a file that cannot be read (%w): correct the path, or leave it out", cause(err))}
	}
	var values map[string]any
	if err := yaml.Unmarshal(data, &values); err != nil {
		return &SettingError{path, errors.New("is not valid YAML: write one NAME: value per line, as in docs/SETTINGS.md")}
	}
	s.file = s.flatten(path, values)
	return errors.Join(s.errs...)
}

// cause is a file's error without the path, which is a setting's value.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// flatten turns the file into the form of the environment: names in upper
// case, lists joined by commas, ${NAME} expanded.
func (s *settings) flatten(path string, values map[string]any) map[string]string {
	flat := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		name := strings.ToUpper(key)
		if name == "SHOPIFY" {
			s.readShops(path, values[key])
			continue
		}
		_, twice := flat[name]
		text, err := s.join(values[key])
		switch {
		case !slices.Contains(known, name):
			s.wrong(path, "has an unknown setting %q: see docs/SETTINGS.md for the names", key)
		case twice:
			s.wrong(path, "has %s twice: remove one", name)
		case err != nil:
			s.wrong(path, "%s %w", name, err)
		}
		flat[name] = text
	}
	return flat
}

// join makes one text of a value or a list of values; nothing is no value.
func (s *settings) join(value any) (string, error) {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	var parts []string
	for _, v := range list {
		switch v.(type) {
		case nil:
			continue
		case map[string]any, []any:
			return "", errors.New("must be one value or a list of values")
		}
		text, err := s.expand(fmt.Sprint(v))
		if err != nil {
			return "", err
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ","), nil
}

func (s *settings) expand(text string) (out string, err error) {
	out = regexp.MustCompile(`\$\{(\w+)\}`).ReplaceAllStringFunc(text, func(ref string) string {
		v := s.getenv(ref[2 : len(ref)-1])
		if v == "" {
			err = fmt.Errorf("names %s, which is not set: set that in the environment", ref)
		}
		return v
	})
	return out, err
}
