"""What policy knows of a transfer: facts that are read before it decides, and those that are read only under the locks."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tallystick import actions, customers, ledger, policy
from tallystick.db import Database
from tallystick.identity import house
from tests.conftest import TestDatabase
from tests.permitted import strict
from tests.serving import fund

JSON = dict[str, Any]


async def _rules(db: Database, *rules: JSON) -> None:
    async with db.write() as tx:
        await policy.apply(tx, {"name": "test", "rules": [*rules, {"id": "allowed", "allow": True}]}, by="test")


async def _propose(db: Database, *pairs: tuple[str, str]) -> list[str]:
    new = [actions.NewTransfer(debit, credit, "1.00") for debit, credit in pairs]
    answers = await strict(db).retrying(lambda tx: actions.propose(tx, house("clerk"), new))
    return [answer.status for answer in answers if isinstance(answer, actions.Transfer)]


async def _own(db: Database, *accounts: str) -> None:
    async with db.write() as tx:
        (customer,) = await customers.add(tx, [customers.NewCustomer("C-1", None, None, None, None)], by="test")
        ids = [(await ledger.account(tx, name)).id for name in accounts]
        owned = [customers.Disposition(customer.id, account, "owner") for account in ids]
        await customers.add_dispositions(tx, owned, by="test")


async def test_a_limit_of_a_customer_holds_over_all_their_accounts(db: Database) -> None:
    await fund(db)
    await _own(db, "ALICE", "BOB")
    limit = {"count": {"at_most": 3}, "per": "customer", "over": "1h"}
    await _rules(db, {"id": "customer", "when": {"action": "transfer"}, "window": limit, "otherwise": "deny"})
    assert await _propose(db, ("ALICE", "BOB"), ("BOB", "ALICE")) == ["posted", "posted"]
    assert await _propose(db, ("BOB", "ALICE"), ("ALICE", "BOB")) == ["posted", "failed"]


async def test_a_limit_for_strangers_counts_only_them(db: Database) -> None:
    await fund(db)
    window = {"count": {"at_most": 0}, "per": "account", "over": "1h"}
    when = {"action": "transfer", "payee_known_s": {"at_least": 0}}
    await _rules(db, {"id": "known", "when": when, "window": window, "otherwise": "deny"})
    # The first pays a stranger, to whom the rule says nothing: it lacks the fact, so it holds.
    assert await _propose(db, ("ALICE", "BOB")) == ["held"]
    await _rules(db)
    assert await _propose(db, ("ALICE", "BOB")) == ["posted"]
    await _rules(db, {"id": "known", "when": when, "window": window, "otherwise": "deny"})
    assert await _propose(db, ("ALICE", "BOB")) == ["failed"]


async def test_a_batch_that_policy_and_the_books_let_pass_in_part_is_answered_in_order(db: Database) -> None:
    await fund(db)
    await _rules(db, {"id": "never", "when": {"counterparty": "ALICE"}, "deny": True})
    new = [
        actions.NewTransfer("BOB", "ALICE", "1.00"),
        actions.NewTransfer("ALICE", "BOB", "1.00"),
        actions.NewTransfer("ALICE", "BOB", "900000.00"),
        actions.NewTransfer("BOB", "ALICE", "1.00"),
        actions.NewTransfer("ALICE", "BOB", "2.00"),
    ]
    answers = await strict(db).retrying(lambda tx: actions.propose(tx, house("clerk"), new))
    told = [(one.status, one.reason, one.journal_id is None) for one in answers if isinstance(one, actions.Transfer)]
    failed = ("failed", "denied", True)
    assert told == [failed, ("posted", None, False), ("failed", "insufficient_funds", True), failed, ("posted", None, False)]
    async with db.read() as tx:
        kept = [await policy.decision(tx, one.decision_id or 0) for one in answers if isinstance(one, actions.Transfer)]
        stored = [await actions.get(tx, one.id) for one in answers if isinstance(one, actions.Transfer)]
    assert [(one.outcome, one.consumed) for one in kept] == [
        ("deny", False), ("allow", True), ("allow", False), ("deny", False), ("allow", True)
    ]  # fmt: skip
    assert [(one.status, one.reason, one.amount) for one in stored] == [
        ("failed", "denied", 100), ("posted", None, 100), ("failed", "insufficient_funds", 90_000_000),
        ("failed", "denied", 100), ("posted", None, 200),
    ]  # fmt: skip


@pytest.mark.parametrize(("credit", "asset"), [("-1", "CZK"), ("(select id from ledger.account where name = 'BOB')", "USD")])
async def test_a_transfer_without_a_journal_is_between_accounts_that_hold_the_same(
    db: Database, database: TestDatabase, credit: str, asset: str
) -> None:
    await fund(db)
    statement = (
        "insert into actions.transfer (principal, from_account, to_account, amount, asset, settle, status, reason, settled_at)"
        f" select 'test', id, {credit}, 1, '{asset}', 'now', 'failed', 'denied', now() from ledger.account where name = 'ALICE'"
    )
    with psycopg.connect(database.owner_url) as connection, pytest.raises(psycopg.errors.ForeignKeyViolation):
        connection.execute(statement)
