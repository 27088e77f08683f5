-- Users come from Clerk: profiles neither refer to auth.users nor are made by
-- its trigger, and no policy lets a user of the API write them or read another's.
create or replace function lockstep.fix_profiles_clerk() returns void
language plpgsql set search_path = ''
as $lockstep$
declare
  v record;
  v_drop text;
begin
  if not lockstep.adopt_begin('fix_profiles_clerk') then
    return;
  end if;
  perform lockstep.adopt_note('looking at what hangs on public.profiles');
  perform lockstep.adopt_refuse(lockstep.adopt_obstacles());

  insert into lockstep.adopted (step, kind, name, definition, attributes)
  select 'fix_profiles_clerk', 'table', 'public.profiles',
         concat_ws(E'\n', lockstep.adopt_grants('r', 'table public.profiles', c.relacl, c.relowner), lockstep.adopt_column_grants(c.oid, 0),
           format('alter table public.profiles %s row level security, %s row level security;',
             case when c.relrowsecurity then 'enable' else 'disable' end, case when c.relforcerowsecurity then 'force' else 'no force' end)),
         concat_ws(E'\n', format('comment on table public.profiles is %L;', obj_description(c.oid, 'pg_class')),
           (select string_agg(format('comment on column public.profiles.%I is %L;', a.attname, col_description(c.oid, a.attnum)), E'\n' order by a.attnum)
              from pg_attribute a where a.attrelid = c.oid and a.attname in ('id', 'medusa_customer_id', 'clerk_updated_at', 'deleted_at')))
    from pg_class c where c.oid = to_regclass('public.profiles');

  for v in -- the foreign key to auth.users
    select k.oid, k.conname from pg_constraint k join pg_attribute a on a.attrelid = k.conrelid and a.attname = 'id'
     where k.conrelid = to_regclass('public.profiles') and k.contype = 'f' and k.confrelid = to_regclass('auth.users') and a.attnum = any(k.conkey)
  loop
    perform lockstep.adopt_remember('fix_profiles_clerk', 'reference', v.conname,
      lockstep.adopt_definition('foreign key', v.oid, 0), lockstep.adopt_attributes('foreign key', v.oid, 0));
    execute format('alter table public.profiles drop constraint %I', v.conname);
  end loop;

  for v in -- the function with its triggers on auth.users, which is not ours to alter
    select f.function as oid, f.function::regprocedure::text as name from lockstep.adopt_sign_up() f
  loop
    perform lockstep.adopt_remember('fix_profiles_clerk', 'sign-up', v.name, lockstep.adopt_definition('function', v.oid, 0),
      concat_ws(E'\n', lockstep.adopt_attributes('function', v.oid, 0),
        (select string_agg(lockstep.adopt_definition('trigger', t.oid, 0), E'\n') from pg_trigger t where t.tgfoid = v.oid)));
    execute format('drop function %s cascade', v.name);
  end loop;

  for v in -- policies that let users of the API in; others' are carried over in the next step
    select p.oid, p.polname, p.polrelid::regclass as rel,
           (select string_agg(r::regrole::text, ', ') from unnest(p.polroles) r
             where r not in (select o.oid from pg_roles o where o.rolname in ('anon', 'authenticated'))) as rest
      from pg_policy p
     where p.polrelid = to_regclass('public.profiles') and p.polpermissive
       and (0 = any(p.polroles) or p.polroles && array(select o.oid from pg_roles o where o.rolname in ('anon', 'authenticated')))
  loop
    perform lockstep.adopt_remember('fix_profiles_clerk', 'policy', v.polname,
      lockstep.adopt_definition('policy', v.oid, 0), lockstep.adopt_attributes('policy', v.oid, 0));
    v_drop := lockstep.adopt_drop('policy', v.oid);
    if v.rest is not null and v.rest <> '-' then
      v_drop := v_drop || '; ' || lockstep.adopt_policy(v.oid, v.rest);
    end if;
    execute v_drop;
  end loop;
end
$lockstep$;

select lockstep.fix_profiles_clerk();
