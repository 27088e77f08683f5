create schema seed;
grant usage on schema seed to anon, authenticated, service_role;
create table seed.profiles (
  id text primary key,
  username text not null,
  avatar_url text,
  medusa_customer_id text,
  created_at timestamptz not null default now()
);
-- What Supabase granted by itself until 2026.
grant all on seed.profiles to anon, authenticated, service_role;
alter table seed.profiles enable row level security;
create policy "Profiles are viewable by everyone" on seed.profiles for select using (true);
create policy "Users can insert their own profile" on seed.profiles for insert with check (auth.uid()::text = id);
create policy "Users can update their own profile" on seed.profiles for update using (auth.uid()::text = id);
