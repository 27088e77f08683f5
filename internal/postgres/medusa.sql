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
--   * with accounts (MEDUSA_ACCOUNTS=clerk, p_accounts) a user's customer is an
--     account, and never without its sign-in: the identity 'clerk' of the user,
--     which nobody but Medusa and these functions can write, is what counts
--     there, not the mark;
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
      ('lockstep', 'medusa_holder', 'p_user text, p_accounts boolean', 'text'),
      ('lockstep', 'medusa_signed_in', 'p_user text', 'text'),
      ('lockstep', 'medusa_owner', 'p_customer text, p_user text', 'text'),
      ('lockstep', 'medusa_sign_in', 'p_user text, p_customer text', 'void'),
      ('lockstep', 'medusa_sign_out', 'p_user text, p_customer text', 'boolean'),
      ('lockstep', 'medusa_marked', 'p_metadata jsonb, p_user text', 'jsonb'),
      ('lockstep', 'medusa_write', 'p_customer text, p_user text, p_email text, p_first_name text, p_last_name text, p_phone text, p_accounts boolean', 'void'),
      ('lockstep', 'medusa_resolve', 'p_user text, p_customer text, p_email text, p_accounts boolean',
       'TABLE(how text, id text, email text, first_name text, last_name text, phone text, has_account boolean, clerk_user_id text, proven boolean)'),
      ('lockstep', 'medusa_list', 'p_after text, p_limit integer, p_accounts boolean',
       'TABLE(how text, id text, email text, first_name text, last_name text, phone text, has_account boolean, clerk_user_id text, proven boolean)'),
      ('lockstep', 'medusa_create', 'p_user text, p_email text, p_first_name text, p_last_name text, p_phone text, p_accounts boolean', 'text'),
      ('lockstep', 'medusa_adopt', 'p_customer text, p_user text, p_email text, p_first_name text, p_last_name text, p_phone text, p_accounts boolean', 'text'),
      ('lockstep', 'medusa_update', 'p_customer text, p_user text, p_email text, p_first_name text, p_last_name text, p_phone text, p_accounts boolean', 'text'),
      ('lockstep', 'medusa_release', 'p_customer text, p_user text, p_accounts boolean', 'void'),
      ('lockstep', 'medusa_check', '', 'void'),
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

-- medusa_resolve returns the live customers that may be the user's, and how
-- each was found: 'link' by id, 'user' by the mark, 'email' in any case. With
-- accounts, proven says that the user signs in as the customer, and the mark
-- counts on guests only.
create or replace function lockstep.medusa_resolve(
  p_user text, p_customer text, p_email text, p_accounts boolean default false
) returns table (
  how text, id text, email text, first_name text, last_name text, phone text,
  has_account boolean, clerk_user_id text, proven boolean
)
language plpgsql volatile security definer set search_path = ''
as $lockstep$
declare
  v_signed_in text := case when p_accounts then lockstep.medusa_signed_in(p_user) end;
begin
  return query
    select f.how, (f.c).id, (f.c).email, (f.c).first_name, (f.c).last_name, (f.c).phone, (f.c).has_account,
      coalesce(o.owner, case when not (p_accounts and (f.c).has_account) then nullif((f.c).metadata ->> 'clerk_user_id', '') end),
      o.owner is not null
    from (
      select 'link' as how, c from {{.Medusa}}.customer c
      where c.id = p_customer and c.deleted_at is null
      union all
      select 'user', c from {{.Medusa}}.customer c
      where c.metadata ->> 'clerk_user_id' = nullif(p_user, '') and c.deleted_at is null
        and not (p_accounts and c.has_account) and c.id is distinct from v_signed_in
      union all
      select 'user', c from {{.Medusa}}.customer c
      where c.id = v_signed_in
      union all
      select 'email', c from {{.Medusa}}.customer c
      where lower(c.email) = nullif(lower(btrim(p_email)), '') and c.deleted_at is null
    ) f
    cross join lateral (
      select case when p_accounts then lockstep.medusa_owner((f.c).id, p_user) end
    ) o (owner)
    order by (f.c).created_at, (f.c).id;
