-- base
-- The attempt to change the type failed after the primary key was dropped.
alter table public.profiles drop constraint profiles_id_fkey;
drop function public.handle_new_user() cascade;
alter table public.profiles drop constraint profiles_pkey;
