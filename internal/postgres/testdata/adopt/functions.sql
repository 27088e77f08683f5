-- base
-- Functions that know the key in their signature or their body.
create function public.name_of(p_id public.profiles.id%type) returns text language sql stable
begin atomic
  select username from public.profiles where id = p_id;
end;
comment on function public.name_of(uuid) is 'Of the uuid.';
grant execute on function public.name_of(uuid) to service_role;
create function public.people_count() returns bigint language sql stable
begin atomic
  select count(id) from public.profiles;
end;
create function public.label(p public.profiles) returns text language sql stable as $$ select p.username || ' ' || p.bio $$;
create function public.mine() returns setof public.profiles language sql stable set search_path = '' as $$ select * from public.profiles $$;
create function public.first_profile() returns public.profiles language plpgsql as $$
declare
  v public.profiles;
  v_id public.profiles.id%type;
begin
  select p.id into v_id from public.profiles p order by 1 limit 1;
  select * into v from public.profiles p where p.id = v_id;
  return v;
end
$$;
create view public.labelled as select id, public.name_of(id) as name, public.label(p) as label from public.profiles p;
create table public.visits (user_id uuid references public.profiles (id), at timestamptz default '2026-01-01');
alter table public.visits enable row level security;
create policy "Named" on public.visits for select to authenticated using (public.name_of(user_id) is not null);
insert into public.visits (user_id) select id from public.profiles;
-- Bodies in quotes, of which PostgreSQL knows nothing.
create function public.is_regular(p_user uuid, p_least int default 7) returns boolean language plpgsql security definer set search_path = '' as $$
begin
  return exists (select from public.profiles p where p.id = p_user and p.score >= p_least);
end
$$;
revoke execute on function public.is_regular(uuid, int) from public;
grant execute on function public.is_regular(uuid, int) to authenticated;
comment on function public.is_regular(uuid, int) is 'Often here.';
create function public.am_i_regular() returns boolean language sql stable as $$ select public.is_regular(auth.uid()) from public.profiles where id = (select auth.uid()) $$;
create function public.visits_of(u uuid) returns bigint language sql stable as $$ select count(*) from public.visits v where v.user_id = visits_of.u $$;
create policy "Regulars" on public.visits for insert to authenticated with check (public.is_regular(user_id) and public.is_regular(auth.uid()));
grant select, insert on public.visits to authenticated;
