-- The change of type, with everything that hangs on the column.

-- adopt_rewrite turns auth.uid(), which casts the subject to uuid and fails on
-- Clerk's ids, and that cast written out, into Clerk's subject as text, in the
-- form that Supabase's lint 0003 likes. A default may hold no subquery: p_inline
-- spells it without one.
create or replace function lockstep.adopt_rewrite(p_sql text, p_inline boolean default false) returns text
language sql immutable set search_path = ''
as $lockstep$
  select regexp_replace(p_sql, '\(\s*SELECT auth\.uid\(\) AS uid\)|\mauth\.uid\(\)'
      '|\(\((?:auth\.jwt\(\)|\(\s*SELECT auth\.jwt\(\) AS jwt\)) ->> ''sub''::text\)\)::uuid',
    case when p_inline then '(auth.jwt() ->> ''sub'')' else '((select auth.jwt()) ->> ''sub'')' end, 'gi')
$lockstep$;

-- adopt_save writes down everything that hangs on the columns.
create or replace function lockstep.adopt_save(p_step text) returns void
language sql set search_path = ''
as $lockstep$
  insert into lockstep.adopted (step, kind, rel, name, depth, definition, attributes)
  select p_step, x.kind, case x.kind when 'generated' then x.objid::regclass::text end,
         lockstep.adopt_name(x.classid, x.objid, x.objsubid), x.depth,
         lockstep.adopt_definition(x.kind, x.objid, x.objsubid), lockstep.adopt_attributes(x.kind, x.objid, x.objsubid)
    from (select d.kind, d.classid, d.objid, d.objsubid, d.depth from lockstep.adopt_dependants() d
          union all
          select 'foreign key', 'pg_catalog.pg_constraint'::regclass, k.key, 0, 1000 from lockstep.adopt_keys() k) x
   order by x.depth, 4;
  update lockstep.adopted a set rel = r.signature, became = r.definition
    from lockstep.adopt_retyped() r
   where a.step = p_step and a.kind = 'function' and a.name = lockstep.adopt_name('pg_catalog.pg_proc'::regclass, r.function, 0);
  insert into lockstep.adopted (step, kind, name, definition, attributes)
  select p_step, 'spelling', s.name, s.definition, s.again from lockstep.adopt_spellings() s
$lockstep$;

-- adopt_recall puts what was there before adoption in the place of what adoption
-- made of it, unless somebody has changed that since.
create or replace function lockstep.adopt_recall(p_step text) returns void
language sql set search_path = ''
as $lockstep$
  update lockstep.adopted v set definition = w.definition,
         attributes = case v.kind when 'function' then w.attributes else v.attributes end -- with the signature of then
    from lockstep.adopted w
   where v.step = p_step and v.kind <> 'spelling'
     and w.step = 'change_profiles_id_to_text' and w.kind = v.kind and w.became = v.definition
$lockstep$;

-- adopt_clear takes it down, the deepest first.
create or replace function lockstep.adopt_clear() returns void
language plpgsql set search_path = ''
as $lockstep$
declare
  v_name text[];
  v_drop text[];
begin
  select array_agg(x.name order by x.depth desc), array_agg(x.drop_it order by x.depth desc) into v_name, v_drop
    from (select lockstep.adopt_name(d.classid, d.objid, d.objsubid) as name, lockstep.adopt_drop(d.kind, d.objid) as drop_it, d.depth
            from lockstep.adopt_dependants() d where d.kind <> 'generated'
          union all
          select pg_describe_object('pg_catalog.pg_constraint'::regclass, k.key, 0), lockstep.adopt_drop('foreign key', k.key), 0
            from lockstep.adopt_keys() k) x;
  for i in 1 .. coalesce(cardinality(v_drop), 0) loop
    perform lockstep.adopt_try(v_drop[i], v_name[i], 'drop it yourself, and make it anew after the migration');
  end loop;
end
$lockstep$;

