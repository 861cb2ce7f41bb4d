-- The application reads all of it and changes it by the verbs only; what they stand on it may not call.
revoke all on all functions in schema work from public;
grant usage on schema work to tallystick_app, tallystick_auditor;
grant select on all tables in schema work to tallystick_app, tallystick_auditor;
grant execute on function
    work.enqueue(text, bigint[], text[], text[], text[], integer[], integer[], timestamptz[], timestamptz[], text[], integer[], bigint[]),
    work.claim(text[], text[], text, bigint, bigint, integer),
    work.task_texts(bigint[]), work.outcome_texts(bigint[]), work.step_texts(bigint[]),
    work.task_digests(bigint[]), work.outcome_digests(bigint[]), work.step_digests(bigint[]),
    work.claim_lightly(text[], text[], text, bigint, bigint, integer), work.announce(boolean),
    work.claim_these(bigint[], text, integer),
    work.claim_openly(text[], text[], text, bigint, bigint, text, bigint, text[], text[]),
    work.hand_over(bigint), work.take_up(bigint[], bigint[]), work.close_claim(bigint),
    work.finish(bigint[], bigint[], text[], text[], text[], text),
    work.fail(bigint[], bigint[], text[], text[], real[]),
    work.report(bigint, text, jsonb, text, text),
    work.register(text, integer), work.beat(bigint, integer), work.leave(bigint), work.extend(bigint, bigint, integer),
    work.reap(bigint), work.expire(bigint), work.hold(bigint, bigint),
    work.record(bigint, bigint, text, text, integer, text, bytea, jsonb, text, jsonb, bigint, bigint),
    work.lock_event(text), work.wake(bigint, jsonb),
    work.park(bigint, bigint, text, text, bytea, timestamptz, double precision, text, jsonb, jsonb),
    work.wake_due(bigint), work.wake_for_event(text, jsonb, jsonb), work.answer(bigint, text, jsonb),
    work.cancel(bigint, text, text), work.put_back(bigint),
    work.configure(text, text, integer, integer, integer, real, real, integer, text),
    work.brake_on(text, text, text, integer), work.brake_off(text, text, boolean),
    work.drop_history(bigint, timestamptz, jsonb)
    to tallystick_app;
grant usage on sequence work.task_id to tallystick_app;
grant execute on function work.task_texts(bigint[]), work.outcome_texts(bigint[]), work.step_texts(bigint[]) to tallystick_auditor;

select work.extend_history(0);
do $$
declare
    v_name text;
begin
    foreach v_name in array array['task', 'outcome', 'attempt', 'step'] loop
        execute format('create or replace trigger facts_are_kept before update or delete or truncate on work.%I
                        for each statement execute function db.refuse_change_but_erasure()', v_name);
    end loop;
end
$$;
