-- Who waits for the end of a bulk operation asks whether a webhook told of it.

-- +goose Up

create index deliveries_operation on lockstep.deliveries (operation) where operation is not null;

-- +goose Down

drop index lockstep.deliveries_operation;
