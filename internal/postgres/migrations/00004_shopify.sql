-- What the shops tell: their customers, captured; which of them changed; and
-- what privacy law asks for. And the life of a shop: connected, disconnected,
-- what is wrong with it.

-- +goose Up

alter table lockstep.deliveries
  alter column clerk_user_id drop not null,
  add column target text,
  add column operation text,
  add column triggered_at timestamptz;
create index deliveries_target on lockstep.deliveries (target, received_at desc) where target is not null;
comment on column lockstep.deliveries.target is 'The store that sent it; null for Clerk.';
comment on column lockstep.deliveries.operation is 'The id of the work whose end it tells, such as a bulk operation.';

alter table lockstep.targets
  add column endpoint text,
  add column disconnected_at timestamptz,
  add column problems text[] not null default '{}',
  add column inspected_at timestamptz;
comment on table lockstep.targets is 'What is known of a target: whether it is paused, and why; whether it is connected, and what is wrong with it.';
comment on column lockstep.targets.endpoint is 'Where the store sends its webhooks, since `shopify connect`.';
comment on column lockstep.targets.disconnected_at is 'Set by `shopify disconnect`: such a target stays paused until it is connected again.';
comment on column lockstep.targets.problems is 'What the last inspection found that does not stop the work.';

create table lockstep.shopify_customers (
  shopify_shop        text not null,
  shopify_customer_id text not null,
  clerk_user_id       text,
  email               text,
  phone               text,
  first_name          text,
  last_name           text,
  state               text,
  verified_email      boolean,
  locale              text,
  tags                text[] not null default '{}',
  email_consent       text,
  email_consent_at    timestamptz,
  sms_consent         text,
  sms_consent_at      timestamptz,
  unproven            text[] not null default '{}',
  created_at          timestamptz,
  updated_at          timestamptz,
  deleted_at          timestamptz,
  captured_at         timestamptz not null,
  primary key (shopify_shop, shopify_customer_id)
);
create index shopify_customers_email on lockstep.shopify_customers (shopify_shop, lower(email)) where email is not null;
comment on table lockstep.shopify_customers is 'The shops'' customers as last read from Shopify. A deleted one keeps its id and times only.';
comment on column lockstep.shopify_customers.clerk_user_id is 'The mark on the customer; customer_links says who is who.';
comment on column lockstep.shopify_customers.unproven is 'Fields that Shopify showed as null, and may have hidden from the app: they keep the value that was known before, null if none was. Not "has none".';
comment on column lockstep.shopify_customers.captured_at is 'When the read began.';

create table lockstep.shopify_changes (
  target      text not null,
  customer_id text not null,
  changes     bigint not null default 1,
  due_at      timestamptz not null default now(),
  lease_until timestamptz,
  changed_at  timestamptz not null default now(),
  primary key (target, customer_id)
);
create index shopify_changes_due on lockstep.shopify_changes (target, due_at);
comment on table lockstep.shopify_changes is 'Customers that may have changed and are to be read; a burst of changes of one is one row.';
comment on column lockstep.shopify_changes.changes is 'Counts them: a row that was changed again while it was read is read again.';

create table lockstep.privacy_requests (
  id           bigint generated always as identity primary key,
  target       text not null,
  kind         text not null check (kind in ('report', 'erase customer', 'erase store')),
  customer_id  text,
  reference    text,
  delivery_id  text not null,
  requested_at timestamptz,
  received_at  timestamptz not null default now(),
  due_at       timestamptz not null default now() + interval '30 days',
  done_at      timestamptz,
  outcome      jsonb,
  report       jsonb
);
create index privacy_requests_customer on lockstep.privacy_requests (target, customer_id);
comment on table lockstep.privacy_requests is 'What privacy law asked of us, and what was done: ids and counts, the proof. Only a report for a customer holds personal data, until that customer is erased.';

alter table lockstep.shopify_customers enable row level security;
alter table lockstep.shopify_changes enable row level security;
alter table lockstep.privacy_requests enable row level security;

-- +goose Down

drop table lockstep.privacy_requests, lockstep.shopify_changes, lockstep.shopify_customers;
alter table lockstep.targets drop column endpoint, drop column disconnected_at, drop column problems, drop column inspected_at;
delete from lockstep.deliveries where clerk_user_id is null;
alter table lockstep.deliveries
  drop column target, drop column operation, drop column triggered_at,
  alter column clerk_user_id set not null;
