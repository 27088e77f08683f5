-- warn: a table needs an extension that lives in schema public, where the API serves its functions
select distinct x.extname || ' of ' || o.oid::regclass, format('alter extension %I set schema extensions', x.extname)
  from ours o
  join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = o.oid
  join pg_depend m on m.classid = d.refclassid and m.objid = d.refobjid and m.refclassid = 'pg_extension'::regclass and m.deptype = 'e'
  join pg_extension x on x.oid = m.refobjid
 where x.extnamespace = to_regnamespace('public')
