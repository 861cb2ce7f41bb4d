-- What was shown and said is read; all that changes goes by the verbs. The clock is moved on by them alone. Nobody reads what signs.
revoke all on all functions in schema approvals from public;
grant usage on schema approvals to tallystick_app, tallystick_auditor;
grant select on approvals.approval, approvals.shown, approvals.vote, approvals.comment, approvals.review
    to tallystick_app, tallystick_auditor;
grant select (id, url, events, created_by, created_at, removed_by, removed_at) on approvals.webhook
    to tallystick_app, tallystick_auditor;
grant execute on function approvals.is_gone(text) to tallystick_app, tallystick_auditor;
grant execute on function
    approvals.ask(text, bigint, bytea, jsonb, text, text[], text[], integer[], integer, text[], integer, text, bigint[], bigint[]),
    approvals.lock(bigint),
    approvals.vote(bigint, text, text, text[], text, bytea, text),
    approvals.amend(bigint, bytea, jsonb, text, text[], bigint[], bigint[]),
    approvals.withdraw(bigint),
    approvals.consume(bigint, bytea),
    approvals.say(bigint, text, text),
    approvals.close_review(bigint, text, text, text[], text),
    approvals.move_on(integer),
    approvals.add_webhook(text, text[], bytea, bytea, text, integer),
    approvals.remove_webhook(bigint, text),
    approvals.sign(bigint, bytea)
    to tallystick_app;
