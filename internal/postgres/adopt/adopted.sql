-- Adoption carries a public.profiles of another making over. The files of this
-- folder are run by `lockstep migrate up` and written out by `migrate export`:
-- plain SQL, one transaction each at most, as the role that owns the table (on
-- Supabase "postgres", which is no superuser). They do nothing where there is
-- nothing to carry over, and raise LK001 where something stands in the way.

create schema if not exists lockstep;

create table if not exists lockstep.adopted (
  n          bigint generated always as identity primary key,
  step       text not null,
  kind       text not null,
  rel        text,
  name       text not null,
  depth      int not null default 0,
  definition text,
  attributes text,
  became     text,
  at         timestamptz not null default now()
);
alter table lockstep.adopted enable row level security;
comment on table lockstep.adopted is 'What adoption changed in public.profiles and around it: definitions only, for `migrate down` to give back.';
comment on column lockstep.adopted.rel is 'For a column its table, for a function what adoption made of its signature.';
comment on column lockstep.adopted.definition is 'The statement that makes the object as it was.';
comment on column lockstep.adopted.attributes is 'Its owner, grants, comments and the like, as statements.';
comment on column lockstep.adopted.became is 'The definition after adoption: what differs from it has been changed since by somebody else.';

-- adopt_note tells the client what goes on.
create or replace function lockstep.adopt_note(p_text text) returns void
language plpgsql set search_path = ''
as $lockstep$
begin
  raise notice 'lockstep: %', p_text;
end
$lockstep$;

-- adopt_refuse ends the transaction, naming what stands in the way.
create or replace function lockstep.adopt_refuse(p_obstacles text[]) returns void
language plpgsql set search_path = ''
as $lockstep$
begin
  if cardinality(p_obstacles) > 0 then
    raise exception using errcode = 'LK001', message = array_to_string(p_obstacles, E'\n');
  end if;
end
$lockstep$;

-- adopt_try runs a statement; one that the catalogs refuse is an obstacle with
-- the given name and remedy. A lock that is not had, or a server in trouble, is
-- none: that error passes.
create or replace function lockstep.adopt_try(p_sql text, p_what text, p_remedy text) returns void
language plpgsql set search_path = ''
as $lockstep$
declare
  v_message text;
begin
  execute p_sql;
exception
  when syntax_error_or_access_rule_violation or feature_not_supported or dependent_privilege_descriptors_still_exist
    or object_not_in_prerequisite_state or data_exception or integrity_constraint_violation then
    if sqlstate = '55P03' then
      raise;
    end if;
    -- Messages of classes 22 and 23 may quote data.
    v_message := case when left(sqlstate, 2) in ('22', '23') then 'SQLSTATE ' || sqlstate else sqlerrm end;
    perform lockstep.adopt_refuse(array[format('%s: %s; %s', p_what, v_message, p_remedy)]);
end
$lockstep$;

-- adopt_begin marks a step as done and reports whether there is a table for it
-- to work on, which it locks. A second run waits here for the first.
create or replace function lockstep.adopt_begin(p_step text) returns boolean
language plpgsql set search_path = ''
as $lockstep$
declare
  v_installed boolean := false;
begin
  perform pg_advisory_xact_lock(7813573191660758384); -- "lockstep", as in migrate.go
  if current_setting('lock_timeout') = '0' then
    perform set_config('lock_timeout', '5s', true);
  end if;
  perform set_config('jit', 'off', true); -- compiling what looks through the catalogs takes longer than running it
  if to_regclass('lockstep.migrations') is not null then
    execute 'select exists (select from lockstep.migrations where version_id = 1 and is_applied)' into v_installed;
  end if;
  if v_installed or exists (select from lockstep.adopted where kind = 'step' and name = p_step) then
    return false;
  end if;
  insert into lockstep.adopted (step, kind, name) values (p_step, 'step', p_step);
  if to_regclass('public.profiles') is null then
    return false;
  end if;
  perform lockstep.adopt_refuse(lockstep.adopt_shape());
  lock table public.profiles in access exclusive mode;
  return true;
end
$lockstep$;

-- adopt_remember keeps what is about to go.
create or replace function lockstep.adopt_remember(p_step text, p_kind text, p_name text, p_definition text, p_attributes text default null)
returns void
language sql set search_path = ''
as $lockstep$
  insert into lockstep.adopted (step, kind, name, definition, attributes)
  values (p_step, p_kind, p_name, p_definition, p_attributes)
$lockstep$;
