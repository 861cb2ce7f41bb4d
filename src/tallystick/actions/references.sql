-- transfer_edge --
-- Where a piece of transfers ends; no row for the last one.
select id
  from actions.transfer
 where id >= %(first)s::bigint
 order by id
offset %(size)s::bigint - 1
 limit 1

-- verify_transfers --
-- Transfers that were posted by a journal that is not there, or did something else.
select f.code, 'ledger.journal' as relation, concat('id=', t.journal_id) as place, f.found, f.expected
  from (select x.id, x.from_account, x.to_account, x.amount, x.journal_id, j.id as known_journal, l.taken, l.given
          from actions.transfer x
          left join ledger.journal j on j.id = x.journal_id
         cross join lateral (select coalesce(-sum(e.amount) filter (where e.account_id = x.from_account), 0) as taken,
                                    coalesce(sum(e.amount) filter (where e.account_id = x.to_account), 0) as given
                               from ledger.entry e
                              where e.journal_id = x.journal_id) as l
         where x.id between %(first)s::bigint and %(last)s::bigint
           and x.journal_id is not null
        offset 0) as t
 cross join lateral (values
       ('row_missing', 'nothing', concat('the journal of actions.transfer id=', t.id), t.known_journal is null),
       ('reference_differs', concat('took ', t.taken, ' from account_id=', t.from_account, ', gave ', t.given, ' to account_id=', t.to_account),
        concat(t.amount, ', as actions.transfer id=', t.id),
        t.known_journal is not null and (t.taken <> t.amount or t.given <> t.amount))
       ) as f (code, found, expected, wrong)
 where (t.known_journal is null or t.taken <> t.amount or t.given <> t.amount)
   and f.wrong
