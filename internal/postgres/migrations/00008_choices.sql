-- What only a person may decide: which choices a conflict leaves, and which one
-- was made.

-- +goose Up

alter table lockstep.customer_links
  add column held_by text,
  add column choices jsonb,
  add column choice jsonb;
comment on column lockstep.customer_links.held_by is 'The user whose mark or link the customer in blocked_by has.';
comment on column lockstep.customer_links.choices is 'What a person may choose, while the link is a conflict.';
comment on column lockstep.customer_links.choice is 'What a person chose and the facts that it was made on: ids, and a digest of the e-mail. It goes when the facts do.';

-- A link whose choice leaves an e-mail to another customer is looked at again
-- as a conflict is.
drop index lockstep.customer_links_held;
create index customer_links_held on lockstep.customer_links (updated_at)
  where status in ('conflict', 'waiting') or status = 'linked' and blocked_by is not null;

-- +goose Down

drop index lockstep.customer_links_held;
create index customer_links_held on lockstep.customer_links (updated_at) where status in ('conflict', 'waiting');
alter table lockstep.customer_links drop column choice, drop column choices, drop column held_by;
