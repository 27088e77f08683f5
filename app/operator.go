package app

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lockstephq/lockstep/internal/inbox"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/web"
)

// operator is the API of the people who run Lockstep; nil without a token.
func (a *App) operator(in *inbox.Inbox) *web.Operator {
	if a.config.OperatorToken == "" {
		return nil
	}
	return &web.Operator{
		Token: a.config.OperatorToken,
		Status: func(ctx context.Context) (any, error) {
			r, err := a.StatusReport(ctx)
			return r, refused(err)
		},
		Watchdogs: func(ctx context.Context) (any, error) {
			dogs, err := a.Watchdogs(ctx)
			return map[string]any{"watchdogs": dogs}, refused(err)
		},
		Conflicts: func(ctx context.Context, target string) (any, error) {
			list, err := a.Conflicts(ctx, target)
			return map[string]any{"conflicts": list}, refused(err)
		},
		Choose: func(ctx context.Context, user, target, choice, customer string) (any, error) {
			done, err := choose(ctx, in, Ask{user, target, choice, customer, "through the operator API"})
			return done, refused(err)
		},
		User: func(ctx context.Context, userID string) (any, error) {
			r, err := a.Show(ctx, userID)
			return r.Body(), refused(err)
		},
		Timeline: func(ctx context.Context, userID string) (any, error) {
			r, err := a.Show(ctx, userID)
			return map[string]any{"timeline": r.Body().Timeline}, refused(err)
		},
		Sync: func(ctx context.Context, userID string) (any, error) { return a.operatorSync(ctx, in, userID) },
		Forget: func(ctx context.Context, userID, customers string) (any, error) {
			return a.operatorForget(ctx, in, userID, customers)
		},
		Erasures: func(ctx context.Context, before int64) (any, error) {
			list, err := a.Erasures(ctx, before)
			return map[string]any{"erasures": append([]Erasure{}, list...)}, refused(err)
		},
		Retry: func(ctx context.Context, target string, users []string) (any, error) {
			r, err := in.Retry(ctx, target, users)
			return r, refused(err)
		},
	}
}

// operatorSync answers with the links as they are afterwards. A target that
// failed says so in its link: the work stays due.
func (a *App) operatorSync(ctx context.Context, in *inbox.Inbox, userID string) (any, error) {
	if err := in.SyncUser(ctx, userID); errors.Is(err, ErrUnknownUser) {
		return nil, refused(err)
	} else if err != nil {
		return nil, &web.RefusedError{Text: fmt.Sprintf("Not everything is in step, and it stays due: %v", postgres.Redact(err))}
	}
	r, err := a.Show(ctx, userID)
	return map[string]any{"links": r.Body().Links}, refused(err)
}

// refused says what the caller can mend; of the rest the log tells.
func refused(err error) error {
	no, isChoice := errors.AsType[*RefusedChoice](err)
	switch {
	case isChoice:
		return &web.RefusedError{Kind: web.ErrBadRequest, Text: "Not chosen: " + no.Text}
	case errors.Is(err, ErrChosen), errors.Is(err, ErrNoChoice):
		return &web.RefusedError{Kind: web.ErrBadRequest, Text: "Not chosen: " + err.Error()}
	case errors.Is(err, ErrUnknownUser):
		return &web.RefusedError{Kind: web.ErrNotFound, Text: "Lockstep has not heard of this user: in Clerk's dashboard, resend the user's webhook"}
	case errors.Is(err, ErrUnknownTarget):
		return &web.RefusedError{Kind: web.ErrBadRequest, Text: "No such target in the settings: GET /v1/operator/status lists them"}
	}
	return postgres.Redact(err)
}

// health is the detail of /readyz. Deliveries are accepted whatever it says, so
// that only the database makes it fail: taking a node away because a store is
// down would refuse webhooks as well.
func (a *App) health(ctx context.Context) (web.Health, error) {
	h := web.Health{Status: "ready", Database: "ok", Paused: []string{}, Alarms: []string{}}
	if err := a.frontStore().Ping(ctx); err != nil {
		return h, err
	}
	report, err := a.watch.Look(ctx)
	if err != nil {
		a.log.Warn("the state of the installation could not be read", "error", err)
		return h, nil
	}
	oldest, names := report.Vitals.DispatchAge, a.targetNames()
	for _, t := range report.Vitals.Targets {
		if !slices.Contains(names, t.Target) {
			continue // no longer in the settings
		}
		oldest = max(oldest, t.PendingAge)
		if t.Paused {
			h.Paused = append(h.Paused, t.Target)
		}
	}
	for _, w := range report.Watchdogs {
		if w.Alarm {
			h.Alarms = append(h.Alarms, w.Watchdog+" "+w.Subject)
		}
	}
	h.Worker, h.OldestPending = new(report.Vitals.Leader), new(oldest.Seconds())
	return h, nil
}
