-- info: a foreign key has no index, so that each delete of its target reads the whole table
select k.conname || ' on ' || k.conrelid::regclass,
       format('create index on %s (%s)', k.conrelid::regclass, string_agg(quote_ident(a.attname), ', ' order by n.ord))
  from pg_constraint k
  join ours o on o.oid = k.conrelid
 cross join unnest(k.conkey) with ordinality n (attnum, ord)
  join pg_attribute a on a.attrelid = k.conrelid and a.attnum = n.attnum
 where k.contype = 'f'
   and not exists (
     select from pg_index i where i.indrelid = k.conrelid and i.indpred is null
        and (string_to_array(i.indkey::text, ' ')::int2[])[:cardinality(k.conkey)] @> k.conkey)
 group by k.oid, k.conname, k.conrelid
