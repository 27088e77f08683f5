-- What hangs on the key, from the catalogs as they are.

-- adopt_dependants lists what hangs on those columns and must be taken away
-- while they change, the deepest to go first.
create or replace function lockstep.adopt_dependants()
returns table (kind text, classid oid, objid oid, objsubid int, depth int)
language sql stable set search_path = '' set jit = off
as $lockstep$
  with recursive d(kind, classid, objid, objsubid, depth) as (
    select n.kind, n.classid, n.objid, n.objsubid, 1
      from lockstep.adopt_columns() c
      join pg_catalog.pg_depend e on e.refclassid = 'pg_catalog.pg_class'::regclass
       and e.refobjid = c.rel and e.refobjsubid = c.att and e.deptype in ('n', 'a')
     cross join lateral lockstep.adopt_node(e.classid, e.objid, e.objsubid, 'column') n
     where n.kind is not null
    union -- policies beside, whose auth.uid() fails on Clerk's ids, or did
    select 'policy', 'pg_catalog.pg_policy'::regclass, p.oid, 0, 1
      from pg_catalog.pg_policy p
     where p.polrelid in (select c.rel from lockstep.adopt_columns() c)
       and (concat(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) ~ '\mauth\.uid\(\)'
         or exists (select from lockstep.adopted a where a.step = 'change_profiles_id_to_text' and a.kind = 'policy'
                     and a.name = pg_describe_object('pg_catalog.pg_policy'::regclass, p.oid, 0)))
    union -- functions whose arguments must change with the key, or did
    select 'function', 'pg_catalog.pg_proc'::regclass, f.function, 0, 1
      from (select r.function from lockstep.adopt_retyped() r
            union select to_regprocedure(a.rel) from lockstep.adopted a
             where a.step = 'change_profiles_id_to_text' and a.kind = 'function') f
     where f.function is not null
    union
    select n.kind, n.classid, n.objid, n.objsubid, d.depth + 1
      from d
     cross join lateral (
       select x.classid, x.objid, x.objsubid from pg_catalog.pg_depend x
        where x.refclassid = d.classid and x.refobjid = d.objid and (d.objsubid = 0 or d.objsubid = x.refobjsubid)
          and x.deptype in ('n', 'a') and d.kind in ('view', 'function', 'generated')
       union all -- what takes or returns rows of a view
       select x.classid, x.objid, x.objsubid from pg_catalog.pg_type y
         join pg_catalog.pg_depend x on x.refclassid = 'pg_catalog.pg_type'::regclass and x.refobjid in (y.oid, y.typarray)
        where d.kind = 'view' and y.typrelid = d.objid and x.deptype in ('n', 'a')) e
     cross join lateral lockstep.adopt_node(e.classid, e.objid, e.objsubid, d.kind) n
     where n.kind is not null and d.depth < 40 and (n.classid, n.objid, n.objsubid) <> (d.classid, d.objid, d.objsubid)
  )
  select d.kind, d.classid, d.objid, d.objsubid, max(d.depth) from d group by 1, 2, 3, 4
$lockstep$;

-- adopt_owner tells whose an object is.
create or replace function lockstep.adopt_owner(p_kind text, p_object oid) returns oid
language sql stable set search_path = ''
as $lockstep$
  select case p_kind
    when 'function' then (select p.proowner from pg_catalog.pg_proc p where p.oid = p_object)
    when 'publication' then (select p.pubowner from pg_catalog.pg_publication_rel r
                               join pg_catalog.pg_publication p on p.oid = r.prpubid where r.oid = p_object)
    else (select c.relowner from pg_catalog.pg_class c where c.oid = case p_kind
      when 'policy' then (select p.polrelid from pg_catalog.pg_policy p where p.oid = p_object)
      when 'trigger' then (select t.tgrelid from pg_catalog.pg_trigger t where t.oid = p_object)
      when 'rule' then (select r.ev_class from pg_catalog.pg_rewrite r where r.oid = p_object)
      else p_object end)
  end
$lockstep$;
