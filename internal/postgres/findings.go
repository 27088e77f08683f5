package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
)

// Finding is one difference that a run found. It names ids only.
type Finding struct {
	Target     string         `json:"target,omitempty"` // empty for a profile
	Kind       lockstep.Drift `json:"kind"`
	UserID     string         `json:"user"`
	CustomerID string         `json:"customer,omitempty"`
	Fate       Fate           `json:"outcome"`
	Reason     string         `json:"reason,omitempty"`
}

// Fate is what became of a finding.
type Fate string

// The fates of a finding.
const (
	FateQueued   Fate = "queued"   // a job is to repair it
	FateRepaired Fate = "repaired" // it is as it should be
	FateLeft     Fate = "left"     // nobody may repair it, or nobody could
)

// Note stores what a step found. Noting it again changes nothing.
func (s *Store) Note(ctx context.Context, tx pgx.Tx, r Run, step int, found []Finding) error {
	if len(found) == 0 {
		return nil
	}
	columns := make([][]string, 6)
	for _, f := range found {
		for i, v := range []string{f.Target, string(f.Kind), f.UserID, f.CustomerID, string(f.Fate), f.Reason} {
			columns[i] = append(columns[i], v)
		}
	}
	_, err := tx.Exec(ctx, `
		insert into lockstep.reconcile_findings (run_id, step, target, kind, clerk_user_id, customer_id, outcome, reason)
		select $1, $2, f.* from unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[]) f
		on conflict do nothing`, r.ID, step, columns[0], columns[1], columns[2], columns[3], columns[4], columns[5])
	if err != nil {
		return fmt.Errorf("note findings: %w", err)
	}
	return nil
}

// Noted returns those of the users about whom an earlier step of the run found
// something already, for the target or for the profile: one cause is one finding.
func (s *Store) Noted(ctx context.Context, tx pgx.Tx, r Run, step int, target string, users []string) (map[string]bool, error) {
	rows, err := tx.Query(ctx, `select distinct clerk_user_id from lockstep.reconcile_findings
		where run_id = $1 and clerk_user_id = any($2::text[]) and target in ('', $3) and step < $4`, r.ID, users, target, step)
	if err != nil {
		return nil, fmt.Errorf("read findings: %w", err)
	}
	noted := map[string]bool{}
	var user string
	if _, err = pgx.ForEachRow(rows, []any{&user}, func() error { noted[user] = true; return nil }); err != nil {
		return nil, fmt.Errorf("read findings: %w", err)
	}
	return noted, nil
}

// See remembers who was seen in a walk: users of Clerk with an empty target,
// else customers of the target.
func (s *Store) See(ctx context.Context, tx pgx.Tx, r Run, target string, ids []string) error {
	_, err := tx.Exec(ctx, `insert into lockstep.reconcile_seen (run_id, target, id)
		select $1, $2, i from unnest($3::text[]) i on conflict do nothing`, r.ID, target, ids)
	if err != nil {
		return fmt.Errorf("note who was seen: %w", err)
	}
	return nil
}

// Unsee forgets whom a walk through a target saw: it begins anew.
func (s *Store) Unsee(ctx context.Context, tx pgx.Tx, r Run, target string) error {
	if _, err := tx.Exec(ctx, `delete from lockstep.reconcile_seen where run_id = $1 and target = $2`, r.ID, target); err != nil {
		return fmt.Errorf("forget who was seen: %w", err)
	}
	return nil
}

