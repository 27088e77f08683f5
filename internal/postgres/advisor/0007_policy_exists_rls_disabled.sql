-- error: a table has policies that do not apply, since row-level security is off
select c.oid::regclass::text, format('alter table %s enable row level security', c.oid::regclass)
  from pg_class c join ours o using (oid)
 where not c.relrowsecurity and exists (select from policy p where p.table_oid = c.oid)
