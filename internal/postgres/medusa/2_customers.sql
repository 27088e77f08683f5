
-- What the target calls, made of the parts before.

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

-- medusa_release lets go of the live customer of a user who was deleted, and
-- returns how: 'keep' takes the mark off and, with accounts, the sign-in; 'unmark'
-- does the same for a living user, and does not say that one was deleted;
-- 'anonymise' also what Lockstep writes of a person, with an address in place of
-- the e-mail that leads nowhere; 'delete' then deletes softly, as Medusa does. An
-- account that somebody else signs in to, or may, is only let go. Where it can be,
-- an account is a guest again: Medusa refuses to delete one that nobody signs in
-- as, and to let the person register. A customer that is gone, or another's, is
-- left alone: null. No user stands for a guest that carries no mark.
create or replace function lockstep.medusa_release(
  p_customer text, p_user text, p_accounts boolean default false, p_how text default 'keep'
) returns text
language plpgsql volatile security definer set search_path = ''
as $lockstep$
declare
  v record;
  v_owner text;
  v_how text := p_how;
begin
  if p_how not in ('unmark', 'keep', 'anonymise', 'delete') or p_how is null then
    raise exception 'no such policy' using errcode = 'invalid_parameter_value';
  end if;
  perform lockstep.medusa_begin(coalesce(nullif(p_user, ''), p_customer));
  select c.id, c.has_account, nullif(c.metadata ->> 'clerk_user_id', '') as mark into v
  from {{.Medusa}}.customer c
  where c.id = p_customer and c.deleted_at is null
  for update;
  if not found then
    return null;
  end if;
  v_owner := case when not (p_accounts and v.has_account) then v.mark end;
  if p_accounts then
    v_owner := coalesce(lockstep.medusa_owner(v.id, p_user), v_owner);
  end if;
  if coalesce(v_owner, '') <> coalesce(p_user, '') then
    return null;
  end if;
  if v.has_account and not (p_accounts and lockstep.medusa_alone(p_user, v.id)) then
    if v_owner is null then
      return null;
    end if;
    v_how := case p_how when 'unmark' then p_how else 'keep' end;
  end if;
  if v_how in ('anonymise', 'delete') then
    update {{.Medusa}}.customer c
    set email = lower(c.id) || '@deleted.invalid', first_name = null, last_name = null, phone = null
    where c.id = v.id;
  end if;
  if p_accounts and v_owner is not null then
    v.has_account := not lockstep.medusa_sign_out(p_user, v.id) and v.has_account;
  end if;
  update {{.Medusa}}.customer c
  set has_account = v.has_account, updated_at = now(), deleted_at = case when v_how = 'delete' then now() end,
    metadata = lockstep.medusa_unmarked(c.metadata, v.mark = v_owner, v_how <> 'unmark')
  where c.id = v.id;
  if v_how = 'delete' then
    update {{.Medusa}}.customer_address a set deleted_at = now(), updated_at = now()
    where a.customer_id = v.id and a.deleted_at is null;
  end if;
  return v_how;
end
$lockstep$;
