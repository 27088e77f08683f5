package app

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/lockstephq/lockstep/internal/inbox"
	"github.com/robfig/cron/v3"
)

// ReconcileConfig says when serve reconciles by itself, and how far it may go.
type ReconcileConfig struct {
	Shallow      time.Duration // between two looks at our own tables; 0 for none
	Deep         cron.Schedule // of the runs that ask Clerk and the stores; nil for none
	MaxDeletions int           // that one run may carry out; 0 for 10, or 5 % of the users
}

// overdue is how long after the last deep run somebody should look: two runs that
// did not end, and half a day to walk. Zero if there are none.
func (c ReconcileConfig) overdue() time.Duration {
	if c.Deep == nil {
		return 0
	}
	const slack = 12 * time.Hour
	next := c.Deep.Next(time.Now())
	return 2*c.Deep.Next(next).Sub(next) + slack
}

// The words of reconciling, for commands that print them.
type (
	ReconcileOptions = inbox.ReconcileOptions
	ReconcileReport  = inbox.Report
)

func (s *settings) reconcile() (c ReconcileConfig) {
	var err error
	if c.Shallow = s.duration("LOCKSTEP_RECONCILE_SHALLOW", "5m"); c.Shallow > 0 && c.Shallow < time.Second {
		s.wrong("LOCKSTEP_RECONCILE_SHALLOW", "must be at least 1s, such as 5m, or off")
	}
	if text := s.get("LOCKSTEP_RECONCILE_DEEP", "30 3 * * *"); !strings.EqualFold(text, "off") {
		if c.Deep, err = cron.ParseStandard(text); err != nil {
			s.wrong("LOCKSTEP_RECONCILE_DEEP", `must be a cron expression such as "30 3 * * *", or off`)
		}
	}
	if text := s.get("LOCKSTEP_RECONCILE_MAX_DELETIONS", ""); text != "" {
		if c.MaxDeletions, err = strconv.Atoi(text); err != nil || c.MaxDeletions < 1 {
			s.wrong("LOCKSTEP_RECONCILE_MAX_DELETIONS", "must be a number of users from 1 on")
		}
	}
	return c
}

// schedule is what a worker does by itself. A node without Clerk's key leaves
// deep runs to the others.
func (a *App) schedule() inbox.ReconcileConfig {
	c := inbox.ReconcileConfig{Shallow: a.config.Reconcile.Shallow, MaxDeletions: a.config.Reconcile.MaxDeletions}
	if a.config.Reconcile.Deep != nil {
		c.Deep = a.config.Reconcile.Deep
	}
	users, err := a.directory()
	if err != nil {
		a.log.Warn("this process makes no deep reconcile runs", "error", err)
		return c
	}
	c.Users = users
	return c
}

// Reconcile compares everything, repairs what the rules allow, and reports. It
// works off what it queued by itself, so that it needs no serve beside it. A
// dry run changes nothing.
func (a *App) Reconcile(ctx context.Context, o ReconcileOptions) (r ReconcileReport, err error) {
	if len(a.targets) == 0 && !o.Deep {
		return r, errNoTargets
	}
	if err := a.store.Ping(ctx); err != nil {
		return r, err
	}
	var users inbox.Directory
	if o.Deep && o.Target == "" {
		if users, err = a.directory(); err != nil {
			return r, err
		}
	}
	if o.DryRun || o.NoWait {
		in, err := inbox.New(a.inboxConfig())
		if err != nil {
			return r, err
		}
		return in.Reconcile(ctx, users, o)
	}
	return a.reconcileAndWork(ctx, users, o)
}

// reconcileAndWork is a worker as long as the run takes.
func (a *App) reconcileAndWork(ctx context.Context, users inbox.Directory, o ReconcileOptions) (r ReconcileReport, err error) {
	in, err := inbox.NewWorker(a.inboxConfig())
	if err != nil {
		return r, err
	}
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- in.Run(working) }()
	r, err = in.Reconcile(ctx, users, o)
	stop()
	return r, errors.Join(err, <-ended)
}
