-- Versions and mandates are made and never changed; of principals, keys and sessions only what changes by a verb.
grant usage on schema identity to tallystick_app, tallystick_auditor;
grant select, insert on identity.principal, identity.api_key, identity.agent_version, identity.mandate, identity.mandate_end,
      identity.key_use, identity.login, identity.session to tallystick_app;
grant update (roles, owner_id, risk_tier, accounts, customers, disabled_at) on identity.principal to tallystick_app;
grant update (revoked_at, expires_at) on identity.api_key to tallystick_app;
grant update (used_at) on identity.key_use to tallystick_app;
grant update (ended_at) on identity.session to tallystick_app;
grant delete on identity.login, identity.session to tallystick_app;
grant select on identity.principal, identity.agent_version, identity.mandate, identity.mandate_end, identity.key_use, identity.login
   to tallystick_auditor;
grant select (id, principal_id, prefix, created_at, revoked_at, scopes, expires_at, version_id, mandate_id, follows)
   on identity.api_key to tallystick_auditor;
grant select (id, principal_id, created_at, expires_at, ended_at) on identity.session to tallystick_auditor;
grant select on identity.acting, identity.mandate_in_force to tallystick_app, tallystick_auditor;
grant select, insert, delete on identity.usage to tallystick_app;
grant update (requests) on identity.usage to tallystick_app;
grant select on identity.usage to tallystick_auditor;
