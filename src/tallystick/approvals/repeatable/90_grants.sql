-- What was shown and said is read; all that changes goes by the verbs. The clock is moved on by them alone.
revoke all on all functions in schema approvals from public;
grant usage on schema approvals to tallystick_app, tallystick_auditor;
grant select on all tables in schema approvals to tallystick_app, tallystick_auditor;
grant execute on function
    approvals.ask(text, bigint, bytea, jsonb, text, text[], text[], integer[], integer, text[], integer, text),
    approvals.vote(bigint, text, text, text[], text, bytea, text),
    approvals.amend(bigint, bytea, jsonb, text, text[]),
    approvals.withdraw(bigint),
    approvals.consume(bigint, bytea),
    approvals.say(bigint, text, text),
    approvals.close_review(bigint, text, text, text[], text),
    approvals.move_on(integer)
    to tallystick_app;
