"""Every way in which an agent may give money away comes under the same limits."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick import actions, policy
from tallystick.actions import EntryPayload, HoldPayload, JournalPayload, registry
from tallystick.db import Database
from tests.serving import BANK
from tests.trading_desk import do, open_desk

# What a standing order pays is summed up when it is paid, in the name of who ordered it.
DAILY = "agents-daily-sum-of-an-account"
LIMITS = ("agents-small-amounts", DAILY, "agents-know-the-payee")
CLOCK = "agents-work-by-day"
# Types that agents may do alone and that give nobody money: what is set aside is given by its capture, what is decided of a
# case and what is in a batch is asked about by itself, and orders have rules of their own.
NO_MONEY = {"hold.place", "hold.release", "transfer.batch", "case.status", "case.process", "order.place", "order.cancel"}


def _alone(name: str, type: str) -> bool:
    """Whether an agent does an action of that type alone where every limit is kept."""
    facts: policy.Facts = {
        "action": type, "at": "2026-04-21T12:00:00Z", "principal": "bot", "kind": "agent", "roles": ["agent"], "owner": "ann",
        "risk_tier": "low", "account": "A", "counterparty": "B", "counterparty_kind": "customer", "counterparty_name": "B",
        "payee_known_s": 10**7, "amount": 1, "asset": "EUR", "scale": 2, "instrument": "I", "side": "buy", "quantity": "1",
        "price": "0.01", "notional": "0.01", "held": "0", "position": "0", "portfolio": "1000", "short": False,
        "listed": {"sanctions": [], "restricted": []},
    }  # fmt: skip
    rules = policy.packaged(name)
    facts["used"] = {key.key: [0, 0] for key in rules.searches(facts)[0]}
    return policy.evaluate(rules, facts).outcome == "allow"


@pytest.mark.parametrize("name", ["default", "demo"])
def test_whatever_an_agent_gives_away_alone_comes_under_the_same_rules(name: str) -> None:
    rules = {one["id"]: one for one in policy.packaged(name).document["rules"]}
    bound = [*LIMITS, CLOCK] if name == "default" else LIMITS
    alone = {type for type in registry.names() if _alone(name, type)}
    assert {"transfer", "payment.send", "hold.capture"} <= alone
    for rule in bound:
        later = {"standing_order.create"} if rule == DAILY else set()
        assert alone - NO_MONEY - later <= set(rules[rule]["when"]["action"]), rule


async def _facts(db: Database, payload: Any) -> policy.Facts:
    async with db.write() as tx:
        return dict(await registry.of(payload).facts(tx, payload))


async def test_policy_sees_of_a_capture_and_of_a_plain_journal_what_it_sees_of_a_transfer(db: Database) -> None:
    desk = await open_desk(db)
    (placed,) = await do(desk, actions.PlaceHolds((HoldPayload("ALICE", "1.00"),)))
    entries = (EntryPayload("ALICE", "-1.00"), EntryPayload("BOB", "1.00"))
    transfer = actions.TransferPayload("ALICE", "BOB", "1.00", "CZK")
    capture = actions.CaptureHold(str(placed.hold_id), "BOB", "1.00")
    journal = actions.PostJournals((JournalPayload("fee", entries),))
    told = ("account", "account_kind", "customer", "counterparty", "counterparty_kind", "payee_known_s", "amount", "asset")
    expected = [(await _facts(desk, transfer)).get(name) for name in told]
    assert expected[3:6] == ["BOB", "customer", None]
    for payload in (capture, journal):
        assert [(await _facts(desk, payload)).get(name) for name in told] == expected
    await do(desk, actions.AddPayee("ALICE", "BOB"))
    for payload in (capture, journal):
        assert (await _facts(desk, payload))["payee_known_s"] >= 0


async def test_of_a_journal_of_several_nobody_is_the_payee(db: Database) -> None:
    desk = await open_desk(db)
    entries = (EntryPayload("ALICE", "-2.00"), EntryPayload("BOB", "1.00"), EntryPayload(BANK, "1.00"))
    facts = await _facts(desk, actions.PostJournals((JournalPayload("fee", entries),)))
    assert "counterparty" not in facts
    assert "payee_known_s" not in facts
