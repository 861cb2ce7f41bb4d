-- Keys are made and revoked, and never changed otherwise.
grant usage on schema identity to tallystick_app, tallystick_auditor;
grant select, insert on identity.principal, identity.api_key to tallystick_app;
grant update (revoked_at) on identity.api_key to tallystick_app;
grant select on identity.principal to tallystick_auditor;
grant select (id, principal_id, prefix, created_at, revoked_at) on identity.api_key to tallystick_auditor;