// UnseenUsers returns at most limit users, after an id and in order, whom a full
// walk of Clerk did not see though a living profile or a link without a profile
// names them. If the walk was not a full one, only the links count. What cannot
// be an id of Clerk's is left out: it cannot be asked for.
func (s *Store) UnseenUsers(ctx context.Context, r Run, full bool, after string, limit int) ([]string, error) {
	rows, err := s.pool.Query(ctx, `
		select id from (
		  (select p.id from public.profiles p
		    where $4 and p.id > $2 and p.deleted_at is null and p.id ~ '^user_[0-9A-Za-z]+$' 
		      and not exists (select from lockstep.reconcile_seen s where s.run_id = $1 and s.target = '' and s.id = p.id)
		    order by p.id limit $3)
		  union
		  (select distinct l.clerk_user_id from lockstep.customer_links l
		    where l.clerk_user_id > $2 and l.clerk_user_id ~ '^user_[0-9A-Za-z]+$' and not exists (select from public.profiles p where p.id = l.clerk_user_id)
		      and not exists (select from lockstep.reconcile_findings f where f.run_id = $1 and f.target = '' and f.clerk_user_id = l.clerk_user_id)
		    order by 1 limit $3)) u order by id limit $3`, r.ID, after, limit, full)
	if err != nil {
		return nil, fmt.Errorf("find users who were not seen: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("find users who were not seen: %w", err)
	}
	return ids, nil
}

// UnseenLinks returns at most limit links, after a user and in order, whose
// customer a walk that began at since did not see. Links that changed since, or
// that a finding names already, are left out.
func (s *Store) UnseenLinks(ctx context.Context, r Run, step int, target, after string, since time.Time, limit int) ([]lockstep.Link, error) {
	rows, err := s.pool.Query(ctx, `select `+linkColumns+` from lockstep.customer_links l
		where l.target = $2 and l.clerk_user_id > $3 and l.customer_id is not null and l.status <> 'released'
		  and l.applied = l.desired and l.updated_at < $4
		  and not exists (select from lockstep.reconcile_seen s where s.run_id = $1 and s.target = $2 and s.id = l.customer_id)
		  and not exists (select from lockstep.reconcile_findings f
		        where f.run_id = $1 and f.clerk_user_id = l.clerk_user_id and f.target in ('', $2) and f.step < $6)
		order by l.clerk_user_id limit $5`, r.ID, target, after, since, limit, step)
	if err != nil {
		return nil, fmt.Errorf("find links that were not seen: %w", err)
	}
	return collectLinks(rows)
}

func collectLinks(rows pgx.Rows) ([]lockstep.Link, error) {
	links, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l lockstep.Link, err error) {
		return l, row.Scan(scanLink(&l)...)
	})
	if err != nil {
		return nil, fmt.Errorf("read links: %w", err)
	}
	return links, nil
}

// LinksOf reads the links of a target that name one of the customers or belong
// to one of the users.
func (s *Store) LinksOf(ctx context.Context, tx pgx.Tx, target string, customers, users []string) ([]lockstep.Link, error) {
	rows, err := tx.Query(ctx, `
		select `+linkColumns+` from lockstep.customer_links where target = $1 and customer_id = any($2::text[])
		union
		select `+linkColumns+` from lockstep.customer_links where target = $1 and clerk_user_id = any($3::text[])`, target, customers, users)
	if err != nil {
		return nil, fmt.Errorf("read links: %w", err)
	}
	return collectLinks(rows)
}

// Profiles reads the profiles of users, by id; those without one are left out.
func (s *Store) Profiles(ctx context.Context, tx pgx.Tx, users []string) (map[string]lockstep.Profile, error) {
	rows, err := tx.Query(ctx, `select `+profileColumns+` from public.profiles where id = any($1::text[])`, users)
	if err != nil {
		return nil, fmt.Errorf("read profiles: %w", err)
	}
	all := map[string]lockstep.Profile{}
	var p lockstep.Profile
	if _, err = pgx.ForEachRow(rows, scanProfile(&p), func() error { all[p.ID] = p; return nil }); err != nil {
		return nil, fmt.Errorf("read profiles: %w", err)
	}
	return all, nil
}

// Deletions returns at most limit users, after an id and in order, whom a run
// found to be deleted in Clerk and has not buried yet.
func (s *Store) Deletions(ctx context.Context, r Run, after string, limit int) ([]string, error) {
	rows, err := s.pool.Query(ctx, `select clerk_user_id from lockstep.reconcile_findings
		where run_id = $1 and target = '' and kind = $2 and clerk_user_id > $3 order by clerk_user_id limit $4`,
		r.ID, lockstep.DriftUserDeleted, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read deletions: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read deletions: %w", err)
	}
	return ids, nil
}

// CountFound counts the findings of one kind of a run.
func (s *Store) CountFound(ctx context.Context, r Run, kind lockstep.Drift) (n int, err error) {
	err = s.pool.QueryRow(ctx, `select count(*) from lockstep.reconcile_findings where run_id = $1 and kind = $2`, r.ID, kind).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count findings: %w", err)
	}
	return n, nil
}

// SetFate says what became of all findings of one kind.
func (s *Store) SetFate(ctx context.Context, tx pgx.Tx, r Run, kind lockstep.Drift, users []string, fate Fate, reason string) error {
	_, err := tx.Exec(ctx, `update lockstep.reconcile_findings set outcome = $4, reason = $5
		where run_id = $1 and kind = $2 and ($3::text[] is null or clerk_user_id = any($3::text[]))`, r.ID, kind, users, fate, reason)
	if err != nil {
		return fmt.Errorf("settle findings: %w", err)
	}
	return nil
}

