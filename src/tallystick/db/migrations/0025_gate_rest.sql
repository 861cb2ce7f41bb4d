-- Batches of transfers as one action: the transfers of an action are found by it.
create index transfer_by_action on actions.transfer (action_id, id) where action_id is not null;
