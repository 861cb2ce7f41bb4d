-- Who acts: principals, and the keys by which they are known.
create schema identity;

create table identity.principal (
    id          bigint      generated always as identity primary key,
    name        text        not null constraint principal_name_is_unique unique,
    kind        text        not null,
    created_at  timestamptz not null default now(),
    constraint name_is_bounded check (length(name) between 1 and 100),
    constraint kind_is_known check (kind in ('agent', 'person', 'service'))
);

-- Only the hash of a key is kept; the prefix is for people, to tell keys apart.
create table identity.api_key (
    id            bigint      generated always as identity primary key,
    principal_id  bigint      not null references identity.principal,
    prefix        text        not null,
    hash          bytea       not null constraint key_hash_is_unique unique,
    created_at    timestamptz not null default now(),
    revoked_at    timestamptz,
    constraint hash_is_sha256 check (octet_length(hash) = 32)
);
create index api_key_by_principal on identity.api_key (principal_id);
