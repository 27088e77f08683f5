-- warn: GraphQL shows a table's columns to everybody
select c.oid::regclass::text, format('revoke all on %s from anon', c.oid::regclass)
  from pg_class c join ours o using (oid)
  join api on api.name = 'anon' and has_table_privilege(api.oid, c.oid, 'select')
 where exists (select from pg_extension where extname = 'pg_graphql')
