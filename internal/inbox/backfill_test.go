package inbox

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/targettest"
)

// pagesOf is a Directory that lists its users in pages of a few.
type pagesOf struct{ people }

const fewUsers = 3

func (p pagesOf) List(_ context.Context, cursor string) ([]lockstep.User, string, bool, error) {
	from := 0
	if cursor != "" {
		if _, err := fmt.Sscan(cursor, &from); err != nil {
			return nil, "", false, err
		}
	}
	to := min(from+fewUsers, len(p.people))
	return p.people[from:to], fmt.Sprint(to), to < len(p.people), nil
}

// A backfill stores the profiles, and leaves to the workers who is handed to which
// target, behind live changes. Several pages may share a transaction.
func TestBackfillIsHandedOutBehindLiveChanges(t *testing.T) {
	t.Parallel()
	const users = 40
	b := newBox(t, targettest.NewFake("one"), targettest.NewFake("two"))
	var all pagesOf
	for i := range users {
		all.people = append(all.people, user(fmt.Sprintf("%03d", i), 1).User)
	}
	got, err := b.BackfillUsers(t.Context(), all, false, func(Progress) {})
	if err != nil || got.Read != users || got.Changed != users || got.Queued != 2*users || !got.Exact() {
		t.Fatalf("%+v, %v", got, err)
	}
	b.eventually("all are linked", `select count(*) = $1 from lockstep.customer_links where status = 'linked' and applied = desired`, 2*users)
	if n := testdb.Query[int](t, b.pool, `select count(*) from lockstep.river_job where kind = 'sync' and priority <> `+fmt.Sprint(bulkPriority)); n != 0 {
		t.Errorf("%d jobs do not wait behind live changes", n)
	}
	if n := testdb.Query[int](t, b.pool, `select count(*) from lockstep.river_job where kind = 'dispatch' and queue <> 'dispatch_bulk'`); n != 0 {
		t.Errorf("%d pages are in the way of live changes", n)
	}
	if got, err = b.BackfillUsers(t.Context(), all, false, func(Progress) {}); err != nil || got.Changed != 0 || got.Queued != 0 {
		t.Errorf("again: %+v, %v", got, err)
	}
}

// What waits is joined, in its order; an error comes after what was read before it.
func TestGatherJoinsWhatWaits(t *testing.T) {
	t.Parallel()
	u := func(id string) []lockstep.User { return []lockstep.User{{ID: id}} }
	broken := errors.New("broken")
	pages := make(chan page, 3)
	pages <- page{users: u("b"), next: "2", more: true}
	pages <- page{users: u("c"), next: "3", more: true}
	pages <- page{err: broken}
	got := page{users: u("a"), next: "1", more: true}.gather(pages)
	if len(got.users) != 3 || got.users[2].ID != "c" || got.next != "3" || !errors.Is(got.err, broken) {
		t.Errorf("%+v", got)
	}
	if got := (page{users: u("d"), next: "4"}).gather(pages); len(got.users) != 1 || got.next != "4" || got.err != nil {
		t.Errorf("nothing waits: %+v", got)
	}
}
