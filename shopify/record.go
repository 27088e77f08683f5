package shopify

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/lockstephq/lockstep"
)

// Record is a customer as a backfill reads it. Empty fields are null at Shopify,
// which may also mean that the app is not allowed to see them.
type Record struct {
	snapshot
	Locale  string    `json:"locale"`
	Created time.Time `json:"createdAt"`
	Updated time.Time `json:"updatedAt"` // whole seconds
	Email   *struct {
		Address   string    `json:"emailAddress"`
		Consent   string    `json:"marketingState"`
		ConsentAt time.Time `json:"marketingUpdatedAt"`
	} `json:"defaultEmailAddress"`
	Phone *struct {
		Number  string `json:"phoneNumber"`
		Consent *struct {
			State string    `json:"state"`
			At    time.Time `json:"updatedAt"`
		} `json:"smsMarketingConsent"`
	} `json:"defaultPhoneNumber"`

	// End is where the next line of the result begins, in bytes: a read that was
	// cut short goes on there.
	End int64 `json:"-"`
}

// Mark is the user that the customer carries; empty for none.
func (r *Record) Mark() string { return r.owner() }

// Masked reports a phone number that Shopify shows in part.
func (r *Record) Masked() bool { return r.Phone != nil && strings.Contains(r.Phone.Number, "*") }

// decode reads a record from a line.
func (r *Record) decode(text []byte) error {
	if err := json.Unmarshal(text, r); err != nil {
		return err
	}
	if !isID(r.ID) {
		return errors.New("it is no customer")
	}
	if r.Email != nil {
		r.snapshot.Email = &emailAddress{r.Email.Address, r.Email.Consent, r.Email.ConsentAt}
	}
	if r.Phone != nil {
		r.snapshot.Phone = &phoneNumber{r.Phone.Number}
	}
	return nil
}

// Records yields the customers of a completed export in no order, from a byte of
// its result on: zero, or a Record's End. It fails with ErrExpired when the result
// is gone. A record is the caller's to keep.
func (t *Target) Records(ctx context.Context, o BulkOperation, from int64) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		if o.URL == "" { // a shop without customers
			return
		}
		for l, err := range t.lines(ctx, o.URL, from, o.Size) {
			r := &Record{End: l.end}
			if err == nil {
				if err = r.decode(l.text); err != nil {
					err = t.ops["bulk_read"].failf(lockstep.ErrInvalid, "a line is no customer: upgrade lockstep")
				}
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// Page reads up to 250 customers in the order of their ids, beginning after an
// id; empty begins at the first. It asks the search index, which lags: who was
// made in the last seconds may be missing. It is for shops that refuse bulk
// operations.
func (t *Target) Page(ctx context.Context, after string) ([]*Record, error) {
	op := t.ops["page"]
	number, err := strconv.ParseUint(strings.TrimPrefix(after, idPrefix), 10, 64)
	if err != nil && after != "" {
		return nil, op.failf(lockstep.ErrInvalid, "no customer of Shopify's has such an id")
	}
	var got struct {
		Customers struct {
			Nodes []json.RawMessage `json:"nodes"`
		} `json:"customers"`
	}
	if err := t.client.run(ctx, op, t.place(map[string]any{"query": "id:>" + strconv.FormatUint(number, 10)}), &got); err != nil {
		return nil, err
	}
	records := make([]*Record, len(got.Customers.Nodes))
	for i, node := range got.Customers.Nodes {
		records[i] = &Record{}
		if err := records[i].decode(node); err != nil {
			return nil, op.failf(lockstep.ErrInvalid, "an entry is no customer: upgrade lockstep")
		}
	}
	return records, nil
}

// PageSize is how many customers Page reads; fewer are the last.
const PageSize = 250

// Count is how many customers the shop has. It is not exact when Shopify says so.
func (t *Target) Count(ctx context.Context) (n int64, exact bool, err error) {
	var got struct {
		Count struct {
			Count     int64  `json:"count"`
			Precision string `json:"precision"`
		} `json:"customersCount"`
	}
	err = t.client.run(ctx, t.ops["count"], nil, &got)
	return got.Count.Count, got.Count.Precision == "EXACT", err
}
