-- Approvals: what people are asked before an action is carried out, what they were shown, and what they said. Where a question stands
-- is state, which only the functions of this room change; what was shown and said are facts. An amendment is a new version, and what
-- was said of another version counts no more.
create schema approvals;

create table approvals.approval (
    id            bigint       generated always as identity primary key,
    action        text         not null,
    action_id     bigint,
    version       integer      not null default 1,
    digest        bytea        not null,
    maker         text         not null,
    excluded      text[]       not null,
    roles         text[]       not null,
    counts        integer[]    not null,
    wider         text[]       not null,
    status        text         not null default 'open',
    asked_at      timestamptz  not null,
    expires_at    timestamptz  not null,
    escalate_at   timestamptz,
    escalated_at  timestamptz,
    broken_at     timestamptz,
    changed_at    timestamptz  not null,
    erased_by     bigint,
    constraint action_is_bounded check (length(action) between 1 and 100),
    constraint version_is_counted_from_one check (version between 1 and 100),
    constraint digest_has_32_bytes check (octet_length(digest) = 32),
    constraint maker_is_bounded check (length(maker) between 1 and 100),
    constraint excluded_are_bounded check (cardinality(excluded) <= 500),
    constraint each_role_has_a_count check (cardinality(roles) between 1 and 8 and cardinality(counts) = cardinality(roles)),
    constraint counts_are_positive check (0 < all (counts) and 20 >= all (counts)),
    constraint only_an_escalation_widens check ((cardinality(wider) > 0) = (escalate_at is not null)),
    constraint wider_are_bounded check (cardinality(wider) <= 8),
    constraint status_is_known check (status in ('open', 'approved', 'rejected', 'expired', 'withdrawn', 'consumed')),
    constraint it_expires_after_it_was_asked check (expires_at > asked_at),
    constraint only_what_was_to_escalate_did check (escalated_at is null or escalate_at is not null)
);
create index approval_by_status on approvals.approval (status, id);
create index approval_by_maker on approvals.approval (maker, id);
create index approval_by_action on approvals.approval (action_id) where action_id is not null;
create index approval_by_expiry on approvals.approval (expires_at) where status in ('open', 'approved');
create index approval_by_escalation on approvals.approval (escalate_at) where status = 'open' and escalated_at is null;
comment on column approvals.approval.digest is 'SHA-256 of what is to be carried out, which every vote names.';
comment on column approvals.approval.excluded is 'Who may not vote, beside the maker: those who stand behind them, and editors.';
comment on column approvals.approval.roles is 'Of each of these roles as many people are asked as counts says.';
comment on column approvals.approval.wider is 'Who has one of these roles may take any place, once it was escalated.';
comment on column approvals.approval.broken_at is 'When two people broke the glass: it is approved without its quorum.';

create table approvals.shown (
    id           bigint       generated always as identity primary key,
    approval_id  bigint       not null references approvals.approval,
    version      integer      not null,
    digest       bytea        not null,
    shown        jsonb        not null,
    said_by      text         not null,
    at           timestamptz  not null,
    salt         bytea        default uuid_send(gen_random_uuid()),
    erased_by    bigint,
    unique (approval_id, version),
    constraint digest_has_32_bytes check (octet_length(digest) = 32),
    constraint shown_is_an_object check (jsonb_typeof(shown) = 'object'),
    constraint said_by_is_bounded check (length(said_by) between 1 and 100),
    constraint what_is_erased_has_no_salt check (erased_by is null or salt is null)
);
comment on table approvals.shown is 'What people were shown, a row for each version of a question.';

