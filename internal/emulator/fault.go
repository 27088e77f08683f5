package emulator

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Action is what befalls a request.
type Action string

// The actions.
const (
	ActionPass       Action = "pass"        // it is served as usual
	ActionRefuse     Action = "refuse"      // an error is answered, nothing is applied
	ActionDropBefore Action = "drop_before" // the connection breaks, nothing was applied
	ActionDropAfter  Action = "drop_after"  // it is applied, then the connection breaks without an answer
	ActionTruncate   Action = "truncate"    // it is applied, and the connection breaks in the middle of the answer
)

// Fault is one outcome of one request.
//
// Go's http.Transport sends a GET again by itself when a connection it had used
// before breaks without an answer; a dropped GET may thus show up twice.
type Fault struct {
	Action     Action
	Status     int           // for ActionRefuse: 4xx or 5xx; zero means 503
	RetryAfter time.Duration // for ActionRefuse: sent in whole seconds, rounded up; zero sends none
	Code       string        // for ActionRefuse by Shopify: a GraphQL error with this code and status 200 instead
	Delay      time.Duration // waited before the action; ends early when the client gives up
}

// Rule says which requests suffer which faults. The script goes first, one
// outcome per matching request; once it is used up, Fault befalls the share
// Rate of them.
type Rule struct {
	Route  string  `json:"route"`            // a route's name; "*" stands for any text, empty for all routes
	Script []Fault `json:"script,omitempty"` // outcomes of the next matching requests
	Rate   float64 `json:"rate,omitempty"`   // 0 to 1
	Fault  Fault   `json:"fault,omitzero"`
}

// Count is how many requests of one route had one outcome: the status that was
// answered ("200"), "refuse 503", "drop_before" or "drop_after 200".
type Count struct {
	Route   string `json:"route"`
	Outcome string `json:"outcome"`
	N       int    `json:"n"`
}

// Faults makes requests to an emulator fail on purpose and counts what became
// of all requests. It is safe for concurrent use.
type Faults struct {
	random *source

	mu     sync.Mutex
	rules  []Rule
	counts map[countKey]int
}

type countKey struct{ route, outcome string }

func newFaults(seed uint64) *Faults {
	return &Faults{random: newSource(seed, faultStream), counts: map[countKey]int{}}
}

// Set replaces all rules; without any, nothing fails. The first rule that
// yields a fault for a request decides. It fails on a rule that makes no sense,
// and then changes nothing.
func (f *Faults) Set(rules ...Rule) error {
	checked := make([]Rule, len(rules))
	for i, rule := range rules {
		normal, err := rule.normal()
		if err != nil {
			return fmt.Errorf("rule %d: %w", i+1, err)
		}
		checked[i] = normal
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = checked
	return nil
}

// Script adds a rule: the next requests of the route have these outcomes, in
// this order.
func (f *Faults) Script(route string, outcomes ...Fault) error {
	rule, err := Rule{Route: route, Script: outcomes}.normal()
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, rule)
	return nil
}

// Rules returns the rules with what is left of their scripts.
func (f *Faults) Rules() []Rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	rules := slices.Clone(f.rules)
	for i := range rules {
		rules[i].Script = slices.Clone(rules[i].Script)
	}
	return rules
}

// Counts returns what became of the requests so far, by route and outcome.
func (f *Faults) Counts() []Count {
	f.mu.Lock()
	defer f.mu.Unlock()
	counts := make([]Count, 0, len(f.counts))
	for key, n := range f.counts {
		counts = append(counts, Count{key.route, key.outcome, n})
	}
	slices.SortFunc(counts, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.Route, b.Route), cmp.Compare(a.Outcome, b.Outcome))
	})
	return counts
}

// Total is the number of requests so far on the routes that match a pattern as
// in [Rule].
func (f *Faults) Total(route string) int {
	total := 0
	for _, count := range f.Counts() {
		if routeMatches(route, count.Route) {
			total += count.N
		}
	}
	return total
}

// Inject puts the faults in front of a service. name gives the route of a
// request and "" for one that is to be left alone; refuse writes an error in
// the service's own form.
func (f *Faults) Inject(service http.Handler, name func(*http.Request) string, refuse func(http.ResponseWriter, Fault)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route := name(r)
		if route == "" {
			service.ServeHTTP(w, r)
			return
		}
		fault := f.draw(route)
		pause(r, fault.Delay)
		f.apply(fault, route, w, r, service, refuse)
	})
}

// apply serves a request under a fault. The answer is held back until it is
// known whether it may leave.
func (f *Faults) apply(fault Fault, route string, w http.ResponseWriter, r *http.Request, service http.Handler, refuse func(http.ResponseWriter, Fault)) {
	held := newHeldAnswer()
	switch fault.Action {
	case ActionDropBefore:
		f.count(route, string(fault.Action))
		breakConnection(w)
	case ActionRefuse:
		refuse(held, fault)
		f.count(route, fmt.Sprintf("%s %d", fault.Action, held.status))
		held.send(w)
	case ActionDropAfter:
		service.ServeHTTP(held, r)
		f.count(route, fmt.Sprintf("%s %d", fault.Action, held.status))
		breakConnection(w)
	case ActionTruncate:
		service.ServeHTTP(held, r)
		f.count(route, fmt.Sprintf("%s %d", fault.Action, held.status))
		held.header.Set("Content-Length", strconv.Itoa(held.body.Len()))
		held.send(&cutWriter{ResponseWriter: w})
	default:
		service.ServeHTTP(held, r)
		f.count(route, strconv.Itoa(held.status))
		held.send(w)
	}
}

