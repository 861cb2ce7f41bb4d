-- Idempotency keys of every verb, and what all rooms share.
create table db.claim (
    scope       text        not null,
    key         text        not null,
    hash        bytea       not null,
    kind        text        not null,
    ref_id      bigint      not null,
    claimed_at  timestamptz not null default now(),
    primary key (scope, key),
    constraint key_is_bounded check (length(key) between 1 and 200),
    constraint hash_is_sha256 check (octet_length(hash) = 32)
);
comment on table db.claim is
    'Who used which idempotency key (scope, key) for which request (hash), and the thing (kind, ref_id) that came of it. Never pruned.';

create table db.repeatable (
    name        text primary key,
    checksum    bytea       not null,
    applied_at  timestamptz not null default now()
);
comment on table db.repeatable is 'The database functions and grants as they were last applied, by file.';

-- A trigger for tables of facts: whoever tries to change one, even the owner, is told that it cannot be done.
create function db.refuse_change() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'rows of %.% are facts: they are never changed or removed', tg_table_schema, tg_table_name
        using errcode = 'TS002';
end
$$;
revoke all on function db.refuse_change() from public;

-- A trigger for tables of facts that carry a digest: SHA-256 over the row in its binary form, the digest itself null. Whoever
-- changes a value later, by whatever way, leaves a row that does not agree with its digest.
create function db.digest_row() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    new.digest := null;
    new.digest := sha256(record_send(new));
    return new;
end
$$;
