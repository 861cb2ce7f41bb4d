-- ledger.seq_before: the number of the last entry of an account that was posted before a time; 0 where there is none.
--
-- posted_at never falls along an account's entries, and (account_id, seq) is their primary key, so the place is found by halving:
-- some twenty look-ups among a million entries, and no index on posted_at that every posting would have to keep.
create or replace function ledger.seq_before(p_account_id bigint, p_before timestamptz) returns bigint
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_last    bigint;
    v_last_at timestamptz;
    v_low     bigint := 0;
    v_high    bigint;
    v_middle  bigint;
begin
    select b.seq, b.last_at into v_last, v_last_at from ledger.balance b where b.account_id = p_account_id;
    if not found then
        return 0;
    end if;
    -- Most questions are about the present, to which all entries belong.
    if v_last_at < p_before then
        return v_last;
    end if;
    -- The answer is v_low or above it, and below v_high.
    v_high := v_last + 1;
    while v_high - v_low > 1 loop
        v_middle := (v_low + v_high) / 2;
        if (select e.posted_at < p_before from ledger.entry e where e.account_id = p_account_id and e.seq = v_middle) then
            v_low := v_middle;
        else
            v_high := v_middle;
        end if;
    end loop;
    return v_low;
end
$$;
