-- warn: a policy calls auth.…() once per row instead of once per query
select format('%I on %s', p.name, p.table_oid::regclass), 'write ((select auth.jwt()) ->> ''sub'') in the policy'
  from policy p
 cross join concat_ws(' ', p.text, p.check_text) t
 where regexp_replace(t, 'select\s+auth\.(uid|jwt|role|email)\(\)', '', 'gi') ~ 'auth\.(uid|jwt|role|email)\(\)'
