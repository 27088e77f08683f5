-- What becomes of deleted users: customers that were let go stay known, so that a
-- harsher policy finds them; and the erasure of a user, with its proof.

-- +goose Up

alter table lockstep.customer_links add column let_go text[] not null default '{}';
comment on column lockstep.customer_links.let_go is 'Customers that were the user''s, and stayed in the store as they were when the user was deleted.';
create index customer_links_let_go on lockstep.customer_links using gin (let_go) where let_go <> '{}';
update lockstep.customer_links l set let_go = h.ids
  from (select clerk_user_id, target, array_agg(distinct customer_id) as ids from lockstep.history
         where action = 'release' and customer_id is not null group by 1, 2) h
 where l.status = 'released' and l.clerk_user_id = h.clerk_user_id and l.target = h.target;

alter table lockstep.privacy_requests
  drop constraint privacy_requests_kind_check,
  add constraint privacy_requests_kind_check check (kind in ('report', 'erase customer', 'erase store', 'erase user')),
  add column clerk_user_id text,
  add column customers text check (customers in ('keep', 'anonymise', 'delete'));
create unique index privacy_requests_user on lockstep.privacy_requests (clerk_user_id) where kind = 'erase user';
comment on table lockstep.privacy_requests is 'What privacy law asked of us, and what was done: ids and counts, the proof. Only a report for a customer holds personal data, until that customer is erased.';
comment on column lockstep.privacy_requests.clerk_user_id is 'Of `forget USER`, which is about all targets: target is empty.';
comment on column lockstep.privacy_requests.customers is 'The policy for that user''s customers, where it is not the target''s own.';

create index shopify_customers_user on lockstep.shopify_customers (clerk_user_id) where clerk_user_id is not null;

-- +goose Down

drop index lockstep.shopify_customers_user;
delete from lockstep.privacy_requests where kind = 'erase user';
alter table lockstep.privacy_requests
  drop column clerk_user_id, drop column customers,
  drop constraint privacy_requests_kind_check,
  add constraint privacy_requests_kind_check check (kind in ('report', 'erase customer', 'erase store'));
drop index lockstep.customer_links_let_go;
alter table lockstep.customer_links drop column let_go;
