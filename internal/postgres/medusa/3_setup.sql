
-- Checks, indexes, the application's own functions, and who may call what.

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

-- medusa_check_delete asks for what deleting customers needs besides.
create or replace function lockstep.medusa_check_delete() returns void
language plpgsql volatile security definer set search_path = ''
as $lockstep$
begin
  execute $explain$
    explain update {{.Medusa}}.customer_address a set deleted_at = now(), updated_at = now()
    where a.customer_id = '' and a.deleted_at is null
  $explain$;
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