create table approvals.vote (
    id           bigint       generated always as identity primary key,
    approval_id  bigint       not null,
    version      integer      not null,
    person       text         not null,
    vote         text         not null,
    places       text[]       not null,
    reason       text,
    at           timestamptz  not null,
    salt         bytea        default uuid_send(gen_random_uuid()),
    erased_by    bigint,
    constraint vote_is_of_what_was_shown foreign key (approval_id, version) references approvals.shown (approval_id, version),
    constraint person_is_bounded check (length(person) between 1 and 100),
    constraint vote_is_known check (vote in ('approve', 'reject', 'break_glass')),
    constraint reason_is_bounded check (length(reason) between 1 and 2000),
    constraint only_an_approval_needs_no_reason check (vote = 'approve' or reason is not null),
    constraint what_is_erased_has_no_salt check (erased_by is null or salt is null)
);
create unique index a_person_votes_once on approvals.vote (approval_id, version, person) where vote <> 'break_glass';
create unique index a_person_breaks_the_glass_once on approvals.vote (approval_id, version, person) where vote = 'break_glass';
comment on column approvals.vote.places is 'The roles of the quorum of which the person could fill a place when they voted.';

create table approvals.comment (
    id           bigint       generated always as identity primary key,
    approval_id  bigint       not null references approvals.approval,
    said_by      text         not null,
    text         text         not null,
    at           timestamptz  not null,
    salt         bytea        default uuid_send(gen_random_uuid()),
    erased_by    bigint,
    constraint said_by_is_bounded check (length(said_by) between 1 and 100),
    constraint text_is_bounded check (length(text) between 1 and 4000),
    constraint what_is_erased_has_no_salt check (erased_by is null or salt is null)
);
create index comment_by_approval on approvals.comment (approval_id, id);

-- What is owed after the glass was broken: a third person says whether it was right.
create table approvals.review (
    approval_id  bigint       primary key references approvals.approval,
    opened_at    timestamptz  not null,
    closed_at    timestamptz,
    closed_by    text,
    verdict      text,
    constraint verdict_is_known check (verdict in ('justified', 'not_justified')),
    constraint closed_as_a_whole check ((closed_at is null) = (closed_by is null) and (closed_at is null) = (verdict is null))
);
create index review_that_is_open on approvals.review (approval_id) where closed_at is null;

create trigger shown_is_a_fact before update or delete or truncate on approvals.shown
    for each statement execute function db.refuse_change_but_erasure();
create trigger vote_is_a_fact before update or delete or truncate on approvals.vote
    for each statement execute function db.refuse_change_but_erasure();
create trigger comment_is_a_fact before update or delete or truncate on approvals.comment
    for each statement execute function db.refuse_change_but_erasure();
create trigger approval_stays before delete or truncate on approvals.approval
    for each statement execute function db.refuse_change();
create trigger review_stays before delete or truncate on approvals.review
    for each statement execute function db.refuse_change();

alter table audit.retention drop constraint kind_is_known;
alter table audit.retention add constraint kind_is_known
    check (kind in ('approval', 'customer', 'transfer', 'payment', 'case', 'task', 'schedule', 'event', 'payload'));
insert into audit.retention (kind, keep_months, set_by) values ('approval', 60, 'tallystick');

-- Who is told of what becomes of questions: notices are posted to url, signed. The secret is kept as the two keys of HMAC-SHA256 (RFC
-- 2104), with which the database signs; nobody reads them, the application neither.
create table approvals.webhook (
    id          bigint       generated always as identity primary key,
    url         text         not null,
    events      text[]       not null,
    inner_key   bytea        not null,
    outer_key   bytea        not null,
    created_by  text         not null,
    created_at  timestamptz  not null,
    removed_by  text,
    removed_at  timestamptz,
    constraint url_is_bounded check (length(url) between 1 and 2000),
    constraint events_are_bounded check (cardinality(events) between 1 and 20),
    constraint keys_fill_a_block check (octet_length(inner_key) = 64 and octet_length(outer_key) = 64),
    constraint created_by_is_bounded check (length(created_by) between 1 and 100),
    constraint a_removal_has_somebody check ((removed_at is null) = (removed_by is null)),
    constraint the_keys_go_with_it check (removed_at is null or inner_key = decode(repeat('00', 64), 'hex') and outer_key = inner_key)
);
create trigger webhook_stays before delete or truncate on approvals.webhook
    for each statement execute function db.refuse_change();
