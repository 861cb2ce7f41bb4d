-- payments.lock_nostro: nobody else reconciles this nostro until the transaction ends. Facts cannot be locked by who may not
-- change them, so this is done for the application.
create or replace function payments.lock_nostro(p_nostro_id bigint) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform from payments.nostro n where n.account_id = p_nostro_id for no key update;
end
$$;

-- payments.match_statement: match the lines of a statement that are open with the entries of its nostro that are open.
--
-- An entry is mirrored: the amount that a line should have is minus the entry's. The entry's reference is the end-to-end id of
-- its payment, or `end_to_end_id` in the meta of its journal; its day is the one on which the other bank booked it
-- where its payment tells that, or that of `effective_at` in UTC. A line's day is the one it was booked on, or valued on where
-- that is not told. What a person has explained is left alone.
--
-- The rules, in this order; each takes from what those before it have left:
--   end_to_end_id    the line's end-to-end id is the entry's reference, and the amounts are equal;
--   reference        the other bank's own reference is the entry's reference, and the amounts are equal;
--   then both again with amounts that differ and go the same way: these pairs are kept as differing;
--   amount_and_date  the amounts are equal, the days are at most p_tolerance_days apart, line and entry do not both have an
--                    end-to-end id (they would be different ones), and each is the only one that the other could be.
-- Where several lines and several entries are alike, the first goes with the first, by number and by sequence.
--
-- One row a rule comes back with the number of pairs. All of it is sorting and hashing, so it takes n log n.
create or replace function payments.match_statement(p_statement_id bigint, p_tolerance_days integer, p_principal text)
returns table (rule text, differs boolean, lines bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_nostro_id bigint;
    v_round     record;
begin
    select s.nostro_id into strict v_nostro_id from payments.statement s where s.id = p_statement_id;
    perform payments.lock_nostro(v_nostro_id);

    drop table if exists pg_temp.open_line, pg_temp.open_entry, pg_temp.pair;
    create temporary table open_line on commit drop as
    select l.number, l.amount, l.end_to_end_id, l.reference, coalesce(l.booked_on, l.valued_on) - date '2000-01-01' as day
      from payments.statement_line l
     where l.statement_id = p_statement_id and l.amount <> 0
       and not exists (select from payments.match m where m.statement_id = l.statement_id and m.number = l.number)
       and not exists (select from payments.explanation x where x.statement_id = l.statement_id and x.number = l.number);

    create temporary table open_entry on commit drop as
    select e.seq, -e.amount as amount, coalesce(p.end_to_end_id, j.meta ->> 'end_to_end_id') as reference,
           coalesce(t.booked_on, (j.effective_at at time zone 'UTC')::date) - date '2000-01-01' as day
      from ledger.entry e
      join ledger.journal j on j.id = e.journal_id
      left join payments.payment_step t on t.journal_id = e.journal_id
      left join payments.payment p on p.id = t.payment_id
     where e.account_id = v_nostro_id
       and not exists (select from payments.match m where m.nostro_id = e.account_id and m.entry_seq = e.seq)
       and not exists (select from payments.explanation x where x.nostro_id = e.account_id and x.entry_seq = e.seq);

    create temporary table pair (number integer, seq bigint, rule text, differs boolean) on commit drop;
    -- The planner knows nothing of tables that were just filled.
    analyze pg_temp.open_line;
    analyze pg_temp.open_entry;

    for v_round in
        select r.place, r.rule, r.differs
          from (values (1, 'end_to_end_id', false), (2, 'reference', false), (3, 'end_to_end_id', true), (4, 'reference', true))
               as r (place, rule, differs)
         order by r.place
    loop
        insert into pg_temp.pair (number, seq, rule, differs)
        select l.number, e.seq, v_round.rule, v_round.differs
          from (select o.number, o.reference, o.amount, row_number() over (partition by o.reference, o.amount order by o.number)
                  from (select number,
                               case v_round.rule when 'reference' then reference else end_to_end_id end,
                               case when v_round.differs then sign(amount)::bigint else amount end
                          from pg_temp.open_line) as o (number, reference, amount)
                 where o.reference is not null) as l (number, reference, amount, place)
          join (select o.seq, o.reference, o.amount, row_number() over (partition by o.reference, o.amount order by o.seq)
                  from (select seq, reference, case when v_round.differs then sign(amount)::bigint else amount end
                          from pg_temp.open_entry) as o (seq, reference, amount)
                 where o.reference is not null) as e (seq, reference, amount, place)
            on e.reference = l.reference and e.amount = l.amount and e.place = l.place;
        delete from pg_temp.open_line o using pg_temp.pair p where p.number = o.number;
        delete from pg_temp.open_entry o using pg_temp.pair p where p.seq = o.seq;
    end loop;

    -- Each side counts those that it could be, among all of the same amount within the days around it: all of them where it has
    -- no reference, else those that have none. The sum over a single one is that one; counts and sums can be carried along as the
    -- window moves, which a maximum cannot.
    with open as (
        select true as is_line, number::bigint as own, amount, day, end_to_end_id is not null as named
          from pg_temp.open_line
         where day is not null
         union all
        select false, seq, amount, day, reference is not null
          from pg_temp.open_entry
    ), counted as (
        select o.is_line, o.own, o.named,
               count(*) filter (where not o.is_line) over days as entries,
               sum(o.own) filter (where not o.is_line) over days as entry,
               count(*) filter (where not o.is_line and not o.named) over days as nameless_entries,
               sum(o.own) filter (where not o.is_line and not o.named) over days as nameless_entry,
               count(*) filter (where o.is_line) over days as lines,
               sum(o.own) filter (where o.is_line) over days as line,
               count(*) filter (where o.is_line and not o.named) over days as nameless_lines,
               sum(o.own) filter (where o.is_line and not o.named) over days as nameless_line
          from open o
        window days as (partition by o.amount order by o.day
                        range between p_tolerance_days preceding and p_tolerance_days following)
    ), line as (
        select c.own, case when c.named then c.nameless_entry else c.entry end::bigint as partner
          from counted c
         where c.is_line and case when c.named then c.nameless_entries else c.entries end = 1
    ), entry as (
        select c.own, case when c.named then c.nameless_line else c.line end::bigint as partner
          from counted c
         where not c.is_line and case when c.named then c.nameless_lines else c.lines end = 1
    )
    insert into pg_temp.pair (number, seq, rule, differs)
    select l.own::integer, e.own, 'amount_and_date', false
      from line l
      join entry e on e.own = l.partner and e.partner = l.own;

    return query
    with kept as (
        insert into payments.match (statement_id, number, nostro_id, entry_seq, rule, differs, principal)
        select p_statement_id, p.number, v_nostro_id, p.seq, p.rule, p.differs, p_principal
          from pg_temp.pair p
        returning rule, differs
    )
    select k.rule, k.differs, count(*)
      from kept k
     group by k.rule, k.differs
     order by k.differs, k.rule;
end
$$;

-- payments.match_by_hand: a person says that a line tells of an entry. No row means that there is no such entry of the nostro, or
-- that one of the two is matched or explained already.
create or replace function payments.match_by_hand(
    p_statement_id bigint, p_number integer, p_entry_seq bigint, p_principal text, p_why text
) returns setof boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_nostro_id bigint;
begin
    select s.nostro_id into strict v_nostro_id from payments.statement s where s.id = p_statement_id;
    perform payments.lock_nostro(v_nostro_id);
    return query
    insert into payments.match (statement_id, number, nostro_id, entry_seq, rule, differs, principal, why)
    select l.statement_id, l.number, v_nostro_id, e.seq, 'hand', e.amount <> -l.amount, p_principal, p_why
      from payments.statement_line l
      join ledger.entry e on e.account_id = v_nostro_id and e.seq = p_entry_seq
     where l.statement_id = p_statement_id and l.number = p_number
       and not exists (select from payments.match m where m.statement_id = l.statement_id and m.number = l.number)
       and not exists (select from payments.match m where m.nostro_id = v_nostro_id and m.entry_seq = e.seq)
       and not exists (select from payments.explanation x where x.statement_id = l.statement_id and x.number = l.number)
       and not exists (select from payments.explanation x where x.nostro_id = v_nostro_id and x.entry_seq = e.seq)
    returning match.differs;
end
$$;
