-- A payee outside of the bank is known by its bank and its account together, with a slash between, which no account of the bank has
-- in its name: KOMBCZPP/2501, or /2501 where no bank was named. Until now the account alone was kept, so that those who were known so
-- far are known at no bank; who is paid at one that is named is new once more. What has a label was not paid by a transfer.
create temporary table outside on commit drop as
select distinct on (p.account_id, z.payee) p.account_id, z.payee, p.label, p.since, p.by_principal
  from actions.payee p
 cross join lateral (select concat('/', upper(regexp_replace(p.payee, '\s', '', 'g') collate "C")) as payee) z
 where p.label is not null
    or not exists (select from ledger.account a where a.name = p.payee)
 order by p.account_id, z.payee, p.since;

delete from actions.payee p
 where p.label is not null
    or not exists (select from ledger.account a where a.name = p.payee);

insert into actions.payee (account_id, payee, label, since, by_principal)
select account_id, left(payee, 200), label, since, by_principal
  from outside;
