-- add_principal --
-- Make a principal; no row means that there is one of that name.
insert into identity.principal (name, kind, roles, owner_id, risk_tier, accounts, customers)
values (%(name)s::text, %(kind)s::text, %(roles)s::text[], %(owner_id)s::bigint, %(risk_tier)s::text, %(accounts)s::text[],
        %(customers)s::bigint[])
    on conflict (name) do nothing
returning id

-- principals --
-- A page of principals in id order, of one kind or of all.
select p.id, p.name, p.kind, p.roles, o.name as owner, p.risk_tier, p.accounts, p.customers, p.disabled_at, p.created_at
  from identity.principal p
  left join identity.principal o on o.id = p.owner_id
 where p.id > %(after)s::bigint
   and (%(kind)s::text is null or p.kind = %(kind)s::text)
 order by p.id
 limit %(limit)s::bigint

-- principal --
-- A principal by its name.
select p.id, p.name, p.kind, p.roles, o.name as owner, p.risk_tier, p.accounts, p.customers, p.disabled_at, p.created_at
  from identity.principal p
  left join identity.principal o on o.id = p.owner_id
 where p.name = %(name)s::text

-- lock_principal --
-- As principal, and its row stays as it is until the transaction ends.
select p.id, p.name, p.kind, p.roles, o.name as owner, p.risk_tier, p.accounts, p.customers, p.disabled_at, p.created_at
  from identity.principal p
  left join identity.principal o on o.id = p.owner_id
 where p.name = %(name)s::text
   for no key update of p

-- set_roles --
-- Give a principal these roles and no others.
update identity.principal
   set roles = %(roles)s::text[]
 where id = %(id)s::bigint

-- set_reach --
-- Let a principal see and touch these accounts and customers and no others; null is all.
update identity.principal
   set accounts = %(accounts)s::text[], customers = %(customers)s::bigint[]
 where id = %(id)s::bigint

-- set_agent --
-- Who answers for an agent, and how risky it is held to be.
update identity.principal
   set owner_id = %(owner_id)s::bigint, risk_tier = %(risk_tier)s::text
 where id = %(id)s::bigint

-- set_disabled --
-- Disable a principal, or enable it; no row means that it was so before.
update identity.principal
   set disabled_at = case when %(disabled)s::boolean then clock_timestamp() end
 where id = %(id)s::bigint
   and (disabled_at is null) = %(disabled)s::boolean
returning id

-- one_at_a_time --
-- Wait until no other transaction makes the first admin.
select pg_advisory_xact_lock(7331031)

-- count_admins --
-- How many may give authority to others.
select count(*)
  from identity.acting a
 where 'admin' = any (a.roles)

-- add_version --
-- Keep what an agent is made of; no row means that there is a version of that name.
insert into identity.agent_version (principal_id, name, model, prompt_digest, tools_digest, created_by)
values (%(principal_id)s::bigint, %(version)s::text, %(model)s::text, %(prompt_digest)s::bytea, %(tools_digest)s::bytea,
        %(created_by)s::text)
    on conflict (principal_id, name) do nothing
returning id

-- versions --
-- A page of an agent's versions, newest first.
select v.id, p.name as agent, v.name as version, v.model, v.prompt_digest, v.tools_digest, v.created_by, v.created_at
  from identity.agent_version v
  join identity.principal p on p.id = v.principal_id
 where p.name = %(agent)s::text
   and v.id < %(before)s::bigint
 order by v.id desc
 limit %(limit)s::bigint

-- version --
-- A version of an agent by its name.
select v.id, p.name as agent, v.name as version, v.model, v.prompt_digest, v.tools_digest, v.created_by, v.created_at
  from identity.agent_version v
  join identity.principal p on p.id = v.principal_id
 where p.name = %(agent)s::text
   and v.name = %(version)s::text

