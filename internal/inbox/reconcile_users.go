package inbox

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/internal/postgres"
)

// usersCursor is the place of the step users.
type usersCursor struct {
	Full   bool      `json:"full"`
	List   string    `json:"list"`   // of a full walk
	Page   int       `json:"page"`   // of a walk through what changed
	Since  time.Time `json:"since"`  // where that ends
	Newest time.Time `json:"newest"` // the newest change when the walk began
}

// walkUsers compares Clerk's users with the profiles: those that changed since
// the last run or, if there are not as many of one as of the other then, all.
func (r *reconciling) walkUsers(ctx context.Context, step *postgres.RunStep) error {
	at, err := r.usersPlace(ctx, step)
	if err != nil {
		return err
	}
	if !at.Full {
		equal, err := r.walkChanged(ctx, step, &at)
		if err != nil || equal {
			return err
		}
		at, step.LookedAt = usersCursor{Full: true, Newest: at.Newest}, 0
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for p := range walk(ctx, r.users, at.List) {
		if p.err != nil {
			return &directoryError{p.err}
		}
		at.List = p.next
		if err := r.usersPage(ctx, step, p.users, at, !p.more); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (r *reconciling) usersPlace(ctx context.Context, step *postgres.RunStep) (at usersCursor, err error) {
	if step.Cursor != "" {
		if json.Unmarshal([]byte(step.Cursor), &at) != nil {
			return at, fmt.Errorf("reconcile run %d: its place is damaged", r.run.ID)
		}
		return at, nil
	}
	state, _, err := r.usersState(ctx)
	if err != nil {
		return at, err
	}
	at = usersCursor{Full: r.run.Spec.Full || state.Watermark.IsZero(), Since: state.Watermark.Add(-watermarkOverlap)}
	newest, _, err := r.users.Changed(ctx, 0)
	if err != nil {
		return at, &directoryError{err}
	}
	if len(newest) > 0 {
		at.Newest = newest[0].UpdatedAt
	}
	return at, nil
}

// directoryError is a failure of Clerk's, after which the stores can be walked
// all the same.
type directoryError struct{ error }

func (e *directoryError) Unwrap() error { return e.error }

// walkChanged reads what changed since, and then compares the numbers: a user
// who is gone, on either side, changed nowhere.
func (r *reconciling) walkChanged(ctx context.Context, step *postgres.RunStep, at *usersCursor) (equal bool, err error) {
	for more := true; more; {
		var users []lockstep.User
		if users, more, err = r.users.Changed(ctx, at.Page); err != nil {
			return false, &directoryError{err}
		}
		for i, u := range users {
			if u.UpdatedAt.Before(at.Since) {
				users, more = users[:i], false
				break
			}
		}
		at.Page++
		if err := r.usersPage(ctx, step, users, *at, false); err != nil {
			return false, err
		}
	}
	there, err := r.users.Count(ctx)
	if err != nil {
		return false, &directoryError{err}
	}
	here, err := r.store.LiveProfiles(ctx)
	if err != nil {
		return false, err
	}
	if r.options.DryRun {
		missing, err := r.store.CountFound(ctx, r.run, lockstep.DriftProfileMissing)
		if err != nil {
			return false, err
		}
		here += missing
	}
	if here != there {
		return false, nil
	}
	return true, r.page(ctx, step, func(_ pgx.Tx, next *postgres.RunStep) error {
		next.State = postgres.StepDone
		return nil
	})
}

func (r *reconciling) usersPage(ctx context.Context, step *postgres.RunStep, users []lockstep.User, at usersCursor, last bool) error {
	cursor, err := json.Marshal(at)
	if err != nil {
		return err
	}
	return r.page(ctx, step, func(tx pgx.Tx, next *postgres.RunStep) error {
		next.Cursor = string(cursor)
		next.LookedAt += int64(len(users))
		if last {
			next.State = postgres.StepDone
		}
		if at.Full {
			ids := make([]string, len(users))
			for i, u := range users {
				ids[i] = u.ID
			}
			if err := r.store.See(ctx, tx, r.run, "", ids); err != nil {
				return err
			}
		}
		return r.mergeUsers(ctx, tx, *next, users)
	})
}

// mergeUsers puts profiles right, or only says which are not.
func (r *reconciling) mergeUsers(ctx context.Context, tx pgx.Tx, step postgres.RunStep, users []lockstep.User) error {
	merge, fate, reason := r.store.MergeUsers, postgres.FateRepaired, ""
	if r.options.DryRun {
		merge, fate, reason = r.store.DiffUsers, postgres.FateLeft, dryReason
	}
	merged, err := merge(ctx, tx, users)
	if err != nil {
		return err
	}
	found, ids := make([]postgres.Finding, len(merged)), make([]string, len(merged))
	for i, m := range merged {
		found[i] = postgres.Finding{Kind: m.Drift, UserID: m.UserID, Fate: fate, Reason: reason}
		ids[i] = m.UserID
	}
	if err := r.store.Note(ctx, tx, r.run, step.No, found); err != nil || r.options.DryRun {
		return err
	}
	_, err = r.queueBulk(ctx, tx, ids, r.run.Spec.Targets)
	return err
}

const dryReason = "a dry run repairs nothing"

// absentCursor is the place of the step absent.
type absentCursor struct {
	Asked bool   `json:"asked"` // of everybody; now the deletions are carried out
	After string `json:"after"`
}

// walkAbsent asks Clerk by id for the users whom the walk did not see. Who is
// not there either is deleted; but nothing is done before all were asked, and
// nothing at all if they are too many.
func (r *reconciling) walkAbsent(ctx context.Context, step *postgres.RunStep) error {
	var at absentCursor
	if step.Cursor != "" && json.Unmarshal([]byte(step.Cursor), &at) != nil {
		return fmt.Errorf("reconcile run %d: its place is damaged", r.run.ID)
	}
	steps, err := r.store.Steps(ctx, r.run.ID)
	if err != nil {
		return err
	}
	if steps[0].State != postgres.StepDone {
		return r.skip(ctx, step, steps[0].Reason)
	}
	var walked usersCursor
	if err := json.Unmarshal([]byte(steps[0].Cursor), &walked); err != nil {
		return fmt.Errorf("reconcile run %d: its place is damaged", r.run.ID)
	}
	for !at.Asked {
		if err := r.askAbsent(ctx, step, &at, walked.Full); err != nil {
			return err
		}
	}
	allowed, err := r.deletionsAllowed(ctx)
	if err != nil {
		return err
	}
	if !allowed || r.options.DryRun {
		return r.page(ctx, step, func(_ pgx.Tx, next *postgres.RunStep) error {
			next.State = postgres.StepDone
			return nil
		})
	}
	for step.State == postgres.StepTodo {
		if err := r.bury(ctx, step, &at); err != nil {
			return err
		}
	}
	return nil
}

func (r *reconciling) askAbsent(ctx context.Context, step *postgres.RunStep, at *absentCursor, full bool) error {
	const ask = 100 // ids that Clerk takes in a call
	ids, err := r.store.UnseenUsers(ctx, r.run, full, at.After, ask)
	if err != nil {
		return err
	}
	var there []lockstep.User
	if len(ids) > 0 {
		if there, err = r.users.ByID(ctx, ids); err != nil {
			return &directoryError{err}
		}
		at.After = ids[len(ids)-1]
	}
	if len(ids) < ask {
		*at = absentCursor{Asked: true}
	}
	exists := map[string]bool{}
	for _, u := range there {
		exists[u.ID] = true
	}
	var gone []postgres.Finding
	for _, id := range ids {
		if !exists[id] {
			gone = append(gone, postgres.Finding{Kind: lockstep.DriftUserDeleted, UserID: id, Fate: postgres.FateLeft, Reason: dryReason})
		}
	}
	return r.absentPage(ctx, step, *at, func(tx pgx.Tx, next *postgres.RunStep) error {
		next.LookedAt += int64(len(ids))
		if err := r.mergeUsers(ctx, tx, *next, there); err != nil {
			return err
		}
		return r.store.Note(ctx, tx, r.run, step.No, gone)
	})
}

func (r *reconciling) absentPage(ctx context.Context, step *postgres.RunStep, at absentCursor, do func(pgx.Tx, *postgres.RunStep) error) error {
	cursor, err := json.Marshal(at)
	if err != nil {
		return err
	}
	return r.page(ctx, step, func(tx pgx.Tx, next *postgres.RunStep) error {
		next.Cursor = string(cursor)
		return do(tx, next)
	})
}

// deletionsAllowed holds the deletions back if they are more than one run may
// carry out: a person must ask for them by their number.
func (r *reconciling) deletionsAllowed(ctx context.Context) (bool, error) {
	n, err := r.store.CountFound(ctx, r.run, lockstep.DriftUserDeleted)
	if err != nil || n == 0 {
		return true, err
	}
	limit := r.options.Allow
	if limit == 0 {
		limit = r.maxDeletions
	}
	if limit == 0 {
		users, err := r.store.LiveProfiles(ctx)
		if err != nil {
			return false, err
		}
		limit = engine.MaxDeletions(users)
	}
	if n <= limit {
		return true, nil
	}
	r.log.Warn("too many deletions for one run: nothing was deleted", "run", r.run.ID, "found", n, "allowed", limit)
	why := fmt.Sprintf("held back: %d deletions, and one run may carry out %d; if Clerk is right, type `lockstep reconcile --deep --full --allow-deletions %d`", n, limit, n)
	return false, r.inTx(ctx, func(tx pgx.Tx) error {
		return r.store.SetFate(ctx, tx, r.run, lockstep.DriftUserDeleted, nil, postgres.FateLeft, why)
	})
}

// bury makes tombstones of a page of users, and queues what follows from them.
func (r *reconciling) bury(ctx context.Context, step *postgres.RunStep, at *absentCursor) error {
	users, err := r.store.Deletions(ctx, r.run, at.After, bulkPage)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		at.After = users[len(users)-1]
	}
	return r.absentPage(ctx, step, *at, func(tx pgx.Tx, next *postgres.RunStep) error {
		if len(users) < bulkPage {
			next.State = postgres.StepDone
		}
		if _, err := r.store.BuryUsers(ctx, tx, users); err != nil {
			return err
		}
		if _, err := r.queueBulk(ctx, tx, users, r.run.Spec.Targets); err != nil || len(users) == 0 {
			return err
		}
		return r.store.SetFate(ctx, tx, r.run, lockstep.DriftUserDeleted, users, postgres.FateRepaired, "")
	})
}
