-- The key is text already, with Clerk's ids in it; nothing else was done.
create table public.profiles (
  id         text primary key,
  username   text not null,
  avatar_url text
);
alter table public.profiles enable row level security;
create policy "Own profile" on public.profiles for all using ((auth.uid())::text = id);
create policy "Public profiles are viewable by everyone" on public.profiles for select using (true);
create table public.carts (user_id text references public.profiles (id), items int);
insert into public.profiles (id, username) select 'user_' || n, 'u' || n from generate_series(1, 20) n;
insert into public.carts select id, 1 from public.profiles;
alter table public.carts enable row level security;
create policy "Own cart" on public.carts to authenticated using (user_id = (select auth.uid())::text);
create function public.my_items() returns int language sql stable as $$ select sum(items)::int from public.carts where user_id = auth.uid()::text $$;
