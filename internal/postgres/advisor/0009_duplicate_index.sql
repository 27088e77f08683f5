-- warn: two indexes are the same
select string_agg(i.indexrelid::regclass::text, ', ' order by i.indexrelid::regclass::text),
       format('drop index %s', max(i.indexrelid::regclass::text))
  from pg_index i
  join ours o on o.oid = i.indrelid
  join pg_class c on c.oid = i.indexrelid
 group by i.indrelid, c.relam, i.indkey::text, i.indclass::text, i.indcollation::text, i.indoption::text,
          pg_get_expr(i.indexprs, i.indrelid), pg_get_expr(i.indpred, i.indrelid)
having count(*) > 1
