-- What users say about marketing by e-mail, if a place for it is mapped.

-- +goose Up

create table lockstep.consents (
  clerk_user_id text primary key,
  place         text not null,
  subscribed    boolean,
  said_at       timestamptz not null,
  version_at    timestamptz not null
);
comment on table lockstep.consents is 'What users say about marketing by e-mail, from the place in Clerk that a shop''s setting consent names.';
comment on column lockstep.consents.subscribed is 'Null: the user was looked at, and says nothing.';
comment on column lockstep.consents.said_at is 'When it was said, as far as is known: at the first look, when the user was made.';
comment on column lockstep.consents.version_at is 'Clerk''s updated_at of the version that brought it.';
alter table lockstep.consents enable row level security;

alter table lockstep.customer_links add column refused_consent timestamptz;
comment on column lockstep.customer_links.refused_consent is 'When the consent was said that the target would not take: not tried again.';

-- +goose Down

alter table lockstep.customer_links drop column refused_consent;
drop table lockstep.consents;
