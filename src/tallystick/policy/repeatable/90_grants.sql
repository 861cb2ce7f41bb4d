-- The application reads all of it, adds entries to lists that nobody looks into yet, and changes the rest by the functions alone.
revoke all on all functions in schema policy from public;
grant usage on schema policy to tallystick_app, tallystick_auditor;
grant select on all tables in schema policy to tallystick_app, tallystick_auditor;
grant insert on policy.list_entry to tallystick_app;
grant usage on sequence policy.list_version to tallystick_app;
grant execute on function
    policy.gather(text[], bigint[], text[], text[], text[], text),
    policy.reserve(bigint[], bigint[], bigint[]),
    policy.keep(text[], text[], text[], bytea[], text[], text[], text[], text[], bigint[], bigint[], bytea[], bigint[], bigint[],
                bigint[]),
    policy.consume(bigint[]),
    policy.apply(text, text, text, timestamptz, text),
    policy.publish(text, text, bigint, text, text)
    to tallystick_app;
grant execute on function policy.in_force(timestamptz), policy.first_decision(timestamptz), policy.decision_texts(bigint[]),
    policy.recorded(bigint[])
    to tallystick_app, tallystick_auditor;
