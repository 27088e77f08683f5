-- Objects as statements: what makes each as it is, with owner, grants, options
-- and comments. An object that is dropped and made anew would else get today's
-- default grants, and be the migrating role's.

-- adopt_grants gives exactly the privileges of p_acl on a new object, whatever
-- default privileges gave it. p_kind is as in acldefault: r for relations.
create or replace function lockstep.adopt_grants(p_kind "char", p_on text, p_acl aclitem[], p_owner oid) returns text
language sql stable set search_path = ''
as $lockstep$
  select format('revoke all on %s from %s;', p_on, (
           select string_agg(distinct case g.grantee when 0 then 'public' else g.grantee::regrole::text end, ', ')
             from (select 0::oid as grantee union select p_owner
                   union select a.grantee from pg_catalog.pg_default_acl d, aclexplode(d.defaclacl) a
                          where d.defaclobjtype = p_kind) g))
      || coalesce(string_agg(format(E'\ngrant %s on %s to %s%s;', a.privileges, p_on,
           case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
           case when a.is_grantable then ' with grant option' end), '' order by a.grantee, a.is_grantable), '')
    from (select x.grantee, x.is_grantable, string_agg(x.privilege_type, ', ' order by x.privilege_type) as privileges
            from aclexplode(coalesce(p_acl, acldefault(p_kind, p_owner))) x group by 1, 2) a
$lockstep$;

-- adopt_column_grants does the same for columns, all of them if p_att is 0.
create or replace function lockstep.adopt_column_grants(p_rel oid, p_att int) returns text
language sql stable set search_path = ''
as $lockstep$
  select string_agg(format('grant %s (%I) on %s to %s%s;', x.privilege_type, a.attname, p_rel::regclass,
           case x.grantee when 0 then 'public' else x.grantee::regrole::text end,
           case when x.is_grantable then ' with grant option' end), E'\n' order by a.attnum, x.grantee, x.privilege_type)
    from pg_catalog.pg_attribute a, aclexplode(a.attacl) x
   where a.attrelid = p_rel and not a.attisdropped and p_att in (0, a.attnum)
$lockstep$;

create or replace function lockstep.adopt_comment(p_on text, p_comment text) returns text
language sql immutable set search_path = ''
as $lockstep$
  select format('comment on %s is %L;', p_on, p_comment) where p_comment is not null
$lockstep$;

-- adopt_column_attributes: comments and statistics targets, all columns' if
-- p_att is 0.
create or replace function lockstep.adopt_column_attributes(p_rel oid, p_att int) returns text
language sql stable set search_path = ''
as $lockstep$
  select string_agg(concat_ws(E'\n',
           lockstep.adopt_comment(format('column %s.%I', p_rel::regclass, a.attname), col_description(p_rel, a.attnum)),
           case when a.attstattarget >= 0 and c.relkind <> 'v'
                then format('alter table %s alter column %I set statistics %s;', p_rel::regclass, a.attname, a.attstattarget) end),
         E'\n' order by a.attnum)
    from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
   where a.attrelid = p_rel and a.attnum > 0 and not a.attisdropped and p_att in (0, a.attnum)
$lockstep$;

-- adopt_indexes makes a relation's indexes that belong to no constraint; those
-- that name column p_att only, unless it is 0.
create or replace function lockstep.adopt_indexes(p_rel oid, p_att int) returns text
language sql stable set search_path = ''
as $lockstep$
  select string_agg(concat_ws(E'\n', pg_get_indexdef(i.indexrelid) || ';',
           lockstep.adopt_comment(format('index %s', i.indexrelid::regclass), obj_description(i.indexrelid, 'pg_class')),
           case when i.indisclustered then format('alter %s %s cluster on %I;',
             case c.relkind when 'm' then 'materialized view' else 'table' end, p_rel::regclass, x.relname) end),
         E'\n' order by x.relname)
    from pg_catalog.pg_index i
    join pg_catalog.pg_class x on x.oid = i.indexrelid
    join pg_catalog.pg_class c on c.oid = i.indrelid
   where i.indrelid = p_rel
     and not exists (select from pg_catalog.pg_constraint k where k.conindid = i.indexrelid and k.conrelid = p_rel)
     and (p_att = 0 or exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::regclass
            and d.objid = i.indexrelid and d.refobjid = p_rel and d.refobjsubid = p_att))
