-- Functions over Medusa's customer table: two public ones for the application's
-- own server, the rest for Lockstep alone. A Go text/template: .Medusa is the
-- quoted name of Medusa's schema. Applied anew by every `lockstep migrate up`,
-- in one transaction, as the role that owns schema lockstep (on Supabase
-- "postgres", which is no superuser). It may run before Medusa's own migrations:
-- only plpgsql functions name Medusa's table, and those bind when called.
--
-- The rules, each learnt from a fault that others shipped:
--   * only live rows count: deleted_at is null, or a deleted id is handed out;
--   * e-mail is stored trimmed and in lower case, as Medusa's carts look it up,
--     and compared without case, since Medusa keeps a guest's as it was typed;
--   * Medusa allows one guest and one account per e-mail; an account is never
--     handed out by e-mail alone, for Medusa's Store API verifies no address;
--   * a person's data is in no message;
--   * names are qualified; the migration then sets search_path to "pg_catalog,
--     pg_temp", for an empty one finds a caller's temporary types first.
-- The names lockstep.ulid and lockstep.medusa_* belong to this file.

-- Functions whose arguments, defaults or result have changed are dropped first,
-- since "create or replace" refuses those. Grants on all others survive.
do $drop$
declare
  v_old regprocedure;
begin
  for v_old in
    select p.oid::regprocedure
    from pg_catalog.pg_proc p
    join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    left join (values
      ('public', 'create_medusa_customer', 'p_email text, p_first_name text, p_last_name text', 'text'),
      ('public', 'update_medusa_customer', 'p_customer_id text, p_email text, p_first_name text, p_last_name text', 'void'),
      ('lockstep', 'ulid', '', 'text'),
      ('lockstep', 'medusa_email', 'p_email text', 'text'),
      ('lockstep', 'medusa_claim', 'p_email text, p_customer text', 'void'),
      ('lockstep', 'medusa_begin', 'p_user text', 'void'),
      ('lockstep', 'medusa_holder', 'p_user text', 'text'),
      ('lockstep', 'medusa_marked', 'p_metadata jsonb, p_user text', 'jsonb'),
      ('lockstep', 'medusa_write', 'p_customer text, p_user text, p_email text, p_first_name text, p_last_name text, p_phone text', 'void'),
      ('lockstep', 'medusa_resolve', 'p_user text, p_customer text, p_email text',
       'TABLE(how text, id text, email text, first_name text, last_name text, phone text, has_account boolean, clerk_user_id text)'),
      ('lockstep', 'medusa_list', 'p_after text, p_limit integer',
       'TABLE(how text, id text, email text, first_name text, last_name text, phone text, has_account boolean, clerk_user_id text)'),
      ('lockstep', 'medusa_create', 'p_user text, p_email text, p_first_name text, p_last_name text, p_phone text', 'text'),
      ('lockstep', 'medusa_adopt', 'p_customer text, p_user text, p_email text, p_first_name text, p_last_name text, p_phone text', 'text'),
      ('lockstep', 'medusa_update', 'p_customer text, p_user text, p_email text, p_first_name text, p_last_name text, p_phone text', 'text'),
      ('lockstep', 'medusa_release', 'p_customer text, p_user text', 'void'),
      ('lockstep', 'medusa_check', '', 'void'),
      ('lockstep', 'medusa_indexes', '', 'text')
    ) as f (schema, name, arguments, result)
      on f.schema = n.nspname and f.name = p.proname
      and f.arguments = pg_catalog.pg_get_function_identity_arguments(p.oid)
      and f.result = pg_catalog.pg_get_function_result(p.oid)
      and p.pronargdefaults <= 2
    where f.name is null
      and (n.nspname = 'lockstep' and (p.proname = 'ulid' or p.proname like 'medusa\_%')
        or n.nspname = 'public' and (
          p.proname = 'create_medusa_customer' and pg_catalog.oidvectortypes(p.proargtypes) = 'text, text, text'
          or p.proname = 'update_medusa_customer' and pg_catalog.oidvectortypes(p.proargtypes) = 'text, text, text, text'))
  loop
    execute 'drop function ' || v_old;
  end loop;
end
$drop$;

