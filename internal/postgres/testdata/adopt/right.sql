-- What `lockstep migrate down` leaves of its own table: nothing is to be done.
create table if not exists public.profiles (
  id                 text primary key,
  username           text not null,
  avatar_url         text,
  email              text,
  email_verified     boolean not null default false,
  first_name         text,
  last_name          text,
  phone              text,
  phone_verified     boolean not null default false,
  banned             boolean not null default false,
  medusa_customer_id text,
  clerk_updated_at   timestamptz not null default '-infinity',
  deleted_at         timestamptz,
  created_at         timestamptz not null default now(),
  updated_at         timestamptz not null default now()
);
create index if not exists idx_profiles_medusa_customer_id on public.profiles (medusa_customer_id);

comment on table public.profiles is 'One row per Clerk user, kept by Lockstep. Users read their own row only.';
comment on column public.profiles.id is 'The Clerk user''s id (user_…).';
comment on column public.profiles.clerk_updated_at is 'Clerk''s updated_at, to the millisecond: the newer version wins.';
comment on column public.profiles.deleted_at is 'When the user was deleted in Clerk. Final: no later event brings the row back.';
comment on column public.profiles.medusa_customer_id is 'The user''s row in Medusa''s table customer.';

alter table public.profiles enable row level security;

-- Supabase used to grant everything on new tables of public, and some projects
-- still do: take all of it back, then give what is meant. TRUNCATE, which no
-- policy stops, goes too.
do $$
declare
  r text;
begin
  revoke all on public.profiles from public;
  foreach r in array array['anon', 'authenticated', 'service_role'] loop
    if to_regrole(r) is not null then
      execute format('revoke all on public.profiles from %I', r);
    end if;
  end loop;
  if to_regrole('service_role') is not null then
    grant select, insert, update, delete on public.profiles to service_role;
  end if;
  if to_regrole('authenticated') is not null and to_regprocedure('auth.jwt()') is not null then
    grant select on public.profiles to authenticated;
    -- auth.uid() casts to uuid and fails on Clerk's ids; the inner select is
    -- evaluated once per query, not once per row (Supabase's lint 0003).
    drop policy if exists profiles_read_own on public.profiles;
    create policy profiles_read_own on public.profiles for select to authenticated
      using (((select auth.jwt()) ->> 'sub') = id and deleted_at is null);
  end if;
end
$$;

insert into public.profiles (id, username) select 'user_' || n, 'u' || n from generate_series(1, 10) n;
