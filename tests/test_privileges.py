"""What the application's database role may not do, whatever its code tries."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from tests.conftest import TestDatabase

FACTS = (
    "ledger.asset",
    "ledger.account",
    "ledger.account_change",
    "ledger.journal",
    "ledger.entry",
    "ledger.hold",
    "ledger.hold_change",
    "ledger.refusal",
    "ledger.closed_period",
    "closing.calendar",
    "closing.holiday",
    "closing.day",
    "closing.day_step",
    "closing.day_page",
    "closing.balance",
    "closing.interest_rate",
    "closing.accrual",
    "audit.event",
    "audit.payload",
    "audit.leaf",
    "audit.node",
    "audit.checkpoint",
    "audit.origin",
    "payments.payment_step",
    "payments.statement_line",
    "payments.match",
    "payments.explanation",
    "trading.portfolio",
    "trading.fill",
    "identity.agent_version",
    "identity.mandate",
    "identity.mandate_end",
    "memory.event",
    "approvals.shown",
    "approvals.vote",
    "approvals.comment",
    "policy.document",
    "policy.decision",
    "policy.consumption",
    "schedules.version",
    "schedules.firing",
    "work.task",
    "work.outcome",
    "work.attempt",
    "work.step",
)


def _refused(url: str, statement: str, refusal: type[psycopg.Error] | tuple[type[psycopg.Error], ...]) -> None:
    with psycopg.connect(url) as connection, pytest.raises(refusal):
        connection.execute(statement.encode())


@pytest.mark.parametrize("table", FACTS)
@pytest.mark.parametrize("statement", ["update {} set {} = {}", "delete from {}", "truncate {} cascade"])
def test_the_application_cannot_change_a_fact(database: TestDatabase, table: str, statement: str) -> None:
    with psycopg.connect(database.owner_url) as connection:
        row = connection.execute(
            "select attname from pg_attribute where attrelid = %s::regclass and attnum = 2", (table,)
        ).fetchone()
        assert row is not None
        column = row[0]
    _refused(database.app_url, statement.format(table, column, column), errors.InsufficientPrivilege)


@pytest.mark.parametrize("table", FACTS)
def test_not_even_the_superuser_changes_a_fact_by_accident(database: TestDatabase, table: str) -> None:
    with psycopg.connect(database.owner_url) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(f"truncate {table} cascade".encode())
    assert caught.value.sqlstate == "TS002"


@pytest.mark.parametrize(
    "statement",
    [
        "update ledger.balance set cr = cr + 100",
        "insert into ledger.balance (account_id) values (1)",
        "update ledger.balance set status = 'open'",
        "insert into ledger.hold (id) values (1)",
        "delete from ledger.open_hold",
        "select ledger.expire_locked(array[1], 'infinity', null)",
        "select ledger.record_captures(array[1], array[1], array[0], array[1], array['me'], now())",
        "insert into ledger.closed_period (n) values (1)",
        "insert into ledger.entry values (1, 1, 1, 1, 1, 1, now())",
        "insert into ledger.journal (id) values (1)",
        "insert into db.claim values ('a', 'b', '', 'c', 1)",
        "delete from db.claim",
        "update actions.transfer set amount = 1",
        "delete from actions.transfer",
        "insert into policy.document default values",
        "insert into policy.decision default values",
        "insert into policy.consumption (decision_id) values (1)",
        "update policy.counter set count = 0",
        "delete from policy.counter",
        "delete from policy.bucket",
        "insert into policy.bucket values (1, 1, 1, 1)",
        "update policy.list set version = 1",
        "delete from policy.list",
        "delete from policy.list_entry",
        "update policy.list_entry set normalized = 'x'",
        "select policy.roll(array[1], 1)",
        "delete from schedules.schedule",
        "update approvals.approval set status = 'approved'",
        "insert into approvals.approval (action) values ('a')",
        "insert into approvals.vote (person) values ('eva')",
        "insert into approvals.shown (version) values (1)",
        "insert into approvals.comment (text) values ('a')",
        "insert into approvals.review values (1)",
        "update approvals.review set verdict = 'justified'",
        "delete from approvals.approval",
        "select approvals.tick(1)",
        "select inner_key from approvals.webhook",
        "select outer_key from approvals.webhook",
        "update approvals.webhook set url = 'http://127.0.0.1'",
        "update schedules.schedule set created_by = 'me'",
        "update identity.api_key set hash = ''",
        "update identity.api_key set principal_id = 1",
        "update identity.api_key set scopes = null",
        "update identity.principal set kind = 'person'",
        "update identity.principal set name = 'me'",
        "delete from identity.principal",
        "delete from identity.api_key",
        "update identity.session set expires_at = 'infinity'",
        "delete from customers.customer",
        "update customers.customer set erased_by = 1",
        "select audit.erase('C', 'me', 'r', 1)",
        "update audit.retention set keep_months = 0",
        "delete from audit.legal_hold",
        "create table public.mine (id int)",
        "create schema mine",
        "set role tallystick_owner",
        "alter table ledger.entry disable trigger all",
        "select pg_read_file('/etc/passwd')",
        "copy (select 1) to program 'true'",
    ],
)
def test_the_application_has_no_way_around_the_verbs(database: TestDatabase, statement: str) -> None:
    _refused(database.app_url, statement, errors.InsufficientPrivilege)


def test_the_application_moves_tasks_by_the_verbs_alone(database: TestDatabase) -> None:
    statements = [
        "delete from work.ready",
        "insert into work.ready values (1, 1, 0, 0, 0, false)",
        "update work.run set fence = 1",
        "delete from work.wait",
        "delete from work.dead",
        "insert into work.outcome (task_id) values (1)",
        "insert into work.step (task_id) values (1)",
        "update work.worker set lease_until = 'infinity'",
        "update work.queue set max_attempts = 1",
        "delete from work.brake",
        "delete from work.turn",
        "delete from work.dependency",
        "update work.due set deadline_at = 'infinity'",
        "update work.history set dropped_at = null",
        "select work.end_anywhere(1, 'done', null, 'me')",
        "select work.move_on(null, null, null, array[1], 'done', null, 'me')",
        "select work.go_on(array[1], null)",
        "select work.take(array[1], 'me', null, 1, 60)",
        "select work.take_within(array[1], null, 'me', null, 1, 60)",
        "select work.extend_history(1)",
        "select work.admit(array[1])",
    ]
    for part in ("task_000000", "outcome_000000", "attempt_000000", "step_000000"):
        statements += [
            f"delete from work.{part}",
            f"truncate work.{part}",
            f"drop table work.{part}",
            f"insert into work.{part} default values",
        ]
    for statement in statements:
        _refused(database.app_url, statement, errors.InsufficientPrivilege)
    for part in ("task_000000", "step_000000"):
        with psycopg.connect(database.owner_url) as connection, pytest.raises(psycopg.Error) as caught:
            connection.execute(f"delete from work.{part}".encode())
        assert caught.value.sqlstate == "TS002"


def test_every_function_fixes_its_search_path_and_is_closed_to_the_public(database: TestDatabase) -> None:
    query = """
        select p.oid::regprocedure::text, p.proconfig, p.prosqlbody is not null,
               has_function_privilege('public', p.oid, 'execute')
          from pg_proc p join pg_namespace n on n.oid = p.pronamespace
         where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    """
    with psycopg.connect(database.owner_url) as connection:
        functions = connection.execute(query).fetchall()
    assert functions
    for name, settings, parsed, public in functions:
        paths = [setting for setting in settings or () if setting.startswith("search_path=")]
        # A body that was parsed when the function was made looks for nothing when it runs.
        assert parsed or paths == ["search_path=pg_catalog, pg_temp"], name
        assert not public, name


def test_the_auditor_reads_and_never_writes(database: TestDatabase, cluster: object) -> None:
    url = database.app_url.replace("user=tallystick_app", "user=tallystick_auditor")
    with psycopg.connect(url) as connection:
        connection.execute("select count(*) from ledger.entry")
    for statement in ("insert into memory.event (agent, type, payload, created_by) values ('a', 'b', '{}', 'c')",):
        _refused(url, statement, errors.InsufficientPrivilege)
    _refused(url, "select hash from identity.api_key", errors.InsufficientPrivilege)
