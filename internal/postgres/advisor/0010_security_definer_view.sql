-- error: a view shows the API's roles what its owner may see, whatever the policies say
select c.oid::regclass::text, format('alter view %s set (security_invoker = on)', c.oid::regclass)
  from pg_class c join ours o using (oid)
 where c.relkind = 'v' and not coalesce(lower(c.reloptions::text)::text[], '{}') && '{security_invoker=on,security_invoker=true,security_invoker=yes,security_invoker=1}'
   and exists (select from api where has_table_privilege(api.oid, c.oid, 'select'))