$lockstep$;

create or replace function lockstep.adopt_statistics(p_rel oid, p_att int) returns text
language sql stable set search_path = ''
as $lockstep$
  select string_agg(concat_ws(E'\n', pg_get_statisticsobjdef(s.oid) || ';',
           lockstep.adopt_comment(format('statistics %I.%I', s.stxnamespace::regnamespace::text, s.stxname),
                                  obj_description(s.oid, 'pg_statistic_ext'))), E'\n' order by s.stxname)
    from pg_catalog.pg_statistic_ext s
   where s.stxrelid = p_rel and (p_att = 0 or p_att = any(s.stxkeys))
$lockstep$;

-- adopt_constraints makes the constraints that name a column.
create or replace function lockstep.adopt_constraints(p_rel oid, p_att int) returns text
language sql stable set search_path = ''
as $lockstep$
  select string_agg(concat_ws(E'\n', format('alter table %s add constraint %I %s;', p_rel::regclass, k.conname, pg_get_constraintdef(k.oid)),
           lockstep.adopt_comment(format('constraint %I on %s', k.conname, p_rel::regclass), obj_description(k.oid, 'pg_constraint'))),
         E'\n' order by k.conname)
    from pg_catalog.pg_constraint k
   where k.conrelid = p_rel and k.contype in ('c', 'u', 'x') and p_att = any(k.conkey)
$lockstep$;

create or replace function lockstep.adopt_view_attributes(p_view oid) returns text
language sql stable set search_path = ''
as $lockstep$
  select concat_ws(E'\n',
           format('alter %s %s owner to %s;', v.kind, p_view::regclass, c.relowner::regrole),
           lockstep.adopt_grants('r', format('table %s', p_view::regclass), c.relacl, c.relowner),
           lockstep.adopt_column_grants(p_view, 0),
           lockstep.adopt_comment(format('%s %s', v.kind, p_view::regclass), obj_description(p_view, 'pg_class')),
           lockstep.adopt_column_attributes(p_view, 0),
           (select string_agg(format('alter view %s alter column %I set default %s;', p_view::regclass, a.attname,
                     pg_get_expr(d.adbin, d.adrelid)), E'\n' order by a.attnum)
              from pg_catalog.pg_attrdef d join pg_catalog.pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
             where d.adrelid = p_view),
           case when c.relkind = 'm' then concat_ws(E'\n', lockstep.adopt_indexes(p_view, 0), lockstep.adopt_statistics(p_view, 0),
             case when c.relispopulated then format('refresh materialized view %s;', p_view::regclass) end) end)
    from pg_catalog.pg_class c,
         lateral (select case c.relkind when 'm' then 'materialized view' else 'view' end as kind) v
   where c.oid = p_view
$lockstep$;

create or replace function lockstep.adopt_view(p_view oid) returns text
language sql stable set search_path = ''
as $lockstep$
  select format('create %s %s%s%s as %s%s;',
           case c.relkind when 'm' then 'materialized view' else 'view' end, p_view::regclass,
           ' with (' || array_to_string(c.reloptions, ', ') || ')', ' tablespace ' || quote_ident(t.spcname),
           rtrim(pg_get_viewdef(p_view), ';'), case c.relkind when 'm' then ' with no data' end)
    from pg_catalog.pg_class c left join pg_catalog.pg_tablespace t on t.oid = c.reltablespace
   where c.oid = p_view
$lockstep$;

