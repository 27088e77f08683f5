-- info: GraphQL shows a table's columns to whoever has signed in
select c.oid::regclass::text, 'drop extension pg_graphql, if nothing of yours uses GraphQL'
  from pg_class c join ours o using (oid)
  join api on api.name = 'authenticated' and has_table_privilege(api.oid, c.oid, 'select')
 where exists (select from pg_extension where extname = 'pg_graphql')
