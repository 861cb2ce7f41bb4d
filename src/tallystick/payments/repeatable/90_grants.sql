-- Facts are written once; of a payment only its status moves, with the account that it found.
revoke all on all functions in schema payments from public;
grant usage on schema payments to tallystick_app, tallystick_auditor;
grant select on all tables in schema payments to tallystick_app, tallystick_auditor;
grant insert on payments.nostro, payments.payment, payments.payment_step, payments.statement, payments.statement_line,
    payments.explanation to tallystick_app;
grant update (status, reason, account_id, changed_at) on payments.payment to tallystick_app;
grant usage on all sequences in schema payments to tallystick_app;
grant execute on all functions in schema payments to tallystick_app;
