-- Legal holds are placed and lifted by the application, which erases by a decision of the gate. Erasing without one, and changing how
-- long things are kept, is for the owner alone.
revoke all on all functions in schema audit from public;
grant execute on function audit.payload_texts(bigint[]) to tallystick_app, tallystick_auditor;
grant execute on function audit.erase_decided(bigint, text, text, text, bigint) to tallystick_app;
grant insert (customer, reason, placed_by), update (lifted_by, lifted_at) on audit.legal_hold to tallystick_app;
grant usage on sequence audit.legal_hold_id_seq to tallystick_app;
