package shopify

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/lockstephq/lockstep"
)

// webhookPath is where Lockstep takes webhooks. It tells our subscriptions from
// those of others that use the same app.
const webhookPath = "/webhooks/shopify"

// Endpoint is the address for webhooks at a public URL. Shopify delivers to https
// only; plain http is for an emulator on this machine.
func Endpoint(publicURL string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(publicURL))
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("is no address: set it to where the internet reaches lockstep, such as https://lockstep.example.com")
	}
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return "", errors.New("must begin with https://: Shopify delivers to nothing else")
	}
	return u.Scheme + "://" + strings.ToLower(u.Host) + strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), webhookPath) + webhookPath, nil
}

// Subscription is a webhook subscription made through the API. Those of the
// app's own configuration are not listed by Shopify.
type Subscription struct {
	ID     string `json:"id"`
	Topic  string `json:"topic"` // of WebhookSubscriptionTopic
	URI    string `json:"uri"`
	Filter string `json:"filter,omitempty"`
	Format string `json:"format"`
}

// ours tells a subscription that sends all of a topic to a Lockstep, here or at
// another address.
func (s Subscription) ours() bool {
	u, err := url.Parse(s.URI)
	return err == nil && strings.HasSuffix(u.Path, webhookPath) && s.Filter == "" && s.Format == "JSON"
}

// Subscriptions lists what the app subscribed to, at most 250.
func (t *Target) Subscriptions(ctx context.Context) ([]Subscription, error) {
	var got struct {
		Page struct {
			Nodes []Subscription `json:"nodes"`
		} `json:"webhookSubscriptions"`
	}
	err := t.client.run(ctx, t.ops["subscriptions"], nil, &got)
	return got.Page.Nodes, err
}

// Subscribed is what Subscribe did, by topic as in X-Shopify-Topic.
type Subscribed struct {
	Added     []string `json:"added"`
	Corrected []string `json:"corrected"` // sent to another address before
	Kept      []string `json:"kept"`
	Skipped   []string `json:"skipped"` // the app lacks the scope
}

// Subscribe has Shopify send every topic to an address of [Endpoint]. It adds what
// is missing, corrects the address of what goes to another Lockstep, and removes
// nothing. It may be repeated.
func (t *Target) Subscribe(ctx context.Context, endpoint string) (done Subscribed, err error) {
	scopes, err := t.scopes(ctx)
	if err != nil {
		return done, err
	}
	have, err := t.Subscriptions(ctx)
	if err != nil {
		return done, err
	}
	all := topics()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		topic := all[name]
		if topic.graphql == "" {
			continue
		}
		into := &done.Added
		switch old, is := find(have, topic.graphql, endpoint); {
		case is:
			into = &done.Kept
		case !topic.allowed(scopes):
			into = &done.Skipped
		case old != nil:
			into, err = &done.Corrected, t.readdress(ctx, old.ID, endpoint)
		default:
			err = t.subscribe(ctx, topic.graphql, endpoint)
		}
		if err != nil {
			return done, err
		}
		*into = append(*into, name)
	}
	return done, nil
}

// find looks for a topic's subscription to the endpoint or, if there is none, to
// another Lockstep. An empty endpoint stands for any.
func find(have []Subscription, topic, endpoint string) (other *Subscription, is bool) {
	for i, s := range have {
		switch {
		case s.Topic != topic || !s.ours():
		case endpoint == "" || s.URI == endpoint:
			return nil, true
		default:
			other = &have[i]
		}
	}
	return other, false
}

// allowed tells whether the app may subscribe to a topic.
func (k topic) allowed(scopes []string) bool {
	write := strings.Replace(k.scope, "read_", "write_", 1)
	return k.scope == "" || slices.Contains(scopes, k.scope) || slices.Contains(scopes, write)
}

func (t *Target) subscribe(ctx context.Context, topic, endpoint string) error {
	err := t.changeSubscription(ctx, "subscribe", map[string]any{"topic": topic, "subscription": map[string]any{"uri": endpoint, "format": "JSON"}})
	if lockstep.KindOf(err) == lockstep.ErrTaken && err != nil {
		return nil // another process was faster
	}
	return err
}

func (t *Target) readdress(ctx context.Context, id, endpoint string) error {
	return t.changeSubscription(ctx, "readdress", map[string]any{"id": id, "subscription": map[string]any{"uri": endpoint}})
}

// Unsubscribe ends the subscriptions to an endpoint or, if it is empty, to any
// Lockstep, and returns how many there were. Those of others stay.
func (t *Target) Unsubscribe(ctx context.Context, endpoint string) (removed int, err error) {
	have, err := t.Subscriptions(ctx)
	if err != nil {
		return 0, err
	}
	for _, s := range have {
		if !s.ours() || endpoint != "" && s.URI != endpoint {
			continue
		}
		if err := gone(t.changeSubscription(ctx, "unsubscribe", map[string]any{"id": s.ID})); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// changeSubscription runs a mutation of one subscription.
func (t *Target) changeSubscription(ctx context.Context, file string, vars map[string]any) error {
	type payload struct {
		Errors userErrors `json:"userErrors"`
	}
	var got struct {
		Created payload `json:"webhookSubscriptionCreate"`
		Updated payload `json:"webhookSubscriptionUpdate"`
		Deleted payload `json:"webhookSubscriptionDelete"`
	}
	op := t.ops[file]
	if err := t.client.run(ctx, op, vars, &got); err != nil {
		return err
	}
	return op.refusal(slices.Concat(got.Created.Errors, got.Updated.Errors, got.Deleted.Errors))
}
