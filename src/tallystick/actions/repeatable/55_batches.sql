-- actions.lock_accounts: what postings between accounts of these names lock, in the order of the house: the mark of closed periods (shared),
-- and the balances by id. Whatever is decided takes them before the counters of policy, as actions.prepare does for transfers. A name that
-- no account has locks nothing.
drop function if exists actions.lock_accounts(bigint[]);
create or replace function actions.lock_accounts(p_names text[]) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
    v_ids bigint[];
begin
    perform pg_advisory_xact_lock_shared(7331003);
    select array_agg(a.id) into v_ids from ledger.account a where a.name = any (p_names);
    perform from ledger.balance b where b.account_id = any (v_ids) order by b.account_id for no key update;
end
$$;
revoke all on function actions.lock_accounts(text[]) from public;
grant execute on function actions.lock_accounts(text[]) to tallystick_app;
