-- info: a table has no primary key
select c.oid::regclass::text, format('alter table %s add primary key (…)', c.oid::regclass)
  from pg_class c join ours o using (oid)
 where c.relkind in ('r', 'p') and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)
