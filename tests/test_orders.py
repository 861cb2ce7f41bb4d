"""Orders: what they set aside, what they move, what they make of the portfolio, and what the gate sees of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tallystick import actions, audit, customers, ledger, policy, trading
from tallystick.cli.verify import REFERENCES
from tallystick.db import Database
from tallystick.identity import Principal
from tallystick.kit import NotFound, TallystickError
from tests.conftest import TestDatabase
from tests.trading_desk import (
    agree,
    book,
    buy,
    do,
    fill,
    hold_shares,
    money,
    newest_facts,
    open_desk,
    order,
    position,
    rule,
    sell,
    set_prices,
    set_rules,
)


async def _refused(db: Database, payload: Any) -> str:
    with pytest.raises(TallystickError) as caught:
        await do(db, payload)
    return caught.value.code


# What is set aside and what moves.


async def test_a_buy_sets_aside_what_it_costs_at_its_limit(db: Database) -> None:
    desk = await open_desk(db)
    placed = await do(desk, buy("3", "9.999"))
    assert (placed.status, placed.filled, placed.limit_price) == ("placed", 0, Decimal("9.999"))
    assert await money(desk) == (100_000, 3_000)


async def test_a_buy_without_a_limit_sets_aside_the_latest_price_and_a_margin(db: Database) -> None:
    desk = await open_desk(db)
    await do(desk, buy("3"))
    assert await money(desk) == (100_000, 3_150)


async def test_what_has_no_price_is_ordered_with_a_limit_only(db: Database) -> None:
    desk = await open_desk(db)
    assert await _refused(desk, buy("3", symbol="ZZZ")) == "no_price"
    assert await _refused(desk, sell("3", symbol="ZZZ")) == "no_price"
    assert (await do(desk, buy("3", "1", symbol="ZZZ"))).status == "placed"


async def test_a_buy_that_the_account_cannot_pay_is_not_placed(db: Database) -> None:
    desk = await open_desk(db)
    assert await _refused(desk, buy("100.000001", "10")) == "posting_refused"
    assert await money(desk) == (100_000, 0)
    assert (await book(desk)).open_orders == 0
    await do(desk, buy("100", "10"))
    assert await money(desk) == (100_000, 100_000)


async def test_fills_move_money_and_shares_and_the_last_one_frees_what_is_left(db: Database) -> None:
    desk = await open_desk(db)
    placed = await do(desk, buy("10", "11"))
    first = await fill(desk, placed, "4", "10.50")
    assert (first.n, first.amount, await position(desk)) == (1, 4_200, "4")
    assert await money(desk) == (95_800, 6_800)
    assert (await order(desk, placed.id)).status == "partly_filled"
    await fill(desk, placed, "6", "10")
    done = await order(desk, placed.id)
    assert (done.status, done.remaining, done.amount) == ("filled", 0, 10_200)
    assert await money(desk) == (89_800, 0)
    assert await money(desk, "BROKER") == (10_200, 0)
    async with desk.read() as tx:
        journal = await ledger.journal(tx, first.journal_id or 0)
    assert (journal.kind, journal.ref_id, journal.actor) == ("order_fill", placed.id, "clerk")


async def test_a_sale_reserves_the_shares_and_its_fill_brings_the_money(db: Database) -> None:
    desk = await open_desk(db)
    await hold_shares(desk, "10")
    placed = await do(desk, sell("6", "9"))
    found = (await book(desk)).holding("AAA")
    assert found is not None
    assert (found.quantity, found.selling, found.available) == (10_000_000, 6_000_000, 4_000_000)
    assert await _refused(desk, sell("4.000001", "9")) == "insufficient_position"
    before, _ = await money(desk)
    await fill(desk, placed, "6", "9.5")
    assert await money(desk) == (before + 5_700, 0)
    assert await position(desk) == "4"


async def test_a_cancelled_order_frees_what_it_had_set_aside_and_keeps_what_was_filled(db: Database) -> None:
    desk = await open_desk(db)
    placed = await do(desk, buy("10", "10"))
    await fill(desk, placed, "2")
    gone = await do(desk, actions.CancelOrder(str(placed.id)))
    assert (gone.status, gone.filled) == ("cancelled", 2_000_000)
    assert await money(desk) == (98_000, 0)
    assert await position(desk) == "2"
    assert (await do(desk, actions.CancelOrder(str(placed.id)))).status == "cancelled"
    assert await _refused(desk, actions.FillOrder(str(placed.id), "1", "10")) == "impossible_transition"


async def test_a_portfolio_has_so_many_open_orders_and_instruments(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick.trading.ordering.MAX_OPEN", 2)
    desk = await open_desk(db)
    await hold_shares(desk, "1", "AAA")
    await hold_shares(desk, "1", "BBB")
    assert await _refused(desk, buy("1", "1", "CCC")) == "portfolio_full"
    placed = [await do(desk, buy("1", "1", symbol)) for symbol in ("AAA", "BBB")]
    assert await _refused(desk, buy("1", "1", "AAA")) == "portfolio_full"
    await do(desk, actions.CancelOrder(str(placed[0].id)))
    assert (await do(desk, buy("1", "1", "AAA"))).status == "placed"


async def test_a_filled_order_is_not_cancelled(db: Database) -> None:
    desk = await open_desk(db)
    placed = await do(desk, buy("1", "10"))
    await fill(desk, placed, "1")
    assert await _refused(desk, actions.CancelOrder(str(placed.id))) == "impossible_transition"


@pytest.mark.parametrize(
    ("quantity", "price", "code"),
    [
        ("10.000001", "10", "order_exceeded"),
        ("1", "10.00000001", "fill_beyond_limit"),
        ("0", "10", "amount_not_positive"),
        ("-1", "10", "amount_not_positive"),
        ("0.0000001", "10", "amount_too_fine"),
        ("1", "0", "price_malformed"),
        ("1", "-1", "price_malformed"),
        ("1", "1e1", "price_malformed"),
        ("1", "0.000000001", "price_malformed"),
    ],
)
async def test_a_fill_that_does_not_fit_its_order_is_refused(db: Database, quantity: str, price: str, code: str) -> None:
    desk = await open_desk(db)
    placed = await do(desk, buy("10", "10"))
    assert await _refused(desk, actions.FillOrder(str(placed.id), quantity, price)) == code
    assert await money(desk) == (100_000, 10_000)
    assert await position(desk) == "0"


async def test_a_sale_is_not_filled_below_its_limit(db: Database) -> None:
    desk = await open_desk(db)
    await hold_shares(desk, "1")
    placed = await do(desk, sell("1", "9"))
    assert await _refused(desk, actions.FillOrder(str(placed.id), "1", "8.99")) == "fill_beyond_limit"
    await fill(desk, placed, "1", "12")


async def test_a_buy_without_a_limit_costs_no_more_than_it_has_set_aside(db: Database) -> None:
    desk = await open_desk(db)
    placed = await do(desk, buy("10"))
    assert await _refused(desk, actions.FillOrder(str(placed.id), "10", "10.51")) == "reserve_exceeded"
    await fill(desk, placed, "10", "10.50")
    assert await money(desk) == (89_500, 0)


async def test_fills_of_parts_of_a_cent_move_their_exact_sum_rounded_once(db: Database) -> None:
    desk = await open_desk(db)
    placed = await do(desk, buy("100", "0.003"))
    assert await money(desk) == (100_000, 30)
    moved = [await fill(desk, placed, "1", "0.003") for _ in range(100)]
    assert sum(one.amount for one in moved) == 30
    assert {one.amount for one in moved} == {0, 1}
    assert all((one.journal_id is None) == (one.amount == 0) for one in moved)
    assert await money(desk) == (99_970, 0)


async def test_a_fill_that_moves_nothing_frees_what_was_set_aside(db: Database) -> None:
    desk = await open_desk(db)
    placed = await do(desk, buy("0.000001", "0.5"))
    assert await money(desk) == (100_000, 1)
    assert (await fill(desk, placed, "0.000001", "0.4")).journal_id is None
    assert await money(desk) == (100_000, 0)
    assert await position(desk) == "0.000001"


async def test_more_is_sold_than_held_only_where_the_portfolio_may(db: Database) -> None:
    desk = await open_desk(db, shorts=True)
    placed = await do(desk, sell("5", "10"))
    assert (await newest_facts(desk))["short"] is True
    await fill(desk, placed, "5")
    assert await position(desk) == "-5"
    found = await book(desk)
    assert found.value == 1000
    await do(desk, buy("5", "10"))
    facts = await newest_facts(desk)
    assert (facts["position"], facts["position_after"], facts["short"]) == ("-5", "0", False)


async def test_the_cash_account_is_another_s_for_no_portfolio(db: Database) -> None:
    desk = await open_desk(db)
    for payload, code in (
        (actions.OpenPortfolio("P", "EURO", "BROKER"), "currency_mismatch"),
        (actions.OpenPortfolio("R", "ALICE", "BROKER"), "portfolio_exists"),
        (actions.OpenPortfolio("R", "ALICE", "ALICE"), "same_account"),
        (actions.OpenPortfolio("R", "ALICE", "BOB"), "settlement_not_internal"),
        (actions.OpenPortfolio("R", "NOBODY", "BROKER"), "unknown_account"),
        (actions.OpenPortfolio("a b", "BANK", "BROKER"), "name_malformed"),
    ):
        assert await _refused(desk, payload) == code
    opened = await do(desk, actions.OpenPortfolio("R", "BANK", "BROKER", shorts=True))
    assert (opened.name, opened.account, opened.settlement, opened.shorts, opened.customer) == (
        "R", "BANK", "BROKER", True, None,
    )  # fmt: skip


async def test_what_an_order_has_set_aside_is_freed_by_nobody_else(db: Database) -> None:
    desk = await open_desk(db)
    placed = await do(desk, buy("10", "10"))
    hold = str(placed.hold_id)
    assert await _refused(desk, actions.ReleaseHold(hold)) == "reserved_kind"
    assert await _refused(desk, actions.CaptureHold(hold, "BOB", "1.00")) == "reserved_kind"
    named = actions.HoldPayload("ALICE", "1.00", kind="order_reserve")
    assert await _refused(desk, actions.PlaceHolds((named,))) == "reserved_kind"
    filled = await fill(desk, placed, "10")
    taken_back = await do(desk, actions.ReverseJournal(str(filled.journal_id)))
    assert taken_back.refusal == "not_reversible"
    assert await money(desk) == (90_000, 0)


# What the gate sees.


async def test_policy_sees_the_order_and_what_it_makes_of_the_portfolio(db: Database) -> None:
    desk = await open_desk(db)
    async with db.write() as tx:
        (found,) = await customers.add(tx, [customers.NewCustomer("C-1", "Alice Nova")], by="me")
        alice = (await ledger.account(tx, "ALICE")).id
        await customers.add_dispositions(tx, [customers.Disposition(found.id, alice, "owner")], by="me")
    await hold_shares(desk, "20", price="1")
    await do(desk, buy("10", "8"))
    await do(desk, buy("2.5", "9.999"))
    facts = await newest_facts(desk)
    wanted = {
        "action": "order.place", "account": "ALICE", "account_kind": "customer", "customer": str(found.id),
        "counterparty": "BROKER", "portfolio_name": "P", "instrument": "AAA", "side": "buy", "quantity": "2.5",
        "price": "10.00", "notional": "25", "amount": 2_500, "asset": "CZK", "scale": 2,
        "held": "20", "position": "30", "position_after": "32.5",
        "portfolio": "1180", "short": False, "order_type": "limit",
    }  # fmt: skip
    assert {name: facts[name] for name in wanted} == wanted
    assert facts["concentration"].startswith("0.27542372")


async def test_a_sale_is_valued_at_the_latest_price_however_low_its_limit(db: Database) -> None:
    desk = await open_desk(db)
    await hold_shares(desk, "10")
    await set_rules(db, rule("order", {"max_notional": {"CZK": "50"}}, "deny"))
    assert isinstance(await do(desk, sell("6", "0.01")), actions.Denied)
    assert (await do(desk, sell("5", "0.01"))).status == "placed"


async def test_of_a_sale_of_what_has_no_price_the_value_is_not_known_and_people_are_asked(db: Database) -> None:
    desk = await open_desk(db)
    await hold_shares(desk, "10", "ZZZ")
    await set_rules(db, rule("order", {"max_notional": {"CZK": "1000000"}}))
    assert isinstance(await do(desk, sell("1", "0.01", "ZZZ")), actions.Held)


async def test_a_concentration_counts_the_orders_that_are_under_way(db: Database) -> None:
    desk = await open_desk(db, rule("order", {"max_concentration": "0.25"}, "deny"))
    for _ in range(5):
        assert (await do(desk, buy("5", "10"))).status == "placed"
    assert isinstance(await do(desk, buy("0.000001", "10")), actions.Denied)
    assert (await do(desk, buy("5", "2.50", "BBB"))).status == "placed"


async def test_an_order_that_makes_a_position_smaller_is_within_every_concentration(db: Database) -> None:
    desk = await open_desk(db)
    await hold_shares(desk, "100")
    await set_rules(db, rule("order", {"max_concentration": "0.01"}, "deny"))
    assert (await do(desk, sell("50", "10"))).status == "placed"


async def test_a_short_sale_is_denied_where_policy_says_so(db: Database) -> None:
    desk = await open_desk(db, rule("order", {"short": False}, "deny"), shorts=True)
    await hold_shares(desk, "5")
    denied = await do(desk, sell("5.000001", "10"))
    assert isinstance(denied, actions.Denied)
    assert [one.observed for one in denied.reasons if one.outcome == "deny"] == ["a short position"]
    assert (await do(desk, sell("3", "10"))).status == "placed"
    assert isinstance(await do(desk, sell("2.000001", "10")), actions.Denied)


@pytest.mark.parametrize("outcome", ["hold", "deny"])
async def test_an_instrument_on_the_restricted_list_is_not_ordered_alone(db: Database, outcome: str) -> None:
    desk = await open_desk(db)
    async with db.write() as tx:
        await policy.import_list(tx, "restricted", [("BBB", "BBB")], kind="ids", source="test", by="test")
    await set_rules(db, rule("list", {"name": "restricted", "by": "instrument"}, outcome))
    answer = await do(desk, buy("1", "1", "BBB"))
    assert isinstance(answer, actions.Held if outcome == "hold" else actions.Denied)
    assert (await do(desk, buy("1", "1", "AAA"))).status == "placed"


async def test_a_held_order_is_placed_when_people_agree_on_fresh_facts(db: Database) -> None:
    desk = await open_desk(db, rule("hold", True))
    held = await do(desk, buy("10"))
    assert isinstance(held, actions.Held)
    assert await money(desk) == (100_000, 0)
    await set_prices(db, {"AAA": "20.00"}, day=psycopg.Date(2026, 4, 22))
    assert (await agree(desk, held.approval_id)).status == "consumed"
    assert await money(desk) == (100_000, 21_000)
    assert (await newest_facts(desk))["notional"] == "200"
    async with desk.read() as tx:
        action = await actions.action(tx, held.action_id)
        (placed,) = await trading.orders(tx, portfolio="P")
        hold = await ledger.hold(tx, placed.hold_id or 0)
    assert (action.status, dict(action.result or {})) == ("executed", {"order": str(placed.id), "status": "placed"})
    assert (hold.kind, hold.ref_id) == ("order_reserve", placed.id)


async def test_a_held_order_that_cannot_be_paid_by_then_ends_and_says_why(db: Database) -> None:
    desk = await open_desk(db, rule("order", {"max_notional": {"CZK": "900"}}))
    held = await do(desk, buy("95", "10"))
    await do(desk, buy("80", "10"))
    await agree(desk, held.approval_id)
    async with desk.read() as tx:
        action = await actions.action(tx, held.action_id)
    assert (action.status, action.reason) == ("failed", "posting_refused")
    assert await money(desk) == (100_000, 80_000)


async def test_a_held_fill_moves_the_money_under_its_approval(db: Database) -> None:
    desk = await open_desk(db, rule("hold", True, action="order.fill"))
    placed = await do(desk, buy("10", "10"))
    held = await do(desk, actions.FillOrder(str(placed.id), "10", "10"))
    assert isinstance(held, actions.Held)
    assert await money(desk) == (100_000, 10_000)
    await agree(desk, held.approval_id)
    assert await money(desk) == (90_000, 0)
    async with desk.read() as tx:
        (filled,) = await trading.fills(tx, placed.id)
        event = await audit.latest(tx, subject_kind="order", subject_id=placed.id, verb="orders.fill")
    assert event is not None
    assert (event.approval_id, event.detail["journal"]) == (held.approval_id, filled.journal_id)


async def test_an_agent_orders_in_portfolios_over_its_accounts_alone(db: Database) -> None:
    desk = await open_desk(db)
    bot = Principal("bot", "agent", frozenset({"agent"}), owner="anna", accounts=frozenset({"ALICE"}), customers=frozenset())
    assert (await do(desk, buy("1", "1"), bot)).status == "placed"
    with pytest.raises(NotFound, match="unknown_account"):
        await do(desk, buy("1", "1", portfolio="Q"), bot)


async def test_each_verb_leaves_an_event_that_names_its_decision(db: Database) -> None:
    desk = await open_desk(db)
    opened = await do(desk, actions.OpenPortfolio("R", "BANK", "BROKER"))
    placed = await do(desk, buy("2", "1"))
    await fill(desk, placed, "1", "1")
    await do(desk, actions.CancelOrder(str(placed.id)))
    async with desk.read() as tx:
        for kind, id, verb in (
            ("portfolio", opened.id, "portfolios.open"), ("order", placed.id, "orders.place"),
            ("order", placed.id, "orders.fill"), ("order", placed.id, "orders.cancel"),
        ):  # fmt: skip
            event = await audit.latest(tx, subject_kind=kind, subject_id=id, verb=verb)
            assert event is not None
            assert (event.principal, event.decision_id is not None) == ("clerk", True)


@pytest.mark.parametrize("field", ["instrument", "side", "quantity", "limit_price", "portfolio"])
async def test_an_order_that_makes_no_sense_is_refused(db: Database, field: str) -> None:
    desk = await open_desk(db)
    wrong = {"instrument": "a a", "side": "keep", "quantity": "1/2", "limit_price": "NaN", "portfolio": "NOBODY"}
    codes = {"instrument": "symbol_malformed", "side": "unknown_side", "quantity": "amount_malformed"}
    codes |= {"limit_price": "price_malformed", "portfolio": "unknown_portfolio"}
    good: dict[str, Any] = {"portfolio": "P", "instrument": "AAA", "side": "buy", "quantity": "1", "limit_price": "1"}
    assert await _refused(desk, actions.PlaceOrder(**good | {field: wrong[field]})) == codes[field]


async def test_an_order_that_is_not_there_is_not_found(db: Database) -> None:
    desk = await open_desk(db)
    for id in ("1", "0", "x", "9" * 30):
        assert await _refused(desk, actions.CancelOrder(id)) == "unknown_order"
        assert await _refused(desk, actions.FillOrder(id, "1", "1")) == "unknown_order"


# What keeps it.


@pytest.mark.parametrize(
    "statement",
    [
        "insert into trading.fill (order_id, n, quantity, price, amount, principal) values (1, 2, 1, 1, 0, 'me')",
        "insert into trading.position values (1, 'AAA', 1, 1)",
        "update trading.position set quantity = 1",
        "update trading.trade_order set filled = 0",
        "insert into trading.trade_order (id) values (1)",
        "update trading.portfolio set shorts = true",
        "delete from trading.trade_order",
    ],
)
def test_the_application_changes_positions_by_fills_alone(database: TestDatabase, statement: str) -> None:
    with psycopg.connect(database.app_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    ("change", "code", "place"),
    [
        ("update trading.position set quantity = quantity + 1", "position_differs", "portfolio_id=1 symbol=AAA"),
        ("delete from trading.position", "position_differs", "portfolio_id=1 symbol=AAA"),
        ("insert into trading.position values (2, 'BBB', 1, 1)", "position_differs", "portfolio_id=2 symbol=BBB"),
        ("update trading.trade_order set filled = 1", "order_differs", "id=1"),
        ("update trading.fill set amount = amount + 1", "fill_differs", "order_id=1 n=1"),
        ("delete from ledger.journal where kind = 'order_fill'", "row_missing", "id="),
    ],
)
async def test_what_was_changed_behind_our_back_is_found(
    db: Database, database: TestDatabase, change: str, code: str, place: str
) -> None:
    desk = await open_desk(db)
    await fill(desk, await do(desk, buy("2", "10")), "1")
    async with desk.snapshot() as tx:
        assert (await ledger.verify(tx, references=REFERENCES)).findings == []
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("set session_replication_role = replica")
        assert connection.execute(change.encode()).rowcount == 1
    async with desk.snapshot() as tx:
        found = (await ledger.verify(tx, references=REFERENCES)).findings
    assert any(one.code == code and one.place.startswith(place) for one in found), found


async def test_what_no_entry_of_the_ledger_could_hold_is_not_ordered_or_filled(db: Database) -> None:
    desk = await open_desk(db)
    for side in (buy, sell):
        assert await _refused(desk, side("1000000000", "999999999")) == "amount_too_large"
    placed = await do(desk, buy("1", "10"))
    assert await _refused(desk, actions.FillOrder(str(placed.id), "1", "999999999")) == "fill_beyond_limit"


@pytest.mark.parametrize(("amount", "journal"), [(0, "null"), (1_000, "null"), (1_000, "(select min(id) from ledger.journal)")])
async def test_a_fill_whose_money_did_not_move_is_refused_by_the_database(
    db: Database, database: TestDatabase, amount: int, journal: str
) -> None:
    desk = await open_desk(db)
    placed = await do(desk, buy("1", "10"))
    with psycopg.connect(database.app_url) as connection, pytest.raises(psycopg.Error) as refused:
        connection.execute(f"select trading.fill_order({placed.id}, 1000000, 10, {amount}, {journal}, 'x')".encode())
    assert refused.value.sqlstate == "TS003"
    assert await position(desk) == "0"
