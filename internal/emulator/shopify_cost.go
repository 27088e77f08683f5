package emulator

import (
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// Points, as read off captured answers (github.com/airhorns/shopify-draft-proxy)
// and shopify.dev, "GraphQL Admin API rate limits".
const (
	mutationPoints   = 10 // with the object its payload holds
	countPoints      = 10 // customersCount
	connectionPoints = 2  // and the share of its nodes
	maxPoints        = 1000
)

// fieldWeight is the price of a field without what is selected below it: objects
// cost 1; scalars, money, errors and the default address are free.
func fieldWeight(schema *ast.Schema, parent string, field *ast.FieldDefinition) int {
	def := schema.Types[field.Type.Name()]
	switch {
	case parent == "Mutation":
		return mutationPoints
	case def.IsLeafType(), strings.HasSuffix(parent, "Payload"), slices.Contains(def.Interfaces, "DisplayableError"):
		return 0
	case slices.Contains([]string{"edges", "pageInfo", "defaultAddress"}, field.Name), def.Name == "MoneyV2":
		return 0
	case def.Name == "Count":
		return countPoints
	}
	return 1
}

// nodeFactor is how often the price of a node counts in a connection of n:
// 1→1, 2→1, 3→2, 5→3, 10→4, 20→5, 50→7, 250→11.
func nodeFactor(n int) int {
	if n <= 0 {
		return 0
	}
	return max(1, int(2*math.Log(float64(n))))
}

// requestedCost prices an operation before it runs.
func (e *execution) requestedCost(typename string, set ast.SelectionSet) int {
	cost := 0
	for _, s := range e.collect(typename, set) {
		field := s.fields[0]
		def := e.schema.Types[typename].Fields.ForName(field.Name)
		if def == nil { // __typename
			continue
		}
		inner := e.dearest(def.Type.Name(), s.set())
		if isConnection(def.Type) {
			cost += connectionPoints + nodeFactor(e.pageSize(field))*inner
		} else {
			cost += fieldWeight(e.schema, typename, def) + inner
		}
	}
	return cost
}

// dearest prices a selection on a type; on an interface, that of the member for
// which most is selected.
func (e *execution) dearest(typename string, set ast.SelectionSet) int {
	if len(set) == 0 {
		return 0
	}
	cost := 0
	for _, possible := range e.schema.PossibleTypes[typename] {
		cost = max(cost, e.requestedCost(possible.Name, set))
	}
	return cost
}

// pageCost prices a connection by the nodes it has. Of an empty one the captures
// still charge the nodes asked for, but nothing below them; for the rest they
// only show that it is at most what was requested.
func (e *execution) pageCost(field *ast.Field, value any, inner int) int {
	page, _ := value.(*object)
	if page == nil {
		return connectionPoints
	}
	nodes := len(asList(page.fields["nodes"]))
	asked := nodeFactor(e.pageSize(field))
	if nodes == 0 {
		return connectionPoints + asked
	}
	return connectionPoints + min(asked, nodeFactor(nodes))*inner
}

// pageSize is the number of nodes that a field asks for.
func (e *execution) pageSize(field *ast.Field) int {
	args := field.ArgumentMap(e.vars)
	if first, ok := args["first"].(int64); ok {
		return int(first)
	}
	last, _ := args["last"].(int64)
	return int(last)
}

// ShopPlan is what a shop pays for; it sets how many points per second the shop
// gives to an app.
type ShopPlan string

// The plans (shopify.dev, "Shopify API limits").
const (
	PlanStandard   ShopPlan = "standard"   // 100 points per second
	PlanAdvanced   ShopPlan = "advanced"   // 200
	PlanPlus       ShopPlan = "plus"       // 1,000
	PlanEnterprise ShopPlan = "enterprise" // 2,000
)

// RestoreRate is the plan's points per second.
func (p ShopPlan) RestoreRate() float64 {
	switch p {
	case PlanAdvanced:
		return 200
	case PlanPlus:
		return 1000
	case PlanEnterprise:
		return 2000
	}
	return 100
}

// bucketSeconds is how much of its rate a bucket holds: captured as 2,000 points
// at 100 per second; that other plans keep the ratio is inferred.
const bucketSeconds = 20

// ShopUsage is what was taken from a shop's bucket.
type ShopUsage struct {
	Requests  int     `json:"requests"`  // that were paid for
	Used      float64 `json:"used"`      // points, refunds taken off
	Restored  float64 `json:"restored"`  // points that came back in time; a full bucket restores none
	Offered   float64 `json:"offered"`   // points that could have come back: rate × seconds
	Throttled int     `json:"throttled"` // THROTTLED answers
}

// bucket is the leaky bucket of one app in one shop.
type bucket struct {
	now func() time.Time

	mu        sync.Mutex
	rate      float64 // points per second
	limit     float64
	available float64
	at        time.Time
	usage     ShopUsage
}

// throttleStatus is the state of a bucket as answers show it.
type throttleStatus struct {
	MaximumAvailable   float64 `json:"maximumAvailable"`
	CurrentlyAvailable float64 `json:"currentlyAvailable"`
	RestoreRate        float64 `json:"restoreRate"`
}

func newBucket(rate float64, now func() time.Time) *bucket {
	limit := rate * bucketSeconds
	return &bucket{now: now, rate: rate, limit: limit, available: limit, at: now()}
}

// restore gives back what time brought. The caller holds b.mu.
func (b *bucket) restore() {
	now := b.now()
	gain := b.rate * max(0, now.Sub(b.at).Seconds())
	b.at = now
	b.usage.Offered += gain
	before := b.available
	b.available = min(b.limit, b.available+gain)
	b.usage.Restored += b.available - before
}

// take pays the requested points up front. It fails when they are not there.
func (b *bucket) take(points int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.restore()
	if b.available < float64(points) {
		b.usage.Throttled++
		return false
	}
	b.available -= float64(points)
	b.usage.Requests++
	b.usage.Used += float64(points)
	return true
}

// refund gives back what a request did not need.
func (b *bucket) refund(points int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.available = min(b.limit, b.available+float64(points))
	b.usage.Used -= float64(points)
}

func (b *bucket) status() throttleStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.restore()
	return throttleStatus{b.limit, math.Floor(b.available), b.rate}
}

// setRate changes the plan. What is in the bucket stays, up to the new limit.
func (b *bucket) setRate(rate float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.restore()
	b.rate, b.limit = rate, rate*bucketSeconds
	b.available = min(b.available, b.limit)
}

// drain takes points out, as another process of the same app does.
func (b *bucket) drain(points float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.restore()
	b.available = max(0, b.available-points)
}

func (b *bucket) count(reset bool) ShopUsage {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.restore()
	usage := b.usage
	if reset {
		b.usage = ShopUsage{}
	}
	return usage
}
