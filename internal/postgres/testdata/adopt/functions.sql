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