-- add_key --
-- Store the hash of a new key of a principal, which is over in so many seconds, or not.
insert into identity.api_key (principal_id, prefix, hash, scopes, expires_at, version_id, mandate_id, follows)
values (%(principal_id)s::bigint, %(prefix)s::text, %(hash)s::bytea, %(scopes)s::text[],
        now() + make_interval(secs => %(expires_in_s)s::double precision), %(version_id)s::bigint, %(mandate_id)s::bigint,
        %(follows)s::bigint)
returning id

-- keys_in_use --
-- How many keys of a principal are neither revoked nor over.
select count(*)
  from identity.api_key k
 where k.principal_id = %(principal_id)s::bigint
   and k.revoked_at is null
   and (k.expires_at is null or k.expires_at > now())

-- any_key --
-- Whether there is a key that lets anybody in.
select exists (select
                 from identity.api_key k
                where k.revoked_at is null
                  and (k.expires_at is null or k.expires_at > now())) as is_there

-- keys --
-- A page of keys, newest first, of one principal or of all.
select k.id, p.name as principal, k.prefix, k.created_at, k.revoked_at, k.scopes, k.expires_at, v.name as version, k.mandate_id,
       k.follows, u.used_at
  from identity.api_key k
  join identity.principal p on p.id = k.principal_id
  left join identity.agent_version v on v.id = k.version_id
  left join identity.key_use u on u.key_id = k.id
 where k.id < %(before)s::bigint
   and (%(principal)s::text is null or p.name = %(principal)s::text)
 order by k.id desc
 limit %(limit)s::bigint

-- key --
-- One key.
select k.id, p.name as principal, k.prefix, k.created_at, k.revoked_at, k.scopes, k.expires_at, v.name as version, k.mandate_id,
       k.follows, u.used_at
  from identity.api_key k
  join identity.principal p on p.id = k.principal_id
  left join identity.agent_version v on v.id = k.version_id
  left join identity.key_use u on u.key_id = k.id
 where k.id = %(id)s::bigint

-- end_key --
-- Have a key that is in use end in so many seconds, or when it would have; no row means that none is in use.
update identity.api_key
   set expires_at = least(expires_at, now() + make_interval(secs => %(in_s)s::double precision))
 where id = %(id)s::bigint
   and revoked_at is null
   and (expires_at is null or expires_at > now())
returning id

-- revoke --
-- Revoke a key; no row means there is none, or it was revoked before.
update identity.api_key
   set revoked_at = now()
 where id = %(id)s::bigint and revoked_at is null
returning id

-- mark_used --
-- Note that keys are used now, where that was not noted within the last minute; in key order, so that processes do not deadlock.
insert into identity.key_use (key_id, used_at)
select u.key_id, now()
  from unnest(%(key_ids)s::bigint[]) as u (key_id)
 order by u.key_id
    on conflict (key_id) do update
   set used_at = now()
 where key_use.used_at < now() - interval '1 minute'

-- principal_of_key --
-- Who acts with a key, and under which mandate, unless the key, the mandate, or those who stand behind them are of no use any more.
select a.name, a.kind, a.roles, k.scopes, a.owner, a.risk_tier, v.name as version, a.accounts, a.customers, k.id as credential_id,
       m.id as mandate_id, m.person, m.person_accounts, m.person_customers, m.operations, m.accounts as mandate_accounts, m.max_amount,
       m.total, m.payees, m.until, m.beyond
  from identity.api_key k
  join identity.acting a on a.id = k.principal_id
  left join identity.agent_version v on v.id = k.version_id
  left join identity.mandate_in_force m on m.id = k.mandate_id
 where k.hash = %(hash)s::bytea
   and k.revoked_at is null
   and (k.expires_at is null or k.expires_at > clock_timestamp())
   and (k.mandate_id is null or m.id is not null)

