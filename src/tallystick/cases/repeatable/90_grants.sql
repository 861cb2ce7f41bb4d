-- A case comes in once; only its status and its result change.
grant usage on schema cases to tallystick_app, tallystick_auditor;
grant select on cases.case to tallystick_app, tallystick_auditor;
grant insert on cases.case to tallystick_app;
grant update (status, changed_at, result) on cases.case to tallystick_app;
grant usage on sequence cases.case_id_seq to tallystick_app;