-- adopt_plan says what becomes of each column: to text, or (p_back) to what it
-- was before. A default that asks for auth.uid() follows, others are cast by
-- PostgreSQL; profiles.id loses its own, for its values come from Clerk.
create or replace function lockstep.adopt_plan(p_step text, p_back boolean) returns void
language sql set search_path = ''
as $lockstep$
  insert into lockstep.adopted (step, kind, rel, name, definition, attributes, became)
  select p_step, 'column', c.rel, c.name, c.type, c.old_default, concat_ws(', ',
           case when c.old_default is not null and (p_back or c.is_id or c.new_default is not null)
                then format('alter column %I drop default', c.name) end,
           case when c.type <> c.target then format('alter column %1$I type %2$s using %1$I::%2$s', c.name, c.target) end,
           case when c.new_default is not null then format('alter column %I set default %s', c.name, c.new_default) end)
    from (
      select k.rel::regclass::text as rel, a.attname as name, format_type(a.atttypid, a.atttypmod) as type,
             pg_get_expr(d.adbin, d.adrelid) as old_default, i.is_id,
             case when p_back then coalesce(was.definition, id.definition) else 'text' end as target,
             case when p_back then was.attributes
                  when not i.is_id and pg_get_expr(d.adbin, d.adrelid) ~ '\mauth\.uid\(\)'
                  then lockstep.adopt_rewrite(pg_get_expr(d.adbin, d.adrelid), true) end as new_default
        from lockstep.adopt_columns() k
        join pg_catalog.pg_attribute a on a.attrelid = k.rel and a.attnum = k.att
        left join pg_catalog.pg_attrdef d on d.adrelid = k.rel and d.adnum = k.att
       cross join lateral (select k.rel = to_regclass('public.profiles') and a.attname = 'id' as is_id) i
        left join lockstep.adopted was on was.step = 'change_profiles_id_to_text' and was.kind = 'column'
             and was.rel = k.rel::regclass::text and was.name = a.attname
        left join lockstep.adopted id on id.step = 'change_profiles_id_to_text' and id.kind = 'column'
             and id.rel = 'public.profiles' and id.name = 'id'
    ) c
   where c.type <> c.target or c.is_id
$lockstep$;

-- adopt_alter changes the columns: one statement, and so one rewrite, per table.
create or replace function lockstep.adopt_alter(p_step text) returns void
language plpgsql set search_path = ''
as $lockstep$
declare
  v record;
begin
  for v in
    select x.rel, string_agg(x.clause, ', ' order by x.pass) as clauses, max(t.reltuples)::bigint as rows
      from (
        select g.objid as rel, 1 as pass, format('drop column %I', a.attname) as clause
          from lockstep.adopt_dependants() g join pg_catalog.pg_attribute a on a.attrelid = g.objid and a.attnum = g.objsubid
         where g.kind = 'generated' and exists (select from lockstep.adopted s where s.step = p_step and s.kind = 'generated')
        union all
        select s.rel::regclass, 2, s.became from lockstep.adopted s where s.step = p_step and s.kind = 'column' and s.became <> ''
        union all
        select s.rel::regclass, 3, s.definition from lockstep.adopted s where s.step = p_step and s.kind = 'generated'
      ) x join pg_catalog.pg_class t on t.oid = x.rel
     group by x.rel
     order by x.rel = to_regclass('public.profiles') desc, x.rel::regclass::text
  loop
    perform lockstep.adopt_note(format('changing %s, %s', v.rel::regclass,
      case when v.rows > 0 then format('about %s rows', v.rows) else pg_size_pretty(pg_table_size(v.rel)) end));
    perform lockstep.adopt_try(format('alter table %s %s', v.rel::regclass, v.clauses), v.rel::regclass::text,
      'change or drop what the message is about, then try again');
  end loop;
end
$lockstep$;

-- adopt_rebuild makes everything anew, as it was: auth.uid() in it becomes the
-- subject as text, and a function whose body no longer fits gets text for uuid.
-- What PostgreSQL then refuses is an obstacle that only a person can judge.
create or replace function lockstep.adopt_rebuild(p_step text, p_back boolean) returns void
language plpgsql set search_path = ''
as $lockstep$
declare
  v lockstep.adopted;
