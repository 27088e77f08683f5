package shopify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lockstephq/lockstep"
)

// Finding is one thing that was looked at in a shop.
type Finding struct {
	Check   string `json:"check"`             // "access", "scopes", "version", "metafield", "customer data", "webhooks"
	Problem string `json:"problem,omitempty"` // what is wrong and what to do; empty if nothing is
	Stops   bool   `json:"stops,omitempty"`   // customers cannot be kept in step meanwhile

	err error
}

// Report is what a shop told of itself.
type Report struct {
	Plan     string    `json:"plan"` // as Shopify names it: "Grow"
	Scopes   []string  `json:"scopes"`
	Asked    string    `json:"api_version_asked"`
	Served   string    `json:"api_version_served"`
	Topics   []string  `json:"topics"` // subscribed to, as in X-Shopify-Topic
	Missing  []string  `json:"topics_missing"`
	Findings []Finding `json:"findings"`
}

// Problems lists what is wrong but stops nothing, and the error that stops the
// work, if one does. That the shop could not be asked just now is neither.
func (r Report) Problems() (problems []string, stops error) {
	for _, f := range r.Findings {
		switch {
		case f.Stops && stops == nil:
			stops = f.err
		case f.Problem != "" && !f.Stops && !passing(f.err):
			problems = append(problems, f.Problem)
		}
	}
	return problems, stops
}

// passing reports an error that may be gone at the next try.
func passing(err error) bool {
	te, ok := errors.AsType[*lockstep.TargetError](err)
	return ok && (te.Kind == lockstep.ErrTransient || te.Kind == lockstep.ErrThrottled)
}

// Examine implements lockstep.Examiner: the findings of Inspect, wherever the
// webhooks go.
func (t *Target) Examine(ctx context.Context) (findings []lockstep.Finding) {
	for _, f := range t.Inspect(ctx, "").Findings {
		findings = append(findings, lockstep.Finding{Name: f.Check, State: f.state(), Detail: f.Problem})
	}
	return findings
}

func (f Finding) state() lockstep.FindingState {
	switch {
	case f.Problem == "":
		return lockstep.FindingOK
	case f.Stops:
		return lockstep.FindingFailed
	case passing(f.err):
		return lockstep.FindingNotChecked
	}
	return lockstep.FindingWarning
}

// Inspect looks at everything that must be right in a shop, and writes nothing.
// Webhooks are to go to the endpoint; empty stands for any Lockstep. What cannot
// be asked is a finding as well.
func (t *Target) Inspect(ctx context.Context, endpoint string) Report {
	r := Report{Asked: Version, Scopes: []string{}, Topics: []string{}, Missing: []string{}}
	got, err := t.check(ctx)
	r.Served = t.servedVersion()
	r.add("access", err)
	if err != nil {
		return r
	}
	r.Scopes = got.scopes()
	r.add("scopes", t.checkScopes(got))
	r.add("metafield", t.ops["check"].wrongType(got.Definition))
	r.add("customer data", t.checkAccess(ctx, got.Customers.Nodes))
	r.note("version", t.checkVersion())
	r.note("webhooks", t.inspectWebhooks(ctx, &r, endpoint))
	var shop struct {
		Shop struct {
			Plan struct {
				Name string `json:"publicDisplayName"`
			} `json:"plan"`
		} `json:"shop"`
	}
	if err := t.client.run(ctx, t.ops["plan"], nil, &shop); err == nil { // it is told, and matters to nothing
		r.Plan = shop.Shop.Plan.Name
	}
	return r
}

// add notes a finding that stops the work if Shopify refuses everybody.
func (r *Report) add(check string, err error) {
	r.Findings = append(r.Findings, Finding{Check: check, Problem: problem(err), Stops: errors.Is(err, lockstep.ErrRefused), err: err})
}

// note notes a finding that stops nothing.
func (r *Report) note(check string, err error) {
	r.Findings = append(r.Findings, Finding{Check: check, Problem: problem(err), err: err})
}

// problem is an error's text without its kind.
func problem(err error) string {
	if err == nil {
		return ""
	}
	if te, ok := errors.AsType[*lockstep.TargetError](err); ok && te.Err != nil {
		return strings.TrimPrefix(te.Err.Error(), "shopify: ")
	}
	return err.Error()
}

func (t *Target) servedVersion() string {
	if got := t.client.served.Load(); got != nil {
		return *got
	}
	return Version
}

// inspectWebhooks compares the subscriptions with the topics. The app's own
// configuration may have them as well, which Shopify lists nowhere.
func (t *Target) inspectWebhooks(ctx context.Context, r *Report, endpoint string) error {
	have, err := t.Subscriptions(ctx)
	if err != nil {
		return err
	}
	all := topics()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		kind := all[name]
		if kind.graphql == "" || !kind.allowed(r.Scopes) {
			continue
		}
		if _, is := find(have, kind.graphql, endpoint); is {
			r.Topics = append(r.Topics, name)
		} else {
			r.Missing = append(r.Missing, name)
		}
	}
	switch total := len(r.Topics) + len(r.Missing); {
	case len(r.Missing) == 0:
		return nil
	case len(r.Topics) == 0:
		return fmt.Errorf("no change in the shop is told to lockstep: run `lockstep shopify connect --shop %s`", t.shop())
	default:
		return fmt.Errorf("%d of %d webhook subscriptions are missing: run `lockstep shopify connect --shop %s`", len(r.Missing), total, t.shop())
	}
}

func (t *Target) shop() string { return strings.TrimPrefix(t.name, "shopify:") }

// Setup makes the mark's metafield definition, if it is not there. Otherwise the
// first write does.
func (t *Target) Setup(ctx context.Context) error { return t.define(ctx) }
