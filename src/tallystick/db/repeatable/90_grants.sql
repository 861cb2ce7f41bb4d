-- What the shared tables allow the application: to claim keys by the function, and to read.
revoke all on all functions in schema db from public;
grant usage on schema db to tallystick_app, tallystick_auditor;
grant select on db.claim, db.revision to tallystick_app, tallystick_auditor;
grant execute on function db.claim(text[], text[], bytea[], text[], bigint[]) to tallystick_app;
grant execute on function db.clock() to tallystick_app, tallystick_auditor;
