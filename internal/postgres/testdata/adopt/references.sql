-- base
-- Keys that refer to the key, and to those again.
create table public.posts (
  id      bigint generated always as identity primary key,
  user_id uuid not null default auth.uid() references public.profiles (id) on delete cascade deferrable initially deferred,
  editor  uuid default gen_random_uuid(),
  title   text not null
);
alter table public.posts add constraint posts_editor_fkey foreign key (editor) references public.profiles (id) on update cascade not valid;
comment on constraint posts_user_id_fkey on public.posts is 'Whose.';
create index posts_user_id_idx on public.posts (user_id);
comment on index public.posts_user_id_idx is 'By user.';
alter table public.posts enable row level security;
create policy "Own posts" on public.posts for all to authenticated using (auth.uid() = user_id) with check ((select auth.uid()) = user_id);
create policy "All read" on public.posts for select using (true);
comment on policy "Own posts" on public.posts is 'Own.';
create policy "Staff edit" on public.posts for update to authenticated
  using (exists (select from public.profiles p where p.id = auth.uid() and p.score > 5));

create table public.settings (
  user_id uuid primary key references public.profiles (id),
  theme   varchar(20) not null default 'dark'
);
create table public.devices (
  user_id uuid references public.settings (user_id) on delete set null,
  name    text,
  unique (user_id, name)
);
create table public.events (
  user_id uuid references public.profiles (id),
  at      date not null,
  what    text
) partition by range (at);
create table public.events_2025 partition of public.events for values from ('2025-01-01') to ('2026-01-01');
create table public.events_2026 partition of public.events for values from ('2026-01-01') to ('2027-01-01');
-- One that knows auth.users alone stays as it is.
create table public.sessions (user_id uuid references auth.users (id), at timestamptz default now());
alter table public.sessions enable row level security;
create policy "Own sessions" on public.sessions using (auth.uid() = user_id);

alter table public.profiles add referred_by uuid references public.profiles (id), add org int not null default 1, add unique (id, org);
create table public."Order Lines" ("userId" uuid, org int, "by'whom" uuid references public.profiles, foreign key ("userId", org) references public.profiles (id, org) match full);
comment on column public."Order Lines"."userId" is 'Who''s.';
create index on public."Order Lines" ("userId") where "userId" is not null;
alter table public."Order Lines" enable row level security;
create policy "It's own" on public."Order Lines" to authenticated using ("userId" = (auth.jwt() ->> 'sub')::uuid and ((select auth.jwt()) ->> 'sub')::uuid = "by'whom");
update public.profiles set referred_by = '00000000-0000-4000-8000-000000000001' where score > 0;
insert into public."Order Lines" select id, 1, referred_by from public.profiles;

insert into public.posts (user_id, editor, title) select id, id, 'of ' || username from public.profiles;
insert into public.settings (user_id) select id from public.profiles limit 20;
insert into public.devices select user_id, 'phone' from public.settings;
insert into public.events select id, date '2025-06-01' + (score * 30), 'came' from public.profiles;
insert into public.sessions (user_id) select id from public.profiles limit 5;
