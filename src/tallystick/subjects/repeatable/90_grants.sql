-- Legal holds are placed and lifted by the application. Erasing, and changing how long things are kept, is for the owner alone.
revoke all on all functions in schema audit from public;
grant execute on function audit.payload_texts(bigint[]) to tallystick_app, tallystick_auditor;
grant insert (customer, reason, placed_by), update (lifted_by, lifted_at) on audit.legal_hold to tallystick_app;
grant usage on sequence audit.legal_hold_id_seq to tallystick_app;
