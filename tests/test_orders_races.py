"""Orders at the same moment, by real connections: whoever comes first, the books and the limits are right."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tallystick import actions, ledger, trading
from tallystick.actions import registry
from tallystick.db import Database
from tallystick.kit import TallystickError
from tests.trading_desk import (
    CLERK,
    agree,
    book,
    buy,
    do,
    fill,
    hold_shares,
    money,
    open_desk,
    order,
    position,
    rule,
    sell,
    set_rules,
)


async def _race(*proposals: Any) -> list[Any]:
    """What each came to; of a refusal its code, `Denied` and `Held` as their names."""

    async def settled(proposal: Any) -> Any:
        try:
            answer = await proposal
        except TallystickError as refusal:
            return refusal.code
        return type(answer).__name__ if isinstance(answer, actions.Denied | actions.Held) else answer.status

    return await asyncio.gather(*map(settled, proposals))


async def test_the_last_units_are_sold_once(db: Database) -> None:
    desk = await open_desk(db)
    await hold_shares(desk, "10")
    for _ in range(5):
        came_to = await _race(*(do(desk, sell("10", "10")) for _ in range(4)))
        assert sorted(came_to) == ["insufficient_position"] * 3 + ["placed"]
        async with desk.read() as tx:
            (placed,) = await trading.orders(tx, portfolio="P", side="sell", status="placed")
        await do(desk, actions.CancelOrder(str(placed.id)))


async def test_the_last_money_is_set_aside_once(db: Database) -> None:
    desk = await open_desk(db)
    came_to = await _race(*(do(desk, buy("60", "10")) for _ in range(4)))
    assert sorted(came_to) == ["placed"] + ["posting_refused"] * 3
    assert await money(desk) == (100_000, 60_000)


@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_a_fill_and_a_cancellation_come_one_after_the_other(db: Database, side: str) -> None:
    desk = await open_desk(db)
    await hold_shares(desk, "10")
    outcomes = set()
    for _ in range(8):
        placed = await do(desk, buy("1", "10") if side == "buy" else sell("1", "10"))
        before, _ = await money(desk)
        shares = await position(desk)

        async def filling(placed: Any = placed) -> Any:
            await fill(desk, placed, "1")
            return await order(desk, placed.id)

        came_to = await _race(filling(), do(desk, actions.CancelOrder(str(placed.id))))
        after, held = await money(desk)
        assert held == 0
        done = await order(desk, placed.id)
        outcomes.add(done.status)
        if done.status == "filled":
            assert came_to == ["filled", "impossible_transition"]
            assert abs(after - before) == 1_000
        else:
            assert came_to == ["impossible_transition", "cancelled"]
            assert (after, await position(desk)) == (before, shares)
    assert outcomes <= {"filled", "cancelled"}


async def test_fills_at_once_never_pass_their_order(db: Database) -> None:
    desk = await open_desk(db)
    placed = await do(desk, buy("10", "10"))

    async def filling() -> Any:
        await fill(desk, placed, "3")
        return await order(desk, placed.id)

    came_to = await _race(*(filling() for _ in range(8)))
    assert came_to.count("order_exceeded") == 5
    done = await order(desk, placed.id)
    assert (done.filled, await position(desk), await money(desk)) == (9_000_000, "9", (91_000, 1_000))
    async with desk.read() as tx:
        assert [one.n for one in await trading.fills(tx, placed.id)] == [1, 2, 3]


async def test_a_concentration_is_never_passed_however_many_race_for_it(db: Database) -> None:
    desk = await open_desk(db, rule("order", {"max_concentration": "0.25"}, "deny"))
    came_to = await _race(*(do(desk, buy("5", "10")) for _ in range(12)))
    assert sorted(came_to) == ["Denied"] * 7 + ["placed"] * 5
    found = (await book(desk)).holding("AAA")
    assert found is not None
    assert found.buying == 25_000_000


async def test_a_sum_of_orders_a_day_is_never_passed_however_many_race_for_it(db: Database) -> None:
    daily = {"sum": {"at_most": {"CZK": "100.00"}}, "per": "account", "over": "24h"}
    desk = await open_desk(db, rule("window", daily, "deny"))
    came_to = await _race(*(do(desk, buy("2", "10")) for _ in range(12)))
    assert sorted(came_to) == ["Denied"] * 7 + ["placed"] * 5


async def test_a_short_position_comes_about_by_no_race(db: Database) -> None:
    desk = await open_desk(db, shorts=True)
    await hold_shares(desk, "10")
    await set_rules(db, rule("order", {"short": False}, "deny"))
    came_to = await _race(*(do(desk, sell("4", "10")) for _ in range(6)))
    assert sorted(came_to) == ["Denied"] * 4 + ["placed"] * 2


async def test_an_order_that_people_agree_to_meets_one_that_needs_nobody(db: Database) -> None:
    """Both want the last units: one is placed, and the held action says how it ended."""
    desk = await open_desk(db)
    await hold_shares(desk, "10")
    await set_rules(db, rule("order", {"max_quantity": "9"}))
    held = await do(desk, sell("10", "10"))
    assert isinstance(held, actions.Held)
    placed, approval = await asyncio.gather(_race(do(desk, sell("1", "10"))), agree(desk, held.approval_id))
    async with desk.read() as tx:
        action = await actions.action(tx, held.action_id)
    found = (await book(desk)).holding("AAA")
    assert found is not None
    assert approval.status == "consumed"
    assert (placed, action.status, action.reason, found.available) in (
        (["placed"], "failed", "insufficient_position", 9_000_000),
        (["insufficient_position"], "executed", None, 0),
    )


async def test_orders_and_transfers_over_the_same_accounts_never_wait_for_each_other_for_good(
    db: Database,
) -> None:
    """Counters per account are shared with transfers: all lock the balances before them."""
    counted = {"count": {"at_most": 10_000}, "per": "account", "over": "24h"}
    desk = await open_desk(db, rule("window", counted, action=["transfer", "order.place", "order.fill", "order.cancel"]))
    await hold_shares(desk, "100")
    await hold_shares(desk, "100", portfolio="Q")

    async def at_once(payload: Any) -> Any:
        """Without a second attempt: a deadlock would be an error."""
        async with desk.write() as tx:
            assert isinstance(await actions.enter(tx, CLERK, payload), actions.Passed)
            run = registry.of(payload).run
            assert run is not None
            return await run(tx, CLERK, payload)

    async def trades(portfolio: str) -> None:
        for _ in range(4):
            bought = await at_once(buy("2", "5", portfolio=portfolio))
            sold = await at_once(sell("2", "5", portfolio=portfolio))
            fills = [actions.FillOrder(str(one.id), "1", "5") for one in (bought, sold)]
            await asyncio.gather(*map(at_once, fills))
            await at_once(actions.CancelOrder(str(bought.id)))

    async def transfers(debit: str, credit: str) -> None:
        for _ in range(8):
            wanted = actions.NewTransfer(debit, credit, "1.00")
            answers = await desk.retrying(lambda tx, wanted=wanted: actions.propose(tx, CLERK, [wanted]), attempts=1)  # type: ignore[misc]
            assert [one.status for one in answers if isinstance(one, actions.Transfer)] == ["posted"]

    await asyncio.gather(
        trades("P"),
        trades("P"),
        trades("Q"),
        transfers("ALICE", "BOB"),
        transfers("BOB", "ALICE"),
        transfers("ALICE", "BROKER"),
    )
    assert await position(desk) == "100"
    async with desk.snapshot() as tx:
        assert all(one.difference == 0 for one in await ledger.trial_balance(tx))
