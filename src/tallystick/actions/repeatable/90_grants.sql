-- A transfer and an action are proposed once; only what became of them is filled in.
grant usage on schema actions to tallystick_app, tallystick_auditor;
grant select on all tables in schema actions to tallystick_app, tallystick_auditor;
grant insert on actions.transfer, actions.action, actions.payee to tallystick_app;
grant update (status, journal_id, reason, settled_at) on actions.transfer to tallystick_app;
grant update (payload, digest, decision_id, approval_id, status, reason, result, executed_by, ended_at) on actions.action to tallystick_app;
grant usage on sequence actions.transfer_id_seq, actions.action_id_seq to tallystick_app;
