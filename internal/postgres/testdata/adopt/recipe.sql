-- base
-- A second trigger keeps profiles in step with auth.users, and one of the
-- application's own has nothing to do with them.
create function public.handle_user_update() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  update public.profiles set updated_at = now() where id = new.id;
  return new;
end
$$;
create trigger on_auth_user_updated after update on auth.users for each row execute function public.handle_user_update();
create function public.log_sign_up() returns trigger language plpgsql as 'begin return new; end';
create trigger log_sign_up after insert on auth.users for each row execute function public.log_sign_up();
create policy "No strangers" on public.profiles as restrictive for select to authenticated using (auth.uid() is not null);
