-- warn: a function resolves names by its caller's search_path
select p.oid::regprocedure::text, format('alter function %s set search_path = ''''', p.oid::regprocedure)
  from pg_proc p join code using (oid)
 where not exists (select from unnest(p.proconfig) s where starts_with(s, 'search_path='))
