-- warn: several permissive policies hold for one role and one command, and each is evaluated
select format('%s for %s of %s', string_agg(quote_ident(p.name), ', ' order by p.name), c.cmd, p.table_oid::regclass),
       'join the policies with "or", or drop those that are left over'
  from policy p
 cross join unnest(case p.cmd when '*' then array['select', 'insert', 'update', 'delete']
   else array[case p.cmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' else 'delete' end] end) c (cmd)
  join pg_roles r on r.oid = any(p.roles) or 0::oid = any(p.roles)
 where p.permissive and not r.rolbypassrls and not r.rolsuper and not starts_with(r.rolname, 'pg_')
 group by p.table_oid, c.cmd, r.oid
having count(*) > 1
