package inbox

import (
	"context"
	"time"

	"github.com/lockstephq/lockstep/internal/postgres"
)

// Report is what a run found, and what became of it.
type Report struct {
	ID       int64                 `json:"run"`
	Deep     bool                  `json:"deep"`
	DryRun   bool                  `json:"dry_run"`
	State    string                `json:"state"`
	Reason   string                `json:"reason,omitempty"`
	Started  time.Time             `json:"started_at"`
	Finished time.Time             `json:"finished_at,omitzero"`
	Steps    []StepReport          `json:"steps"`
	Drift    []postgres.DriftCount `json:"drift"`
	Open     []postgres.Finding    `json:"open"` // the first of what was not repaired
}

// StepReport is how much a step looked at.
type StepReport struct {
	Name     string `json:"name"`
	Target   string `json:"target,omitempty"`
	LookedAt int64  `json:"looked_at"`
	Walked   bool   `json:"walked"`
	Reason   string `json:"reason,omitempty"` // why not
}

// Clean reports whether everything was looked at and is as it should be.
func (r Report) Clean() bool {
	for _, s := range r.Steps {
		if !s.Walked {
			return false
		}
	}
	for _, d := range r.Drift {
		if d.Repaired < d.Found {
			return false
		}
	}
	return true
}

// Report reads the report of a run.
func (in *Inbox) Report(ctx context.Context, runID int64) (rep Report, err error) {
	if err = in.store.ReadRun(ctx, runID, &rep.Deep, &rep.DryRun, &rep.State, &rep.Reason, &rep.Started, &rep.Finished); err != nil {
		return rep, postgres.Redact(err)
	}
	rep.ID = runID
	steps, err := in.store.Steps(ctx, runID)
	if err != nil {
		return rep, postgres.Redact(err)
	}
	for _, s := range steps {
		rep.Steps = append(rep.Steps, StepReport{s.Name, s.Target, s.LookedAt, s.State == postgres.StepDone, s.Reason})
	}
	if rep.Drift, err = in.store.DriftCounts(ctx, runID); err != nil {
		return rep, postgres.Redact(err)
	}
	rep.Open, err = in.store.OpenFindings(ctx, runID, namedFindings)
	return rep, postgres.Redact(err)
}
