-- info: row-level security is on, and no policy lets anybody in
select c.oid::regclass::text, 'lockstep migrate up, or create a policy'
  from pg_class c join ours o using (oid)
 where c.relkind in ('r', 'p') and c.relrowsecurity and not exists (select from policy p where p.table_oid = c.oid)
