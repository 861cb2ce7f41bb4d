"""In whose name standing orders are paid: no order does more on its day than whoever ordered it might do, then and now."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tallystick import actions, audit, customers, identity, ledger, payments, policy
from tallystick.db import Database
from tallystick.identity import Principal, house
from tallystick.kit import TallystickError
from tests.clocks import SetClock
from tests.conftest import TestDatabase
from tests.permitted import strict
from tests.serving import body_of, fund, serving

JSON = dict[str, Any]
SHOP = actions.Party("Shop", "CZ001", "BANKCZ")
WEEKLY = actions.CreateOrder("RENT", "ALICE", "NOSTRO", SHOP, "10.00", date(2126, 1, 1), "week")
DAY = WEEKLY.first_on
TO_ORDER = ("standing_order.create", "standing_order.change", "payment.send")


def _hold(people: int = 1, **when: Any) -> JSON:
    return {"id": "ask", "when": when, "hold": True, "approve": [{"role": "approver", "people": people}]}


async def _bank(db: Database, *rules: JSON) -> Database:
    """ALICE has 1,000.00 CZK; olga and own are clerks, own, eva and ann vote, and bot is own's agent."""
    await fund(db)
    async with db.write() as tx:
        await payments.register(tx, "me", name="NOSTRO", bank="B", their_account="1", currency="CZK")
        for name, roles in (
            ("olga", ["operator"]),
            ("own", ["operator", "approver"]),
            ("eva", ["approver"]),
            ("ann", ["approver"]),
        ):
            await identity.add_principal(tx, name, kind="person", roles=roles, by="test")
        await identity.add_principal(tx, "bot", kind="agent", owner="own", risk_tier="low", by="test")
        await identity.set_reach(tx, "bot", accounts=None, customers=None, by="test")
    await _rules(db, *rules)
    return strict(db)


async def _rules(db: Database, *rules: JSON) -> None:
    async with db.write() as tx:
        await policy.apply(tx, policy.parse({"name": "p", "rules": [*rules, {"id": "all", "allow": True}]}), by="test")


async def _who(db: Database, name: str, mandate_id: int | None = None) -> Principal:
    async with db.read() as tx:
        found = await identity.acting(tx, name, mandate_id=mandate_id)
    assert found is not None
    return found


async def _mandate(db: Database, **terms: Any) -> int:
    """Olga lets the agent do something for her."""
    until = datetime.now(UTC) + timedelta(days=1)
    new = identity.NewMandate(**{"person": "olga", "agent": "bot", "operations": TO_ORDER, "until": until, **terms})
    async with db.write() as tx:
        return (await identity.grant_mandate(tx, new, by="test")).id


async def _runs(db: Database, name: str = "RENT") -> list[tuple[str, str | None]]:
    """What became of each day, oldest first, and why."""
    async with db.read() as tx:
        order = await customers.plan(tx, name)
        return [(run.outcome, run.reason) for run in reversed(await customers.runs(tx, order.id))]


async def _available(db: Database) -> int:
    async with db.read() as tx:
        return (await ledger.account(tx, "ALICE")).available


async def _vote(db: Database, approval_id: int, person: str) -> Any:
    who = await _who(db, person)

    async def work(tx: Any) -> Any:
        seen = (await actions.approval_action(tx, approval_id)).digest
        return await actions.vote(tx, approval_id, who, "approve", seen=seen)

    return await db.retrying(work)


async def _question(db: Database) -> int:
    """The approval that the one run of RENT waits for."""
    async with db.read() as tx:
        (run,) = await customers.runs(tx, (await customers.plan(tx, "RENT")).id)
        held = await actions.action(tx, run.action_id or 0)
    assert held.approval_id is not None
    return held.approval_id


# Limits.


async def test_what_limits_an_agent_limits_the_payments_that_it_orders(db: Database) -> None:
    limit = {
        "id": "alone",
        "when": {"kind": "agent", "action": "payment.send"},
        "amount": {"at_most": {"CZK": "5.00"}},
        "otherwise": "deny",
    }
    desk = await _bank(db, limit)
    await actions.perform(desk, await _who(db, "bot"), WEEKLY)
    await actions.perform(desk, await _who(db, "olga"), replace(WEEKLY, name="HERS"))
    assert await actions.pay_due_orders(desk, DAY) == {"denied": 1, "paid": 1}
    assert (await _runs(db), await _runs(db, "HERS")) == ([("denied", None)], [("paid", None)])
    async with db.read() as tx:
        (denied,) = await policy.decisions(tx, principal="bot", action="payment.send")
    assert denied.outcome == "deny"


