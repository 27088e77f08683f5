-- Everything that can be seen of the schemas that a migration may touch, one
-- line each, as the catalogs spell it. Positions of columns are left out, and
-- grants are compared by what they allow.
with spaces as (
  select oid from pg_namespace where nspname in ('public', 'lockstep', 'auth')
), rels as (
  select c.*, c.oid::regclass::text as name from pg_class c where c.relnamespace in (select oid from spaces) and c.relkind in ('r', 'p', 'v', 'm', 'S')
)
select coalesce(string_agg(line, E'\n' order by line collate "C"), '') from (
  select format('schema %s owner=%s acl=%s', nspname, nspowner::regrole, nspacl) as line from pg_namespace where oid in (select oid from spaces)
  union all
  select format('%s %s owner=%s rls=%s,%s options=%s populated=%s replica=%s comment=%s', c.relkind, c.name, c.relowner::regrole, c.relrowsecurity,
           c.relforcerowsecurity, c.reloptions, c.relispopulated, c.relreplident, obj_description(c.oid, 'pg_class')) from rels c
  union all
  select format('grant %s on %s to %s %s', string_agg(x.privilege_type, ',' order by x.privilege_type), c.name,
           case x.grantee when 0 then 'public' else x.grantee::regrole::text end, x.is_grantable)
    from rels c, aclexplode(coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::"char", c.relowner))) x group by c.name, x.grantee, x.is_grantable
  union all
  select format('column %s.%s %s notnull=%s generated=%s identity=%s default=%s target=%s acl=%s comment=%s', c.name, a.attname,
           format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated, a.attidentity, pg_get_expr(d.adbin, d.adrelid), a.attstattarget,
           a.attacl, col_description(c.oid, a.attnum))
    from rels c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum where c.relkind <> 'S'
  union all
  select format('constraint %s on %s %s comment=%s', k.conname, k.conrelid::regclass, pg_get_constraintdef(k.oid), obj_description(k.oid, 'pg_constraint'))
    from pg_constraint k where k.connamespace in (select oid from spaces)
  union all
  select format('index %s clustered=%s comment=%s', pg_get_indexdef(i.indexrelid), i.indisclustered, obj_description(i.indexrelid, 'pg_class'))
    from pg_index i where i.indrelid in (select oid from rels)
  union all
  select format('view %s %s', c.name, pg_get_viewdef(c.oid)) from rels c where c.relkind in ('v', 'm')
  union all
  select format('policy %s on %s %s %s %s %s / %s comment=%s', p.polname, p.polrelid::regclass, p.polpermissive, p.polcmd,
           (select string_agg(case r when 0 then 'public' else r::regrole::text end, ',' order by 1) from unnest(p.polroles) r),
           pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid), obj_description(p.oid, 'pg_policy')) from pg_policy p
  union all
  select format('trigger %s enabled=%s comment=%s', pg_get_triggerdef(t.oid), t.tgenabled, obj_description(t.oid, 'pg_trigger'))
    from pg_trigger t where t.tgrelid in (select oid from rels) and not t.tgisinternal
  union all
  select format('rule %s enabled=%s comment=%s', pg_get_ruledef(r.oid), r.ev_enabled, obj_description(r.oid, 'pg_rewrite'))
    from pg_rewrite r where r.ev_class in (select oid from rels) and r.rulename <> '_RETURN'
  union all
  select format('function %s owner=%s comment=%s %s', p.oid::regprocedure, p.proowner::regrole, obj_description(p.oid, 'pg_proc'), pg_get_functiondef(p.oid))
    from pg_proc p where p.pronamespace in (select oid from spaces)
  union all
  select format('grant execute on %s to %s %s', p.oid::regprocedure, case x.grantee when 0 then 'public' else x.grantee::regrole::text end, x.is_grantable)
    from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x where p.pronamespace in (select oid from spaces)
  union all
  select format('publication %s of %s columns=%s where %s', p.pubname, r.prrelid::regclass,
           (select string_agg(a.attname, ',' order by a.attname) from pg_attribute a where a.attrelid = r.prrelid and a.attnum = any(r.prattrs)),
           pg_get_expr(r.prqual, r.prrelid)) from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
  union all
  select format('statistics %s comment=%s', pg_get_statisticsobjdef(s.oid), obj_description(s.oid, 'pg_statistic_ext'))
    from pg_statistic_ext s where s.stxnamespace in (select oid from spaces)
  union all
  select format('type %s %s', t.oid::regtype, (select string_agg(e.enumlabel, ',' order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid))
    from pg_type t where t.typnamespace in (select oid from spaces) and t.typtype = 'e'
) x