begin
  perform set_config('check_function_bodies', 'off', true); -- a body in quotes may rely on its caller's search_path
  for v in
    select * from lockstep.adopted a
     where a.step = p_step and a.kind in ('view', 'policy', 'function', 'trigger', 'rule', 'publication', 'generated', 'foreign key')
     order by a.depth, a.n
  loop
    if not p_back and v.kind = 'function' then
      v := lockstep.adopt_refit(v);
    elsif not p_back then
      v.definition := lockstep.adopt_rewrite(v.definition);
    end if;
    if v.kind <> 'generated' then
      perform lockstep.adopt_try(v.definition, v.name,
        'it does not fit the changed key: change it so that it compares text, or drop it and make it anew after the migration');
    end if;
    if v.attributes <> '' then
      perform lockstep.adopt_try(v.attributes, v.name, 'its owner, grants or comments cannot be put back: drop it and make it anew after the migration');
    end if;
  end loop;
  if p_back then
    for v in
      select w.* from lockstep.adopted w
        join lockstep.adopted s on s.step = p_step and s.kind = 'spelling' and s.name = w.name and s.definition = w.became
       where w.step = 'change_profiles_id_to_text' and w.kind = 'spelling' and w.became <> w.definition
    loop
      perform lockstep.adopt_try(v.attributes, v.name, 'it stays as it is');
    end loop;
  end if;
  update lockstep.adopted a set became = s.definition
    from lockstep.adopt_spellings() s where a.step = p_step and a.kind = 'spelling' and a.name = s.name;
  update lockstep.adopted a set became = lockstep.adopt_definition(d.kind, d.objid, d.objsubid)
    from lockstep.adopt_dependants() d
   where a.step = p_step and a.kind = d.kind
     and case when a.kind = 'function' and a.rel is not null then d.objid = to_regprocedure(a.rel)
              else a.name = lockstep.adopt_name(d.classid, d.objid, d.objsubid) end;
end
$lockstep$;

-- adopt_refit returns the function as it can be made: as it was, or with text in
-- place of uuid in its arguments and result.
create or replace function lockstep.adopt_refit(v lockstep.adopted) returns lockstep.adopted
language plpgsql set search_path = ''
as $lockstep$
declare
  v_was text := substr(v.name, length('function ') + 1);
  v_head text;
begin
  v.definition := lockstep.adopt_rewrite(coalesce(v.became, v.definition));
  if v.rel is null then
    begin
      execute v.definition;
      raise exception using errcode = 'LK000'; -- it can be made: undo that
    exception
      when sqlstate 'LK000' then null;
      when syntax_error_or_access_rule_violation then
        v_head := split_part(v.definition, 'BEGIN ATOMIC', 1);
        v.definition := regexp_replace(v_head, '\muuid\M', 'text', 'g') || substr(v.definition, length(v_head) + 1);
        v.rel := regexp_replace(v_was, '\muuid\M', 'text', 'g');
        update lockstep.adopted a set rel = v.rel where a.n = v.n;
    end;
  end if;
  v.attributes := replace(v.attributes, v_was, coalesce(v.rel, v_was));
  return v;
end
$lockstep$;

-- adopt_is_due: a type changes, or something asks for auth.uid(); on the way
-- back, something was changed that can become what it was.
create or replace function lockstep.adopt_is_due(p_step text, p_back boolean) returns boolean
language sql stable set search_path = ''
as $lockstep$
  select exists (select from lockstep.adopted a where a.step = p_step and a.kind = 'column' and a.became like '% type %')
      or not p_back and (
           exists (select from lockstep.adopted a where a.step = p_step and a.kind <> 'column' and a.definition ~ '\mauth\.uid\(\)')
           or exists (select from lockstep.adopt_bodies() b where b.source ~* '\mauth\.uid\(\)'))
      or p_back and exists (select from lockstep.adopted a
           where a.step = 'change_profiles_id_to_text' and a.kind not in ('step', 'column') and a.became <> a.definition)
$lockstep$;

-- adopt_convert does it all, and gives the planner statistics anew.
create or replace function lockstep.adopt_convert(p_step text, p_back boolean) returns void
language plpgsql set search_path = ''
as $lockstep$
declare
  v record;
begin
  for v in select distinct c.rel::regclass as name from lockstep.adopt_columns() c order by 1 loop
    execute format('lock table %s in access exclusive mode', v.name);
  end loop;
  perform lockstep.adopt_plan(p_step, p_back);
  perform lockstep.adopt_save(p_step);
  if not lockstep.adopt_is_due(p_step, p_back) then -- all that hangs on the key fits
    delete from lockstep.adopted a where a.step = p_step and a.kind not in ('step', 'column');
    perform lockstep.adopt_alter(p_step);
    return;
  end if;
  if p_back then
    perform lockstep.adopt_recall(p_step);
  end if;
  perform lockstep.adopt_clear();
  perform lockstep.adopt_alter(p_step);
  perform lockstep.adopt_note('making anew what hung on the key');
  perform lockstep.adopt_rebuild(p_step, p_back);
  if p_back then
    perform lockstep.adopt_bodies_back();
  else
    perform lockstep.adopt_bodies_change(p_step);
  end if;
  for v in select a.rel, string_agg(quote_ident(a.name), ', ') as names from lockstep.adopted a
            where a.step = p_step and a.kind = 'column' group by a.rel loop
    execute format('analyze %s (%s)', v.rel, v.names);
  end loop;
end
$lockstep$;
