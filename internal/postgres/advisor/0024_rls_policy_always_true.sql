-- warn: a policy lets the API's roles write every row
select format('%I on %s', p.name, p.table_oid::regclass), format('drop policy %I on %s', p.name, p.table_oid::regclass)
  from policy p join pg_class c on c.oid = p.table_oid
 where c.relrowsecurity and p.permissive and p.cmd <> 'r'
   and (0::oid = any(p.roles) or exists (select from api where api.oid = any(p.roles)))
   and (p.cmd <> 'a' and translate(coalesce(p.text, 'true'), '() ', '') in ('true', '1=1')
     or p.cmd in ('a', 'w', '*') and translate(coalesce(p.check_text, p.text, 'true'), '() ', '') in ('true', '1=1'))
