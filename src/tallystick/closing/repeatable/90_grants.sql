-- What the application and the auditor may do here.
revoke all on all functions in schema closing from public;
grant usage on schema closing to tallystick_app, tallystick_auditor;
grant select on all tables in schema closing to tallystick_app, tallystick_auditor;
