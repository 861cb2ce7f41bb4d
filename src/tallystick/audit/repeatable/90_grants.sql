-- The audit trail is written and read, never changed.
grant usage on schema audit to tallystick_app, tallystick_auditor, tallystick_sealer;
grant select on audit.event to tallystick_app, tallystick_auditor, tallystick_sealer;
grant insert on audit.event to tallystick_app;
