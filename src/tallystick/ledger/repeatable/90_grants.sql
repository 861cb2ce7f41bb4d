-- The application reads the books and changes them by these functions only.
revoke all on all functions in schema ledger from public, tallystick_app;
grant usage on schema ledger to tallystick_app, tallystick_auditor;
grant select on all tables in schema ledger to tallystick_app, tallystick_auditor;
-- Its last number tells the verifier that nothing has a number which was never given out.
grant select on sequence ledger.journal_id to tallystick_app, tallystick_auditor;
grant insert on ledger.asset to tallystick_app;
-- The verbs. What they call under their locks is for them alone.
grant execute on function
    ledger.open_accounts, ledger.change_accounts, ledger.lock, ledger.close_period, ledger.post, ledger.place_holds,
    ledger.release_holds, ledger.expire_holds, ledger.seq_before
    to tallystick_app;
grant execute on function ledger.journal_rows to tallystick_app, tallystick_auditor;
