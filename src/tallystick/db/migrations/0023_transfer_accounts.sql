-- The accounts of a transfer without foreign keys, which cost a locked look-up for each of three columns of each row: a journal says
-- that its accounts exist and hold one asset, no account ever goes away, and a transfer without a journal is looked at when it is stored.
alter table actions.transfer
    drop constraint transfer_from_account_fkey,
    drop constraint transfer_to_account_fkey,
    drop constraint transfer_asset_fkey;
create function actions.refuse_unknown_account() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (select from ledger.account f
                     join ledger.account g on g.id = new.to_account and g.asset = f.asset
                    where f.id = new.from_account and f.asset = new.asset) then
        raise exception 'a transfer goes from one account to another that holds the same asset' using errcode = 'foreign_key_violation';
    end if;
    return new;
end
$$;
revoke all on function actions.refuse_unknown_account() from public;
create trigger accounts_of_a_transfer_exist before insert on actions.transfer
    for each row when (new.journal_id is null) execute function actions.refuse_unknown_account();
