-- What the application and the auditor may do here: read, and add facts.
revoke all on all functions in schema closing from public;
grant usage on schema closing to tallystick_app, tallystick_auditor;
grant select on all tables in schema closing to tallystick_app, tallystick_auditor;
grant insert on all tables in schema closing to tallystick_app;
