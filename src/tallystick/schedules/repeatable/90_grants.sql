-- What schedules say and when they fired are facts; only where a schedule stands changes.
grant usage on schema schedules to tallystick_app, tallystick_auditor;
grant select on all tables in schema schedules to tallystick_app, tallystick_auditor;
grant insert on all tables in schema schedules to tallystick_app;
grant update (version, next_at, paused_at, paused_by, pause_reason, removed_at, removed_by) on schedules.schedule
    to tallystick_app;
