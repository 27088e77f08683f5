-- Columns that Lockstep needs, of other kinds than its own; and a default that
-- makes ids.
create table public.profiles (
  id         uuid primary key default gen_random_uuid(),
  username   varchar,
  email      text not null,
  full_name  text generated always as (coalesce(username, '') || '!') stored,
  email_verified boolean,
  created_at timestamptz not null,
  prefs      jsonb not null default '{}',
  tags       text[]
);
create trigger keep_still before update on public.profiles for each row execute function suppress_redundant_updates_trigger();
insert into public.profiles (username, email, email_verified, created_at, prefs, tags)
  select case when n % 3 > 0 then 'u' || n end, 'u' || n || '@example.test', case n % 4 when 0 then true when 1 then false end,
         '2020-01-01'::timestamptz + n * interval '1 day', jsonb_build_object('n', n), array[n::text, 'x'] from generate_series(1, 40) n;
