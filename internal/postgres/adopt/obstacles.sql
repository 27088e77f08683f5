-- What stands in the way of adoption: each as what it is and what to type. They
-- are all found before anything is changed.

-- adopt_shape: a public.profiles that is no table of the kind we can carry over.
create or replace function lockstep.adopt_shape() returns text[]
language sql stable set search_path = ''
as $lockstep$
  select array_agg(x.obstacle) from (
    select format('public.profiles is a %s, not a plain table: rename it, then try again',
             case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'p' then 'partitioned table'
                            when 'f' then 'foreign table' else 'relation of another kind' end) as obstacle
      from pg_catalog.pg_class c where c.oid = to_regclass('public.profiles') and c.relkind <> 'r'
    union all
    select 'public.profiles inherits from another table, is inherited from, or is a partition: detach it, then try again'
     where exists (select from pg_catalog.pg_inherits i where to_regclass('public.profiles') in (i.inhrelid, i.inhparent))
    union all
    select format('public.profiles is a table of type %s; type: alter table public.profiles not of', c.reloftype::regtype)
      from pg_catalog.pg_class c where c.oid = to_regclass('public.profiles') and c.reloftype <> 0
    union all
    select format('public.profiles belongs to %s, and you are %s: run the migration as its owner', c.relowner::regrole, current_user)
      from pg_catalog.pg_class c where c.oid = to_regclass('public.profiles') and not pg_has_role(c.relowner, 'usage')
    union all
    select 'public.profiles has no column id; type: alter table public.profiles rename column … to id, for the column that holds the user''s id'
     where to_regclass('public.profiles') is not null and not exists (
       select from pg_catalog.pg_attribute a where a.attrelid = to_regclass('public.profiles') and a.attname = 'id' and not a.attisdropped)
  ) x
$lockstep$;

-- adopt_key_obstacles: the key itself, and the columns that refer to it.
create or replace function lockstep.adopt_key_obstacles() returns setof text
language sql stable set search_path = ''
as $lockstep$
  select format('column %s.%I is of type %s: Lockstep can carry over uuid and varchar; make it one of them', c.rel::regclass, a.attname, format_type(a.atttypid, a.atttypmod))
    from lockstep.adopt_columns() c join pg_catalog.pg_attribute a on a.attrelid = c.rel and a.attnum = c.att
   where a.atttypid not in ('uuid'::regtype, 'text'::regtype, 'varchar'::regtype)
  union all
  select format('column %1$s.%2$I is %3$s; type: alter table %1$s alter column %2$I drop %4$s', c.rel::regclass, a.attname,
           case a.attgenerated when 's' then 'generated' else 'an identity' end, case a.attgenerated when 's' then 'expression' else 'identity' end)
    from lockstep.adopt_columns() c join pg_catalog.pg_attribute a on a.attrelid = c.rel and a.attnum = c.att
   where a.attgenerated <> '' or a.attidentity <> ''
  union all
  select format('column %s.%I is part of the partition key, whose type cannot change: drop the foreign key, or recreate the table with text', c.rel::regclass, a.attname)
    from lockstep.adopt_columns() c join pg_catalog.pg_attribute a on a.attrelid = c.rel and a.attnum = c.att
    join pg_catalog.pg_partitioned_table p on p.partrelid = c.rel and c.att = any(p.partattrs)
   where a.atttypid <> 'text'::regtype
  union all
  select format('table %s belongs to %s, and you are %s: run the migration as its owner, or drop its foreign key', c.rel::regclass, t.relowner::regrole, current_user)
    from (select distinct k.rel from lockstep.adopt_columns() k) c join pg_catalog.pg_class t on t.oid = c.rel
   where not pg_has_role(t.relowner, 'usage')
  union all
  select format('%s also ties the column to %s, whose key is not changed; type: alter table %s drop constraint %I',
           pg_describe_object('pg_catalog.pg_constraint'::regclass, k.oid, 0), k.confrelid::regclass, k.conrelid::regclass, k.conname)
    from lockstep.adopt_columns() c
    join pg_catalog.pg_constraint k on k.contype = 'f' and k.conrelid = c.rel and c.att = any(k.conkey) and k.conparentid = 0
   cross join lateral unnest(k.conkey, k.confkey) as pair(own, other)
   where pair.own = c.att and not (c.rel = to_regclass('public.profiles') and k.confrelid = to_regclass('auth.users'))
     and not exists (select from lockstep.adopt_columns() o where o.rel = k.confrelid and o.att = pair.other)
  union all
  select format('the primary key of public.profiles is on other columns than id; type: alter table public.profiles drop constraint %I', k.conname)
    from pg_catalog.pg_constraint k join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attname = 'id'
   where k.conrelid = to_regclass('public.profiles') and k.contype = 'p' and k.conkey <> array[a.attnum]
  union all
  select format('column %s.%I holds rows of public.profiles whole, so that no column of it can change type; type: alter table %s drop column %I',
           a.attrelid::regclass, a.attname, a.attrelid::regclass, a.attname)
    from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p', 'm')
   where not a.attisdropped and a.attnum > 0 and a.atttypid in (select y.oid from pg_catalog.pg_type y where y.typrelid = to_regclass('public.profiles')
            union select y.typarray from pg_catalog.pg_type y where y.typrelid = to_regclass('public.profiles'))
