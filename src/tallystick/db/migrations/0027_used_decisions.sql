-- A decision that is kept by the function which carries its effect out is used from the start; policy.consumption has those that are
-- used later. No decision is used twice.
alter table policy.decision
    add column used_by xid8,
    add constraint only_what_is_allowed_is_used check (used_by is null or outcome = 'allow');
comment on column policy.decision.used_by is 'The transaction that wrote the decision and carried its effect out.';
