-- error: a foreign key refers to a unique column of schema auth, which Supabase may change
select k.conname || ' on ' || k.conrelid::regclass, format('alter table %s drop constraint %I', k.conrelid::regclass, k.conname)
  from pg_constraint k
  join ours o on o.oid = k.conrelid
  join pg_class c on c.oid = k.confrelid
  join pg_index i on i.indexrelid = k.conindid
 where k.contype = 'f' and c.relnamespace = to_regnamespace('auth') and i.indisunique and not i.indisprimary