-- ulid returns what Medusa puts behind "cus_": 26 characters of Crockford's
-- base 32 (github.com/ulid/spec), 48 bits of milliseconds and 80 random ones.
-- The six bits that a version 4 UUID fixes are not among them.
create or replace function lockstep.ulid() returns text
language sql volatile security definer set search_path = ''
as $lockstep$
  select string_agg(
    substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', 1 + substring(u.bits from 1 + 5 * i for 5)::bit(5)::int, 1),
    '' order by i)
  from (
    select b'00' || ('x'
      || lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')
      || substr(r.hex, 1, 6) || substr(r.hex, 19, 14))::bit(128) as bits
    from (select replace(gen_random_uuid()::text, '-', '') as hex) r
  ) u, generate_series(0, 25) i
$lockstep$;

-- medusa_email returns the normal form of an e-mail, null for none (22023 if it
-- is none of the kind). The shape alone is checked: one @, nothing blank.
create or replace function lockstep.medusa_email(p_email text) returns text
language plpgsql immutable security definer set search_path = ''
as $lockstep$
declare
  v_email text := nullif(lower(btrim(p_email, E' \t\r\n')), '');
begin
  if v_email !~ '^[^@\s]+@[^@\s]+$' then
    raise exception 'not an e-mail address' using errcode = 'invalid_parameter_value';
  end if;
  return v_email;
end
$lockstep$;

-- medusa_claim makes sure that no live customer but p_customer holds the
-- e-mail, in any case, guest or account (else 23505), until the transaction
-- ends: Medusa's unique index alone allows an account beside a guest.
create or replace function lockstep.medusa_claim(p_email text, p_customer text) returns void
language plpgsql volatile security definer set search_path = ''
as $lockstep$
begin
  perform pg_advisory_xact_lock(hashtextextended('lockstep.medusa.email:' || p_email, 0));
  if exists (
    select from {{.Medusa}}.customer c
    where lower(c.email) = p_email and c.deleted_at is null and c.id is distinct from p_customer
  ) then
    raise exception 'another customer holds the e-mail' using errcode = 'unique_violation';
  end if;
end
$lockstep$;

-- medusa_begin lets the writes of one user wait for each other until the
-- transaction ends. At "repeatable read" the one that waited would not see what
-- the first one wrote, and make a second customer, so that level is refused.
create or replace function lockstep.medusa_begin(p_user text) returns void
language plpgsql volatile security definer set search_path = ''
as $lockstep$
begin
  if coalesce(btrim(p_user), '') = '' then
    raise exception 'a user id is needed' using errcode = 'invalid_parameter_value';
  end if;
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'the transaction isolation level must be "read committed"'
      using errcode = 'inappropriate_isolation_level_for_branch_transaction';
  end if;
  perform pg_advisory_xact_lock(hashtextextended('lockstep.medusa:' || p_user, 0));
end
$lockstep$;

-- medusa_holder returns the live guest that carries the user's mark, the oldest
-- if somebody copied it, null for none. Accounts do not count: Medusa's Store
-- API lets whoever signs in write the metadata of the own customer.
create or replace function lockstep.medusa_holder(p_user text) returns text
language plpgsql volatile security definer set search_path = ''
as $lockstep$
begin
  return (
    select c.id from {{.Medusa}}.customer c
    where c.metadata ->> 'clerk_user_id' = p_user and c.deleted_at is null and not c.has_account
    order by c.created_at, c.id
    limit 1);
end
$lockstep$;

-- medusa_marked returns the metadata with the user's mark; other keys stay.
-- Medusa writes objects only; what else somebody stored is not ours to replace.
create or replace function lockstep.medusa_marked(p_metadata jsonb, p_user text) returns jsonb
language plpgsql immutable security definer set search_path = ''
as $lockstep$
begin
  if coalesce(jsonb_typeof(p_metadata), 'null') not in ('null', 'object') then
    raise exception 'the metadata is no object' using errcode = 'invalid_parameter_value';
  end if;
  return coalesce(nullif(p_metadata, 'null'), '{}') || jsonb_build_object('clerk_user_id', p_user);
end
$lockstep$;

-- medusa_write sets the fields that are given and differ on a live customer
-- (else P0002) and, if a user is given, the mark: 23505 if the customer carries
-- another's, or another customer this one. Without a difference it writes
-- nothing, so that updated_at tells of real changes only.
create or replace function lockstep.medusa_write(
  p_customer text, p_user text, p_email text, p_first_name text, p_last_name text, p_phone text
) returns void
language plpgsql volatile security definer set search_path = ''
as $lockstep$
declare
  v record;
  v_mark text;
  v_email text := lockstep.medusa_email(p_email);
