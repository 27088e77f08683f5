-- Who may lack a link, noted when it happens: a shallow reconcile run then need
-- not read all links, which are many times as many as the profiles.

-- +goose Up

create table lockstep.reconcile_hints (
  id            bigint generated always as identity primary key,
  clerk_user_id text,
  xact          xid8 not null default pg_current_xact_id()
);
create index reconcile_hints_anybody on lockstep.reconcile_hints (xact) where clerk_user_id is null;
comment on table lockstep.reconcile_hints is 'Users whose link was deleted, or whose profile came from elsewhere, since the last shallow run; null is anybody.';
alter table lockstep.reconcile_hints enable row level security;

-- The functions run as their owner: whoever may delete a link, or make a profile,
-- need have no rights here.

-- +goose StatementBegin
create function lockstep.hint_links_deleted() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if (select count(*) from gone) > 10000 then
    insert into lockstep.reconcile_hints (clerk_user_id) values (null);
  else
    insert into lockstep.reconcile_hints (clerk_user_id) select distinct g.clerk_user_id from gone g;
  end if;
  return null;
end
$$;
-- +goose StatementEnd

-- +goose StatementBegin
create function lockstep.hint_anybody() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into lockstep.reconcile_hints (clerk_user_id) values (null);
  return null;
end
$$;
-- +goose StatementEnd

-- A table that is copied in goes row by row: one in 10,000 says anybody, after
-- which the transaction notes no more.
-- +goose StatementBegin
create function lockstep.hint_profile() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_id bigint;
begin
  if exists (select from lockstep.reconcile_hints where clerk_user_id is null and xact = pg_current_xact_id()) then
    return null;
  end if;
  insert into lockstep.reconcile_hints (clerk_user_id) values (new.id) returning id into v_id;
  if v_id % 10000 = 0 then
    insert into lockstep.reconcile_hints (clerk_user_id) values (null);
  end if;
  return null;
end
$$;
-- +goose StatementEnd

create trigger lockstep_hint_deleted after delete on lockstep.customer_links
  referencing old table as gone for each statement execute function lockstep.hint_links_deleted();
create trigger lockstep_hint_truncated after truncate on lockstep.customer_links
  for each statement execute function lockstep.hint_anybody();
create trigger lockstep_hint_moved after update of clerk_user_id, target on lockstep.customer_links
  for each statement execute function lockstep.hint_anybody();

-- What Lockstep writes has the transaction's time, and so has a row that leaves
-- it to the default: a run finds these by it. A row that brings an older one is
-- noted; the others cost a comparison.
create trigger lockstep_hint_inserted after insert on public.profiles
  for each row when (new.updated_at < now()) execute function lockstep.hint_profile();

-- +goose Down

drop trigger if exists lockstep_hint_inserted on public.profiles; -- migrate down drops it before all others
drop trigger lockstep_hint_moved on lockstep.customer_links;
drop trigger lockstep_hint_truncated on lockstep.customer_links;
drop trigger lockstep_hint_deleted on lockstep.customer_links;
drop function lockstep.hint_profile(), lockstep.hint_anybody(), lockstep.hint_links_deleted();
drop table lockstep.reconcile_hints;