// Settle looks at the links of findings whose repair was queued, and returns how
// many still wait, those of users whose profile was put right among them. Give
// up says that whatever waits is left.
func (s *Store) Settle(ctx context.Context, r Run, giveUp bool) (waiting int, err error) {
	err = s.pool.QueryRow(ctx, `
		with settled as (
		  update lockstep.reconcile_findings f set
		    outcome = case when l.clerk_user_id is not null and l.applied = l.desired and l.status in ('linked', 'waiting', 'released') then 'repaired' else 'left' end,
		    reason = case when l.clerk_user_id is null then 'the link is gone'
		                  when l.applied = l.desired and l.status in ('linked', 'waiting', 'released') then ''
		                  when l.status in ('conflict', 'failed') then l.reason
		                  else 'still queued' end
		   from lockstep.reconcile_findings q left join lockstep.customer_links l on l.clerk_user_id = q.clerk_user_id and l.target = q.target
		  where f.run_id = $1 and f.outcome = 'queued' and q.run_id = f.run_id and q.target = f.target and q.kind = f.kind
		    and q.clerk_user_id = f.clerk_user_id and q.customer_id = f.customer_id
		    and ($2 or l.clerk_user_id is null or l.applied = l.desired or l.status = 'failed')
		  returning 1
		)
		select count(*) filter (where f.outcome = 'queued') - (select count(*) from settled)
		       + case when $2 then 0 else (select count(*) from lockstep.reconcile_findings p join lockstep.customer_links l on l.clerk_user_id = p.clerk_user_id
		          where p.run_id = $1 and p.target = '' and p.outcome = 'repaired' and l.target = any($3::text[]) and l.applied < l.desired and l.status <> 'failed') end
		  from lockstep.reconcile_findings f where f.run_id = $1`,
		r.ID, giveUp, r.Spec.Targets).Scan(&waiting)
	if err != nil {
		return 0, fmt.Errorf("settle findings: %w", err)
	}
	return waiting, nil
}

// DriftCount is what a run found of one kind in one target.
type DriftCount struct {
	Target   string         `json:"target,omitempty"` // empty for profiles
	Kind     lockstep.Drift `json:"kind"`
	Found    int            `json:"found"`
	Repaired int            `json:"repaired"`
	Queued   int            `json:"queued"` // repair is under way
	Left     int            `json:"left"`
}

// DriftCounts counts the findings of a run.
func (s *Store) DriftCounts(ctx context.Context, runID int64) ([]DriftCount, error) {
	rows, err := s.pool.Query(ctx, `
		select target, kind, count(*), count(*) filter (where outcome = 'repaired'), count(*) filter (where outcome = 'queued'),
		       count(*) filter (where outcome = 'left')
		  from lockstep.reconcile_findings where run_id = $1 group by target, kind order by target, min(step), kind`, runID)
	if err != nil {
		return nil, fmt.Errorf("count findings: %w", err)
	}
	counts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[DriftCount])
	if err != nil {
		return nil, fmt.Errorf("count findings: %w", err)
	}
	return counts, nil
}

// OpenFindings names at most limit findings that are not repaired.
func (s *Store) OpenFindings(ctx context.Context, runID int64, limit int) ([]Finding, error) {
	rows, err := s.pool.Query(ctx, `select target, kind, clerk_user_id, customer_id, outcome, reason from lockstep.reconcile_findings
		where run_id = $1 and outcome <> 'repaired' order by target, step, kind, clerk_user_id limit $2`, runID, limit)
	if err != nil {
		return nil, fmt.Errorf("read findings: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Finding])
	if err != nil {
		return nil, fmt.Errorf("read findings: %w", err)
	}
	return found, nil
}

// PruneRuns drops all but the newest runs of a kind.
func (s *Store) PruneRuns(ctx context.Context, deep bool, keep int) error {
	_, err := s.pool.Exec(ctx, `delete from lockstep.reconcile_runs where deep = $1 and state <> 'running'
		and id < (select min(id) from (select id from lockstep.reconcile_runs where deep = $1 order by id desc limit $2) newest)`, deep, keep)
	if err != nil {
		return fmt.Errorf("prune runs: %w", err)
	}
	return nil
}

// LeftBehind reports whether a deep run was left by a node that stopped, and no
// job to go on with it waits.
func (s *Store) LeftBehind(ctx context.Context) (yes bool, err error) {
	err = s.pool.QueryRow(ctx, `select exists (select from lockstep.reconcile_runs
		where deep and state = 'running' and coalesce(lease_until, '-infinity') < now())
		and not exists (select from lockstep.river_job where kind = 'reconcile' and state in ('available', 'scheduled', 'retryable', 'pending'))`).Scan(&yes)
	if err != nil {
		return false, fmt.Errorf("look for runs left behind: %w", err)
	}
	return yes, nil
}
