-- Roles, scopes, agents with their versions, mandates, sign-ins.

-- What a principal may do and see. Who has no list of accounts or customers sees all of them; an empty list is none.
alter table identity.principal
    add column roles       text[]       not null default '{}',
    add column owner_id    bigint       references identity.principal,
    add column risk_tier   text,
    add column accounts    text[],
    add column customers   bigint[],
    add column disabled_at timestamptz;
update identity.principal
   set roles = case kind when 'agent' then array['agent'] when 'service' then array['operator'] else '{}'::text[] end,
       accounts = case when kind = 'agent' then '{}'::text[] end,
       customers = case when kind = 'agent' then '{}'::bigint[] end;
alter table identity.principal
    add constraint roles_are_known check (roles <@ array['agent', 'operator', 'approver', 'auditor', 'admin']),
    add constraint an_agent_has_no_role_of_people check (kind <> 'agent' or roles <@ array['agent']),
    add constraint a_person_is_no_agent check (kind <> 'person' or not 'agent' = any (roles)),
    add constraint only_people_vote check (kind = 'person' or not 'approver' = any (roles)),
    add constraint only_agents_have_owners check (owner_id is null or kind = 'agent'),
    add constraint only_agents_have_risk_tiers check (risk_tier is null or kind = 'agent'),
    add constraint risk_tier_is_known check (risk_tier in ('low', 'medium', 'high')),
    add constraint reach_is_bounded check (coalesce(cardinality(accounts), 0) <= 10000 and coalesce(cardinality(customers), 0) <= 10000);
create index principal_by_owner on identity.principal (owner_id) where owner_id is not null;

-- What an agent was made of: the model, and digests of its prompt and its tools.
create table identity.agent_version (
    id             bigint       generated always as identity primary key,
    principal_id   bigint       not null references identity.principal,
    name           text         not null,
    model          text         not null,
    prompt_digest  bytea        not null,
    tools_digest   bytea        not null,
    created_by     text         not null,
    created_at     timestamptz  not null default clock_timestamp(),
    constraint version_is_unique unique (principal_id, name),
    constraint name_is_bounded check (length(name) between 1 and 100),
    constraint model_is_bounded check (length(model) between 1 and 200),
    constraint prompt_digest_is_sha256 check (octet_length(prompt_digest) = 32),
    constraint tools_digest_is_sha256 check (octet_length(tools_digest) = 32),
    constraint created_by_is_bounded check (length(created_by) between 1 and 100)
);
create trigger version_is_a_fact before update or delete or truncate on identity.agent_version
    for each statement execute function db.refuse_change();

-- What a person lets an agent do for them. What is null is not bounded by it.
create table identity.mandate (
    id          bigint       generated always as identity primary key,
    person_id   bigint       not null references identity.principal,
    agent_id    bigint       not null references identity.principal,
    operations  text[]       not null,
    accounts    text[],
    max_amount  jsonb,
    total       jsonb,
    payees      text[],
    until       timestamptz  not null,
    beyond      text         not null,
    granted_by  text         not null,
    granted_at  timestamptz  not null default clock_timestamp(),
    constraint it_is_given_to_another check (person_id <> agent_id),
    constraint it_is_for_something check (cardinality(operations) between 1 and 100),
    constraint accounts_are_bounded check (cardinality(accounts) <= 1000),
    constraint payees_are_bounded check (cardinality(payees) <= 1000),
    constraint max_amount_is_an_object check (jsonb_typeof(max_amount) = 'object'),
    constraint total_is_an_object check (jsonb_typeof(total) = 'object'),
    constraint beyond_is_known check (beyond in ('deny', 'ask')),
    constraint granted_by_is_bounded check (length(granted_by) between 1 and 100)
);
create index mandate_by_person on identity.mandate (person_id, id);
create index mandate_by_agent on identity.mandate (agent_id, id);
create trigger mandate_is_a_fact before update or delete or truncate on identity.mandate
    for each statement execute function db.refuse_change();

create table identity.mandate_end (
    mandate_id  bigint       primary key references identity.mandate,
    revoked_by  text         not null,
    revoked_at  timestamptz  not null default clock_timestamp(),
    constraint revoked_by_is_bounded check (length(revoked_by) between 1 and 100)
);
create trigger end_is_a_fact before update or delete or truncate on identity.mandate_end
    for each statement execute function db.refuse_change();

-- A key without scopes has all roles of its principal; with them, those that the principal has too.
alter table identity.api_key
    add column scopes      text[],
    add column expires_at  timestamptz,
    add column version_id  bigint references identity.agent_version,
    add column mandate_id  bigint references identity.mandate,
    add column follows     bigint references identity.api_key,
    add constraint scopes_are_known check (scopes <@ array['agent', 'operator', 'approver', 'auditor', 'admin']);
comment on column identity.api_key.follows is 'The key that this one was made to take the place of.';
create index api_key_by_mandate on identity.api_key (mandate_id) where mandate_id is not null;

-- When keys were last used, to the minute or so. It follows from no fact and is no event.
create table identity.key_use (
    key_id   bigint       primary key references identity.api_key,
    used_at  timestamptz  not null
) with (fillfactor = 50);

-- By which accounts elsewhere a principal is known: OpenID Connect's issuer and subject.
create table identity.login (
    id            bigint       generated always as identity primary key,
    principal_id  bigint       not null references identity.principal,
    issuer        text         not null,
    subject       text         not null,
    created_at    timestamptz  not null default clock_timestamp(),
    constraint login_is_unique unique (issuer, subject),
    constraint issuer_is_bounded check (length(issuer) between 1 and 500),
    constraint subject_is_bounded check (length(subject) between 1 and 255)
);
create index login_by_principal on identity.login (principal_id, id);

-- Who is signed in. Only the hash of a session's cookie is kept.
create table identity.session (
    id            bigint       generated always as identity primary key,
    principal_id  bigint       not null references identity.principal,
    hash          bytea        not null constraint session_hash_is_unique unique,
    scopes        text[],
    created_at    timestamptz  not null default clock_timestamp(),
    expires_at    timestamptz  not null,
    ended_at      timestamptz,
    constraint hash_is_sha256 check (octet_length(hash) = 32),
    constraint scopes_are_known check (scopes <@ array['agent', 'operator', 'approver', 'auditor', 'admin'])
);
create index session_by_principal on identity.session (principal_id, id);

-- How many requests principals made on a day, UTC, where there are quotas.
create table identity.usage (
    day        date    not null,
    principal  text    not null,
    requests   bigint  not null,
    primary key (day, principal),
    constraint principal_is_bounded check (length(principal) between 1 and 100),
    constraint requests_are_counted check (requests > 0)
) with (fillfactor = 50);
