-- The columns that Lockstep keeps, medusa_customer_id among them, are added; the
-- application's stay. Defaults are constants to PostgreSQL, so no row is written.
create or replace function lockstep.add_medusa_customer_id() returns void
language plpgsql set search_path = ''
as $lockstep$
declare
  v_clauses text;
begin
  if not lockstep.adopt_begin('add_medusa_customer_id') then
    return;
  end if;
  perform lockstep.adopt_refuse(array(select lockstep.adopt_column_obstacles()));

  insert into lockstep.adopted (step, kind, rel, name, definition, attributes, became)
  select 'add_medusa_customer_id', case when a.attnum is null then 'added' else 'altered' end, 'public.profiles', n.name,
         pg_get_expr(d.adbin, d.adrelid), case when a.attnotnull then 'not null' end,
         case when a.attnum is null then
                format('add column %I %s%s', n.name, n.type, ' not null default ' || n.default_value)
              else concat_ws(', ',
                case when a.attnotnull and n.default_value is null and n.name <> 'username'
                     then format('alter column %I drop not null', n.name) end,
                case when d.oid is null and n.default_value is not null
                     then format('alter column %I set default %s', n.name, n.default_value) end) end
    from lockstep.adopt_needs() n
    left join pg_attribute a on a.attrelid = to_regclass('public.profiles') and a.attname = n.name and not a.attisdropped
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum;
  delete from lockstep.adopted where step = 'add_medusa_customer_id' and kind = 'altered' and became = '';

  select string_agg(a.became, ', ' order by a.n) into v_clauses
    from lockstep.adopted a where a.step = 'add_medusa_customer_id' and a.kind in ('added', 'altered');
  if v_clauses is not null then
    perform lockstep.adopt_note('adding the columns that Lockstep keeps');
    execute 'alter table public.profiles ' || v_clauses;
  end if;

  if to_regclass('public.idx_profiles_medusa_customer_id') is null then
    perform lockstep.adopt_remember('add_medusa_customer_id', 'index', 'idx_profiles_medusa_customer_id', null);
  end if;
  -- Functions of these names are Lockstep's from here on.
  insert into lockstep.adopted (step, kind, name, definition, attributes)
  select 'add_medusa_customer_id', 'function', p.oid::regprocedure::text,
         lockstep.adopt_definition('function', p.oid, 0), lockstep.adopt_attributes('function', p.oid, 0)
    from pg_proc p
   where p.oid in (to_regprocedure('public.create_medusa_customer(text, text, text)'),
                   to_regprocedure('public.update_medusa_customer(text, text, text, text)'));
end
$lockstep$;

select lockstep.add_medusa_customer_id();
