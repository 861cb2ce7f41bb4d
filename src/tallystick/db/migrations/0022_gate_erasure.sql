-- What the gate keeps of a customer can be erased: facts and verdicts of decisions, payloads of actions, terms of standing orders.

-- salt goes into the digest by which the record holds facts and verdict: nobody finds them by trying once it is gone.
alter table policy.decision
    add column salt bytea,
    add column erased_by bigint,
    add constraint salt_is_bounded check (octet_length(salt) = 16),
    add constraint what_is_erased_has_no_salt check ((salt is null) = (erased_by is not null)),
    drop constraint only_what_the_verdict_or_people_allow_is_allowed,
    add constraint only_what_the_verdict_or_people_allow_is_allowed
        check (outcome <> 'allow' or starts_with(verdict, '{"outcome":"allow"')
               or (approval_id is not null and starts_with(verdict, '{"approve":'))
               or erased_by is not null);
alter table actions.action add column erased_by bigint;
comment on column policy.decision.erased_by is 'The event of the record that tells of the erasure.';
comment on column actions.action.erased_by is 'The event of the record that tells of the erasure.';
comment on column customers.standing_term.erased_by is 'The event of the record that tells of the erasure.';

create or replace trigger decision_is_a_fact before update or delete or truncate on policy.decision
    for each statement execute function db.refuse_change_but_erasure();
create trigger term_is_a_fact before update or delete or truncate on customers.standing_term
    for each statement execute function db.refuse_change_but_erasure();
create trigger run_is_a_fact before update or delete or truncate on customers.standing_run
    for each statement execute function db.refuse_change();

alter table audit.retention drop constraint kind_is_known;
alter table audit.retention add constraint kind_is_known
    check (kind in ('action', 'approval', 'customer', 'decision', 'transfer', 'payment', 'case', 'task', 'schedule', 'event', 'payload'));
insert into audit.retention (kind, keep_months, set_by) values ('action', 60, 'tallystick'), ('decision', 60, 'tallystick');
