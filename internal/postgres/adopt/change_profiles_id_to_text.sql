-- Clerk's ids are text (user_…). The column becomes text with its primary key,
-- and so does every column that refers to it; what hangs on them is made anew,
-- as it was. The table is written anew once.
create or replace function lockstep.change_profiles_id_to_text() returns void
language plpgsql set search_path = ''
as $lockstep$
declare
  v record;
begin
  if not lockstep.adopt_begin('change_profiles_id_to_text') then
    return;
  end if;
  perform lockstep.adopt_refuse(lockstep.adopt_obstacles());
  perform lockstep.adopt_convert('change_profiles_id_to_text', false);
  if not exists (select from pg_constraint k where k.conrelid = to_regclass('public.profiles') and k.contype = 'p') then
    perform lockstep.adopt_note('making the primary key');
    alter table public.profiles add primary key (id);
    perform lockstep.adopt_remember('change_profiles_id_to_text', 'primary key',
      (select k.conname from pg_constraint k where k.conrelid = to_regclass('public.profiles') and k.contype = 'p'), null);
  end if;
end
$lockstep$;

select lockstep.change_profiles_id_to_text();
