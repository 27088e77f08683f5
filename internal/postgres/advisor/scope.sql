-- What the rules look at. ours: the tables and views of schema lockstep,
-- public.profiles, and whatever refers to them or is built on them. code: our
-- functions, and those that triggers on ours run. api: the roles of Supabase's
-- API that exist here. exposed: the schemas that it serves.
with recursive ours (oid) as (
  select c.oid from pg_class c
   where c.relnamespace = to_regnamespace('lockstep') and c.relkind in ('r', 'p', 'v', 'm') or c.oid = to_regclass('public.profiles')
  union
  select d.oid from ours o cross join lateral (
    select k.conrelid from pg_constraint k where k.contype = 'f' and k.confrelid = o.oid
    union all
    select w.ev_class from pg_depend p join pg_rewrite w on w.oid = p.objid
     where p.classid = 'pg_rewrite'::regclass and p.refclassid = 'pg_class'::regclass and p.refobjid = o.oid) d (oid)
), code (oid) as (
  select p.oid from pg_proc p
   where p.pronamespace = to_regnamespace('lockstep')
      or p.pronamespace = to_regnamespace('public') and p.proname in ('create_medusa_customer', 'update_medusa_customer', 'handle_new_user')
  union
  select t.tgfoid from pg_trigger t join ours o on o.oid = t.tgrelid join pg_proc p on p.oid = t.tgfoid
   where not t.tgisinternal and p.pronamespace <> 'pg_catalog'::regnamespace
), api (oid, name) as (
  select r.oid, r.rolname from pg_roles r where r.rolname in ('anon', 'authenticated')
), exposed (oid) as (
  select to_regnamespace(quote_ident(btrim(s)))::oid
    from string_to_table(coalesce(nullif(current_setting('pgrst.db_schemas', true), ''), 'public'), ',') s
), policy (table_oid, name, cmd, permissive, roles, text, check_text) as (
  select p.polrelid, p.polname, p.polcmd, p.polpermissive, p.polroles,
         pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
    from pg_policy p join ours o on o.oid = p.polrelid
)