async def test_a_window_of_an_agent_counts_what_its_orders_pay(db: Database) -> None:
    window = {
        "id": "few",
        "when": {"action": "payment.send"},
        "window": {"count": {"at_most": 2}, "per": "agent", "over": "24h"},
        "otherwise": "deny",
    }
    desk = await _bank(db, window)
    await actions.perform(desk, await _who(db, "bot"), WEEKLY)
    assert await actions.pay_due_orders(desk, DAY + timedelta(weeks=3)) == {"paid": 2, "denied": 2}


async def test_an_order_under_a_mandate_is_paid_within_its_total_and_each_run_counts(db: Database) -> None:
    desk = await _bank(db)
    mandate = await _mandate(db, total={"CZK": 2500})
    await actions.perform(desk, await _who(db, "bot", mandate), WEEKLY)
    assert await actions.pay_due_orders(desk, DAY + timedelta(weeks=5)) == {"paid": 2, "denied": 4}
    assert await _available(db) == 100_000 - 2_000
    # Nor is there room for a payment by itself, or for another order.
    bot = await _who(db, "bot", mandate)
    for payload in (actions.SendPayment("NOSTRO", "ALICE", "5.01", SHOP), replace(WEEKLY, name="MORE", amount="5.01")):
        assert isinstance(await actions.perform(desk, bot, payload), actions.Denied)


async def test_the_one_payment_of_an_order_is_within_a_total_of_its_amount(db: Database) -> None:
    desk = await _bank(db)
    mandate = await _mandate(db, total={"CZK": 1000})
    await actions.perform(desk, await _who(db, "bot", mandate), replace(WEEKLY, every="once"))
    assert await actions.pay_due_orders(desk, DAY) == {"paid": 1}


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"operations": ("standing_order.create",)}, ("denied", None)),
        ({"accounts": ("BOB",)}, ("failed", "unknown_account")),
        ({"payees": ("CZ999",)}, ("denied", None)),
        ({"max_amount": {"CZK": 999}}, ("denied", None)),
    ],
)
async def test_what_lies_beyond_the_mandate_of_an_order_is_not_paid(
    db: Database, database: TestDatabase, terms: JSON, said: Any
) -> None:
    desk = await _bank(db)
    wide, narrow = await _mandate(db), await _mandate(db, **terms)
    await actions.perform(desk, await _who(db, "bot", wide), WEEKLY)
    # As if the order had come to be under the other one, when that said more.
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("update customers.standing_term set mandate_id = %s", (narrow,))
    assert await actions.pay_due_orders(desk, DAY) == {said[0]: 1}
    assert await _runs(db) == [said]
    assert await _available(db) == 100_000


@pytest.mark.parametrize("gone", ["disabled", "revoked", "over"])
async def test_an_order_whose_maker_or_mandate_is_gone_is_not_paid_and_says_so(
    db: Database, database: TestDatabase, gone: str
) -> None:
    desk = await _bank(db)
    mandate = await _mandate(db, until=datetime.now(UTC) + timedelta(days=2))
    await actions.perform(desk, await _who(db, "bot", mandate), WEEKLY)
    assert await actions.pay_due_orders(desk, DAY) == {"paid": 1}
    async with db.write() as tx:
        if gone == "disabled":
            await identity.disable(tx, "bot", by="test")
        elif gone == "revoked":
            await identity.revoke_mandate(tx, mandate, by="test")
    if gone == "over":
        with psycopg.connect(database.owner_url) as connection:
            connection.execute("set session_replication_role = replica")
            connection.execute("update identity.mandate set until = now() - interval '1 second'")
    assert await actions.pay_due_orders(desk, DAY + timedelta(weeks=1)) == {"failed": 1}
    assert await _runs(db) == [("paid", None), ("failed", "authority_gone")]
    async with db.read() as tx:
        told = await audit.latest(tx, subject_kind="standing_order", subject_id=1, verb="standing_orders.run")
    assert told is not None
    assert told.detail == {"due_on": "2126-01-08", "outcome": "failed", "reason": "authority_gone"}
    async with serving(db) as client:
        (shown,) = body_of(await client.get("/v1/accounts/ALICE/standing-orders"))["items"]
    assert [run["reason"] for run in shown["runs"]] == ["authority_gone", None]
    if gone == "disabled":
        async with db.write() as tx:
            await identity.enable(tx, "bot", by="test")
        # What was not paid meanwhile stays so; the next day is paid.
        assert await actions.pay_due_orders(desk, DAY + timedelta(weeks=2)) == {"paid": 1}
    else:
        assert await actions.pay_due_orders(desk, DAY + timedelta(weeks=2)) == {"failed": 1}


