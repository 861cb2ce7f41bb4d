-- ledger.journal_rows: what the digest of a journal is made of: the row as db.digest_row sees it, and then (account, number, amount)
-- of each entry, by account and number.
create or replace function ledger.journal_rows(p_ids bigint[]) returns table (id bigint, sent bytea)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
    select j.id,
           record_send(row(j.id, j.kind, j.ref_id, j.actor, j.on_behalf_of, j.task_id, j.approval_id, j.reverses, j.hold_id,
                           j.effective_at, j.posted_at, j.meta, null::bytea))
           || (select coalesce(string_agg(int8send(e.account_id) || int8send(e.seq) || int8send(e.amount), ''::bytea
                                          order by e.account_id, e.seq), ''::bytea)
                 from ledger.entry e
                where e.journal_id = j.id)
      from unnest(p_ids) with ordinality as u (id, ord)
      join ledger.journal j on j.id = u.id
     order by u.ord;
$$;
