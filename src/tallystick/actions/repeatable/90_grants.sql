-- A transfer is proposed once; only what became of it is filled in.
grant usage on schema actions to tallystick_app, tallystick_auditor;
grant select on actions.transfer to tallystick_app, tallystick_auditor;
grant insert on actions.transfer to tallystick_app;
grant update (status, journal_id, reason, settled_at) on actions.transfer to tallystick_app;
grant usage on sequence actions.transfer_id_seq to tallystick_app;
