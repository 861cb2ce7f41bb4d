-- What the application and the auditor may do here.
revoke all on all functions in schema payments from public;
grant usage on schema payments to tallystick_app, tallystick_auditor;
grant select on all tables in schema payments to tallystick_app, tallystick_auditor;
