-- The way back, for `migrate down`: what can be given back is, what cannot be is
-- said. Rows are never touched, and columns that hold something stay.

-- adopt_offer runs what gives something back, and reports whether it could.
create or replace function lockstep.adopt_offer(p_sql text, p_what text) returns boolean
language plpgsql set search_path = ''
as $lockstep$
begin
  perform lockstep.adopt_try(p_sql, p_what, 'it stays as it is');
  return true;
exception when sqlstate 'LK001' then
  perform lockstep.adopt_note('not given back: ' || sqlerrm);
  return false;
end
$lockstep$;

-- adopt_key_back gives the key its type back, unless ids of Clerk's are in it.
create or replace function lockstep.adopt_key_back() returns boolean
language plpgsql set search_path = ''
as $lockstep$
declare
  v_was text;
  v_rows bigint;
begin
  select a.definition into v_was from lockstep.adopted a
   where a.step = 'change_profiles_id_to_text' and a.kind = 'column' and a.rel = 'public.profiles' and a.name = 'id';
  if v_was = 'uuid' then
    select count(*) into v_rows from public.profiles p
     where p.id !~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$';
    if v_rows > 0 then
      perform lockstep.adopt_note(format('not given back: public.profiles.id stays text, %s rows have an id that is no uuid', v_rows));
      return false;
    end if;
  end if;
  if v_was is not null then
    perform lockstep.adopt_convert('give_back', true);
  end if;
  if exists (select from lockstep.adopted a where a.kind = 'primary key') then
    perform lockstep.adopt_note('not given back: the primary key of public.profiles, which was missing, stays');
  end if;
  return true;
exception when sqlstate 'LK001' then
  perform lockstep.adopt_note('not given back: public.profiles.id stays text: ' || sqlerrm);
  return false;
end
$lockstep$;

-- adopt_columns_back drops the columns that adoption added, if they say nothing.
create or replace function lockstep.adopt_columns_back() returns void
language plpgsql set search_path = ''
as $lockstep$
declare
  v record;
  v_used boolean;
begin
  for v in
    select a.name, a.kind, a.became, a.attributes, n.default_value from lockstep.adopted a join lockstep.adopt_needs() n on n.name = a.name
     where a.step = 'add_medusa_customer_id' and a.kind in ('added', 'altered') and exists (
       select from pg_catalog.pg_attribute t where t.attrelid = to_regclass('public.profiles') and t.attname = a.name and not t.attisdropped)
     order by a.n
  loop
    if v.kind = 'added' then
      execute format('select exists (select from public.profiles p where p.%I is distinct from %s)', v.name,
        case v.default_value when 'now()' then format('(select min(o.%I) from public.profiles o)', v.name) else coalesce(v.default_value, 'null') end)
        into v_used;
      if v_used then
        perform lockstep.adopt_note(format('not given back: column public.profiles.%I was added, is in use and stays', v.name));
      else
        perform lockstep.adopt_offer(format('alter table public.profiles drop column %I', v.name), format('column public.profiles.%I', v.name));
      end if;
      continue;
    end if;
    if v.became like '%set default%' then
      execute format('alter table public.profiles alter column %I drop default', v.name);
    end if;
    if v.attributes = 'not null' and v.became like '%drop not null%' then
      perform lockstep.adopt_offer(format('alter table public.profiles alter column %I set not null', v.name), format('not null of public.profiles.%I', v.name));
    end if;
  end loop;
end
$lockstep$;

-- adopt_access_back gives policies, grants and sign-up back: together, and only
-- on the old key. On Clerk's, the old policies fail or show too much.
create or replace function lockstep.adopt_access_back() returns void
language plpgsql set search_path = ''
as $lockstep$
declare
  v lockstep.adopted;
begin
  for v in
    select * from lockstep.adopted a where a.step = 'fix_profiles_clerk' and a.kind in ('reference', 'sign-up', 'policy')
     order by a.kind = 'policy', a.n
  loop
    if v.kind = 'policy' then
      execute format('drop policy if exists %I on public.profiles', v.name); -- what was left of it, for other roles
    end if;
    if lockstep.adopt_offer(v.definition, v.kind || ' ' || v.name) and v.attributes <> '' then
      perform lockstep.adopt_offer(v.attributes, v.kind || ' ' || v.name);
    end if;
  end loop;
  select * into v from lockstep.adopted a where a.step = 'fix_profiles_clerk' and a.kind = 'table';
  perform lockstep.adopt_offer(v.definition, 'grants on public.profiles');
end
$lockstep$;

create or replace function lockstep.adopt_give_back() returns void
language plpgsql set search_path = ''
as $lockstep$
declare
  v lockstep.adopted;
begin
  if to_regclass('public.profiles') is null or not exists (select from lockstep.adopted a where a.kind = 'table') then
    return;
  end if;
  lock table public.profiles in access exclusive mode;
  delete from lockstep.adopted where step = 'give_back';
  drop policy if exists profiles_read_own on public.profiles;
  if exists (select from lockstep.adopted a where a.kind = 'index') then
    drop index if exists public.idx_profiles_medusa_customer_id;
  end if;
  for v in select * from lockstep.adopted a where a.kind = 'table' loop
    perform lockstep.adopt_offer(v.attributes, 'comments on public.profiles');
  end loop;
  if lockstep.adopt_key_back() then
    perform lockstep.adopt_columns_back();
    perform lockstep.adopt_access_back();
  else
    perform lockstep.adopt_columns_back();
    perform lockstep.adopt_note('not given back: the old policies, grants and sign-up trigger, which fit the old key only; the table stays closed to users of the API');
  end if;
  for v in select * from lockstep.adopted a where a.step = 'add_medusa_customer_id' and a.kind = 'function' order by a.n loop
    if lockstep.adopt_offer(v.definition, 'function ' || v.name) then
      perform lockstep.adopt_offer(v.attributes, 'function ' || v.name);
    end if;
  end loop;
end
$lockstep$;

select lockstep.adopt_give_back();
