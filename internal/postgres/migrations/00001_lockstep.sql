-- The application's table of profiles and Lockstep's own schema. A table that is
-- there already was adopted before (folder adopt). Works on plain PostgreSQL and on Supabase, as the
-- role that will own the objects (on Supabase: postgres, which is no superuser).

-- +goose Up

-- Kept apart from schema public, so that Supabase's API never serves it.
-- Its owner is whoever runs the migrations; nobody else gets in.
revoke all on schema lockstep from public;

create table if not exists public.profiles (
  id                 text primary key,
  username           text not null,
  avatar_url         text,
  email              text,
  email_verified     boolean not null default false,
  first_name         text,
  last_name          text,
  phone              text,
  phone_verified     boolean not null default false,
  banned             boolean not null default false,
  medusa_customer_id text,
  clerk_updated_at   timestamptz not null default '-infinity',
  deleted_at         timestamptz,
  created_at         timestamptz not null default now(),
  updated_at         timestamptz not null default now()
);
create index if not exists idx_profiles_medusa_customer_id on public.profiles (medusa_customer_id);

comment on table public.profiles is 'One row per Clerk user, kept by Lockstep. Users read their own row only.';
comment on column public.profiles.id is 'The Clerk user''s id (user_…).';
comment on column public.profiles.clerk_updated_at is 'Clerk''s updated_at, to the millisecond: the newer version wins.';
comment on column public.profiles.deleted_at is 'When the user was deleted in Clerk. Final: no later event brings the row back.';
comment on column public.profiles.medusa_customer_id is 'The user''s row in Medusa''s table customer.';

alter table public.profiles enable row level security;

-- Supabase used to grant everything on new tables of public, and some projects
-- still do: take all of it back, then give what is meant. TRUNCATE, which no
-- policy stops, goes too.
-- +goose StatementBegin
do $$
declare
  r text;
begin
  revoke all on public.profiles from public;
  foreach r in array array['anon', 'authenticated', 'service_role'] loop
    if to_regrole(r) is not null then
      execute format('revoke all on public.profiles from %I', r);
    end if;
  end loop;
  if to_regrole('service_role') is not null then
    grant select, insert, update, delete on public.profiles to service_role;
  end if;
  if to_regrole('authenticated') is not null and to_regprocedure('auth.jwt()') is not null then
    grant select on public.profiles to authenticated;
    -- auth.uid() casts to uuid and fails on Clerk's ids; the inner select is
    -- evaluated once per query, not once per row (Supabase's lint 0003).
    drop policy if exists profiles_read_own on public.profiles;
    create policy profiles_read_own on public.profiles for select to authenticated
      using (((select auth.jwt()) ->> 'sub') = id and deleted_at is null);
  end if;
end
$$;
-- +goose StatementEnd

create table lockstep.deliveries (
  source           text not null,
  id               text not null,
  kind             text not null,
  clerk_user_id    text not null,
  clerk_updated_at timestamptz,
  received_at      timestamptz not null default now(),
  primary key (source, id)
);
create index deliveries_user on lockstep.deliveries (clerk_user_id);
comment on table lockstep.deliveries is 'Webhooks received: duplicates are told by the sender''s id. Bodies are not kept.';

create table lockstep.customer_links (
  clerk_user_id text not null,
  target        text not null,
  customer_id   text,
  email         text,
  refused_phone text,
  status        text not null default 'pending'
                check (status in ('pending', 'linked', 'waiting', 'conflict', 'failed', 'released')),
  reason        text not null default '',
  blocked_by    text,
  desired       bigint not null default 0,
  applied       bigint not null default 0,
  queued_at     timestamptz,
  lease         bigint not null default 0,
  lease_until   timestamptz,
  first_seen_at timestamptz,
  last_seen_at  timestamptz,
  created_at    timestamptz not null default now(),
  updated_at    timestamptz not null default now(),
  primary key (clerk_user_id, target),
  unique (target, customer_id)
);
create index customer_links_pending on lockstep.customer_links (target, updated_at) where applied < desired;
create index customer_links_held on lockstep.customer_links (updated_at) where status in ('conflict', 'waiting');
create index customer_links_blocked on lockstep.customer_links (target, blocked_by) where blocked_by is not null;
comment on table lockstep.customer_links is 'Who is who: a user''s customer in each target, and whether it is up to date.';
comment on column lockstep.customer_links.refused_phone is 'A number that the target would not take, since another customer has it: not tried again.';
comment on column lockstep.customer_links.desired is 'Counts the changes accepted for the user; the target is up to date when applied equals it.';
comment on column lockstep.customer_links.queued_at is 'Set while a job for the row is live, so that a burst of changes makes one job.';
comment on column lockstep.customer_links.lease is 'Who works on the row, as a fencing number; it ends at lease_until even if the worker was killed.';

create view lockstep.shopify_customer_links with (security_invoker = on) as
  select clerk_user_id,
         substr(target, length('shopify:') + 1) as shopify_shop,
         customer_id as shopify_customer_id,
         email, first_seen_at, last_seen_at
    from lockstep.customer_links
   where target like 'shopify:%' and customer_id is not null;

create table lockstep.history (
  id            bigint generated always as identity primary key,
  clerk_user_id text not null,
  target        text not null,
  action        text not null,
  customer_id   text,
  reason        text not null,
  at            timestamptz not null default now()
);
create index history_user on lockstep.history (clerk_user_id, id);
comment on table lockstep.history is 'What was done for each user and why: ids only, nothing personal.';

create table lockstep.targets (
  target    text primary key,
  paused_at timestamptz,
  reason    text not null default ''
);
comment on table lockstep.targets is 'Targets that are paused because they refused everything.';

create table lockstep.buckets (
  target     text primary key,
  tokens     double precision not null,
  capacity   double precision not null,
  rate       double precision not null,
  updated_at timestamptz not null default clock_timestamp()
);
comment on table lockstep.buckets is 'What may still be asked of a target with a limit, shared by all nodes: tokens, refilled by rate a second up to capacity.';

create table lockstep.checkpoints (
  name       text primary key,
  value      text not null,
  updated_at timestamptz not null default now()
);
comment on table lockstep.checkpoints is 'What is learned once or resumed later: the pinned Clerk instance, cursors.';

alter table lockstep.deliveries enable row level security;
alter table lockstep.customer_links enable row level security;
alter table lockstep.history enable row level security;
alter table lockstep.targets enable row level security;
alter table lockstep.buckets enable row level security;
alter table lockstep.checkpoints enable row level security;

-- +goose Down

drop view lockstep.shopify_customer_links;
drop table lockstep.checkpoints, lockstep.buckets, lockstep.targets, lockstep.history, lockstep.customer_links, lockstep.deliveries;

-- Customer data is nobody's to throw away: a table with rows stays, and so does
-- one that was there before.
-- +goose StatementBegin
do $$
declare
  v_adopted boolean := false;
begin
  if to_regclass('lockstep.adopted') is not null then
    execute $q$select exists (select from lockstep.adopted where kind = 'table')$q$ into v_adopted;
  end if;
  if v_adopted or exists (select from public.profiles) then
    raise notice 'public.profiles stays';
  else
    drop table public.profiles;
  end if;
end
$$;
-- +goose StatementEnd
