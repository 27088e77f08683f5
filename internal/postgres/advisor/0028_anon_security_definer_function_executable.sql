-- warn: everybody may call a function that works with its owner's rights
select p.oid::regprocedure::text, format('revoke execute on function %s from public, anon', p.oid::regprocedure)
  from pg_proc p join code using (oid)
  join api on api.name = 'anon' and has_function_privilege(api.oid, p.oid, 'execute')
 where p.prosecdef
