package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep/internal/postgres"
)

// backfillCheckpoint is where a backfill of users goes on after a stop.
const backfillCheckpoint = "backfill_clerk"

// Progress is how far a long command has come.
type Progress struct {
	What  string // the part it is at
	Done  int
	Total int // zero if nobody knows
}

// Backfilled is what a backfill did.
type Backfilled struct {
	Resumed  bool          `json:"resumed"`
	Read     int           `json:"read"`     // users that Clerk listed, earlier attempts included
	Changed  int           `json:"changed"`  // profiles that were made or brought up to date
	Queued   int           `json:"queued"`   // links whose work waits behind live changes
	Before   int           `json:"before"`   // Clerk's count of users when it began
	After    int           `json:"after"`    // and when it ended
	Profiles int           `json:"profiles"` // living profiles at the end
	Took     time.Duration `json:"-"`
}

// Exact reports whether there are as many living profiles as Clerk has users.
func (b Backfilled) Exact() bool { return b.Profiles == b.After }

// backfillState is the checkpoint's value.
type backfillState struct {
	Cursor  string `json:"cursor"`
	Read    int    `json:"read"`
	Changed int    `json:"changed"`
	Queued  int    `json:"queued"`
	Before  int    `json:"before"`
}

// BackfillUsers brings the profiles of all of Clerk's users in, newer over older,
// and queues the work that this causes. Stopped at any point, the next call goes
// on where it was; anew begins at the first user.
func (in *Inbox) BackfillUsers(ctx context.Context, d Directory, anew bool, progress func(Progress)) (b Backfilled, err error) {
	began := time.Now()
	held, err := in.store.Checkpoint(ctx, backfillCheckpoint)
	if err != nil {
		return b, postgres.Redact(err)
	}
	var at backfillState
	if held != "" && !anew {
		if err := json.Unmarshal([]byte(held), &at); err != nil {
			return b, fmt.Errorf("the checkpoint of the backfill is damaged: type `lockstep backfill clerk --restart`")
		}
		b.Resumed = true
	}
	if at.Before == 0 {
		if at.Before, err = d.Count(ctx); err != nil {
			return b, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pages := walk(ctx, d, at.Cursor)
	for p := range pages {
		if p = p.gather(pages); len(p.users) > 0 {
			if held, err = in.backfillPage(ctx, p, &at, held); err != nil {
				return b, postgres.Redact(err)
			}
			progress(Progress{"users", at.Read, max(at.Before, at.Read)})
		}
		if p.err != nil {
			return b, p.err
		}
	}
	if err := ctx.Err(); err != nil {
		return b, err
	}
	b.Read, b.Changed, b.Queued, b.Before = at.Read, at.Changed, at.Queued, at.Before
	err = in.endBackfill(ctx, d, held, &b)
	b.Took = time.Since(began)
	return b, err
}

// backfillPage stores a page, what it causes, and where to go on: all or nothing.
func (in *Inbox) backfillPage(ctx context.Context, p page, at *backfillState, held string) (now string, err error) {
	next := *at
	targets, err := in.connected(ctx)
	if err != nil {
		return held, err
	}
	err = in.inTx(ctx, func(tx pgx.Tx) error {
		merged, err := in.store.MergeUsers(ctx, tx, p.users)
		if err != nil {
			return err
		}
		users := make([]string, len(merged))
		for i, m := range merged {
			users[i] = m.UserID
		}
		if err := in.dispatchBulk(ctx, tx, users); err != nil {
			return err
		}
		next.Cursor, next.Read, next.Changed, next.Queued = p.next, at.Read+len(p.users), at.Changed+len(merged), at.Queued+len(users)*len(targets)
		data, err := json.Marshal(next)
		if err != nil {
			return err
		}
		now = string(data)
		return in.store.Advance(ctx, tx, backfillCheckpoint, held, now)
	})
	if err == nil {
		*at = next
	}
	return now, err
}

// endBackfill counts on both sides, and forgets the checkpoint.
func (in *Inbox) endBackfill(ctx context.Context, d Directory, held string, b *Backfilled) (err error) {
	if b.After, err = d.Count(ctx); err != nil {
		return err
	}
	if b.Profiles, err = in.store.LiveProfiles(ctx); err != nil {
		return postgres.Redact(err)
	}
	err = in.inTx(ctx, func(tx pgx.Tx) error { return in.store.Advance(ctx, tx, backfillCheckpoint, held, "") })
	if errors.Is(err, postgres.ErrOvertaken) {
		return err
	}
	return postgres.Redact(err)
}

// queueBulk makes work behind live changes, and returns for how many links.
func (in *Inbox) queueBulk(ctx context.Context, tx pgx.Tx, users, targets []string) (int, error) {
	if len(users) == 0 || len(targets) == 0 {
		return 0, nil
	}
	keys, err := in.store.BumpBulk(ctx, tx, users, targets)
	if err != nil {
		return 0, err
	}
	return len(keys), in.enqueueAt(ctx, tx, keys, bulkPriority)
}
