-- base
-- Views of every kind, on one another, with all that is theirs.
create view public.people with (security_invoker = on) as select id, username, bio from public.profiles;
comment on view public.people is 'People''s names.';
comment on column public.people.username is 'Their''s.';
grant select on public.people to anon, authenticated;
grant update (bio) on public.people to authenticated with grant option;
revoke all on public.people from service_role;
create view public.me with (security_barrier = true, check_option = cascaded) as select id, username, score from public.profiles where id = auth.uid();
create view public.regulars as select p.*, row_number() over (order by p.id) as n from public.people p where p.id is not null;
alter view public.regulars alter column username set default 'nobody';
create function public.write_regular() returns trigger language plpgsql as 'begin return null; end';
create trigger write_regulars instead of insert on public.regulars for each row execute function public.write_regular();
comment on trigger write_regulars on public.regulars is 'Nothing.';
create view public.names as select username from public.profiles;
grant create on schema public to service_role;
alter view public.regulars owner to service_role;
grant select on public.people to service_role;
create rule no_delete as on delete to public.people do instead nothing;
comment on rule no_delete on public.people is 'They stay.';

create materialized view public.board with (fillfactor = 70) as select r.id, r.username, p.score from public.regulars r join public.profiles p using (id);
create unique index board_id on public.board (id);
create index board_score on public.board (score desc) where score > 0;
comment on index public.board_id is 'One each.';
alter materialized view public.board cluster on board_id;
alter materialized view public.board alter column score set statistics 400;
comment on materialized view public.board is 'The board.';
grant select on public.board to service_role;
create materialized view public.later as select id from public.board with no data;
create view public.top as select * from public.board order by score desc limit 3;
create function public.regular(p_name text) returns setof public.regulars language sql stable as 'select * from public.regulars where username = p_name';
revoke execute on function public.regular(text) from public;
grant execute on function public.regular(text) to service_role;
comment on function public.regular(text) is 'By name.';
create policy "Via the board" on public.profiles for select to service_role using (id in (select b.id from public.board b));