async def test_an_order_is_paid_in_the_name_of_who_changed_it_last(db: Database) -> None:
    desk = await _bank(db, {"id": "not-bots", "when": {"kind": "agent", "action": "payment.send"}, "deny": True})
    await actions.perform(desk, await _who(db, "olga"), WEEKLY)
    await actions.perform(desk, await _who(db, "bot"), actions.ChangeOrder("RENT", amount="9.00"))
    assert await actions.pay_due_orders(desk, DAY) == {"denied": 1}
    await actions.perform(desk, await _who(db, "olga"), actions.ChangeOrder("RENT", amount="8.00"))
    assert await actions.pay_due_orders(desk, DAY + timedelta(weeks=1)) == {"paid": 1}


async def test_an_order_of_which_nobody_knows_who_made_it_is_paid_by_the_house(db: Database, database: TestDatabase) -> None:
    desk = await _bank(db)
    await actions.perform(desk, house("clerk"), replace(WEEKLY, name="HOUSE"))
    await actions.perform(desk, await _who(db, "bot"), WEEKLY)
    async with db.write() as tx:
        await identity.disable(tx, "bot", by="test")
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("update customers.standing_term set roles = null, since = null where by_principal = 'bot'")
    assert await actions.pay_due_orders(desk, DAY) == {"paid": 2}
    async with db.read() as tx:
        assert len(await policy.decisions(tx, principal=actions.STANDING_ORDERS, action="payment.send")) == 2


# Votes.


async def test_who_ordered_a_payment_does_not_vote_on_it(db: Database) -> None:
    desk = await _bank(db, _hold(action="payment.send"))
    await actions.perform(desk, await _who(db, "own"), WEEKLY)
    assert await actions.pay_due_orders(desk, DAY) == {"held": 1}
    question = await _question(db)
    refused = await _vote(desk, question, "own")
    assert isinstance(refused, TallystickError)
    assert refused.code == "maker_is_not_checker"
    assert await _available(db) == 100_000
    await _vote(desk, question, "eva")
    assert await _available(db) == 99_000


async def test_all_who_had_a_say_in_an_order_are_excluded_from_votes_on_its_payments(db: Database) -> None:
    desk = await _bank(db)
    async with db.write() as tx:
        await identity.set_roles(tx, "olga", ["operator", "approver"], by="test")
    # For olga by own's agent; then people agree to a change by the house, which pays it from then on.
    await actions.perform(desk, await _who(db, "bot", await _mandate(db)), WEEKLY)
    await _rules(db, _hold(action=["standing_order.change", "payment.send"]))
    held = await actions.perform(desk, house("clerk"), actions.ChangeOrder("RENT", amount="9.00"))
    assert isinstance(held, actions.Held)
    await _vote(desk, held.approval_id, "eva")
    assert await actions.pay_due_orders(desk, DAY) == {"held": 1}
    question = await _question(db)
    for person in ("own", "olga", "eva"):
        refused = await _vote(desk, question, person)
        assert isinstance(refused, TallystickError)
        assert refused.code == "maker_is_not_checker"
    await _vote(desk, question, "ann")
    assert await _available(db) == 100_000 - 900


async def test_a_payment_that_was_held_is_not_made_when_the_mandate_of_its_order_is_gone(db: Database) -> None:
    desk = await _bank(db, _hold(action="payment.send"))
    mandate = await _mandate(db)
    await actions.perform(desk, await _who(db, "bot", mandate), WEEKLY)
    assert await actions.pay_due_orders(desk, DAY) == {"held": 1}
    async with db.write() as tx:
        await identity.revoke_mandate(tx, mandate, by="test")
    await _vote(desk, await _question(db), "eva")
    async with db.read() as tx:
        (ended,) = await actions.actions(tx, type="payment.send")
    assert (ended.status, ended.reason) == ("failed", "authority_gone")
    assert await _available(db) == 100_000


# Days that were over before.


async def test_an_order_does_not_begin_on_a_day_that_is_over_everywhere(db: Database, database: TestDatabase) -> None:
    clock = SetClock(database.owner_url, "2126-01-02T11:59:59")
    desk = await _bank(db)
    olga = await _who(db, "olga")
    with pytest.raises(TallystickError, match="first_on_past"):
        await actions.perform(desk, olga, replace(WEEKLY, name="PAST", first_on=date(2125, 12, 31)))
    # West of us it is the first of January still.
    await actions.perform(desk, olga, WEEKLY)
    clock.set("2126-01-02T12:00:00")
    with pytest.raises(TallystickError, match="first_on_past"):
        await actions.perform(desk, olga, replace(WEEKLY, name="PAST"))
    with pytest.raises(TallystickError, match="first_on_past"):
        await actions.perform(desk, olga, actions.ChangeOrder("RENT", first_on=date(2125, 12, 31)))
    # The day that it says already may be said again.
    await actions.perform(desk, olga, actions.ChangeOrder("RENT", first_on=DAY, amount="9.00"))
    clock.close()


