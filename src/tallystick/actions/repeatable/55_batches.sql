-- actions.lock_accounts: what postings between these accounts lock, in the order of the house: the mark of closed periods (shared), and
-- the balances. Who decides several postings as one takes them before the counters of policy, as actions.prepare does.
create or replace function actions.lock_accounts(p_accounts bigint[]) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_advisory_xact_lock_shared(7331003);
    perform from ledger.balance b where b.account_id = any (p_accounts) order by b.account_id for no key update;
end
$$;
revoke all on function actions.lock_accounts(bigint[]) from public;
grant execute on function actions.lock_accounts(bigint[]) to tallystick_app;
