package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/clerk"
	"github.com/lockstephq/lockstep/internal/postgres"
	"golang.org/x/sync/errgroup"
)

// checkTime bounds each question to another system.
const checkTime = 10 * time.Second

// Examine looks at everything that Lockstep depends on, for `lockstep doctor`:
// settings, database, Clerk and the stores. It writes nothing, and goes on after
// what is wrong, so that one look shows all.
func Examine(ctx context.Context, getenv func(string) string, log *slog.Logger, options ...Option) []lockstep.Finding {
	c, findings := examineSettings(getenv)
	a, err := Open(c, log, options...)
	if err != nil && len(c.Shops) > 0 { // the rest can be looked at without them
		findings = append(findings, finding("shopify", "settings", lockstep.FindingFailed, err.Error(), "see docs/SHOPIFY.md"))
		c.Shops = nil
		a, err = Open(c, log, options...)
	}
	if err != nil {
		missing := finding("database", "connection", lockstep.FindingNotChecked, "DATABASE_URL does not say where it is", "")
		return append(append(findings, missing), examineClerk(ctx, c, nil)...)
	}
	defer a.Close()
	findings = append(findings, a.examineDatabase(ctx)...)
	findings = append(findings, examineClerk(ctx, c, a.store)...)
	return append(findings, a.examineTargets(ctx)...)
}

func finding(area, name string, state lockstep.FindingState, detail, fix string) lockstep.Finding {
	return lockstep.Finding{Area: area, Name: name, State: state, Detail: strings.ReplaceAll(detail, "\n", "; "), Fix: fix}
}

// examineSettings is one finding per setting, and one per thing that is wrong
// and no setting's alone. What is wrong is left out of the Config.
func examineSettings(getenv func(string) string) (c Config, findings []lockstep.Finding) {
	s := &settings{getenv: getenv}
	if err := s.readFile(); err != nil {
		findings = append(findings, finding("settings", "file", lockstep.FindingFailed, err.Error(), "mend the file, as docs/SETTINGS.md has it"))
		s.errs = nil
	}
	c = s.config()
	s.check(c, NeedWeb)
	wrong := map[string]string{}
	for _, err := range s.errs {
		if e, ok := errors.AsType[*SettingError](err); ok {
			wrong[e.Name] = e.Err.Error()
		}
	}
	for _, name := range known {
		findings = append(findings, s.examine(name, wrong[name]))
		delete(wrong, name)
	}
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		findings = append(findings, finding("settings", name, lockstep.FindingFailed, wrong[name], "see docs/SETTINGS.md"))
	}
	c.Shops = slices.DeleteFunc(c.Shops, func(shop ShopConfig) bool {
		_, err := shop.options()
		return err != nil || !shopName.MatchString(shop.Shop)
	})
	return c, findings
}

func (s *settings) examine(name, wrong string) lockstep.Finding {
	f := finding("settings", name, lockstep.FindingOK, "", "")
	set := s.get(name, "") != ""
	if wrong != "" {
		f.State = lockstep.FindingFailed
		f.Detail = wrong
		if at := strings.LastIndex(wrong, ": "); at > 0 { // what to type comes last
			f.Detail, f.Fix = wrong[:at], wrong[at+2:]
		}
	}
	// Without Clerk's, all but serve works; any other that is missed is a failure.
	if !set && (wrong == "" || strings.HasPrefix(name, "CLERK_")) {
		f.State = lockstep.FindingNotSet
	}
	return f
}

func (a *App) examineDatabase(ctx context.Context) []lockstep.Finding {
	ctx, cancel := context.WithTimeout(ctx, 3*checkTime) // many questions
	defer cancel()
	findings := append(postgres.Examine(ctx, a.pool), a.examineMigrations(ctx))
	for i := range findings {
		findings[i].Area = "database"
	}
	return findings
}

func (a *App) examineMigrations(ctx context.Context) lockstep.Finding {
	f := lockstep.Finding{Name: "migrations", State: lockstep.FindingOK}
	steps, err := a.MigrateStatus(ctx)
	if err != nil {
		f.State, f.Detail = lockstep.FindingNotChecked, err.Error()
		return f
	}
	var pending []string
	for _, s := range steps {
		if !s.Applied {
			pending = append(pending, s.Name)
		}
	}
	if len(pending) > 0 {
		f.State, f.Detail, f.Fix = lockstep.FindingFailed, "pending: "+strings.Join(pending, ", "), "lockstep migrate up"
	}
	return f
}

// examineClerk asks what Clerk sends and answers; store may be nil.
func examineClerk(ctx context.Context, c Config, store *postgres.Store) []lockstep.Finding {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	findings := []lockstep.Finding{examineSecretKey(ctx, c), examineKeys(ctx, c), examineWebhookSecret(c)}
	if store == nil {
		return append(findings, finding("clerk", "webhooks", lockstep.FindingNotChecked, "the database cannot be asked", ""))
	}
	record, err := store.ClerkRecord(ctx)
	if err != nil {
		return append(findings, finding("clerk", "webhooks", lockstep.FindingNotChecked, "the database does not tell: see above", ""))
	}
	return append(findings, examineInstance(c, record), examineDeliveries(record))
}

