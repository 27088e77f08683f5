package shopify

import (
	"context"
	"errors"
	"strings"

	"github.com/lockstephq/lockstep"
)

// List implements lockstep.Lister, by id. Shopify answers from its search index,
// which lags behind: a customer that was made, changed or deleted a moment ago
// may be missing, as it was, or still there. Whoever needs to know asks Resolve.
func (t *Target) List(ctx context.Context, after string, limit int) ([]lockstep.Customer, error) {
	op := t.ops["list"]
	number := "0"
	if after != "" {
		if !isID(after) {
			return nil, op.fail(lockstep.ErrInvalid, errors.New("the place to go on from is no customer's id"))
		}
		number = strings.TrimPrefix(after, idPrefix)
	}
	var got struct {
		Customers struct {
			Nodes []snapshot `json:"nodes"`
		} `json:"customers"`
	}
	if err := t.client.run(ctx, op, t.place(map[string]any{"query": "id:>" + number}), &got); err != nil {
		return nil, err
	}
	nodes := got.Customers.Nodes
	if err := t.hiddenPage("list", nodes); err != nil {
		return nil, err
	}
	page := make([]lockstep.Customer, 0, min(limit, len(nodes)))
	for _, s := range nodes[:min(limit, len(nodes))] {
		page = append(page, t.customer(s, s.owner()))
	}
	return page, nil
}
