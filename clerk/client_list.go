package clerk

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/lockstephq/lockstep"
)

// Bounds of Clerk's list of users (openapi.yml, GET /users).
const (
	pageSize = 500
	maxIDs   = 100
)

// overlap is how many users of one millisecond (or, by change, of all) may be
// deleted between two pages without others being missed, where there is no cursor.
const overlap = 100

// Cursor is a place in the list of all users. The zero value is its beginning.
// It may be kept, as JSON, to go on after a restart.
type Cursor struct {
	After     string `json:"after"`      // id of the last user that was read
	CreatedAt int64  `json:"created_at"` // of that user, milliseconds
	Same      int    `json:"same"`       // how many users with that CreatedAt were read
}

// ListUsers reads up to 500 users in the order of their creation and returns
// where to go on; more is false after the last page. Users made meanwhile come
// at the end, so a walk misses none of those that it began with. A user may come
// twice.
//
// It asks by starting_after. Where Clerk refuses that, because the API is older
// or the user at the cursor was deleted, it asks for those created since, with
// an offset among those of that very millisecond: an offset into the whole list
// would miss users once others are deleted.
func (c *Client) ListUsers(ctx context.Context, from Cursor) (users []lockstep.User, next Cursor, more bool, err error) {
	query := url.Values{"order_by": {"+created_at"}, "limit": {strconv.Itoa(pageSize)}}
	if from.After != "" {
		query.Set("starting_after", from.After)
	}
	page, err := get[[]wireUser](ctx, c, "/v1/users", query)
	if from.After != "" && (cursorRefused(err) || (err == nil && from.ignored(page))) {
		from.Same = max(0, from.Same-overlap)
		query.Del("starting_after")
		query.Set("created_at_after", strconv.FormatInt(from.CreatedAt-1, 10))
		query.Set("offset", strconv.Itoa(from.Same))
		page, err = get[[]wireUser](ctx, c, "/v1/users", query)
	}
	if err != nil {
		return nil, Cursor{}, false, err
	}
	if users, err = c.decoder.users(page); err != nil {
		return nil, Cursor{}, false, err
	}
	return users, from.past(page), len(page) == pageSize, nil
}

// ListChanged reads a page of users, those that changed last first; more is false
// after the last page. Clerk can filter by many things, not by updated_at: whoever
// looks for what is new reads pages until they are old. A user who changes
// meanwhile moves to the front, and may be missed: the next walk sees the change,
// if it goes back to what was newest when this one began. Others come twice; pages
// overlap for those who are deleted meanwhile.
func (c *Client) ListChanged(ctx context.Context, page int) (users []lockstep.User, more bool, err error) {
	query := url.Values{"order_by": {"-updated_at"}, "limit": {strconv.Itoa(pageSize)}, "offset": {strconv.Itoa(page * (pageSize - overlap))}}
	wire, err := get[[]wireUser](ctx, c, "/v1/users", query)
	if err != nil {
		return nil, false, err
	}
	users, err = c.decoder.users(wire)
	return users, len(wire) == pageSize, err
}

func cursorRefused(err error) bool {
	answer, ok := errors.AsType[*APIError](err)
	return ok && (answer.Status == http.StatusBadRequest || answer.Status == http.StatusUnprocessableEntity)
}

// ignored reports whether a page begins before the cursor: an API that does not
// know a parameter may take no notice of it, and a walk would never end.
func (from Cursor) ignored(page []wireUser) bool {
	return slices.ContainsFunc(page, func(w wireUser) bool {
		return w.ID == from.After || w.CreatedAt < from.CreatedAt
	})
}

func (from Cursor) past(page []wireUser) Cursor {
	for _, w := range page {
		if w.CreatedAt != from.CreatedAt {
			from.CreatedAt, from.Same = w.CreatedAt, 0
		}
		from.After = w.ID
		from.Same++
	}
	return from
}

// UsersByID reads the users that exist among ids, in no particular order, up to
// 100 with a request.
func (c *Client) UsersByID(ctx context.Context, ids ...string) (users []lockstep.User, err error) {
	valid := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !validUserID(id) })
	for chunk := range slices.Chunk(valid, maxIDs) {
		query := url.Values{"user_id": chunk, "limit": {strconv.Itoa(pageSize)}}
		page, err := get[[]wireUser](ctx, c, "/v1/users", query)
		if err != nil {
			return nil, err
		}
		some, err := c.decoder.users(page)
		if err != nil {
			return nil, err
		}
		users = append(users, some...)
	}
	return users, nil
}

// Count is the number of users of the instance.
func (c *Client) Count(ctx context.Context) (int, error) {
	type answer struct {
		TotalCount *int `json:"total_count"`
	}
	a, err := get[answer](ctx, c, "/v1/users/count", nil)
	if err == nil && a.TotalCount == nil {
		err = fmt.Errorf("%w: no count", ErrMalformed)
	}
	if err != nil {
		return 0, err
	}
	return *a.TotalCount, nil
}

// users fails with the first that makes no sense: to leave it out would
// lose a user without a word.
func (d Decoder) users(page []wireUser) ([]lockstep.User, error) {
	users := make([]lockstep.User, len(page))
	for i, wire := range page {
		var err error
		if users[i], err = d.decode(wire); err != nil {
			return nil, err
		}
	}
	return users, nil
}

func decodeHost(encoded string) (string, error) {
	data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	host, ok := strings.CutSuffix(string(data), "$")
	u, parseErr := url.Parse("https://" + host)
	if err != nil || !ok || host == "" || parseErr != nil || u.Host != host {
		return "", errors.New("no host")
	}
	return host, nil
}
