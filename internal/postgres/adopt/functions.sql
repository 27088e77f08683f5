-- Functions whose bodies are text: PostgreSQL knows no dependency of theirs, so
-- what they do with the key is read from the text.

-- adopt_bodies lists the application's functions that name a table whose key
-- changes.
create or replace function lockstep.adopt_bodies()
returns table (function oid, name text, source text, rel oid, att name)
language sql stable set search_path = ''
as $lockstep$
  select p.oid, p.oid::regprocedure::text, p.prosrc, c.rel, a.attname
    from lockstep.adopt_columns() c
    join pg_catalog.pg_class t on t.oid = c.rel
    join pg_catalog.pg_attribute a on a.attrelid = c.rel and a.attnum = c.att
    join pg_catalog.pg_proc p on p.prosqlbody is null and p.prokind in ('f', 'p') and p.prosrc ~* format('\m%s\M', t.relname)
    join pg_catalog.pg_language l on l.oid = p.prolang and l.lanname in ('sql', 'plpgsql')
    join pg_catalog.pg_namespace n on n.oid = p.pronamespace
     and n.nspname not in ('lockstep', 'auth', 'pg_catalog', 'information_schema') and n.nspname not like 'pg\_%'
   where t.relname ~ '^\w+$' and a.attname ~ '^\w+$'
     and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
$lockstep$;

-- adopt_retyped tells which functions compare an argument of type uuid with the
-- key, and how they read with text in its place.
create or replace function lockstep.adopt_retyped()
returns table (function oid, signature text, definition text)
language plpgsql stable set search_path = ''
as $lockstep$
declare
  v record;
  v_arg text;
  v_line text;
begin
  for v in
    select p.oid, p.pronamespace, p.proname, p.proargtypes, p.proargnames, array_agg(distinct x.arg) as args
      from lockstep.adopt_bodies() b
      join pg_catalog.pg_proc p on p.oid = b.function
     cross join lateral unnest(p.proargnames[1:p.pronargs], p.proargtypes::oid[]) x(arg, type)
      join pg_catalog.pg_attribute a on a.attrelid = b.rel and a.attname = b.att and a.atttypid = 'uuid'::regtype
     where x.type = 'uuid'::regtype and x.arg ~ '^\w+$' and (p.proargmodes is null or p.proargmodes[1:p.pronargs] <@ array['i'::"char"])
       and b.source ~* format('\m%1$s\M\s*=\s*(%3$s\.)?%2$s\M|\m(%3$s\.)?%2$s\M\s*=\s*(\w+\.)?%1$s\M', b.att, x.arg, p.proname)
     group by 1, 2, 3, 4, 5
  loop
    function := v.oid;
    definition := pg_get_functiondef(v.oid) || ';';
    v_line := split_part(definition, E'\n', 1);
    definition := substr(definition, length(v_line) + 1);
    foreach v_arg in array v.args loop
      v_line := regexp_replace(v_line, format('\m%s\s+uuid\M', v_arg), v_arg || ' text', 'g');
    end loop;
    definition := v_line || definition;
    select format('%I.%I(%s)', v.pronamespace::regnamespace::text, v.proname, string_agg(
             case when v.proargnames[t.n] = any(v.args) then 'text' else format_type(t.type, null) end, ',' order by t.n))
      into signature from unnest(v.proargtypes::oid[]) with ordinality t(type, n);
    return next;
  end loop;
end
$lockstep$;

-- adopt_bodies_change lets the others ask for Clerk's subject, and names those
-- that a person should look at.
create or replace function lockstep.adopt_bodies_change(p_step text) returns void
language plpgsql set search_path = ''
as $lockstep$
declare
  v record;
begin
  for v in
    select distinct b.function, b.name, pg_get_functiondef(b.function) || ';' as definition, b.source, p.proowner
      from lockstep.adopt_bodies() b join pg_catalog.pg_proc p on p.oid = b.function
  loop
    if v.source ~* '\mauth\.uid\(\)' and pg_has_role(v.proowner, 'usage') then
      perform lockstep.adopt_try(lockstep.adopt_rewrite(v.definition), 'function ' || v.name, 'drop it, and make it anew after the migration');
      insert into lockstep.adopted (step, kind, name, definition, became)
      values (p_step, 'body', v.name, v.definition, pg_get_functiondef(v.function) || ';');
    end if;
    if lower(v.definition) ~ '\muuid\M' then
      perform lockstep.adopt_note(format('please look at function %s: it names a table whose key is text now, and uuid', v.name));
    end if;
  end loop;
end
$lockstep$;

-- adopt_bodies_back is the way back, for those that nobody changed since.
create or replace function lockstep.adopt_bodies_back() returns void
language plpgsql set search_path = ''
as $lockstep$
declare
  v lockstep.adopted;
begin
  for v in
    select a.* from lockstep.adopted a join pg_catalog.pg_proc p on p.oid = to_regprocedure(a.name)
     where a.step = 'change_profiles_id_to_text' and a.kind = 'body' and a.became = pg_get_functiondef(p.oid) || ';'
  loop
    perform lockstep.adopt_try(v.definition, 'function ' || v.name, 'it stays as it is');
  end loop;
end
$lockstep$;
