-- In whose name a standing order is paid: who said last what it says, with what they had then, and who stood behind them. Of what was
-- said before this, only the name is known.
alter table customers.standing_term
    add column roles        text[],
    add column version      text,
    add column mandate_id   bigint,
    add column behind       text[] not null default '{}',
    add column approval_id  bigint,
    add column since        date,
    add constraint behind_is_bounded check (cardinality(behind) <= 2);
comment on column customers.standing_term.behind is 'The owner of the agent that said it, and the person for whom.';
comment on column customers.standing_term.approval_id is 'The question by which people agreed to it.';
comment on column customers.standing_term.since is 'The day since which it is due on these days: none before it is paid.';

-- Why a day was not paid.
alter table customers.standing_run
    add column reason text,
    add constraint reason_is_bounded check (length(reason) <= 100);
