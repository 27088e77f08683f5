-- warn: a materialised view, for which no policy holds, shows rows to the API's roles
select c.oid::regclass::text, format('revoke all on %s from anon, authenticated', c.oid::regclass)
  from pg_class c join ours o using (oid) join exposed e on e.oid = c.relnamespace
 where c.relkind = 'm' and exists (select from api where has_table_privilege(api.oid, c.oid, 'select'))
