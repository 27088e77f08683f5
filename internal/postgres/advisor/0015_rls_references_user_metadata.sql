-- error: a policy believes user_metadata, which users edit themselves
select format('%I on %s', p.name, p.table_oid::regclass), 'use a claim that the user cannot set in the policy'
  from policy p
 where concat_ws(' ', p.text, p.check_text) ~ '(auth\.jwt\(\)|request\.jwt\.claims?).*(user_metadata|unsafe_metadata)'