-- principal_by_name --
-- A principal as it acts without a key, in a version and under a mandate where these are given; no row where it may not.
select a.name, a.kind, a.roles, null::text[] as scopes, a.owner, a.risk_tier, v.name as version, a.accounts, a.customers,
       null::bigint as credential_id, m.id as mandate_id, m.person, m.person_accounts, m.person_customers, m.operations,
       m.accounts as mandate_accounts, m.max_amount, m.total, m.payees, m.until, m.beyond
  from identity.acting a
  left join identity.agent_version v on v.principal_id = a.id and v.name = %(version)s::text
  left join identity.mandate_in_force m on m.id = %(mandate_id)s::bigint and m.agent_id = a.id
 where a.name = %(name)s::text
   and (%(version)s::text is null or v.id is not null)
   and (%(mandate_id)s::bigint is null or m.id is not null)

-- as_of_now --
-- Principals that there are, by place, as they act without a key, each in a version and under a mandate where these are given; whether it acts.
select u.place::bigint as place,
       a.id is not null and (u.version is null or v.id is not null) and (u.mandate_id is null or m.id is not null) as acts,
       p.name, p.kind, p.roles, null::text[] as scopes, a.owner, p.risk_tier, v.name as version, p.accounts, p.customers,
       null::bigint as credential_id, m.id as mandate_id, m.person, m.person_accounts, m.person_customers, m.operations,
       m.accounts as mandate_accounts, m.max_amount, m.total, m.payees, m.until, m.beyond
  from unnest(%(names)s::text[], %(versions)s::text[], %(mandates)s::bigint[]) with ordinality as u (name, version, mandate_id, place)
  join identity.principal p on p.name = u.name
  left join identity.acting a on a.id = p.id
  left join identity.agent_version v on v.principal_id = p.id and v.name = u.version
  left join identity.mandate_in_force m on m.id = u.mandate_id and m.agent_id = p.id

-- add_mandate --
-- Keep a mandate.
insert into identity.mandate (person_id, agent_id, operations, accounts, max_amount, total, payees, until, beyond, granted_by)
values (%(person_id)s::bigint, %(agent_id)s::bigint, %(operations)s::text[], %(accounts)s::text[], %(max_amount)s::jsonb,
        %(total)s::jsonb, %(payees)s::text[], %(until)s::timestamptz, %(beyond)s::text, %(granted_by)s::text)
returning id

-- mandates --
-- A page of mandates, newest first; of a person, of an agent, and those in force alone, where that is asked for.
select m.id, h.name as person, a.name as agent, m.operations, m.accounts, m.max_amount, m.total, m.payees, m.until, m.beyond,
       m.granted_by, m.granted_at, e.revoked_by, e.revoked_at
  from identity.mandate m
  join identity.principal h on h.id = m.person_id
  join identity.principal a on a.id = m.agent_id
  left join identity.mandate_end e on e.mandate_id = m.id
 where m.id < %(before)s::bigint
   and (%(person)s::text is null or h.name = %(person)s::text)
   and (%(agent)s::text is null or a.name = %(agent)s::text)
   and (not %(in_force)s::boolean or (e.mandate_id is null and m.until > clock_timestamp()))
 order by m.id desc
 limit %(limit)s::bigint

-- mandate --
-- One mandate.
select m.id, h.name as person, a.name as agent, m.operations, m.accounts, m.max_amount, m.total, m.payees, m.until, m.beyond,
       m.granted_by, m.granted_at, e.revoked_by, e.revoked_at
  from identity.mandate m
  join identity.principal h on h.id = m.person_id
  join identity.principal a on a.id = m.agent_id
  left join identity.mandate_end e on e.mandate_id = m.id
 where m.id = %(id)s::bigint

-- end_mandate --
-- Revoke a mandate; no row means that it was revoked before.
insert into identity.mandate_end (mandate_id, revoked_by)
values (%(id)s::bigint, %(revoked_by)s::text)
    on conflict (mandate_id) do nothing
returning mandate_id