begin
  select c.id, c.email, c.first_name, c.last_name, c.phone, c.metadata into v
  from {{.Medusa}}.customer c
  where c.id = p_customer and c.deleted_at is null
  for update;
  if not found then
    raise exception 'the customer does not exist, or is deleted' using errcode = 'no_data_found';
  end if;

  v_mark := nullif(v.metadata ->> 'clerk_user_id', '');
  if p_user <> v_mark or v_mark is null and lockstep.medusa_holder(p_user) is not null then
    raise exception 'the mark is taken' using errcode = 'unique_violation';
  end if;
  if p_user is not null and v_mark is null then
    v.metadata := lockstep.medusa_marked(v.metadata, p_user);
  end if;
  if v_email is not null and v_email is distinct from v.email then
    perform lockstep.medusa_claim(v_email, v.id);
    v.email := v_email;
  end if;
  v.first_name := coalesce(nullif(p_first_name, ''), v.first_name);
  v.last_name := coalesce(nullif(p_last_name, ''), v.last_name);
  v.phone := coalesce(nullif(p_phone, ''), v.phone);

  begin
    update {{.Medusa}}.customer c
    set email = v.email, first_name = v.first_name, last_name = v.last_name, phone = v.phone,
      metadata = v.metadata, updated_at = now()
    where c.id = v.id
      and (c.email, c.first_name, c.last_name, c.phone, c.metadata)
        is distinct from (v.email, v.first_name, v.last_name, v.phone, v.metadata);
  exception when unique_violation then
    -- Medusa itself was faster. PostgreSQL's own message shows the e-mail.
    raise exception 'another customer holds the e-mail' using errcode = 'unique_violation';
  end;
end
$lockstep$;

-- medusa_resolve returns the live customers that may be the user's, and how
-- each was found: 'link' by id, 'user' by the mark, 'email' in any case.
create or replace function lockstep.medusa_resolve(p_user text, p_customer text, p_email text)
returns table (
  how text, id text, email text, first_name text, last_name text, phone text,
  has_account boolean, clerk_user_id text
)
language plpgsql volatile security definer set search_path = ''
as $lockstep$
begin
  return query
    select f.how, (f.c).id, (f.c).email, (f.c).first_name, (f.c).last_name, (f.c).phone,
      (f.c).has_account, nullif((f.c).metadata ->> 'clerk_user_id', '')
    from (
      select 'link' as how, c from {{.Medusa}}.customer c
      where c.id = p_customer and c.deleted_at is null
      union all
      select 'user', c from {{.Medusa}}.customer c
      where c.metadata ->> 'clerk_user_id' = nullif(p_user, '') and c.deleted_at is null
      union all
      select 'email', c from {{.Medusa}}.customer c
      where lower(c.email) = nullif(lower(btrim(p_email)), '') and c.deleted_at is null
    ) f
    order by (f.c).created_at, (f.c).id;
end
$lockstep$;

-- medusa_list returns at most p_limit live customers, by id, after p_after; null
-- or empty begins at the first.
create or replace function lockstep.medusa_list(p_after text, p_limit integer)
returns table (
  how text, id text, email text, first_name text, last_name text, phone text,
  has_account boolean, clerk_user_id text
)
language plpgsql volatile security definer set search_path = ''
as $lockstep$
begin
  return query
    select 'list', c.id, c.email, c.first_name, c.last_name, c.phone, c.has_account,
      nullif(c.metadata ->> 'clerk_user_id', '')
    from {{.Medusa}}.customer c
    where c.deleted_at is null and (c.id > p_after or coalesce(p_after, '') = '')
    order by c.id
    limit p_limit;
end
$lockstep$;

-- medusa_create makes a guest that carries the user's mark and returns its id,
-- or the id of the one that carries it already. The e-mail may be null; one
-- that a live customer holds is refused with 23505.
create or replace function lockstep.medusa_create(
  p_user text, p_email text, p_first_name text, p_last_name text, p_phone text
) returns text
language plpgsql volatile security definer set search_path = ''
as $lockstep$
declare
  v_email text := lockstep.medusa_email(p_email);
  v_id text;
