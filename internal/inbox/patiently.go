package inbox

import (
	"context"
	"time"

	"github.com/lockstephq/lockstep"
)

// callTries are those of a call to a target that fails for a passing reason: about
// a minute of them.
const callTries = 12

// Patiently repeats a call to a target, as long as it fails for a passing reason,
// and waits as long as the target says. A limit costs no try.
func Patiently(ctx context.Context, call func() error) error {
	for try := 1; ; try++ {
		err := call()
		pause := retryPause(try)
		switch lockstep.KindOf(err) {
		case lockstep.ErrThrottled:
			if te, ok := targetError(err); ok {
				pause = max(te.After, 50*time.Millisecond)
			}
			try--
		case lockstep.ErrTransient, lockstep.ErrUnknown:
		default:
			return err
		}
		if err == nil || ctx.Err() != nil || try >= callTries {
			return err
		}
		if err := pauseFor(ctx, spread(pause)); err != nil {
			return err
		}
	}
}

// patiently is Patiently for a look that may take as long as a job.
func patiently(ctx context.Context, look func(context.Context) error) error {
	return Patiently(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, jobTimeout)
		defer cancel()
		return look(ctx)
	})
}
