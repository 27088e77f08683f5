package inbox

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
)

// linksPage is how many users one look at the tables finds at most: some looks
// read all links, however few they find.
const linksPage = 2000

// linksCursor is the place of the step links.
type linksCursor struct {
	Kind  lockstep.Drift `json:"kind"` // empty: at the beginning
	After string         `json:"after"`
	Since time.Time      `json:"since"`

	// What a survey told.
	Complete  bool `json:"complete"`
	Unchanged bool `json:"unchanged"`
}

// shallowCheckpoint is when the last shallow run began that came to its end.
const shallowCheckpoint = "reconcile_shallow"

// walkLinks compares profiles and links in our own tables.
func (r *reconciling) walkLinks(ctx context.Context, step *postgres.RunStep) error {
	var at linksCursor
	if step.Cursor != "" && json.Unmarshal([]byte(step.Cursor), &at) != nil {
		return fmt.Errorf("reconcile run %d: its place is damaged", r.run.ID)
	}
	kinds := linkKinds(r.run.Spec.Deep)
	if at.Kind == "" {
		if err := r.surveyLinks(ctx, step, &at); err != nil {
			return err
		}
		at.Kind = kinds[0]
	}
	if at.Complete {
		kinds = slices.DeleteFunc(kinds, func(k lockstep.Drift) bool { return k == lockstep.DriftLinkMissing })
	}
	for _, kind := range kinds[max(0, slices.Index(kinds, at.Kind)):] {
		if kind != at.Kind {
			at.Kind, at.After = kind, ""
		}
		for more := true; more; {
			var err error
			if more, err = r.lookAtLinks(ctx, step, &at, kind == kinds[len(kinds)-1]); err != nil {
				return err
			}
		}
	}
	return nil
}

// surveyLinks finds out what a shallow run need not look for; a deep one looks
// for everything.
func (r *reconciling) surveyLinks(ctx context.Context, step *postgres.RunStep, at *linksCursor) error {
	if r.run.Spec.Deep {
		return nil
	}
	if err := r.surveyOnce(ctx); err != nil {
		return err
	}
	at.Complete, at.Unchanged, at.Since = r.survey.Complete, !r.survey.Changed, r.since
	step.LookedAt = int64(r.survey.Profiles)
	return nil
}

// surveyOnce looks once for all targets.
func (r *reconciling) surveyOnce(ctx context.Context) error {
	if r.survey != nil {
		return nil
	}
	last, err := r.store.Checkpoint(ctx, shallowCheckpoint)
	if err != nil {
		return err
	}
	var state shallowState
	if last != "" && json.Unmarshal([]byte(last), &state) == nil && slices.Equal(state.Targets, r.run.Spec.Targets) {
		r.since, r.compared = state.Began.Add(-watermarkOverlap), state.Compared
	}
	survey, err := r.store.Survey(ctx, r.run.Spec.Targets, r.since, r.run.Started.Sub(r.compared) > compareEvery)
	if err != nil {
		return err
	}
	if r.run.Resumed { // some looks may have been before: the next run hears the hints again
		survey.Hints = nil
	}
	if r.survey = &survey; survey.Everything {
		r.compared = r.run.Started
	}
	return nil
}

// shallowState is the checkpoint's value.
type shallowState struct {
	Began    time.Time `json:"began"`
	Compared time.Time `json:"compared"` // when the last run began that compared everything
	Targets  []string  `json:"targets"`
}

// compareEvery is how often a shallow run compares all links with the profiles,
// and does not only hear what was noted.
const compareEvery = time.Hour

// rememberShallow lets the next shallow run leave out what did not change.
func (r *reconciling) rememberShallow(ctx context.Context) error {
	if r.run.Spec.DryRun || r.run.Spec.Deep {
		return nil
	}
	held, err := r.store.Checkpoint(ctx, shallowCheckpoint)
	if err != nil {
		return err
	}
	data, err := json.Marshal(shallowState{r.run.Started, r.compared, r.run.Spec.Targets})
	if err != nil {
		return err
	}
	return r.inTx(ctx, func(tx pgx.Tx) error {
		if r.survey != nil {
			if err := r.store.Heard(ctx, tx, *r.survey); err != nil {
				return err
			}
		}
		return r.store.Advance(ctx, tx, shallowCheckpoint, held, string(data))
	})
}

func (r *reconciling) lookAtLinks(ctx context.Context, step *postgres.RunStep, at *linksCursor, last bool) (more bool, err error) {
	search := postgres.Search{Kind: at.Kind, Target: step.Target, After: at.After, Limit: linksPage, Since: at.Since, Unchanged: at.Unchanged}
	if r.survey != nil {
		search.Among = r.survey.Among
	}
	if at.Kind == lockstep.DriftLinkFailed {
		if search.Since = r.run.Started; !r.run.Spec.Deep {
			search.Since = r.run.Started.Add(-failedLongAgo)
		}
	}
	err = r.page(ctx, step, func(tx pgx.Tx, next *postgres.RunStep) error {
		holes, err := r.store.Holes(ctx, tx, search)
		if err != nil {
			return err
		}
		if more = len(holes) == linksPage; more {
			at.After = holes[len(holes)-1].UserID
		} else if last {
			next.State = postgres.StepDone
		}
		if r.run.Spec.Deep {
			next.LookedAt += int64(len(holes))
		}
		cursor, err := json.Marshal(at)
		if err != nil {
			return err
		}
		next.Cursor = string(cursor)
		return r.repairHoles(ctx, tx, *next, at.Kind, holes)
	})
	return more, err
}

func (r *reconciling) repairHoles(ctx context.Context, tx pgx.Tx, step postgres.RunStep, kind lockstep.Drift, holes []postgres.Hole) error {
	if len(holes) == 0 {
		return nil
	}
	users := make([]string, len(holes))
	for i, h := range holes {
		users[i] = h.UserID
	}
	noted, err := r.store.Noted(ctx, tx, r.run, step.No, step.Target, users)
	if err != nil {
		return err
	}
	var found []postgres.Finding
	for _, h := range holes {
		if noted[h.UserID] {
			continue
		}
		f := postgres.Finding{Target: step.Target, Kind: kind, UserID: h.UserID, CustomerID: h.CustomerID}
		if (kind == lockstep.DriftLinkPending || kind == lockstep.DriftConflict) && !r.options.DryRun {
			f.Fate = postgres.FateQueued // it has its job, or its person; what becomes of it is read at the end
		}
		found = append(found, f)
	}
	return r.repair(ctx, tx, step, found)
}

// linkKinds are the kinds that our own tables tell, in the order of looking.
func linkKinds(deep bool) []lockstep.Drift {
	kinds := []lockstep.Drift{lockstep.DriftLinkMissing, lockstep.DriftLinkStale, lockstep.DriftLinkFailed,
		lockstep.DriftLinkPending, lockstep.DriftLinkUnreleased}
	if deep {
		kinds = append(kinds, lockstep.DriftConflict)
	}
	return kinds
}
