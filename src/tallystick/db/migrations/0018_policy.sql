-- Policies, lists, counters and decisions.
--
-- Policies and decisions are facts. Counters are state: what a rule has added up in its window so far.
create schema policy;

-- A policy each time that it was applied. In force is the one whose time came last.
create table policy.document (
    id              bigint       generated always as identity primary key,
    digest          text         not null,
    name            text         not null,
    body            text         not null,
    effective_from  timestamptz  not null,
    applied_by      text         not null,
    applied_at      timestamptz  not null,
    constraint digest_is_of_the_body check (digest = encode(sha256(convert_to(body, 'UTF8')), 'hex')),
    constraint name_is_bounded check (length(name) between 1 and 100),
    constraint body_is_bounded check (octet_length(body) <= 8388608),
    constraint applied_by_is_bounded check (length(applied_by) between 1 and 100),
    constraint no_policy_works_backwards check (effective_from >= applied_at)
);
create index document_by_digest on policy.document (digest, id);
create index document_by_effective_from on policy.document (effective_from, id);
comment on column policy.document.body is 'Canonical JSON, of which the digest is made.';

-- What was decided of an action: the facts and the verdict are the texts as evaluated, so that replay can compare bytes.
create table policy.decision (
    id            bigint       generated always as identity primary key,
    at            timestamptz  not null,
    principal     text         not null,
    on_behalf_of  text,
    action        text         not null,
    digest        bytea        not null,
    policy        text         not null,
    facts         text         not null,
    verdict       text         not null,
    outcome       text         not null,
    task_id       bigint,
    approval_id   bigint,
    constraint principal_is_bounded check (length(principal) between 1 and 100),
    constraint on_behalf_of_is_bounded check (length(on_behalf_of) between 1 and 100),
    constraint action_is_bounded check (length(action) between 1 and 100),
    constraint digest_is_sha256 check (octet_length(digest) = 32),
    constraint policy_is_a_digest check (length(policy) = 64),
    constraint facts_are_bounded check (octet_length(facts) <= 1048576),
    constraint verdict_is_bounded check (octet_length(verdict) <= 1048576),
    constraint outcome_is_known check (outcome in ('allow', 'hold', 'deny')),
    -- Canonical JSON has its keys in order: a verdict that allows begins with its outcome, one that holds with whom it asks.
    constraint only_what_the_verdict_or_people_allow_is_allowed
        check (outcome <> 'allow' or starts_with(verdict, '{"outcome":"allow"')
               or (approval_id is not null and starts_with(verdict, '{"approve":')))
);
create index decision_by_principal on policy.decision (principal, id);
create index decision_by_outcome on policy.decision (outcome, id) where outcome <> 'allow';
create index decision_by_time on policy.decision using brin (at);
comment on column policy.decision.digest is 'SHA-256 of the action''s payload.';
comment on column policy.decision.policy is 'The digest of the policy.';

-- A decision whose effect was carried out; no decision has two.
create table policy.consumption (
    decision_id  bigint       primary key,
    xid          xid8         not null default pg_current_xact_id(),
    at           timestamptz  not null default clock_timestamp()
);

-- Hot: what a rule has added up. A window is 48 buckets wide; n is the number of the bucket that is being filled, with count and
-- sum; past_count and past_sum are those of the 48 buckets before it. A bucket that lies partly in the window counts whole, so no
-- limit is ever passed by one. A width of 0 is a counter for ever.
create table policy.counter (
    id          bigint   generated always as identity primary key,
    key         text     collate "C" not null constraint counter_has_a_key_of_its_own unique,
    width_us    bigint   not null,
    n           bigint   not null,
    count       bigint   not null default 0,
    sum         bigint   not null default 0,
    past_count  bigint   not null default 0,
    past_sum    bigint   not null default 0,
    constraint key_is_bounded check (length(key) between 1 and 500),
    constraint width_is_not_negative check (width_us >= 0),
    constraint nothing_is_negative check (count >= 0 and sum >= 0 and past_count >= 0 and past_sum >= 0)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- Buckets that are full, for as long as they lie in the window.
create table policy.bucket (
    counter_id  bigint  not null,
    n           bigint  not null,
    count       bigint  not null,
    sum         bigint  not null,
    primary key (counter_id, n)
);

-- Names or ids from elsewhere. An import is a version; the one that the list names is what is looked into.
create table policy.list (
    name         text         collate "C" primary key,
    kind         text         not null,
    version      bigint       not null,
    entries      bigint       not null,
    source       text         not null,
    imported_by  text         not null,
    imported_at  timestamptz  not null,
    constraint name_is_bounded check (length(name) between 1 and 100),
    constraint kind_is_known check (kind in ('names', 'ids')),
    constraint entries_are_counted check (entries >= 0),
    constraint source_is_bounded check (length(source) between 1 and 200),
    constraint imported_by_is_bounded check (length(imported_by) between 1 and 100)
);
create sequence policy.list_version;

create table policy.list_entry (
    version     bigint  not null,
    entry_id    text    collate "C" not null,
    name        text    not null,
    normalized  text    collate "C" not null,
    constraint entry_id_is_bounded check (length(entry_id) between 1 and 100),
    constraint name_is_bounded check (length(name) between 1 and 500),
    constraint normalized_is_bounded check (length(normalized) between 1 and 1000)
);
create index list_entry_by_name on policy.list_entry (normalized, version);
create index list_entry_by_version on policy.list_entry (version, entry_id);

create trigger document_is_a_fact before update or delete or truncate on policy.document
    for each statement execute function db.refuse_change();
create trigger decision_is_a_fact before update or delete or truncate on policy.decision
    for each statement execute function db.refuse_change();
create trigger consumption_is_a_fact before update or delete or truncate on policy.consumption
    for each statement execute function db.refuse_change();

-- Nothing is slipped into a list that is looked into: what was imported is published as a whole.
create function policy.refuse_published() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (select from new_entries n join policy.list l on l.version = n.version) then
        raise exception 'a list that is in use is not added to' using errcode = 'TS002';
    end if;
    return null;
end
$$;
create trigger a_list_in_use_is_not_added_to after insert on policy.list_entry
    referencing new table as new_entries for each statement execute function policy.refuse_published();
create trigger an_entry_is_not_changed before update on policy.list_entry
    for each statement execute function db.refuse_change();