create or replace function lockstep.adopt_policy(p_policy oid, p_roles text default null) returns text
language sql stable set search_path = ''
as $lockstep$
  select format('create policy %I on %s as %s for %s to %s%s%s;', p.polname, p.polrelid::regclass,
           case when p.polpermissive then 'permissive' else 'restrictive' end,
           case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
           coalesce(p_roles, (select string_agg(case r when 0 then 'public' else r::regrole::text end, ', ') from unnest(p.polroles) r)),
           ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
           ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
    from pg_catalog.pg_policy p where p.oid = p_policy
$lockstep$;

create or replace function lockstep.adopt_function_attributes(p_function oid) returns text
language sql stable set search_path = ''
as $lockstep$
  select concat_ws(E'\n',
           format('alter routine %s owner to %s;', p_function::regprocedure, p.proowner::regrole),
           lockstep.adopt_grants('f', format('routine %s', p_function::regprocedure), p.proacl, p.proowner),
           lockstep.adopt_comment(format('routine %s', p_function::regprocedure), obj_description(p_function, 'pg_proc')))
    from pg_catalog.pg_proc p where p.oid = p_function
$lockstep$;

-- adopt_enabled: a trigger or rule that does not fire as it does by default.
create or replace function lockstep.adopt_enabled(p_what text, p_rel oid, p_name name, p_enabled "char") returns text
language sql stable set search_path = ''
as $lockstep$
  select format('alter table %s %s %s %I;', p_rel::regclass,
           case p_enabled when 'D' then 'disable' when 'R' then 'enable replica' when 'A' then 'enable always' end, p_what, p_name)
   where p_enabled in ('D', 'R', 'A')
$lockstep$;

-- adopt_definition is the statement that makes an object; for a generated
-- column the clause of "alter table".
create or replace function lockstep.adopt_definition(p_kind text, p_object oid, p_sub int) returns text
language sql stable set search_path = ''
as $lockstep$
  select case p_kind
    when 'view' then lockstep.adopt_view(p_object)
    when 'policy' then lockstep.adopt_policy(p_object)
    when 'function' then pg_get_functiondef(p_object) || ';'
    when 'trigger' then pg_get_triggerdef(p_object) || ';'
    when 'rule' then rtrim(pg_get_ruledef(p_object), ';') || ';'
    when 'foreign key' then (select format('alter table %s add constraint %I %s;', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid))
                               from pg_catalog.pg_constraint k where k.oid = p_object)
    when 'publication' then (
      select format('alter publication %I add table %s%s%s;', p.pubname, r.prrelid::regclass,
               (select ' (' || string_agg(quote_ident(a.attname), ', ' order by a.attnum) || ')' from pg_catalog.pg_attribute a
                 where a.attrelid = r.prrelid and a.attnum = any(r.prattrs)),
               ' where (' || pg_get_expr(r.prqual, r.prrelid) || ')')
        from pg_catalog.pg_publication_rel r join pg_catalog.pg_publication p on p.oid = r.prpubid where r.oid = p_object)
    when 'generated' then (
      select format('add column %I %s%s generated always as (%s) stored%s', a.attname, format_type(a.atttypid, a.atttypmod),
               case when a.attcollation <> t.typcollation then ' collate ' || a.attcollation::regcollation end,
               pg_get_expr(d.adbin, d.adrelid), case when a.attnotnull then ' not null' end)
        from pg_catalog.pg_attribute a
        join pg_catalog.pg_type t on t.oid = a.atttypid
        join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
       where a.attrelid = p_object and a.attnum = p_sub)
  end
$lockstep$;

create or replace function lockstep.adopt_attributes(p_kind text, p_object oid, p_sub int) returns text
language sql stable set search_path = ''
as $lockstep$
  select case p_kind
    when 'view' then lockstep.adopt_view_attributes(p_object)
    when 'function' then lockstep.adopt_function_attributes(p_object)
    when 'policy' then (select lockstep.adopt_comment(format('policy %I on %s', p.polname, p.polrelid::regclass), obj_description(p.oid, 'pg_policy'))
                          from pg_catalog.pg_policy p where p.oid = p_object)
    when 'trigger' then (select concat_ws(E'\n', lockstep.adopt_enabled('trigger', t.tgrelid, t.tgname, t.tgenabled),
                           lockstep.adopt_comment(format('trigger %I on %s', t.tgname, t.tgrelid::regclass), obj_description(t.oid, 'pg_trigger')))
                           from pg_catalog.pg_trigger t where t.oid = p_object)
    when 'rule' then (select concat_ws(E'\n', lockstep.adopt_enabled('rule', r.ev_class, r.rulename, r.ev_enabled),
                        lockstep.adopt_comment(format('rule %I on %s', r.rulename, r.ev_class::regclass), obj_description(r.oid, 'pg_rewrite')))
                        from pg_catalog.pg_rewrite r where r.oid = p_object)
    when 'foreign key' then (select lockstep.adopt_comment(format('constraint %I on %s', k.conname, k.conrelid::regclass), obj_description(k.oid, 'pg_constraint'))
                               from pg_catalog.pg_constraint k where k.oid = p_object)
    when 'generated' then concat_ws(E'\n', lockstep.adopt_column_attributes(p_object, p_sub), lockstep.adopt_column_grants(p_object, p_sub),
      lockstep.adopt_constraints(p_object, p_sub), lockstep.adopt_indexes(p_object, p_sub), lockstep.adopt_statistics(p_object, p_sub))
  end