async def test_an_order_that_is_given_other_days_is_not_paid_for_those_before(db: Database, database: TestDatabase) -> None:
    clock = SetClock(database.owner_url, "2126-01-01T12:00:00")
    desk = await _bank(db)
    olga = await _who(db, "olga")
    await actions.perform(desk, olga, replace(WEEKLY, every="once"))
    assert await actions.pay_due_orders(desk, DAY) == {"paid": 1}
    clock.set("2126-06-06T12:00:00")
    await actions.perform(desk, olga, actions.ChangeOrder("RENT", every="week"))
    assert await actions.pay_due_orders(desk, date(2126, 6, 10)) == {}
    # Another amount leaves the days as they are.
    await actions.perform(desk, olga, actions.ChangeOrder("RENT", amount="9.00"))
    assert (await _plan(db)).since == date(2126, 6, 6)
    assert await actions.pay_due_orders(desk, date(2126, 6, 19)) == {"paid": 2}
    assert await _available(db) == 100_000 - 1_000 - 2 * 900
    clock.close()


async def _plan(db: Database) -> customers.Plan:
    async with db.read() as tx:
        return await customers.plan(tx, "RENT")


# What people were shown.


async def _held(desk: Database, payload: Any, who: Principal) -> actions.Held:
    held = await actions.perform(desk, who, payload)
    assert isinstance(held, actions.Held)
    return held


async def _ended(db: Database, held: actions.Held) -> tuple[str, str | None]:
    async with db.read() as tx:
        found = await actions.action(tx, held.action_id)
    return found.status, found.reason


AMOUNT, PAYEE = actions.ChangeOrder("RENT", amount="900.00"), actions.ChangeOrder("RENT", payee=replace(SHOP, account="CZ002"))


async def test_of_two_changes_that_wait_the_second_fails_as_its_order_is_not_what_was_shown(db: Database) -> None:
    desk = await _bank(db, _hold(action="standing_order.change"))
    await actions.perform(desk, house("clerk"), WEEKLY)
    bot = await _who(db, "bot")
    first, second = await _held(desk, AMOUNT, bot), await _held(desk, PAYEE, bot)
    await _vote(desk, second.approval_id, "eva")
    await _vote(desk, first.approval_id, "ann")
    assert [await _ended(db, one) for one in (second, first)] == [("executed", None), ("failed", "order_changed")]
    order = await _plan(db)
    assert (order.n, order.amount, order.to_account) == (2, 1_000, "CZ002")


async def test_a_change_that_is_amended_is_about_the_order_as_it_stands_then(db: Database) -> None:
    desk = await _bank(db, _hold(action="standing_order.change"))
    await actions.perform(desk, house("clerk"), WEEKLY)
    bot = await _who(db, "bot")
    first, second = await _held(desk, AMOUNT, bot), await _held(desk, PAYEE, bot)
    await _vote(desk, second.approval_id, "eva")
    await desk.retrying(lambda tx: actions.amend(tx, first.action_id, bot, {"name": "RENT", "amount": "800.00"}))
    await _vote(desk, first.approval_id, "ann")
    assert await _ended(db, first) == ("executed", None)
    order = await _plan(db)
    assert (order.n, order.amount, order.to_account) == (3, 80_000, "CZ002")


async def test_a_payment_of_an_order_leaves_a_change_of_it_as_it_was_shown(db: Database) -> None:
    desk = await _bank(db, _hold(action="standing_order.change"))
    await actions.perform(desk, house("clerk"), WEEKLY)
    held = await _held(desk, AMOUNT, await _who(db, "bot"))
    assert await actions.pay_due_orders(desk, DAY) == {"paid": 1}
    await _vote(desk, held.approval_id, "eva")
    assert await _ended(db, held) == ("executed", None)


async def test_what_policy_sees_of_an_order_stays_so_until_the_change_is_made(db: Database, database: TestDatabase) -> None:
    # The payee of a small order may be changed.
    small = {
        "id": "small",
        "when": {"action": "standing_order.change", "payee_changes": True},
        "amount": {"at_most": {"CZK": "10.00"}},
        "otherwise": "deny",
    }
    desk = await _bank(db, small)
    await actions.perform(desk, house("clerk"), WEEKLY)
    async with desk.write() as tx:
        assert isinstance(await actions.enter(tx, house("a"), AMOUNT), actions.Passed)
        other = asyncio.create_task(actions.perform(desk, house("b"), PAYEE))
        await _until_one_waits(database)
        assert (await actions.named("standing_order.change").run(tx, house("a"), AMOUNT)).n == 2  # type: ignore[misc]
    assert isinstance(await other, actions.Denied)
    assert (await _plan(db)).to_account == "CZ001"


async def _until_one_waits(database: TestDatabase) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        async with asyncio.timeout(30):
            while connection.execute("select exists (select from pg_locks where not granted)").fetchone() != (True,):
                await asyncio.sleep(0.01)
