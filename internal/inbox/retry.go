package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// startsAgain are the kinds of jobs that nobody misses when one is given up: the
// sweep makes another for a link that is behind and for customers to be read, and
// time does for the rest; a reconcile run that does not end has a watchdog.
func startsAgain() []string {
	return []string{syncArgs{}.Kind(), captureArgs{}.Kind(), upkeepArgs{}.Kind(), retainArgs{}.Kind(), inspectArgs{}.Kind(), reconcileArgs{}.Kind()}
}

// revived are the kinds whose jobs Retry starts again. The sweep does so for
// privacy requests as well, but one that failed for a day is for a person to
// hear of: the law sets a date.
func revived() []string { return []string{dispatchArgs{}.Kind(), privacyArgs{}.Kind()} }

// Vitals reads how the whole installation is.
func Vitals(ctx context.Context, s *postgres.Store) (postgres.Vitals, error) {
	return s.Vitals(ctx, dispatchQueue, startsAgain())
}

// Retried is what Retry did.
type Retried struct {
	Jobs    int             `json:"jobs"` // given up by the job engine, and waiting again
	Targets []RetriedTarget `json:"targets"`
}

// RetriedTarget is what Retry did for one target.
type RetriedTarget struct {
	Target  string `json:"target"`
	Links   int    `json:"links"`   // queued anew
	Paused  bool   `json:"paused"`  // still: its links wait until it is mended
	Reason  string `json:"reason"`  // why it is paused; empty otherwise
	Resumed bool   `json:"resumed"` // it was paused, and works

	away bool // it was disconnected
}

// ErrUnknownTarget is a target that the settings do not name.
var ErrUnknownTarget = errors.New("no such target in the settings: `lockstep status` lists them")

const (
	retryBatch  = 1000 // links per transaction
	resumeCheck = 10 * time.Second
)

// Retry queues links anew that were given up: those of the users, or all; to
// the named target, or to all. Of users it hastens as well what waits for its
// next attempt. A paused target is asked whether it works, and resumed if so.
// Without users, jobs that the engine gave up wait again too.
func (in *Inbox) Retry(ctx context.Context, target string, users []string) (r Retried, err error) {
	names := in.names
	if target != "" {
		if _, ok := in.targets[target]; !ok {
			return r, ErrUnknownTarget
		}
		names = []string{target}
	}
	for _, user := range users {
		if _, err := in.store.Profile(ctx, user); err != nil {
			return r, fmt.Errorf("%s: %w", user, postgres.Redact(err))
		}
	}
	for _, name := range names {
		t, err := in.resumeIfWorking(ctx, name)
		if err != nil {
			return r, err
		}
		if !t.away { // there nothing is to fall due
			if t.Links, err = in.retryLinks(ctx, name, users); err != nil {
				return r, err
			}
		}
		r.Targets = append(r.Targets, t)
	}
	if target == "" && len(users) == 0 {
		r.Jobs, err = in.retryJobs(ctx)
	}
	return r, err
}

// resumeIfWorking asks a paused target, and no other. One that was disconnected
// waits for a person to connect it.
func (in *Inbox) resumeIfWorking(ctx context.Context, name string) (t RetriedTarget, err error) {
	t.Target = name
	paused, err := in.store.Paused(ctx)
	for _, p := range paused {
		t.Paused = t.Paused || p == name
	}
	if err != nil {
		return t, postgres.Redact(err)
	}
	away, err := in.store.Disconnected(ctx)
	switch {
	case err != nil:
		return t, postgres.Redact(err)
	case slices.Contains(away, name):
		t.Paused, t.away, t.Reason = true, true, postgres.ErrDisconnected.Error()
		return t, nil
	case !t.Paused:
		return t, nil
	}
	check, cancel := context.WithTimeout(ctx, resumeCheck)
	defer cancel()
	if err := in.targets[name].Check(check); err != nil {
		t.Reason = err.Error()
		return t, ctx.Err()
	}
	t.Paused, t.Resumed = false, true
	return t, postgres.Redact(in.resume(ctx, name))
}

func (in *Inbox) retryLinks(ctx context.Context, target string, users []string) (total int, err error) {
	if len(users) > 0 {
		return in.requeue(ctx, func(tx pgx.Tx) ([]postgres.Key, error) {
			return in.store.RetryUsers(ctx, tx, users, []string{target})
		})
	}
	before, err := in.store.DatabaseTime(ctx) // what fails again meanwhile has had its turn
	if err != nil {
		return 0, postgres.Redact(err)
	}
	for {
		n, err := in.requeue(ctx, func(tx pgx.Tx) ([]postgres.Key, error) {
			return in.store.Retry(ctx, tx, target, before, retryBatch)
		})
		total += n
		if err != nil || n == 0 {
			return total, err
		}
	}
}

// requeue makes a job for each link that due returns.
func (in *Inbox) requeue(ctx context.Context, due func(pgx.Tx) ([]postgres.Key, error)) (n int, err error) {
	err = in.inTx(ctx, func(tx pgx.Tx) error {
		keys, err := due(tx)
		if err != nil {
			return err
		}
		n = len(keys)
		return in.enqueue(ctx, tx, keys)
	})
	return n, postgres.Redact(err)
}

// retryJobs has the job engine try again what it gave up.
func (in *Inbox) retryJobs(ctx context.Context) (total int, err error) {
	params := river.NewJobListParams().States(rivertype.JobStateDiscarded).Kinds(revived()...).First(retryBatch)
	for {
		list, err := in.jobs.JobList(ctx, params)
		if err != nil || len(list.Jobs) == 0 {
			return total, postgres.Redact(err)
		}
		for _, job := range list.Jobs {
			if _, err := in.jobs.JobRetry(ctx, job.ID); err != nil && !errors.Is(err, river.ErrNotFound) {
				return total, postgres.Redact(err)
			}
			total++
		}
	}
}
