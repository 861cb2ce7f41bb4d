"""Who erases, at the same time as others, and by which command."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tallystick import (
    audit,
    customers,
    memory,
    subjects,
)
from tallystick.db import OWNER, Database
from tallystick.kit import NotFound
from tests.command_line import command
from tests.conftest import TestDatabase
from tests.erasing import (
    NAME,
    OTHER,
    Markers,
    add_customer,
    count_of,
    ended_task,
    erase,
    is_refused,
    keep_nothing,
    marks_left,
    owner,
    owning,
    sealer,
)

__all__ = ["owner", "owning", "sealer"]


async def test_of_two_erasures_at_once_one_erases(db: Database, owning: Database, owner: psycopg.Connection[Any]) -> None:
    marks, others = Markers(), Markers()
    await add_customer(db, NAME, marks)
    await add_customer(db, OTHER, others)
    keep_nothing(owner)
    answers = await asyncio.gather(*(erase(owning, name) for name in (NAME, OTHER, NAME)), return_exceptions=True)
    assert sorted(getattr(answer, "code", "erased") for answer in answers) == ["erased", "erased", "unknown_customer"]
    assert marks_left(owner, marks) + marks_left(owner, others) == []
    assert count_of(owner, "customers.customer") == 2


async def test_a_hold_that_comes_first_is_heeded_and_one_that_comes_late_finds_nobody(
    db: Database, owning: Database, owner: psycopg.Connection[Any]
) -> None:
    keep_nothing(owner)
    async with db.write() as tx:
        await customers.add(tx, [customers.NewCustomer(NAME, "Jana")], by="me")
    async with db.write() as tx:
        await subjects.place_hold(tx, "cli:eva", NAME, reason="court")
        erasing = asyncio.create_task(is_refused(owning, "legal_hold"))
        async with asyncio.timeout(30):
            while not _waits_for_advisory(owner):
                await asyncio.sleep(0.01)
    await erasing
    async with db.write() as tx:
        await subjects.lift_hold(tx, "cli:eva", 1)
    await erase(owning)
    with pytest.raises(NotFound, match="unknown_customer"):
        async with db.write() as tx:
            await subjects.place_hold(tx, "cli:eva", NAME, reason="court")


def _waits_for_advisory(owner: psycopg.Connection[Any]) -> bool:
    row = owner.execute("select exists (select from pg_locks where locktype = 'advisory' and not granted)").fetchone()
    return row == (True,)


async def test_others_work_on_while_a_customer_is_erased(
    db: Database, owning: Database, owner: psycopg.Connection[Any], sealer: audit.Sealer
) -> None:
    marks, others = Markers(), Markers()
    await add_customer(db, NAME, marks)
    keep_nothing(owner)
    stop = asyncio.Event()
    made: list[int] = []

    async def write(number: int) -> None:
        while not stop.is_set():
            made.append(await ended_task(db, {"customer": f"C-{number}", "note": others.new("task")}, others))
            async with db.write() as tx:
                await memory.publish(tx, "me", agent="a", type="t", payload={"who": f"C-{number}"})
            await sealer.seal()

    writers = [asyncio.create_task(write(number)) for number in range(4)]
    async with asyncio.timeout(60):
        while len(made) < 8:
            await asyncio.sleep(0.01)
        await erase(owning)
        after = len(made)
        while len(made) < after + 8:
            await asyncio.sleep(0.01)
    stop.set()
    await asyncio.gather(*writers)
    assert marks_left(owner, marks) == []
    assert marks_left(owner, others) == others.made
    while await sealer.seal():
        pass
    assert count_of(owner, "audit.leaf") == count_of(owner, "audit.event")


@pytest.mark.parametrize(
    "statement",
    [
        "select audit.erase('C', 'me', 'r', 10)",
        "select audit.redact('case', array[1], 'cases.case_texts', 'select 1', 'me', 1, 1)",
        "update audit.retention set keep_months = 0",
        "insert into audit.retention values ('case', 0, 'me')",
        "delete from audit.legal_hold",
        "update audit.legal_hold set customer = 'x'",
        "insert into audit.legal_hold (customer, reason, placed_by, lifted_by) values ('C', 'r', 'me', 'me')",
        "update work.task set payload = '{}', erased_by = 1",
        "update memory.event set payload = '{}', salt = null, erased_by = 1",
        "update audit.payload set body = null, salt = null, erased_by = 1",
        "update payments.payment set remittance = null",
        "update cases.case set payload = '{}'",
    ],
)
def test_the_application_cannot_erase(database: TestDatabase, statement: str) -> None:
    with psycopg.connect(database.app_url) as connection:
        # What marks an erasure, anybody can set.
        connection.execute("select set_config('tallystick.erasing', pg_current_xact_id()::text, true)")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement.encode())


async def test_outside_of_an_erasure_the_owner_changes_no_fact_and_inside_it_no_other(
    db: Database, database: TestDatabase
) -> None:
    async with db.write() as tx:
        await memory.publish(tx, "me", agent="a", type="t", payload={"a": 1})
        await audit.append(tx, principal="me", verb="v", subject_kind="s", payload={"a": 1})
    mark = "select set_config('tallystick.erasing', pg_current_xact_id()::text, true)"
    for role, marked, statement, passes in (
        (OWNER, None, "update memory.event set payload = '{}'", False),
        (OWNER, None, "update audit.payload set erased_by = null", False),
        (OWNER, "select set_config('tallystick.erasing', '1', true)", "update memory.event set payload = '{}'", False),
        (None, mark, "update memory.event set payload = '{}'", False),
        (OWNER, mark, "delete from memory.event", False),
        (OWNER, mark, "truncate memory.event", False),
        (OWNER, mark, "update audit.event set verb = 'x'", False),
        (OWNER, mark, "update ledger.journal set kind = 'x'", False),
        (OWNER, mark, "update memory.event set payload = '{}'", True),
    ):
        with psycopg.connect(database.owner_url) as connection:
            if role is not None:
                connection.execute(f"set role {role}".encode())
            if marked is not None:
                connection.execute(marked.encode())
            if passes:
                connection.execute(statement.encode())
                connection.rollback()
                continue
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(statement.encode())
            assert caught.value.sqlstate == "TS002", statement


def test_the_commands_hold_keep_and_erase(database: TestDatabase, owner: psycopg.Connection[Any]) -> None:
    owner.execute("insert into customers.customer (name, full_name) values ('C-1', 'Jana Nova')")
    placed = command(database, "legal-hold", "place", "C-1", "--reason", "court/7", "--as", "eva")
    assert json.loads(placed.stdout)["placed_by"] == "cli:eva"
    asked = ("erase", "C-1", "--reason", "gdpr/3", "--as", "anna")
    refused = command(database, *asked, "--yes")
    assert (refused.exit_code, "[legal_hold]" in refused.stderr) == (1, True)
    # Where a person would have been asked, a refusal is on the record as well.
    assert command(database, *asked).exit_code == 1
    assert _count_verb(owner, "subjects.erase_refused") == 2
    assert command(database, *asked, "--dry-run").exit_code == 1
    assert _count_verb(owner, "subjects.erase_refused") == 2
    assert json.loads(command(database, "legal-hold", "list").stdout)["id"] == "1"
    assert json.loads(command(database, "legal-hold", "lift", "1", "--as", "jan").stdout)["lifted_by"] == "cli:jan"
    assert command(database, "legal-hold", "list").stdout == ""
    assert len(command(database, "legal-hold", "list", "--all").stdout.splitlines()) == 1
    refused = command(database, *asked, "--yes")
    assert (refused.exit_code, "[retention_period]" in refused.stderr) == (1, True)
    assert [json.loads(line)["keep_months"] for line in command(database, "retention", "list").stdout.splitlines()] == [
        60, 60, 60, 120, 60, 60, 60, 120, 60, 60, 120,
    ]  # fmt: skip
    assert "[retention_out_of_range]" in command(database, "retention", "set", "customer", "ten years").stderr
    kept = json.loads(command(database, "retention", "set", "customer", "0", "--as", "anna").stdout)
    assert (kept["keep_months"], kept["set_by"]) == (0, "cli:anna")
    assert json.loads(command(database, "retention", "set", "event", "18m").stdout)["keep_months"] == 18
    assert json.loads(command(database, *asked, "--dry-run").stdout) == {
        "customer": "C-1", "would_erase": {"customers.customer": 1},
    }  # fmt: skip
    assert command(database, *asked, stdin="n\n").exit_code == 1
    assert owner.execute("select full_name from customers.customer").fetchone() == ("Jana Nova",)
    done = json.loads(command(database, *asked, stdin="y\n").stdout.splitlines()[-1])
    assert done["erased"] == {"customers.customer": 1}
    assert owner.execute("select name, full_name from customers.customer").fetchone() == (f"erased-{done['event']}", None)
    again = command(database, *asked, "--yes")
    assert (again.exit_code, "[unknown_customer]" in again.stderr) == (1, True)


def _count_verb(owner: psycopg.Connection[Any], verb: str) -> int:
    row = owner.execute("select count(*) from audit.event where verb = %s", (verb,)).fetchone()
    assert row is not None
    return int(row[0])
