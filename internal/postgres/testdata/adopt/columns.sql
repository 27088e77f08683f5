-- base
-- What may hang on the column itself.
alter table public.profiles add column short text generated always as (left(md5(id::text), 8)) stored not null;
comment on column public.profiles.short is 'For links.';
create unique index profiles_short on public.profiles (short);
alter table public.profiles add constraint short_is_short check (length(short) = 8);
create view public.links as select short from public.profiles;
alter table public.profiles alter column id set statistics 250;
create index profiles_id_text on public.profiles ((id::text)) where id is not null;
create statistics public.profiles_id_score (dependencies) on id, score from public.profiles;
alter table public.profiles add constraint id_given check (id is not null);
create unique index profiles_replica on public.profiles (id);
alter table public.profiles replica identity using index profiles_replica;
create function public.audit() returns trigger language plpgsql as 'begin return new; end';
create trigger audit_key after update of id on public.profiles for each row execute function public.audit();
create trigger audit_change before update on public.profiles for each row when (old.id is distinct from new.id) execute function public.audit();
create trigger audit_off after insert on public.profiles for each row when (new.id is not null) execute function public.audit();
alter table public.profiles disable trigger audit_off;
comment on trigger audit_key on public.profiles is 'Keys.';
create rule keep_key as on update to public.profiles where new.id is null do instead nothing;
create publication names for table public.profiles (id, username) where (id is not null);
alter publication supabase_realtime add table public.profiles;