begin
  perform lockstep.medusa_begin(p_user);
  v_id := lockstep.medusa_holder(p_user);
  if v_id is not null then
    return v_id;
  end if;
  if v_email is not null then
    perform lockstep.medusa_claim(v_email, null);
  end if;
  insert into {{.Medusa}}.customer (id, email, first_name, last_name, phone, has_account, metadata)
  values ('cus_' || lockstep.ulid(), v_email, nullif(p_first_name, ''), nullif(p_last_name, ''),
    nullif(p_phone, ''), false, lockstep.medusa_marked(null, p_user))
  returning id into v_id;
  return v_id;
end
$lockstep$;

-- medusa_adopt marks a live guest that carries no mark, or this user's, and
-- updates it. An account, another's mark, or a user who has a customer already:
-- 23505. A deleted one: P0002.
create or replace function lockstep.medusa_adopt(
  p_customer text, p_user text, p_email text, p_first_name text, p_last_name text, p_phone text
) returns text
language plpgsql volatile security definer set search_path = ''
as $lockstep$
declare
  v_account boolean;
begin
  perform lockstep.medusa_begin(p_user);
  -- Locked, or it could become an account between this look and the write.
  select c.has_account into v_account from {{.Medusa}}.customer c
  where c.id = p_customer and c.deleted_at is null
  for update;
  if v_account then
    raise exception 'the customer is an account' using errcode = 'unique_violation';
  end if;
  perform lockstep.medusa_write(p_customer, p_user, p_email, p_first_name, p_last_name, p_phone);
  return p_customer;
end
$lockstep$;

-- medusa_update is medusa_write for the user's own customer, guest or account.
create or replace function lockstep.medusa_update(
  p_customer text, p_user text, p_email text, p_first_name text, p_last_name text, p_phone text
) returns text
language plpgsql volatile security definer set search_path = ''
as $lockstep$
begin
  perform lockstep.medusa_begin(p_user);
  perform lockstep.medusa_write(p_customer, p_user, p_email, p_first_name, p_last_name, p_phone);
  return p_customer;
end
$lockstep$;

-- medusa_release takes the user's mark off a live customer. One that is gone, or
-- carries another's mark, is left alone.
create or replace function lockstep.medusa_release(p_customer text, p_user text) returns void
language plpgsql volatile security definer set search_path = ''
as $lockstep$
begin
  update {{.Medusa}}.customer c
  set metadata = c.metadata - 'clerk_user_id', updated_at = now()
  where c.id = p_customer and c.deleted_at is null and c.metadata ->> 'clerk_user_id' = p_user;
end
$lockstep$;

-- medusa_check fails unless Lockstep may work here, with the code that the work
-- would meet: 42P01 no table, 42703 a column is missing, 42P10 no unique index
-- to insert against, 42501 a privilege is missing. "explain" checks all that
-- and writes nothing.
create or replace function lockstep.medusa_check() returns void
language plpgsql volatile security definer set search_path = ''
as $lockstep$
begin
  execute $explain$
    explain select id, email, first_name, last_name, phone, has_account, metadata, created_at, updated_at, deleted_at
    from {{.Medusa}}.customer for update
  $explain$;
  execute $explain$
    explain insert into {{.Medusa}}.customer (id, email, first_name, last_name, phone, has_account, metadata)
    values ('', '', '', '', '', false, '{}')
    on conflict (email, has_account) where deleted_at is null do nothing
  $explain$;
  if row_security_active($name${{.Medusa}}.customer$name$::regclass) then
    raise exception 'row-level security hides customers' using errcode = 'insufficient_privilege';
  end if;
  perform lockstep.medusa_begin('medusa_check');
end
$lockstep$;

-- medusa_indexes makes the two indexes that Medusa lacks, if the table is there
-- and ours, and says what came of it. Without them every look-up reads the whole
-- table. It never fails, and never waits long behind Medusa's own work.
create or replace function lockstep.medusa_indexes() returns text
language plpgsql volatile security definer set search_path = '' set lock_timeout = '5s'
as $lockstep$
begin
  if to_regclass($name${{.Medusa}}.customer$name$) is null then
    return 'not done: Medusa has no customer table here yet';
  end if;
  -- Asked first: "if not exists" would lock the table to find out.
  if to_regclass($name${{.Medusa}}.lockstep_customer_user$name$) is null then
    create index lockstep_customer_user on {{.Medusa}}.customer ((metadata ->> 'clerk_user_id')) where deleted_at is null;
  end if;
  if to_regclass($name${{.Medusa}}.lockstep_customer_email$name$) is null then
    create index lockstep_customer_email on {{.Medusa}}.customer (lower(email)) where deleted_at is null;
  end if;
  return 'done';
