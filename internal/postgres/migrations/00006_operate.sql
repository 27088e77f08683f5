-- What watching and tidying up ask for, without reading whole tables: the
-- newest and the oldest delivery of each source, the links given up, and since
-- when there could have been a delivery.

-- +goose Up

create index deliveries_received on lockstep.deliveries (source, received_at);
create index customer_links_failed_at on lockstep.customer_links (target, updated_at) where status = 'failed';
insert into lockstep.checkpoints (name, value) values ('installed', '') on conflict do nothing;

-- +goose Down

delete from lockstep.checkpoints where name = 'installed';
drop index lockstep.customer_links_failed_at, lockstep.deliveries_received;
