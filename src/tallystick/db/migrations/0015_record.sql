-- The record: what each event says is one text, its leaf, which is sealed as it stands here. The columns beside it are for looking up
-- and say the same. What a call did to many things is one leaf with the root of their digests; the digests lie beside it.
drop view if exists public.agent_audit_log;
drop trigger event_is_a_fact on audit.event;
create sequence audit.event_id owned by none;
alter table audit.event
    alter column id drop identity,
    alter column at drop default,
    add column step text,
    add column decision_id bigint,
    add column approval_id bigint,
    add column trace_id text,
    add column items_kind text,
    add column refs bigint[],
    add column items bytea,
    add column leaf text;
-- Events of before are given a leaf as they stand.
update audit.event e
   set leaf = '{"at":"' || to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '","detail":' || e.detail::text
              || ',"event":"' || e.id || '",' || coalesce('"for":' || to_json(e.on_behalf_of) || ',', '')
              || '"principal":' || to_json(e.principal) || ',"subject":{'
              || coalesce('"id":"' || e.subject_id || '",', '') || '"kind":' || to_json(e.subject_kind) || '},'
              || coalesce('"task":"' || e.task_id || '",', '') || '"verb":' || to_json(e.verb) || '}';
select setval('audit.event_id', (select coalesce(max(id), 0) + 1 from audit.event), false);
alter table audit.event
    alter column leaf set not null,
    drop column detail,
    add constraint leaf_is_bounded check (octet_length(leaf) < 65536),
    add constraint step_is_bounded check (length(step) between 1 and 200),
    -- Requests that were gathered into one transaction are all named.
    add constraint request_id_is_bounded check (length(request_id) between 1 and 16000),
    add constraint trace_id_is_32_hex_digits check (trace_id ~ '^[0-9a-f]{32}$'),
    add constraint items_have_a_kind check (length(items_kind) between 1 and 50),
    add constraint each_item_has_a_ref check (
        case when items is null then refs is null and items_kind is null
             else octet_length(items) = 32 * cardinality(refs) and items_kind is not null and cardinality(refs) > 0 end
    );
-- Digests do not get smaller.
alter table audit.event alter column items set storage external;
create index event_by_principal on audit.event (principal, id);
create index event_by_whom_it_was_for on audit.event (on_behalf_of, id) where on_behalf_of is not null;
create index event_by_verb on audit.event (verb, id);
create index event_by_task on audit.event (task_id, id) where task_id is not null;
create index event_by_time on audit.event using brin (at);
-- Which event tells of a thing: those whose refs may hold it.
create index event_by_last_ref on audit.event (items_kind, (refs[cardinality(refs)])) where refs is not null;
comment on column audit.event.leaf is 'The exact text that is sealed: JSON, keys sorted, without spaces.';
comment on column audit.event.items is '32-byte digests of the things in refs, one after another.';
create trigger event_is_a_fact before update or delete or truncate on audit.event
    for each statement execute function db.refuse_change();

-- What an event carries beside its leaf, where that is no row of another room: the leaf holds SHA-256(salt || body::text).
create table audit.payload (
    event_id  bigint  primary key,
    salt      bytea,
    body      jsonb,
    erased_by bigint ,
    constraint salt_has_16_bytes check (octet_length(salt) = 16),
    constraint it_is_there_or_erased check ((salt is null) = (body is null) and (body is null) = (erased_by is not null))
);

-- Events that are not in the tree yet.
create table audit.pending (
    event_id  bigint  primary key
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0,
        autovacuum_analyze_threshold = 50000, autovacuum_vacuum_cost_delay = 0);
insert into audit.pending select id from audit.event;

-- The tree: leaves in the order in which they were committed, and the roots of full subtrees of 256 to the power of level leaves.
create table audit.leaf (
    idx       bigint  primary key,
    event_id  bigint  not null unique,
    hash      bytea   not null,
    constraint idx_is_counted_from_zero check (idx >= 0),
    constraint hash_has_32_bytes check (octet_length(hash) = 32)
);
create table audit.node (
    level     smallint  not null,
    n         bigint    not null,
    hash      bytea     not null,
    primary key (level, n),
    constraint level_is_one_or_more check (level between 1 and 7),
    constraint n_is_counted_from_zero check (n >= 0),
    constraint hash_has_32_bytes check (octet_length(hash) = 32)
);

-- Origins: the name under which checkpoints are signed. After a restore a new one is opened, which holds the last checkpoint of the
-- one before. Its leaves go on from where the database stands.
create table audit.origin (
    n          integer      primary key,
    name       text         not null unique,
    follows    text,
    constraint n_is_counted_from_one check (n >= 1),
    constraint name_is_bounded check (length(name) between 1 and 200 and name !~ '[\s+]'),
    constraint follows_is_bounded check (length(follows) <= 10000)
);
comment on column audit.origin.follows is 'The last checkpoint of the origin before, as it was published.';

create table audit.checkpoint (
    size       bigint       primary key,
    origin     integer      not null references audit.origin,
    root       bytea        not null,
    note       text         not null,
    constraint size_is_positive check (size > 0),
    constraint root_has_32_bytes check (octet_length(root) = 32),
    constraint note_is_bounded check (length(note) <= 10000)
);

do $$
declare
    v_name text;
begin
    foreach v_name in array array['leaf', 'node', 'origin', 'checkpoint'] loop
        execute format('create trigger %I_is_a_fact before update or delete or truncate on audit.%I
                        for each statement execute function db.refuse_change()', v_name, v_name);
    end loop;
end
$$;

-- What rooms keep readable is bound to the record by a salted digest: SHA-256(salt || text of the row). Whoever erases what a row says
-- erases its salt with it.
alter table work.task add column salt bytea default uuid_send(gen_random_uuid());
alter table work.outcome add column salt bytea default uuid_send(gen_random_uuid());
alter table work.step add column salt bytea default uuid_send(gen_random_uuid());
alter table memory.event add column salt bytea default uuid_send(gen_random_uuid());
alter table cases.case add column salt bytea default uuid_send(gen_random_uuid());
create index step_by_id on work.step (id);