exception
  when insufficient_privilege then
    return 'not done: another role owns Medusa''s customer table; look-ups by e-mail will read all of it';
  when lock_not_available then
    return 'not done: the customer table was busy; run lockstep migrate up again';
end
$lockstep$;

-- create_medusa_customer returns the id of the live guest with the e-mail, made
-- if there is none. For the application's own server. Refused: no e-mail or
-- none of the kind (22023), an e-mail that only an account holds (23505).
create or replace function public.create_medusa_customer(
  p_email text, p_first_name text default null, p_last_name text default null
) returns text
language plpgsql volatile security definer set search_path = ''
as $lockstep$
declare
  v_email text := lockstep.medusa_email(p_email);
  v_id text;
begin
  if v_email is null then
    raise exception 'an e-mail address is needed' using errcode = 'invalid_parameter_value';
  end if;
  perform pg_advisory_xact_lock(hashtextextended('lockstep.medusa.email:' || v_email, 0));
  loop
    -- Two guests may differ in case only: the one that carts would find first.
    select c.id into v_id from {{.Medusa}}.customer c
    where lower(c.email) = v_email and c.deleted_at is null and not c.has_account
    order by c.email <> v_email, c.created_at, c.id
    limit 1;
    exit when found;
    perform lockstep.medusa_claim(v_email, null);
    insert into {{.Medusa}}.customer (id, email, first_name, last_name, has_account)
    values ('cus_' || lockstep.ulid(), v_email, nullif(p_first_name, ''), nullif(p_last_name, ''), false)
    on conflict (email, has_account) where deleted_at is null do nothing -- Medusa itself was faster: look again
    returning id into v_id;
    exit when found;
  end loop;
  return v_id;
end
$lockstep$;

-- update_medusa_customer sets e-mail and names of a live customer; a name given
-- as null stays. For the application's own server. Refused: no e-mail or none
-- of the kind (22023), one that another customer holds (23505), an unknown or
-- deleted customer (P0002).
create or replace function public.update_medusa_customer(
  p_customer_id text, p_email text, p_first_name text default null, p_last_name text default null
) returns void
language plpgsql volatile security definer set search_path = ''
as $lockstep$
begin
  if lockstep.medusa_email(p_email) is null then
    raise exception 'an e-mail address is needed' using errcode = 'invalid_parameter_value';
  end if;
  perform lockstep.medusa_write(p_customer_id, null, p_email, p_first_name, p_last_name, null);
end
$lockstep$;

comment on function public.create_medusa_customer(text, text, text) is
  'The id of the Medusa guest with the e-mail, made if there is none. For the server only; kept by Lockstep.';
comment on function public.update_medusa_customer(text, text, text, text) is
  'Sets e-mail and names of a Medusa customer. For the server only; kept by Lockstep.';

-- PostgreSQL lets everybody execute a new function, and older Supabase projects
-- grant it to the API roles by name: both are taken back. Roles that do not
-- exist (no Supabase) are passed over.
do $grants$
declare
  v_function record;
  v_role name;
begin
  for v_function in
    select p.oid::regprocedure as name, n.nspname = 'public' as is_public
    from pg_catalog.pg_proc p
    join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'lockstep' and (p.proname = 'ulid' or p.proname like 'medusa\_%')
      or p.oid = 'public.create_medusa_customer(text, text, text)'::regprocedure
      or p.oid = 'public.update_medusa_customer(text, text, text, text)'::regprocedure
  loop
    execute format('revoke all on function %s from public', v_function.name);
    for v_role in
      select r.rolname from pg_catalog.pg_roles r where r.rolname in ('anon', 'authenticated', 'service_role')
    loop
      execute format('revoke all on function %s from %I', v_function.name, v_role);
      if v_function.is_public and v_role = 'service_role' then
        execute format('grant execute on function %s to %I', v_function.name, v_role);
      end if;
    end loop;
  end loop;
end
$grants$;
