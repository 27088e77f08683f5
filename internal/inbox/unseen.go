package inbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
)

// SettleUnseen asks a target by id for those captured customers that a complete
// read of it did not show, which began at a time by the database's clock, and says
// how many these were. They take the way of a webhook: who is gone is marked as
// deleted, and the user is put right. What was captured since then is left out.
func (in *Inbox) SettleUnseen(ctx context.Context, target string, began time.Time) (asked int, err error) {
	capturer, ok := lockstep.As[lockstep.Capturer](in.targets[target])
	if !ok {
		return 0, fmt.Errorf("%s: %w", target, ErrUnknownTarget)
	}
	for after := ""; ; {
		ids, err := in.noteUnseen(ctx, target, began, after)
		if err != nil {
			return asked, postgres.Redact(err)
		}
		if len(ids) == 0 {
			break
		}
		asked, after = asked+len(ids), ids[len(ids)-1]
	}
	if asked == 0 {
		return 0, nil
	}
	return asked, in.readUnseen(ctx, capturer, began)
}

// noteUnseen commits the customers and a job: if this process ends, a worker reads
// them.
func (in *Inbox) noteUnseen(ctx context.Context, target string, began time.Time, after string) (ids []string, err error) {
	err = in.inTx(ctx, func(tx pgx.Tx) error {
		if ids, err = in.store.NoteUnseen(ctx, tx, target, began, after, captureBatch); err != nil || len(ids) == 0 {
			return err
		}
		return in.enqueueCaptures(ctx, tx, []string{target})
	})
	return ids, err
}

// readUnseen reads what is due beside the workers, until nothing is left of it to
// anybody.
func (in *Inbox) readUnseen(ctx context.Context, target lockstep.Capturer, began time.Time) error {
	const pause = 100 * time.Millisecond // while a worker reads
	for {
		found := 0
		err := Patiently(ctx, func() (err error) { found, _, err = in.captureRound(ctx, target); return err })
		if err != nil {
			return postgres.Redact(err)
		}
		if found > 0 {
			continue
		}
		left, err := in.store.UnseenLeft(ctx, target.Name(), began)
		if err != nil || left == 0 {
			return postgres.Redact(err)
		}
		if err := pauseFor(ctx, pause); err != nil {
			return err
		}
	}
}