-- principal_of_login --
-- A principal by an account elsewhere that it is known by.
select a.name, a.kind, a.roles, null::text[] as scopes, a.owner, a.risk_tier, null::text as version, a.accounts, a.customers,
       l.id as credential_id, m.id as mandate_id, m.person, m.person_accounts, m.person_customers, m.operations,
       m.accounts as mandate_accounts, m.max_amount, m.total, m.payees, m.until, m.beyond
  from identity.login l
  join identity.acting a on a.id = l.principal_id
  left join identity.mandate_in_force m on false
 where l.issuer = %(issuer)s::text
   and l.subject = %(subject)s::text

-- principal_of_session --
-- Who is signed in by a session, unless it is over.
select a.name, a.kind, a.roles, s.scopes, a.owner, a.risk_tier, null::text as version, a.accounts, a.customers, s.id as credential_id,
       m.id as mandate_id, m.person, m.person_accounts, m.person_customers, m.operations, m.accounts as mandate_accounts, m.max_amount,
       m.total, m.payees, m.until, m.beyond
  from identity.session s
  join identity.acting a on a.id = s.principal_id
  left join identity.mandate_in_force m on false
 where s.hash = %(hash)s::bytea
   and s.ended_at is null
   and s.expires_at > clock_timestamp()

-- add_login --
-- Bind an account elsewhere to a principal; no row means that it is bound.
insert into identity.login (principal_id, issuer, subject)
values (%(principal_id)s::bigint, %(issuer)s::text, %(subject)s::text)
    on conflict (issuer, subject) do nothing
returning id

-- logins --
-- By which accounts elsewhere a principal is known.
select l.id, p.name as principal, l.issuer, l.subject, l.created_at
  from identity.login l
  join identity.principal p on p.id = l.principal_id
 where p.name = %(principal)s::text
 order by l.id
 limit %(limit)s::bigint

-- remove_login --
-- Let a principal be known by an account elsewhere no more.
delete from identity.login
 where id = %(id)s::bigint
   and principal_id = %(principal_id)s::bigint
returning id

-- end_sessions --
-- Sign a principal out everywhere.
update identity.session
   set ended_at = clock_timestamp()
 where principal_id = %(principal_id)s::bigint
   and ended_at is null

-- forget_sessions --
-- Remove a principal's sessions that are over, and all but the newest.
delete from identity.session s
 where s.principal_id = %(principal_id)s::bigint
   and (s.ended_at is not null
        or s.expires_at <= clock_timestamp()
        or s.id not in (select n.id
                          from identity.session n
                         where n.principal_id = %(principal_id)s::bigint
                         order by n.id desc
                         limit %(keep)s::bigint))

-- add_session --
-- Sign a principal in for so many seconds.
insert into identity.session (principal_id, hash, scopes, expires_at)
values (%(principal_id)s::bigint, %(hash)s::bytea, %(scopes)s::text[], clock_timestamp() + make_interval(secs => %(lasts_s)s::double precision))
returning id

-- end_session --
-- Sign out by a session that is not over.
update identity.session s
   set ended_at = clock_timestamp()
  from identity.principal p
 where s.hash = %(hash)s::bytea
   and s.ended_at is null
   and p.id = s.principal_id
returning s.id, p.name as principal

-- count_requests --
-- Add requests of today to what principals made, in name order so that processes do not deadlock; what they have made by now.
with told as (
    insert into identity.usage (day, principal, requests)
    select (now() at time zone 'UTC')::date, u.principal, u.requests
      from unnest(%(principals)s::text[], %(requests)s::bigint[]) as u (principal, requests)
     order by u.principal
        on conflict (day, principal) do update
       set requests = usage.requests + excluded.requests
    returning principal, requests
)
select principal, requests, extract(epoch from (((now() at time zone 'UTC')::date + 1)::timestamp at time zone 'UTC') - now())::double precision as left_s
  from told
 order by principal

-- forget_usage --
-- Remove what was counted over a month ago.
delete from identity.usage
 where day < (now() at time zone 'UTC')::date - 31
