-- Tasks and outcomes are facts: written once. The queue and the runs are state: rows come and go.
revoke all on all functions in schema work from public;
grant usage on schema work to tallystick_app, tallystick_auditor;
grant select on all tables in schema work to tallystick_app, tallystick_auditor;
grant insert on work.task, work.outcome to tallystick_app;
grant insert, update, delete on work.ready, work.run to tallystick_app;
grant usage on sequence work.fence to tallystick_app;
grant execute on all functions in schema work to tallystick_app;