$lockstep$;

-- adopt_spellings lists the indexes and checks on the columns. PostgreSQL carries
-- them over, but spells them anew: what said id::text says id, on the way back too.
create or replace function lockstep.adopt_spellings()
returns table (name text, definition text, again text)
language sql stable set search_path = ''
as $lockstep$
  select distinct pg_describe_object(d.classid, d.objid, 0), pg_get_indexdef(d.objid),
         concat_ws(E'\n', format('drop index %s;', d.objid::regclass), pg_get_indexdef(d.objid) || ';',
           lockstep.adopt_comment(format('index %s', d.objid::regclass), obj_description(d.objid, 'pg_class')))
    from lockstep.adopt_columns() c
    join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = c.rel and d.refobjsubid = c.att
     and d.classid = 'pg_catalog.pg_class'::regclass
    join pg_catalog.pg_index i on i.indexrelid = d.objid and (i.indexprs is not null or i.indpred is not null)
   where not exists (select from pg_catalog.pg_constraint k where k.conindid = d.objid)
  union all
  select pg_describe_object('pg_catalog.pg_constraint'::regclass, k.oid, 0), pg_get_constraintdef(k.oid),
         concat_ws(E'\n', format('alter table %1$s drop constraint %2$I, add constraint %2$I %3$s;', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid)),
           lockstep.adopt_comment(format('constraint %I on %s', k.conname, k.conrelid::regclass), obj_description(k.oid, 'pg_constraint')))
    from lockstep.adopt_columns() c join pg_catalog.pg_constraint k on k.conrelid = c.rel and k.contype = 'c' and c.att = any(k.conkey)
   where k.coninhcount = 0
$lockstep$;

-- adopt_drop takes an object away, and refuses to take another along; null for
-- a generated column, which goes with the change itself.
create or replace function lockstep.adopt_drop(p_kind text, p_object oid) returns text
language sql stable set search_path = ''
as $lockstep$
  select case p_kind
    when 'view' then (select format('drop %s %s', case c.relkind when 'm' then 'materialized view' else 'view' end, p_object::regclass)
                        from pg_catalog.pg_class c where c.oid = p_object)
    when 'function' then format('drop routine %s', p_object::regprocedure)
    when 'policy' then (select format('drop policy %I on %s', p.polname, p.polrelid::regclass) from pg_catalog.pg_policy p where p.oid = p_object)
    when 'trigger' then (select format('drop trigger %I on %s', t.tgname, t.tgrelid::regclass) from pg_catalog.pg_trigger t where t.oid = p_object)
    when 'rule' then (select format('drop rule %I on %s', r.rulename, r.ev_class::regclass) from pg_catalog.pg_rewrite r where r.oid = p_object)
    when 'foreign key' then (select format('alter table %s drop constraint %I', k.conrelid::regclass, k.conname) from pg_catalog.pg_constraint k where k.oid = p_object)
    when 'publication' then (select format('alter publication %I drop table %s', p.pubname, r.prrelid::regclass)
                               from pg_catalog.pg_publication_rel r join pg_catalog.pg_publication p on p.oid = r.prpubid where r.oid = p_object)
  end
$lockstep$;
