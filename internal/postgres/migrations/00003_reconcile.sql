-- What reconciling and backfilling need: runs that can be resumed and reported,
-- and a place behind live changes for the work that they cause.

-- +goose Up

alter table lockstep.customer_links add column queued_bulk boolean not null default false;
comment on column lockstep.customer_links.queued_bulk is 'The live job is one of backfill or reconciling: a live change makes another, which goes first.';
create index customer_links_failed on lockstep.customer_links (target, clerk_user_id) where status = 'failed';
create index customer_links_untried on lockstep.customer_links (target, clerk_user_id) where status = 'pending' and applied = desired;

create index if not exists profiles_deleted on public.profiles (id) where deleted_at is not null;

create table lockstep.reconcile_runs (
  id          bigint generated always as identity primary key,
  deep        boolean not null,
  dry_run     boolean not null,
  full_walk   boolean not null,
  targets     text[] not null,
  settings    jsonb not null default '{}',
  state       text not null default 'running'
              check (state in ('running', 'done', 'cancelled', 'failed')),
  reason      text not null default '',
  lease       bigint not null default 0,
  lease_until timestamptz,
  holder      text not null default '',
  started_at  timestamptz not null default now(),
  finished_at timestamptz
);
create unique index reconcile_runs_one on lockstep.reconcile_runs (deep) where state = 'running';
comment on table lockstep.reconcile_runs is 'Reconcile runs: at most one of a kind at a time, under a lease that another node takes over when it ends.';
comment on column lockstep.reconcile_runs.lease is 'Who works on the run, as a fencing number; it ends at lease_until even if the node was killed.';

comment on column lockstep.reconcile_runs.holder is 'The process that has, or had, the lease: host and process id.';

create table lockstep.reconcile_steps (
  run_id    bigint not null references lockstep.reconcile_runs (id) on delete cascade,
  step      int not null,
  name      text not null,
  target    text not null default '',
  cursor    text not null default '',
  looked_at bigint not null default 0,
  state     text not null default 'todo' check (state in ('todo', 'done', 'not_walked')),
  reason    text not null default '',
  began_at  timestamptz,
  primary key (run_id, step)
);
comment on table lockstep.reconcile_steps is 'The parts of a run in their order, each with its place to go on from after a restart.';

create table lockstep.reconcile_findings (
  run_id        bigint not null references lockstep.reconcile_runs (id) on delete cascade,
  target        text not null,
  kind          text not null,
  clerk_user_id text not null,
  customer_id   text not null default '',
  step          int not null,
  outcome       text not null default 'left' check (outcome in ('queued', 'repaired', 'left')),
  reason        text not null default '',
  primary key (run_id, target, kind, clerk_user_id, customer_id)
);
create index reconcile_findings_user on lockstep.reconcile_findings (run_id, clerk_user_id);
comment on table lockstep.reconcile_findings is 'Each difference that a run found: ids only, nothing personal. Target is empty for a profile.';

-- Who was seen in a full walk, to know who was not. Losing it in a crash of the
-- server does no harm: whoever was not seen is asked for by id.
create unlogged table lockstep.reconcile_seen (
  run_id bigint not null,
  target text not null,
  id     text not null,
  primary key (run_id, target, id)
);
comment on table lockstep.reconcile_seen is 'Scratch space of a walk that is under way.';

alter table lockstep.reconcile_runs enable row level security;
alter table lockstep.reconcile_steps enable row level security;
alter table lockstep.reconcile_findings enable row level security;
alter table lockstep.reconcile_seen enable row level security;

-- +goose Down

drop table lockstep.reconcile_seen, lockstep.reconcile_findings, lockstep.reconcile_steps, lockstep.reconcile_runs;
drop index if exists public.profiles_deleted;
drop index lockstep.customer_links_untried, lockstep.customer_links_failed;
alter table lockstep.customer_links drop column queued_bulk;
