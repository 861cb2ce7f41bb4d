-- Events are facts: written once.
grant usage on schema memory to tallystick_app, tallystick_auditor;
grant select on memory.event to tallystick_app, tallystick_auditor;
grant insert on memory.event to tallystick_app;