$lockstep$;

-- adopt_dependant_obstacles: what hangs on the key and cannot be made anew.
create or replace function lockstep.adopt_dependant_obstacles() returns setof text
language sql stable set search_path = ''
as $lockstep$
  select format('%s hangs on the key of public.profiles and cannot be made anew: drop it, and make it anew after the migration',
           lockstep.adopt_name(d.classid, d.objid, d.objsubid))
    from lockstep.adopt_dependants() d
   where d.kind = 'other' or d.depth >= 40
      or d.kind = 'function' and (select p.prokind not in ('f', 'p') from pg_catalog.pg_proc p where p.oid = d.objid)
  union all
  select format('%s belongs to %s, and you are %s: run the migration as a member of that role, or drop it and make it anew afterwards',
           lockstep.adopt_name(d.classid, d.objid, d.objsubid), o.owner::regrole, current_user)
    from lockstep.adopt_dependants() d, lateral lockstep.adopt_owner(d.kind, d.objid) o(owner)
   where d.kind not in ('other', 'policy') -- Supabase lets postgres make policies on tables of its storage
     and not pg_has_role(o.owner, 'usage')
$lockstep$;

-- adopt_column_obstacles: columns that would make Lockstep's writes fail.
create or replace function lockstep.adopt_column_obstacles() returns setof text
language sql stable set search_path = ''
as $lockstep$
  select format('column public.profiles.%1$I is of type %2$s, Lockstep needs %3$s; type: alter table public.profiles alter column %1$I type %3$s%4$s',
           a.attname, format_type(a.atttypid, a.atttypmod), n.type::text,
           case when a.atttypid = 'timestamp'::regtype then format(' using %I at time zone ''UTC''', a.attname) end)
    from lockstep.adopt_needs() n
    join pg_catalog.pg_attribute a on a.attrelid = to_regclass('public.profiles') and a.attname = n.name and not a.attisdropped
   where a.attgenerated = '' and a.attidentity = ''
     and not (a.atttypid = n.type or n.type = 'text'::regtype and a.atttypid = 'varchar'::regtype and a.atttypmod = -1)
  union all
  select format('column public.profiles.%1$I is generated, and Lockstep writes it; type: alter table public.profiles alter column %1$I drop expression', a.attname)
    from lockstep.adopt_needs() n
    join pg_catalog.pg_attribute a on a.attrelid = to_regclass('public.profiles') and a.attname = n.name and not a.attisdropped
   where a.attgenerated <> '' or a.attidentity <> ''
  union all
  select format('column public.profiles.%1$I must be given a value, which Lockstep does not know; type: alter table public.profiles alter column %1$I drop not null (or set default …)', a.attname)
    from pg_catalog.pg_attribute a
   where a.attrelid = to_regclass('public.profiles') and a.attnum > 0 and not a.attisdropped and a.attname <> 'id'
     and a.attnotnull and not a.atthasdef and a.attidentity = '' and a.attname not in (select n.name from lockstep.adopt_needs() n)
  union all
  select format('constraint %1$I on public.profiles could refuse what Lockstep writes (users of Clerk may share a name, or change it); type: alter table public.profiles drop constraint %1$I', k.conname)
    from pg_catalog.pg_constraint k
   where k.conrelid = to_regclass('public.profiles') and k.contype in ('c', 'u', 'x', 'f')
     and exists (select from pg_catalog.pg_attribute a join lockstep.adopt_needs() n on n.name = a.attname
                  where a.attrelid = k.conrelid and a.attnum = any(k.conkey))
  union all
  select format('unique index %1$s could refuse what Lockstep writes (users of Clerk may share a name, or change it); type: drop index %1$s', i.indexrelid::regclass)
    from pg_catalog.pg_index i
   where i.indrelid = to_regclass('public.profiles') and i.indisunique and not exists (select from pg_catalog.pg_constraint k where k.conindid = i.indexrelid)
     and exists (select from pg_catalog.pg_depend d join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
                   join lockstep.adopt_needs() n on n.name = a.attname
                  where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = i.indexrelid and d.refobjid = i.indrelid)
