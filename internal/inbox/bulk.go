package inbox

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep/internal/postgres"
)

// LinkMade links users to customers that bulk work made, and returns who was
// linked; see postgres.Store.LinkMade for who is not.
func (in *Inbox) LinkMade(ctx context.Context, target, action, reason string, all []postgres.Made) (linked []string, err error) {
	err = in.inTx(ctx, func(tx pgx.Tx) error {
		var woken []postgres.Key
		if linked, woken, err = in.store.LinkMade(ctx, tx, target, action, reason, all); err != nil {
			return err
		}
		return in.enqueue(ctx, tx, woken)
	})
	return linked, postgres.Redact(err)
}

// Leave hands users to the workers, behind live changes.
func (in *Inbox) Leave(ctx context.Context, target string, users []string) error {
	return postgres.Redact(in.inTx(ctx, func(tx pgx.Tx) error {
		_, err := in.queueBulk(ctx, tx, users, []string{target})
		return err
	}))
}
