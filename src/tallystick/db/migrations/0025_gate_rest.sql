-- Batches of transfers as one action: the transfers of an action are found by it.
create index transfer_by_action on actions.transfer (action_id, id) where action_id is not null;

-- What a question touches, by number: who has some accounts and customers in reach sees the questions that touch no other. One that
-- touches none is about all business, and is for those who see all.
alter table approvals.approval
    add column accounts  bigint[] not null default '{}',
    add column customers bigint[] not null default '{}';
create index approval_by_account on approvals.approval using gin (accounts);
create index approval_by_customer on approvals.approval using gin (customers);
comment on column approvals.approval.customers is 'Numbers of customers; 0 where it touches one who has none.';
