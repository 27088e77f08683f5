-- What adoption must touch, from the catalogs as they are when it runs.

-- adopt_needs lists the columns that Lockstep reads and writes, beside id.
create or replace function lockstep.adopt_needs()
returns table (name text, type regtype, default_value text)
language sql immutable set search_path = ''
as $lockstep$
  values ('username', 'text'::regtype, null), ('avatar_url', 'text', null), ('email', 'text', null),
         ('email_verified', 'boolean', 'false'), ('first_name', 'text', null), ('last_name', 'text', null),
         ('phone', 'text', null), ('phone_verified', 'boolean', 'false'), ('banned', 'boolean', 'false'),
         ('medusa_customer_id', 'text', null), ('clerk_updated_at', 'timestamptz', '''-infinity'''),
         ('deleted_at', 'timestamptz', null), ('created_at', 'timestamptz', 'now()'), ('updated_at', 'timestamptz', 'now()')
$lockstep$;

-- adopt_columns lists public.profiles.id and, transitively, the columns that
-- refer to it. Columns of partitions follow their parents'.
create or replace function lockstep.adopt_columns()
returns table (rel oid, att int2)
language sql stable set search_path = ''
as $lockstep$
  with recursive c(rel, att) as (
    select a.attrelid, a.attnum from pg_catalog.pg_attribute a
     where a.attrelid = to_regclass('public.profiles') and a.attname = 'id'
    union
    select k.conrelid, k.conkey[i] from c
      join pg_catalog.pg_constraint k on k.contype = 'f' and k.confrelid = c.rel
     cross join lateral generate_subscripts(k.confkey, 1) i
     where k.confkey[i] = c.att
  )
  select c.rel, c.att from c
    join pg_catalog.pg_attribute a on a.attrelid = c.rel and a.attnum = c.att
   where a.attinhcount = 0
$lockstep$;

-- adopt_keys lists the foreign keys among those columns.
create or replace function lockstep.adopt_keys()
returns table (key oid)
language sql stable set search_path = ''
as $lockstep$
  select distinct k.oid from lockstep.adopt_columns() c
    join pg_catalog.pg_constraint k on k.contype = 'f' and k.confrelid = c.rel and c.att = any(k.confkey)
   where k.conparentid = 0
$lockstep$;

-- adopt_node tells what an entry of pg_depend is to us: null for what PostgreSQL
-- carries over by itself when a column's type changes, "other" for what neither
-- it nor we can carry over.
create or replace function lockstep.adopt_node(
  p_class oid, p_object oid, p_sub int, p_from text,
  out kind text, out classid oid, out objid oid, out objsubid int)
language plpgsql stable set search_path = ''
as $lockstep$
declare
  v_generated record;
begin
  kind := 'other'; classid := p_class; objid := p_object; objsubid := p_sub;
  case p_class
    when 'pg_catalog.pg_rewrite'::regclass then
      select case when r.rulename = '_RETURN' then 'view' else 'rule' end,
             case when r.rulename = '_RETURN' then 'pg_catalog.pg_class'::regclass::oid else p_class end,
             case when r.rulename = '_RETURN' then r.ev_class else p_object end
        into kind, classid, objid from pg_catalog.pg_rewrite r where r.oid = p_object;
    when 'pg_catalog.pg_policy'::regclass then kind := 'policy';
    when 'pg_catalog.pg_proc'::regclass then kind := 'function';
    when 'pg_catalog.pg_publication_rel'::regclass then kind := 'publication';
    when 'pg_catalog.pg_trigger'::regclass then
      select case when t.tgisinternal or t.tgparentid <> 0 then null else 'trigger' end
        into kind from pg_catalog.pg_trigger t where t.oid = p_object;
    when 'pg_catalog.pg_constraint'::regclass then
      if p_from <> 'function' then kind := null; end if;
    when 'pg_catalog.pg_statistic_ext'::regclass then
      if p_from <> 'function' then kind := null; end if;
    when 'pg_catalog.pg_type'::regclass then kind := null; -- a view's own
    else null;
  end case;
  if p_class in ('pg_catalog.pg_attrdef'::regclass, 'pg_catalog.pg_class'::regclass) then
    select a.attrelid, a.attnum, a.attgenerated into v_generated from pg_catalog.pg_attribute a
      left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where case when p_class = 'pg_catalog.pg_attrdef'::regclass then d.oid = p_object
                else a.attrelid = p_object and a.attnum = p_sub and p_sub > 0 end;
    if v_generated.attgenerated = 's' then
      kind := 'generated'; classid := 'pg_catalog.pg_class'::regclass;
      objid := v_generated.attrelid; objsubid := v_generated.attnum;
    elsif p_from in ('column', 'view', 'generated') and (p_class = 'pg_catalog.pg_attrdef'::regclass
       or exists (select from pg_catalog.pg_class c where c.oid = p_object and c.relkind in ('i', 'I'))) then
      kind := null; -- its default, or an index on it
    end if;
  end if;
end
$lockstep$;

-- adopt_name names an object for people, and for the way back.
create or replace function lockstep.adopt_name(p_class oid, p_object oid, p_sub int) returns text
language sql stable set search_path = ''
as $lockstep$
  select case when p_class = 'pg_catalog.pg_proc'::regclass then 'function ' || p_object::regprocedure
              else pg_describe_object(p_class, p_object, p_sub) end
$lockstep$;
