-- error: the API serves a table without row-level security
select c.oid::regclass::text, format('alter table %s enable row level security', c.oid::regclass)
  from pg_class c join ours o using (oid) join exposed e on e.oid = c.relnamespace
 where c.relkind in ('r', 'p') and not c.relrowsecurity