end
$lockstep$;

-- medusa_list returns at most p_limit live customers, by id, after p_after; null
-- or empty begins at the first. Whose they are is told as by medusa_resolve.
create or replace function lockstep.medusa_list(p_after text, p_limit integer, p_accounts boolean default false)
returns table (
  how text, id text, email text, first_name text, last_name text, phone text,
  has_account boolean, clerk_user_id text, proven boolean
)
language plpgsql volatile security definer set search_path = ''
as $lockstep$
begin
  return query
    select 'list', c.id, c.email, c.first_name, c.last_name, c.phone, c.has_account,
      coalesce(o.owner, case when not (p_accounts and c.has_account) then nullif(c.metadata ->> 'clerk_user_id', '') end),
      o.owner is not null
    from {{.Medusa}}.customer c
    cross join lateral (
      select case when p_accounts then lockstep.medusa_owner(c.id, null) end
    ) o (owner)
    where c.deleted_at is null and (c.id > p_after or coalesce(p_after, '') = '')
    order by c.id
    limit p_limit;
end
$lockstep$;

-- medusa_create makes a guest, or an account, that carries the user's mark and
-- returns its id, or the id of the one that is the user's already. The e-mail
-- may be null; one that a live customer holds is refused with 23505.
create or replace function lockstep.medusa_create(
  p_user text, p_email text, p_first_name text, p_last_name text, p_phone text,
  p_accounts boolean default false
) returns text
language plpgsql volatile security definer set search_path = ''
as $lockstep$
declare
  v_email text := lockstep.medusa_email(p_email);
  v_id text;
begin
  perform lockstep.medusa_begin(p_user);
  v_id := lockstep.medusa_holder(p_user, p_accounts);
  if v_id is not null then
    return v_id;
  end if;
  if v_email is not null then
    perform lockstep.medusa_claim(v_email, null);
  end if;
  insert into {{.Medusa}}.customer (id, email, first_name, last_name, phone, has_account, metadata)
  values ('cus_' || lockstep.ulid(), v_email, nullif(p_first_name, ''), nullif(p_last_name, ''),
    nullif(p_phone, ''), p_accounts, lockstep.medusa_marked(null, p_user))
  returning id into v_id;
  if p_accounts then
    perform lockstep.medusa_sign_in(p_user, v_id);
  end if;
  return v_id;
end
$lockstep$;

-- medusa_adopt marks a live guest that carries no mark, or this user's, and
-- updates it. The e-mail, if given, is the one that the user has proved: a guest
-- that carries no mark and has another one, or none, is not this user's to have.
-- Such a guest, an account that is not this user's, another's mark, or a user who
-- has a customer already: 23505. A deleted one: P0002.
create or replace function lockstep.medusa_adopt(
  p_customer text, p_user text, p_email text, p_first_name text, p_last_name text, p_phone text,
  p_accounts boolean default false
) returns text
language plpgsql volatile security definer set search_path = ''
as $lockstep$
declare
  v_account boolean;
  v_moved boolean;
begin
  perform lockstep.medusa_begin(p_user);
  -- Locked, or it could become an account, or another's, between this look and
  -- the write.
  select c.has_account,
    nullif(c.metadata ->> 'clerk_user_id', '') is null and lockstep.medusa_email(c.email) is distinct from lockstep.medusa_email(p_email)
    into v_account, v_moved
  from {{.Medusa}}.customer c
  where c.id = p_customer and c.deleted_at is null
  for update;
  if v_account and not (p_accounts and lockstep.medusa_signed_in(p_user) is not distinct from p_customer) then
    raise exception 'the customer is an account' using errcode = 'unique_violation';
  end if;
  if v_moved and lockstep.medusa_email(p_email) is not null then
    raise exception 'the customer has another e-mail' using errcode = 'unique_violation';
  end if;
  perform lockstep.medusa_write(p_customer, p_user, p_email, p_first_name, p_last_name, p_phone, p_accounts);
  return p_customer;
