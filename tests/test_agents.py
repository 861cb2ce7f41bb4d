"""The built-in agents: what they answer, and that their effects are the end of their tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick import actions, agents, audit, cases, ledger, trading, work
from tallystick.agents.trade_case import APPROVED_UP_TO, REVIEW_UP_TO, confidence, decide
from tallystick.db import Database
from tallystick.identity import house
from tallystick.kit import NotFound


async def _prices(db: Database, symbol: str = "AAPL", close: str = "115.82", volume: int = 1_000_000, days: int = 30) -> None:
    prices = [
        trading.Price(symbol=symbol, day=date(2016, 12, 1) + timedelta(days=day), close=Decimal(close), volume=volume)
        for day in range(days)
    ]
    async with db.write() as tx:
        await trading.load_prices(tx, prices)


async def _run(db: Database, agent: agents.BuiltInAgent, *payloads: Mapping[str, Any]) -> list[work.Task]:
    """Enqueue, claim, run and finish in one go; the tasks as they ended."""
    async with db.write() as tx:
        ids = await work.enqueue(tx, "me", [work.NewTask(agent.name, agent.types[0], payload) for payload in payloads])
    async with db.write() as tx:
        claimed = await work.claim(tx, agents=[agent.name], types=agent.types, worker="w", limit=100)
        assert all(await work.finish(tx, await agent.run(tx, claimed), "w"))
        return [await work.get(tx, task_id) for task_id in ids]


async def _bank(db: Database) -> None:
    async with db.write() as tx:
        bank, alice, _ = await ledger.open_accounts(
            tx,
            [
                ledger.AccountSpec("bank", "CZK", "internal", None),
                ledger.AccountSpec("alice", "CZK"),
                ledger.AccountSpec("bob", "CZK"),
            ],
        )
        await ledger.post(tx, [ledger.Journal("opening", ledger.transfer(debit=bank.id, credit=alice.id, amount=1000), "me")])


async def _queued(db: Database, *amounts: str) -> list[actions.Transfer]:
    async with db.write() as tx:
        answers = await actions.propose(
            tx, house("me"), [actions.NewTransfer("alice", "bob", amount, settle="queued") for amount in amounts]
        )
    return [answer for answer in answers if isinstance(answer, actions.Transfer)]


async def test_a_position_is_worth_its_quantity_at_the_latest_close_exactly(db: Database) -> None:
    await _prices(db)
    whole, part = await _run(
        db,
        agents.TradeReviewAgent(),
        {"symbol": "AAPL", "quantity": 250},
        {"symbol": "AAPL", "quantity": Decimal("999999999999.123456789")},
    )
    assert whole.status == "done"
    assert whole.result == {
        "symbol": "AAPL",
        "quantity": 250,
        "status": "processed",
        "notional_estimate": Decimal("28955.00"),
        "price": Decimal("115.82"),
        "price_day": "2016-12-30",
    }
    assert part.result["notional_estimate"] == Decimal("115819999999898.47876530198")


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"symbol": "NONE", "quantity": 1}, "unknown_symbol"),
        ({"symbol": "A\ufffd" * 500, "quantity": 1}, "unknown_symbol"),
        ({"quantity": 1}, "payload_malformed"),
        ({"symbol": 5, "quantity": 1}, "payload_malformed"),
        ({"symbol": "", "quantity": 1}, "payload_malformed"),
        ({"symbol": ["AAPL"], "quantity": 1}, "payload_malformed"),
        ({"symbol": "AAPL"}, "payload_malformed"),
        ({"symbol": "AAPL", "quantity": "250"}, "payload_malformed"),
        ({"symbol": "AAPL", "quantity": True}, "payload_malformed"),
        ({"symbol": "AAPL", "quantity": None}, "payload_malformed"),
        ({"symbol": "AAPL", "quantity": 0}, "payload_malformed"),
        ({"symbol": "AAPL", "quantity": -1}, "payload_malformed"),
        ({"symbol": "AAPL", "quantity": 10**12 + 1}, "payload_malformed"),
        ({"symbol": "AAPL", "quantity": Decimal("1e30")}, "payload_malformed"),
        ({"symbol": "AAPL", "quantity": Decimal("0.0000000001")}, "payload_malformed"),
    ],
)
async def test_a_position_that_cannot_be_priced_fails_alone(db: Database, payload: Mapping[str, Any], error: str) -> None:
    await _prices(db)
    bad, good = await _run(db, agents.TradeReviewAgent(), payload, {"symbol": "AAPL", "quantity": 1})
    assert (bad.status, bad.result, good.status) == ("failed", None, "done")
    assert bad.error is not None
    assert bad.error.startswith(error)


async def test_queued_transfers_are_settled_and_one_without_funds_is_a_result(db: Database) -> None:
    await _bank(db)
    transfers = await _queued(db, "6.00", "6.00", "4.00")
    async with db.write() as tx:
        claimed = await work.claim(tx, agents=["settlement-agent"], worker="w", limit=9)
        await work.finish(tx, await agents.SettlementAgent().run(tx, claimed), "w")
    async with db.read() as read:
        tasks = [await work.get(read, transfer.task_id or 0) for transfer in transfers]
        settled = [await actions.get(read, transfer.id) for transfer in transfers]
        bob = await ledger.account(read, "bob")
    assert [task.status for task in tasks] == ["done"] * 3
    assert [task.result for task in tasks] == [
        {"transfer_id": transfers[0].id, "status": "posted", "reason": None},
        {"transfer_id": transfers[1].id, "status": "failed", "reason": "insufficient_funds"},
        {"transfer_id": transfers[2].id, "status": "posted", "reason": None},
    ]
    assert [transfer.status for transfer in settled] == ["posted", "failed", "posted"]
    assert bob.posted == 1000


async def test_a_second_task_for_a_transfer_moves_no_money(db: Database) -> None:
    await _bank(db)
    (transfer,) = await _queued(db, "1.00")
    agent = agents.SettlementAgent()
    again = await _run(db, agent, {"transfer_id": transfer.id}, {"transfer_id": transfer.id}, {"transfer_id": 999})
    async with db.read() as tx:
        bob = await ledger.account(tx, "bob")
    assert [task.result["status"] for task in again] == ["posted", "posted", "failed"]
    assert again[2].result["reason"] == "unknown_transfer"
    assert bob.posted == 100


@pytest.mark.parametrize("payload", [{}, {"transfer_id": "1"}, {"transfer_id": True}, {"transfer_id": Decimal("1.5")}])
async def test_a_settlement_that_names_no_transfer_fails(db: Database, payload: Mapping[str, Any]) -> None:
    (task,) = await _run(db, agents.SettlementAgent(), payload)
    assert (task.status, task.error) == ("failed", "payload_malformed: transfer_id must be a whole number")


async def _process(db: Database, type: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    async with db.write() as tx:
        case = await cases.open_request(tx, "me", customer="CUST-1042", type=type, payload=payload)
        processed = await agents.process_case(tx, "me", case.id)
        event = await audit.latest(tx, subject_kind="case", subject_id=case.id)
    assert processed.status == "processed"
    assert processed.result is not None
    assert event is not None
    assert (event.verb, event.payload) == ("processed", processed.result)
    assert (processed.result["client_id"], processed.result["request_type"]) == ("CUST-1042", type)
    return processed.result


@pytest.mark.parametrize(
    ("notional", "decision", "sure"),
    [
        (1_000_000, "approved", "0.9"),
        (10_000_000, "approved", "0"),
        (Decimal("10000000.000000001"), "review", "0"),
        (50_000_000, "review", "0.5"),
        (100_000_000, "review", "0"),
        (Decimal("100000000.01"), "rejected", "0"),
        (1_000_000_000, "rejected", "0.9"),
    ],
)
async def test_an_order_is_judged_by_its_share_of_what_is_traded(
    db: Database, notional: int | Decimal, decision: str, sure: str
) -> None:
    await _prices(db, close="1000", volume=1_000_000)
    result = await _process(db, "trade_review", {"symbol": "AAPL", "notional": notional})
    assert (result["decision"], result["confidence"]) == (decision, Decimal(sure))
    assert result["average_daily_value"] == 10**9
    assert (result["days"], result["last_day"], result["symbol"]) == (20, "2016-12-30", "AAPL")
    assert "AAPL" in result["summary"]


@pytest.mark.parametrize(
    "payload",
    [{}, {"symbol": "AAPL"}, {"symbol": "NONE", "notional": 1}, {"symbol": "AAPL", "notional": "much"}, {"notional": 1}],
)
async def test_an_order_that_cannot_be_compared_is_for_a_person(db: Database, payload: Mapping[str, Any]) -> None:
    await _prices(db)
    result = await _process(db, "trade_review", payload)
    assert (result["decision"], result["confidence"]) == ("review", 0)
    assert result["summary"].endswith("A person decides.")


async def test_a_symbol_of_which_nothing_was_traded_is_for_a_person(db: Database) -> None:
    await _prices(db, volume=0)
    assert (await _process(db, "trade_review", {"symbol": "AAPL", "notional": 1}))["decision"] == "review"


async def test_a_request_that_no_agent_knows_is_for_a_person(db: Database) -> None:
    result = await _process(db, "onboarding", {"name": "Jana", "decision": "approved", "client_id": "x"})
    assert (result["decision"], result["confidence"]) == ("review", 0)


async def test_a_request_processed_many_times_at_once_is_answered_the_same_and_recorded_once(db: Database) -> None:
    await _prices(db)
    async with db.write() as tx:
        case = await cases.open_request(
            tx, "me", customer="CUST-1", type="trade_review", payload={"symbol": "AAPL", "notional": 5}
        )

    async def process() -> cases.Case:
        async with db.write() as tx:
            return await agents.process_case(tx, "me", case.id)

    answers = await asyncio.gather(*(process() for _ in range(6)))
    async with db.read() as read:
        opened = await audit.latest(read, subject_kind="case", subject_id=case.id, verb="cases.open")
        processed = await audit.latest(read, subject_kind="case", subject_id=case.id)
    assert all(answer == answers[0] for answer in answers)
    assert opened is not None
    assert processed is not None
    assert processed.id == opened.id + 1


async def test_an_event_and_an_unknown_case_are_not_processed(db: Database) -> None:
    async with db.write() as tx:
        event = await cases.open_event(tx, "me", customer="CUST-1", type="t", payload_text="")
        for case_id in (event.id, 999):
            with pytest.raises(NotFound, match="unknown_case"):
                await agents.process_case(tx, "me", case_id)


@given(share=st.fractions(min_value=Fraction(1, 10**12), max_value=10**6))
def test_confidence_is_a_share_and_is_nothing_only_on_a_threshold(share: Fraction) -> None:
    assert 0 <= confidence(share) < 1
    assert (confidence(share) == 0) == (share in (APPROVED_UP_TO, REVIEW_UP_TO))


@given(share=st.fractions(min_value=Fraction(1, 10**12), max_value=10**6), part=st.fractions(0, 1))
def test_an_order_nearer_than_the_confidence_says_is_decided_the_same(share: Fraction, part: Fraction) -> None:
    # No change by less than the factor 1 - confidence crosses a threshold.
    factor = 1 - confidence(share) * part
    nearer = (share * factor, share / factor)
    on_threshold = {APPROVED_UP_TO, REVIEW_UP_TO} & {*nearer, share}
    assert on_threshold or {decide(other) for other in nearer} == {decide(share)}