func examineSecretKey(ctx context.Context, c Config) lockstep.Finding {
	const name, fix = "secret key", "copy the secret key (sk_…) from Clerk's dashboard, API keys, into CLERK_SECRET_KEY"
	if c.ClerkSecretKey == "" {
		return finding("clerk", name, lockstep.FindingNotSet, "sign-in cannot ask Clerk for a new user", fix)
	}
	client, err := newClerkClient(c)
	if err != nil {
		return finding("clerk", name, lockstep.FindingFailed, err.Error(), fix)
	}
	n, err := client.Count(ctx)
	switch {
	case errors.Is(err, clerk.ErrUnauthorized):
		return finding("clerk", name, lockstep.FindingFailed, err.Error(), fix)
	case err != nil:
		return finding("clerk", name, lockstep.FindingFailed, err.Error(), "check that this machine reaches Clerk's API, and leave CLERK_API_URL out")
	}
	return finding("clerk", name, lockstep.FindingOK, fmt.Sprintf("Clerk answers; it has %d users", n), "")
}

// examineKeys asks whether session tokens can be verified.
func examineKeys(ctx context.Context, c Config) lockstep.Finding {
	const name, fix = "session tokens", "set CLERK_ISSUER to the Frontend API URL of Clerk's dashboard, API keys"
	if c.ClerkIssuer == "" {
		return finding("clerk", name, lockstep.FindingNotSet, "no token can be verified", fix)
	}
	verifier, err := newTokenVerifier(c)
	switch {
	case err != nil:
		return finding("clerk", name, lockstep.FindingFailed, err.Error(), "mend CLERK_ISSUER, CLERK_AUTHORIZED_PARTIES or CLERK_JWT_KEY")
	case c.ClerkJWTKey == "":
		if err := verifier.Ready(ctx); err != nil {
			return finding("clerk", name, lockstep.FindingFailed, "the issuer's keys cannot be had: "+err.Error(), fix+", or CLERK_JWT_KEY to its public key")
		}
	}
	if len(c.ClerkAuthorizedParties) == 0 {
		return finding("clerk", name, lockstep.FindingWarning, "a token made for another of your sites is believed",
			"set CLERK_AUTHORIZED_PARTIES to your sites' origins, such as https://shop.example.com")
	}
	return finding("clerk", name, lockstep.FindingOK, "the public key is at hand", "")
}

func examineWebhookSecret(c Config) lockstep.Finding {
	const name, fix = "webhook secret", "copy the signing secret (whsec_…) from Clerk's dashboard, Webhooks, your endpoint, into CLERK_WEBHOOK_SECRET"
	if len(c.ClerkWebhookSecrets) == 0 {
		return finding("clerk", name, lockstep.FindingNotSet, "no webhook can be believed", fix)
	}
	if _, err := newVerifier(c); err != nil {
		return finding("clerk", name, lockstep.FindingFailed, err.Error(), fix)
	}
	return finding("clerk", name, lockstep.FindingOK, "well-formed; only a delivery shows that it is the endpoint's", "")
}

func examineInstance(c Config, r postgres.ClerkRecord) lockstep.Finding {
	const name = "instance"
	switch {
	case r.Instance == "" && c.ClerkInstanceID == "":
		return finding("clerk", name, lockstep.FindingNotSet, "the first instance that sends a signed event will be pinned", "")
	case r.Instance != "" && c.ClerkInstanceID != "" && r.Instance != c.ClerkInstanceID:
		return finding("clerk", name, lockstep.FindingWarning, "CLERK_INSTANCE_ID is another than the one that sent events before",
			"leave CLERK_INSTANCE_ID out, unless you have moved to another Clerk instance")
	}
	return finding("clerk", name, lockstep.FindingOK, "pinned to "+cmp.Or(c.ClerkInstanceID, r.Instance), "")
}

func examineDeliveries(r postgres.ClerkRecord) lockstep.Finding {
	if r.Deliveries == 0 {
		return finding("clerk", "deliveries", lockstep.FindingNotSet, "no webhook has come yet",
			"in Clerk's dashboard, Webhooks, your endpoint https://your.host/webhooks/clerk, press Send Example")
	}
	return finding("clerk", "deliveries", lockstep.FindingOK, fmt.Sprintf("%d webhooks have come", r.Deliveries), "")
}

func (a *App) examineTargets(ctx context.Context) (findings []lockstep.Finding) {
	if len(a.targets) == 0 {
		return []lockstep.Finding{finding("targets", "any", lockstep.FindingNotSet, "no store is configured", "set MEDUSA_MODE=database, or SHOPIFY_SHOP")}
	}
	const atOnce = 8
	each := make([][]lockstep.Finding, len(a.targets))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, t := range a.targets {
		group.Go(func() error { each[i] = examineTarget(ctx, t); return nil })
	}
	_ = group.Wait() // what is wrong is found, not returned
	return slices.Concat(each...)
}

func examineTarget(ctx context.Context, t lockstep.Target) (findings []lockstep.Finding) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	check := finding(t.Name(), "check", lockstep.FindingOK, "Lockstep may work here", "")
	switch err := t.Check(ctx); {
	case err != nil && lockstep.KindOf(err) == lockstep.ErrThrottled:
		check = finding(t.Name(), "check", lockstep.FindingNotChecked, err.Error(), "its limit is used up by work: type lockstep doctor again later")
	case err != nil:
		check = finding(t.Name(), "check", lockstep.FindingFailed, err.Error(), "mend that, and type lockstep doctor again")
	}
	findings = append(findings, check)
	if e, ok := lockstep.As[lockstep.Examiner](t); ok {
		for _, f := range e.Examine(ctx) {
			f.Area = t.Name()
			findings = append(findings, f)
		}
	}
	return findings
}

// Failed counts the findings that doctor exits with 3 for.
func Failed(findings []lockstep.Finding) (n int) {
	for _, f := range findings {
		if f.State == lockstep.FindingFailed {
			n++
		}
	}
	return n
}
