"""A watch over test databases: every transaction that changes what the record is to know of has an event in the record.

`TALLYSTICK_TEST_EVENTS=1 pytest` has it watch all tests, and with them every verb that they call.
"""

from __future__ import annotations

import psycopg

UNTOLD = {
    # Who runs what at this moment, and what is in line for it: claims, beats and waits are no events.
    "work.ready", "work.wait", "work.run", "work.worker", "work.turn", "work.dependency", "work.due", "work.since_start",
    # Numbers that follow from facts which have their events.
    "ledger.balance", "ledger.open_hold", "policy.counter", "policy.bucket",
    # When keys were last used, and how often.
    "identity.key_use", "identity.usage",
    # Keys of calls, and answers to those that were refused.
    "db.claim", "ledger.refusal",
}  # fmt: skip
_SET_UP = """
create schema watch;
create table watch.changed (xid xid8, relation text, primary key (xid, relation));
grant usage on schema watch to public;
create function watch.note() returns trigger language plpgsql security definer as $$
begin
    -- What a test does as the owner is no verb.
    if session_user = 'tallystick_app' and exists (select from changed_rows) then
        insert into watch.changed values (pg_current_xact_id(), tg_argv[0]) on conflict do nothing;
    end if;
    return null;
end $$;
"""
_TABLES = """
select n.nspname || '.' || c.relname
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p')
   and not c.relispartition
   and n.nspname not in ('pg_catalog', 'information_schema', 'watch')
   and c.relname <> 'revision'
   and n.nspname || '.' || c.relname not in ('audit.payload', 'audit.pending', 'audit.leaf', 'audit.node', 'audit.origin',
                                             'audit.checkpoint')
 order by 1
"""
_UNTOLD = """
select distinct c.relation
  from watch.changed c
 where c.relation <> 'audit.event'
   and not exists (select from watch.changed e where e.xid = c.xid and e.relation = 'audit.event')
 order by 1
"""


def watch(connection: psycopg.Connection) -> None:
    """Note from now on which transaction changes which table."""
    connection.execute(_SET_UP)
    for (table,) in connection.execute(_TABLES).fetchall():
        if table in UNTOLD:
            continue
        for operation, rows in (("insert", "new"), ("update", "new"), ("delete", "old")):
            connection.execute(
                f"create trigger watch_{operation} after {operation} on {table} referencing {rows} table as changed_rows"
                f" for each statement execute function watch.note('{table}')".encode()
            )


def untold(connection: psycopg.Connection) -> list[str]:
    """Tables that some transaction has changed without an event."""
    return [table for (table,) in connection.execute(_UNTOLD).fetchall()]
