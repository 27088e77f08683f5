package medusa

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/lockstephq/lockstep"
)

// APIOptions say where Medusa is and who asks. URL is required, and a login or a
// key; of both the login is used, since Medusa spends about 50 ms of computing
// on each request that comes with a key (scrypt), and none on a login's.
type APIOptions struct {
	URL           string // of the backend: https://medusa.example.com
	Key           string // a secret key, "sk_…"
	AdminEmail    string
	AdminPassword string

	Timeout time.Duration // for one request; zero means 10 s
	HTTP    *http.Client  // nil means one of this target's own
}

// API is the target that goes through Medusa's Admin API, so that Medusa's
// subscribers learn of every change.
//
// The API makes guests only, and knows no other uniqueness than one guest per
// e-mail, by exact case. It cannot be asked for a mark, nor for an e-mail in any
// case. So API keeps an index in memory of which ids may carry a user or an
// e-mail: it is filled once, by reading all customers, and each look asks Medusa
// in one request for the candidates it names, for the e-mail, and for all that
// changed lately. What the answer shows decides; the index only proposes.
//
// At most one customer per user rests on four things. With an e-mail, Medusa's
// own unique index refuses a second guest, even if a request whose answer was
// lost is carried out later. A look sees every write that was answered before
// it. The engine lets one worker at a time work on a user; within a process API
// itself does. And a customer without an e-mail, or with another one than the
// lost request had, is not made while such a request may still be waiting in
// Medusa: it fails with ErrThrottled until a minute has passed since the last
// request without an answer.
//
// What remains is narrow, and shows. Medusa cannot compare before it writes: two
// processes that adopt one guest for two users at the same instant may both
// succeed, if the first reads its own mark before the second writes; the links,
// which give a customer to one user only, stop the second. And what a killed
// process had asked for without an answer no other one remembers: if Medusa does
// it after the next worker's look, a user without an e-mail has two customers.
// Both carry the mark, so the link becomes a conflict that names them.
type API struct {
	client *client
	index  *index
	lost   *lostWrites

	users, customers turns // one write at a time for each
}

// NewAPI makes a target. It asks nobody; Check does.
func NewAPI(o APIOptions) (*API, error) {
	base, err := baseURL(o.URL)
	if err != nil {
		return nil, err
	}
	lost := &lostWrites{now: time.Now, users: map[string]lostCreate{}}
	c := &client{base: base, http: httpClient(o.HTTP), timeout: cmp.Or(o.Timeout, 10*time.Second), lost: lost}
	switch {
	case o.AdminEmail != "" && o.AdminPassword != "":
		c.auth = newLogin(c, o.AdminEmail, o.AdminPassword)
	case o.AdminEmail != "" || o.AdminPassword != "":
		return nil, errors.New("medusa: the admin's login is not complete: set both MEDUSA_ADMIN_EMAIL and MEDUSA_ADMIN_PASSWORD")
	case o.Key != "":
		c.auth = secretKey(strings.TrimSpace(o.Key))
	default:
		return nil, errors.New("medusa: no way in: set MEDUSA_ADMIN_EMAIL and MEDUSA_ADMIN_PASSWORD, or MEDUSA_API_KEY to a secret key (sk_…)")
	}
	return &API{client: c, index: newIndex(), lost: lost, users: newTurns(), customers: newTurns()}, nil
}

func baseURL(address string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("medusa: MEDUSA_API_URL is no http or https address, such as http://localhost:9000")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// Name implements lockstep.Target. Both modes write the same customers, so the
// links are the same as well.
func (a *API) Name() string { return name }

// Fit returns want as it is: Medusa's columns are text without a limit.
func (a *API) Fit(want lockstep.Customer) lockstep.Customer { return want }

// Check implements lockstep.Target: Medusa must answer, and let Lockstep read
// customers.
func (a *API) Check(ctx context.Context) error {
	op := reading("check")
	if err := op.mayStart(ctx, nil); err != nil {
		return err
	}
	_, err := a.client.page(ctx, op, url.Values{"fields": {"id"}}, 1)
	return err
}

// List implements lockstep.Lister, in the order of ids.
func (a *API) List(ctx context.Context, after string, limit int) ([]lockstep.Customer, error) {
	op := reading("list")
	if err := op.mayStart(ctx, []any{after}); err != nil {
		return nil, err
	}
	p, err := a.client.page(ctx, op, afterID(url.Values{"fields": {customerFields}}, after), limit)
	if err != nil {
		return nil, err
	}
	list := make([]lockstep.Customer, len(p.Customers))
	for i, r := range p.Customers {
		list[i] = r.customer()
	}
	return list, nil
}

var (
	_ lockstep.Lister = (*API)(nil)
	_ lockstep.Target = (*API)(nil)
)