end
$lockstep$;

-- medusa_update is medusa_write for the user's own customer, guest or account.
create or replace function lockstep.medusa_update(
  p_customer text, p_user text, p_email text, p_first_name text, p_last_name text, p_phone text,
  p_accounts boolean default false
) returns text
language plpgsql volatile security definer set search_path = ''
as $lockstep$
begin
  perform lockstep.medusa_begin(p_user);
  perform lockstep.medusa_write(p_customer, p_user, p_email, p_first_name, p_last_name, p_phone, p_accounts);
  return p_customer;
end
$lockstep$;

-- medusa_release takes the user's mark off a live customer and, with accounts,
-- the sign-in. Where it can be, the customer is a guest again: Medusa refuses to
-- delete an account that nobody signs in as, and to let the person register. One
-- that is gone, or another's, is left alone.
create or replace function lockstep.medusa_release(
  p_customer text, p_user text, p_accounts boolean default false
) returns void
language plpgsql volatile security definer set search_path = ''
as $lockstep$
declare
  v record;
begin
  if not p_accounts then
    update {{.Medusa}}.customer c
    set metadata = c.metadata - 'clerk_user_id', updated_at = now()
    where c.id = p_customer and c.deleted_at is null and c.metadata ->> 'clerk_user_id' = p_user;
    return;
  end if;
  perform lockstep.medusa_begin(p_user);
  select c.id, c.has_account, c.metadata ->> 'clerk_user_id' as mark into v
  from {{.Medusa}}.customer c
  where c.id = p_customer and c.deleted_at is null
  for update;
  if coalesce(lockstep.medusa_owner(v.id, p_user), case when not v.has_account then v.mark end) is distinct from p_user then
    return;
  end if;
  v.has_account := not lockstep.medusa_sign_out(p_user, v.id) and v.has_account;
  update {{.Medusa}}.customer c
  set has_account = v.has_account, updated_at = now(),
    metadata = case when v.mark = p_user then c.metadata - 'clerk_user_id' else c.metadata end
  where c.id = v.id;
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

-- medusa_check_accounts is medusa_check, and the same for what accounts need.
create or replace function lockstep.medusa_check_accounts() returns void
language plpgsql volatile security definer set search_path = ''
as $lockstep$
begin
  perform lockstep.medusa_check();
  execute $explain$
    explain select id, app_metadata, updated_at, deleted_at from {{.Medusa}}.auth_identity
  $explain$;
  execute $explain$
    explain select id, entity_id, provider, auth_identity_id, updated_at, deleted_at from {{.Medusa}}.provider_identity
  $explain$;
  execute $explain$ explain insert into {{.Medusa}}.auth_identity (id, app_metadata) values ('', '{}') $explain$;
  execute $explain$
    explain insert into {{.Medusa}}.provider_identity (id, entity_id, provider, auth_identity_id) values ('', '', '', '')
    on conflict (entity_id, provider) do nothing
  $explain$;
  execute $explain$ explain update {{.Medusa}}.auth_identity set app_metadata = '{}', deleted_at = null, updated_at = now() $explain$;
  execute $explain$ explain update {{.Medusa}}.provider_identity set deleted_at = null, updated_at = now() $explain$;
  execute $explain$ explain delete from {{.Medusa}}.auth_identity $explain$;
  execute $explain$ explain delete from {{.Medusa}}.provider_identity $explain$;
  if row_security_active($name${{.Medusa}}.auth_identity$name$::regclass)
    or row_security_active($name${{.Medusa}}.provider_identity$name$::regclass) then
    raise exception 'row-level security hides identities' using errcode = 'insufficient_privilege';
  end if;
end
$lockstep$;

-- medusa_indexes makes the indexes that Medusa lacks, if the tables are there
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
  if to_regclass($name${{.Medusa}}.auth_identity$name$) is not null
    and to_regclass($name${{.Medusa}}.lockstep_identity_customer$name$) is null then
    create index lockstep_identity_customer on {{.Medusa}}.auth_identity ((app_metadata ->> 'customer_id'));
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
