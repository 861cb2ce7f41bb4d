-- The record is written by audit.write alone, sealed by the sealer alone, read by all three, and changed by nobody.
revoke all on all functions in schema audit from public;
grant usage on schema audit to tallystick_app, tallystick_auditor, tallystick_sealer;
revoke insert on audit.event from tallystick_app;
grant select on all tables in schema audit to tallystick_app, tallystick_auditor, tallystick_sealer;
grant execute on function
    audit.items_root(bytea),
    audit.write(text[], text[], text[], text[], bigint[], bigint[], text[], bigint[], bigint[], text[], text[], text[], text[], text[],
                bytea[], text[])
    to tallystick_app, tallystick_sealer;
grant execute on function
    audit.first_id(timestamptz), audit.tells_of(text, bigint),
    audit.find(text, text, text, bigint, text, bigint, text, timestamptz, timestamptz, bigint, bigint, boolean, bigint)
    to tallystick_app, tallystick_auditor;
grant insert on audit.leaf, audit.node, audit.checkpoint, audit.origin to tallystick_sealer;
grant delete on audit.pending to tallystick_sealer;