$lockstep$;

-- adopt_sign_up lists the functions that make or change profiles when
-- Supabase's own sign-up changes auth.users, by a trigger there.
create or replace function lockstep.adopt_sign_up() returns table (function oid)
language sql stable set search_path = ''
as $lockstep$
  select p.oid from pg_catalog.pg_proc p
   where p.oid = to_regprocedure('public.handle_new_user()')
      or p.prorettype = 'trigger'::regtype and exists (
        select from pg_catalog.pg_trigger t where t.tgfoid = p.oid and t.tgrelid = to_regclass('auth.users') and not t.tgisinternal
           and (t.tgname = 'on_auth_user_created' or p.prosrc ~* '\mprofiles\M'))
$lockstep$;

create or replace function lockstep.adopt_sign_up_obstacles() returns setof text
language sql stable set search_path = ''
as $lockstep$
  select format('function %s belongs to %s, and you are %s: run the migration as its owner, or drop it with its triggers', f.function::regprocedure, p.proowner::regrole, current_user)
    from lockstep.adopt_sign_up() f join pg_catalog.pg_proc p on p.oid = f.function
   where not pg_has_role(p.proowner, 'usage')
  union all
  select format('%s would go with function %s: %s', lockstep.adopt_name(d.classid, d.objid, d.objsubid), f.function::regprocedure,
           coalesce(format('type: drop trigger %I on %s', t.tgname, t.tgrelid::regclass), 'drop it, or let it use another function'))
    from lockstep.adopt_sign_up() f
    join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_proc'::regclass and d.refobjid = f.function and d.deptype = 'n'
    left join pg_catalog.pg_trigger t on d.classid = 'pg_catalog.pg_trigger'::regclass and t.oid = d.objid
   where t.tgrelid is distinct from to_regclass('auth.users')
$lockstep$;

create or replace function lockstep.adopt_obstacles() returns text[]
language plpgsql set search_path = ''
as $lockstep$
declare
  v_obstacles text[];
begin
  select array_agg(x.obstacle) into v_obstacles from (
    select lockstep.adopt_key_obstacles() as obstacle
    union all select lockstep.adopt_dependant_obstacles()
    union all select lockstep.adopt_column_obstacles()
    union all select lockstep.adopt_sign_up_obstacles()) x;
  if not exists (select from pg_catalog.pg_constraint k where k.conrelid = to_regclass('public.profiles') and k.contype = 'p') and (
       exists (select from public.profiles p where p.id is null)
       or exists (select from public.profiles p group by p.id having count(*) > 1)) then
    v_obstacles := v_obstacles || text 'public.profiles has rows without an id, or several with one: select id from public.profiles group by id having count(*) > 1 or id is null';
  end if;
  return v_obstacles;
end
$lockstep$;
