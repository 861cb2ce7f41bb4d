-- payment_edge --
-- Where a piece of payments ends; no row for the last one.
select id
  from payments.payment
 where id >= %(first)s::bigint
 order by id
offset %(size)s::bigint - 1
 limit 1

-- verify_payments --
-- Steps of payments that moved money by a journal that is not there.
select 'row_missing' as code, 'ledger.journal' as relation, concat('id=', s.journal_id) as place, 'nothing' as found,
       concat('the journal of payments.payment_step payment_id=', s.payment_id, ' status=', s.status) as expected
  from payments.payment_step s
  left join ledger.journal j on j.id = s.journal_id
 where s.payment_id between %(first)s::bigint and %(last)s::bigint
   and s.journal_id is not null and j.id is null
