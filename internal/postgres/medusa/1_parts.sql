-- Functions over Medusa's customer table: two public ones for the application's
-- own server, the rest for Lockstep alone. The files of this folder are one Go
-- text/template, in the order of their names: .Medusa is the quoted name of
-- Medusa's schema. Applied anew by every `lockstep migrate up`, in one
-- transaction, as the role that owns schema lockstep (on Supabase "postgres",
-- which is no superuser). It may run before Medusa's own migrations: only plpgsql
-- functions name Medusa's table, and those bind when called.
--
-- The rules, each learnt from a fault that others shipped:
--   * only live rows count: deleted_at is null, or a deleted id is handed out;
--   * e-mail is stored trimmed and in lower case, as Medusa's carts look it up,
--     and compared without case, since Medusa keeps a guest's as it was typed;
--   * Medusa allows one guest and one account per e-mail; an account is never
--     handed out by e-mail alone, for Medusa's Store API verifies no address;
--   * with accounts (MEDUSA_ACCOUNTS=clerk, p_accounts) a user's customer is an
--     account, and never without its sign-in: the identity 'clerk' of the user,
--     which nobody but Medusa and these functions can write, is what counts
--     there, not the mark;
--   * a person's data is in no message;
--   * names are qualified; the migration then sets search_path to "pg_catalog,
--     pg_temp", for an empty one finds a caller's temporary types first.
-- The names lockstep.ulid and lockstep.medusa_* belong to this folder.

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
      ('lockstep', 'medusa_holder', 'p_user text, p_accounts boolean', 'text'),
      ('lockstep', 'medusa_signed_in', 'p_user text', 'text'),
      ('lockstep', 'medusa_owner', 'p_customer text, p_user text', 'text'),
      ('lockstep', 'medusa_sign_in', 'p_user text, p_customer text', 'void'),
      ('lockstep', 'medusa_sign_out', 'p_user text, p_customer text', 'boolean'),
      ('lockstep', 'medusa_marked', 'p_metadata jsonb, p_user text', 'jsonb'),
      ('lockstep', 'medusa_unmarked', 'p_metadata jsonb, p_marked boolean, p_deleted boolean', 'jsonb'),
      ('lockstep', 'medusa_alone', 'p_user text, p_customer text', 'boolean'),
      ('lockstep', 'medusa_write', 'p_customer text, p_user text, p_email text, p_first_name text, p_last_name text, p_phone text, p_accounts boolean', 'void'),
      ('lockstep', 'medusa_resolve', 'p_user text, p_customer text, p_email text, p_accounts boolean',
       'TABLE(how text, id text, email text, first_name text, last_name text, phone text, has_account boolean, clerk_user_id text, proven boolean)'),
      ('lockstep', 'medusa_list', 'p_after text, p_limit integer, p_accounts boolean',
       'TABLE(how text, id text, email text, first_name text, last_name text, phone text, has_account boolean, clerk_user_id text, proven boolean)'),
      ('lockstep', 'medusa_create', 'p_user text, p_email text, p_first_name text, p_last_name text, p_phone text, p_accounts boolean', 'text'),
      ('lockstep', 'medusa_adopt', 'p_customer text, p_user text, p_email text, p_first_name text, p_last_name text, p_phone text, p_accounts boolean', 'text'),
      ('lockstep', 'medusa_update', 'p_customer text, p_user text, p_email text, p_first_name text, p_last_name text, p_phone text, p_accounts boolean', 'text'),
      ('lockstep', 'medusa_release', 'p_customer text, p_user text, p_accounts boolean, p_how text', 'text'),
      ('lockstep', 'medusa_check', '', 'void'),
      ('lockstep', 'medusa_check_delete', '', 'void'),
      ('lockstep', 'medusa_check_accounts', '', 'void'),
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

-- medusa_signed_in returns the live customer whom the user signs in as, null for
-- none.
create or replace function lockstep.medusa_signed_in(p_user text) returns text
language plpgsql volatile security definer set search_path = ''
as $lockstep$
begin
  return (
    select c.id
    from {{.Medusa}}.provider_identity p
    join {{.Medusa}}.auth_identity a on a.id = p.auth_identity_id
    join {{.Medusa}}.customer c on c.id = a.app_metadata ->> 'customer_id'
    where p.provider = 'clerk' and p.entity_id = p_user
      and p.deleted_at is null and a.deleted_at is null and c.deleted_at is null);
end
$lockstep$;