// draw decides a request's fate and takes it off the script it came from.
func (f *Faults) draw(route string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.rules {
		rule := &f.rules[i]
		if !routeMatches(rule.Route, route) {
			continue
		}
		if len(rule.Script) > 0 {
			next := rule.Script[0]
			rule.Script = rule.Script[1:]
			return next
		}
		if f.random.hit(rule.Rate) {
			return rule.Fault
		}
	}
	return Fault{Action: ActionPass}
}

func (f *Faults) count(route, outcome string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[countKey{route, outcome}]++
}

func (r Rule) normal() (Rule, error) {
	if r.Rate < 0 || r.Rate > 1 {
		return r, fmt.Errorf("rate %v is not between 0 and 1", r.Rate)
	}
	var err error
	if r.Fault, err = r.Fault.normal(); err != nil {
		return r, err
	}
	r.Script = slices.Clone(r.Script)
	for i := range r.Script {
		if r.Script[i], err = r.Script[i].normal(); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (f Fault) normal() (Fault, error) {
	f.Action = cmp.Or(f.Action, ActionPass)
	switch f.Action {
	case ActionPass, ActionDropBefore, ActionDropAfter, ActionTruncate:
		return f, nil
	case ActionRefuse:
		f.Status = cmp.Or(f.Status, http.StatusServiceUnavailable)
		if f.Status < 400 || f.Status > 599 {
			return f, fmt.Errorf("status %d is not an error", f.Status)
		}
		return f, nil
	}
	return f, fmt.Errorf("unknown action %q: use pass, refuse, drop_before, drop_after or truncate", f.Action)
}

// faultJSON is a fault in the control routes.
type faultJSON struct {
	Action      Action `json:"action"`
	Status      int    `json:"status,omitempty"`
	RetryAfterS int64  `json:"retry_after_s,omitempty"`
	Code        string `json:"code,omitempty"`
	DelayMS     int64  `json:"delay_ms,omitempty"`
}

// MarshalJSON writes {"action","status","retry_after_s","code","delay_ms"}.
func (f Fault) MarshalJSON() ([]byte, error) {
	return json.Marshal(faultJSON{f.Action, f.Status, retryAfterSeconds(f.RetryAfter), f.Code, f.Delay.Milliseconds()})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (f *Fault) UnmarshalJSON(data []byte) error {
	var wire faultJSON
	if err := json.Unmarshal(data, &wire); err != nil {
		return err
	}
	*f = Fault{
		Action:     wire.Action,
		Status:     wire.Status,
		RetryAfter: time.Duration(wire.RetryAfterS) * time.Second,
		Code:       wire.Code,
		Delay:      time.Duration(wire.DelayMS) * time.Millisecond,
	}
	return nil
}

// retryAfterSeconds is a wait in the whole seconds of a Retry-After header.
func retryAfterSeconds(d time.Duration) int64 {
	return int64((d + time.Second - 1) / time.Second)
}

// routeMatches compares a route with a pattern in which "*" stands for any text.
func routeMatches(pattern, route string) bool {
	if pattern == "" {
		return true
	}
	head, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == route
	}
	if !strings.HasPrefix(route, head) {
		return false
	}
	route = route[len(head):]
	for i := 0; i <= len(route); i++ {
		if rest == "" || routeMatches(rest, route[i:]) {
			return true
		}
	}
	return false
}

// pause waits, but no longer than the client does. The body is read first: until
// then net/http does not notice that the client is gone.
func pause(r *http.Request, d time.Duration) {
	if d <= 0 {
		return
	}
	if body, err := io.ReadAll(r.Body); err == nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	ctx, cancel := context.WithTimeout(r.Context(), d)
	defer cancel()
	<-ctx.Done()
}

// breakConnection closes the connection of a request without an answer.
func breakConnection(w http.ResponseWriter) {
	if hijacker, ok := w.(http.Hijacker); ok {
		if conn, _, err := hijacker.Hijack(); err == nil {
			_ = conn.Close() // broken on purpose
			return
		}
	}
	panic(http.ErrAbortHandler) // HTTP/2 cannot be hijacked; this resets the stream
}

// heldAnswer keeps an answer in memory until it is sent or thrown away.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newHeldAnswer() *heldAnswer {
	return &heldAnswer{header: http.Header{}, status: http.StatusOK}
}

func (a *heldAnswer) Header() http.Header         { return a.header }
func (a *heldAnswer) WriteHeader(status int)      { a.status = status }
func (a *heldAnswer) Write(p []byte) (int, error) { return a.body.Write(p) }

func (a *heldAnswer) send(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes()) // a client that left is no error of ours
}
