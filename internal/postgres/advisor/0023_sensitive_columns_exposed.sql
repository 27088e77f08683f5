-- error: the API serves a column of a sensitive name, without row-level security
select format('%s.%I', c.oid::regclass, a.attname), format('alter table %s enable row level security', c.oid::regclass)
  from pg_class c join ours o using (oid) join exposed e on e.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where c.relkind in ('r', 'p') and not c.relrowsecurity
   and exists (select from api where has_column_privilege(api.oid, c.oid, a.attnum, 'select'))
   and lower(translate(a.attname, '-', '_')) ~ ('^(password|passwd|pwd|passphrase|secret|.*_secret|.*_token|token|jwt|otp|two_factor|2fa_.*|api_?key|private_key|ssh_key|.*_code'
     || '|ssn|social_security.*|passport_.*|drivers?_license|national_id|tax_id|credit_card|card_number|cvv|cvc|iban|bic|.*account_number|.*_record|license_key)$')