-- medusa_owner returns the user who signs in as the customer, null for none. If
-- somebody gave it to several, p_user counts first.
create or replace function lockstep.medusa_owner(p_customer text, p_user text) returns text
language plpgsql volatile security definer set search_path = ''
as $lockstep$
begin
  return (
    select p.entity_id
    from {{.Medusa}}.auth_identity a
    join {{.Medusa}}.provider_identity p on p.auth_identity_id = a.id
    where a.app_metadata ->> 'customer_id' = p_customer and p.provider = 'clerk'
      and p.deleted_at is null and a.deleted_at is null
    order by p.entity_id is distinct from p_user, p.entity_id
    limit 1);
end
$lockstep$;

-- medusa_sign_in lets the user sign in as the customer: 23505 if the user signs
-- in as another live one. It completes what is there, since Medusa's unique
-- index counts deleted identities too, and since an auth provider may have made
-- one without a customer at the first sign-in.
create or replace function lockstep.medusa_sign_in(p_user text, p_customer text) returns void
language plpgsql volatile security definer set search_path = ''
as $lockstep$
declare
  v_identity text;
  v_current text := lockstep.medusa_signed_in(p_user);
begin
  if v_current = p_customer then
    return;
  elsif v_current is not null then
    raise exception 'the user signs in as another customer' using errcode = 'unique_violation';
  end if;
  update {{.Medusa}}.provider_identity p
  set deleted_at = null, updated_at = now()
  where p.provider = 'clerk' and p.entity_id = p_user
  returning p.auth_identity_id into v_identity;
  if found then
    update {{.Medusa}}.auth_identity a
    set app_metadata = coalesce(nullif(a.app_metadata, 'null'), '{}') || jsonb_build_object('customer_id', p_customer),
      deleted_at = null, updated_at = now()
    where a.id = v_identity;
    return;
  end if;
  v_identity := 'authid_' || lockstep.ulid();
  insert into {{.Medusa}}.auth_identity (id, app_metadata)
  values (v_identity, jsonb_build_object('customer_id', p_customer));
  insert into {{.Medusa}}.provider_identity (id, entity_id, provider, auth_identity_id)
  values (lockstep.ulid(), p_user, 'clerk', v_identity);
end
$lockstep$;

-- medusa_sign_out takes the user's sign-in off the customer, and returns whether
-- it may be a guest again: nobody else signs in as it, and no other guest has
-- the e-mail, which Medusa's index would refuse. Such an account keeps an
-- identity that nobody can use, or Medusa could never delete it.
create or replace function lockstep.medusa_sign_out(p_user text, p_customer text) returns boolean
language plpgsql volatile security definer set search_path = ''
as $lockstep$
declare
  v_others boolean;
begin
  delete from {{.Medusa}}.provider_identity p
  using {{.Medusa}}.auth_identity a
  where a.id = p.auth_identity_id and a.app_metadata ->> 'customer_id' = p_customer
    and p.provider = 'clerk' and p.entity_id = p_user;
  v_others := exists (
    select from {{.Medusa}}.auth_identity a
    join {{.Medusa}}.provider_identity p on p.auth_identity_id = a.id
    where a.app_metadata ->> 'customer_id' = p_customer and p.deleted_at is null and a.deleted_at is null);
  if not v_others and exists (
    select from {{.Medusa}}.customer c
    join {{.Medusa}}.customer g on g.email = c.email and g.id <> c.id and not g.has_account and g.deleted_at is null
    where c.id = p_customer
  ) then
    return false;
  end if;
  delete from {{.Medusa}}.auth_identity a
  where a.app_metadata ->> 'customer_id' = p_customer
    and not exists (select from {{.Medusa}}.provider_identity p where p.auth_identity_id = a.id);
  return not v_others;
end
$lockstep$;

-- medusa_holder returns the live customer that is the user's already: with
-- accounts the one whom the user signs in as; else the guest that carries the
-- mark, the oldest if somebody copied it; null for none. A mark on an account
-- does not count: Medusa's Store API lets whoever signs in write the metadata of
-- the own customer.
create or replace function lockstep.medusa_holder(p_user text, p_accounts boolean default false) returns text
language plpgsql volatile security definer set search_path = ''
as $lockstep$
declare
  v_id text;
begin
  if p_accounts then
    v_id := lockstep.medusa_signed_in(p_user);
  end if;
  return coalesce(v_id, (
    select c.id from {{.Medusa}}.customer c
    where c.metadata ->> 'clerk_user_id' = p_user and c.deleted_at is null and not c.has_account
    order by c.created_at, c.id
    limit 1));
end
$lockstep$;

-- medusa_marked returns the metadata with the user's mark, and without the word
-- that an earlier user was deleted; other keys stay. Medusa writes objects only;
-- what else somebody stored is not ours to replace.
create or replace function lockstep.medusa_marked(p_metadata jsonb, p_user text) returns jsonb
language plpgsql immutable security definer set search_path = ''
as $lockstep$
begin
  if coalesce(jsonb_typeof(p_metadata), 'null') not in ('null', 'object') then
    raise exception 'the metadata is no object' using errcode = 'invalid_parameter_value';
  end if;
  return coalesce(nullif(p_metadata, 'null'), '{}') - 'clerk_user_deleted' || jsonb_build_object('clerk_user_id', p_user);
end
$lockstep$;

-- medusa_unmarked returns the metadata without the mark in it, if that was the
-- user's, and with the word that the user was deleted, if that is so.
create or replace function lockstep.medusa_unmarked(p_metadata jsonb, p_marked boolean, p_deleted boolean) returns jsonb
language plpgsql immutable security definer set search_path = ''
as $lockstep$
begin
  if coalesce(jsonb_typeof(p_metadata), 'null') not in ('null', 'object') then
    return p_metadata; -- not Medusa's, nor ours
  elsif p_marked then
    p_metadata := p_metadata - 'clerk_user_id';
  end if;
  if not p_deleted then
    return p_metadata;
  end if;
  return coalesce(nullif(p_metadata, 'null'), '{}') || '{"clerk_user_deleted": true}';
end
$lockstep$;

-- medusa_alone tells whether the user, and nobody else, signs in as the customer.
create or replace function lockstep.medusa_alone(p_user text, p_customer text) returns boolean
language plpgsql volatile security definer set search_path = ''
as $lockstep$
begin
  return lockstep.medusa_signed_in(p_user) is not distinct from p_customer and not exists (
    select from {{.Medusa}}.auth_identity a
    join {{.Medusa}}.provider_identity p on p.auth_identity_id = a.id
    where a.app_metadata ->> 'customer_id' = p_customer and p.deleted_at is null and a.deleted_at is null
      and (p.provider, p.entity_id) <> ('clerk', p_user));
end
$lockstep$;

-- medusa_write sets the fields that are given and differ on a live customer
-- (else P0002) and, if a user is given, the mark: 23505 if the customer carries
-- another's, or another customer this one. With accounts it makes a guest an
-- account, in place, and lets the user sign in as it. Without a difference it
-- writes nothing, so that updated_at tells of real changes only.
create or replace function lockstep.medusa_write(
  p_customer text, p_user text, p_email text, p_first_name text, p_last_name text, p_phone text,
  p_accounts boolean default false
) returns void
language plpgsql volatile security definer set search_path = ''
as $lockstep$
declare
  v record;
  v_mark text;
  v_email text := lockstep.medusa_email(p_email);
begin
  select c.id, c.email, c.first_name, c.last_name, c.phone, c.has_account, c.metadata into v
  from {{.Medusa}}.customer c
  where c.id = p_customer and c.deleted_at is null
  for update;
  if not found then
    raise exception 'the customer does not exist, or is deleted' using errcode = 'no_data_found';
  end if;

  v_mark := nullif(v.metadata ->> 'clerk_user_id', '');
  if p_accounts then
    v_mark := coalesce(lockstep.medusa_owner(v.id, p_user), case when not v.has_account then v_mark end);
  end if;
  if p_user <> v_mark or v_mark is null and lockstep.medusa_holder(p_user, p_accounts) is not null then
    raise exception 'the mark is taken' using errcode = 'unique_violation';
  end if;
  if p_user is not null and p_user is distinct from v.metadata ->> 'clerk_user_id' then
    v.metadata := lockstep.medusa_marked(v.metadata, p_user);
  end if;
  if p_user is not null and p_accounts then
    perform lockstep.medusa_sign_in(p_user, v.id);
    v.has_account := true;
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
      has_account = v.has_account, metadata = v.metadata, updated_at = now()
    where c.id = v.id
      and (c.email, c.first_name, c.last_name, c.phone, c.has_account, c.metadata)
        is distinct from (v.email, v.first_name, v.last_name, v.phone, v.has_account, v.metadata);
  exception when unique_violation then
    -- Medusa itself was faster. PostgreSQL's own message shows the e-mail.
    raise exception 'another customer holds the e-mail' using errcode = 'unique_violation';
  end;
end
$lockstep$;
