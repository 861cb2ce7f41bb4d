"""Portfolios and orders at the command line."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tallystick import actions
from tallystick.db import Database
from tests.command_line import command
from tests.conftest import TestDatabase
from tests.trading_desk import buy, do, fill, open_desk


async def _told(database: TestDatabase, *arguments: str) -> Any:
    result = await asyncio.to_thread(command, database, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


async def test_portfolios_and_orders_are_listed_and_shown(db: Database, database: TestDatabase) -> None:
    desk = await open_desk(db)
    placed = await do(desk, buy("10", "11"))
    await fill(desk, placed, "4", "10.5")
    gone = await do(desk, buy("1", "1", "BBB", portfolio="Q"))
    await do(desk, actions.CancelOrder(str(gone.id)))
    listed = [json.loads(line) for line in (await _told(database, "portfolios", "list")).splitlines()]
    assert [(one["portfolio"], one["account"], one["settlement"]) for one in listed] == [
        ("P", "ALICE", "BROKER"), ("Q", "BOB", "BROKER"),
    ]  # fmt: skip
    shown = json.loads(await _told(database, "portfolios", "show", "P"))
    assert (shown["cash"], shown["value"], shown["open_orders"]) == ("958.00", "998", 1)
    assert [(one["instrument"], one["quantity"], one["buying"]) for one in shown["positions"]] == [("AAA", "4", "6")]
    orders = [json.loads(line) for line in (await _told(database, "orders", "list")).splitlines()]
    assert [(one["id"], one["status"]) for one in orders] == [
        (str(gone.id), "cancelled"), (str(placed.id), "partly_filled"),
    ]  # fmt: skip
    (one,) = (
        await _told(database, "orders", "list", "--portfolio", "Q", "--side", "buy", "--status", "cancelled")
    ).splitlines()
    assert json.loads(one)["instrument"] == "BBB"
    told = json.loads(await _told(database, "orders", "show", str(placed.id)))
    assert [(one["n"], one["quantity"], one["price"], one["amount"]) for one in told["fills"]] == [(1, "4", "10.5", "42.00")]


async def test_what_is_not_there_is_said(db: Database, database: TestDatabase) -> None:
    await open_desk(db)
    for arguments, code in (
        (("portfolios", "show", "NOBODY"), "unknown_portfolio"), (("orders", "show", "7"), "unknown_order"),
        (("orders", "show", str(2**70)), "unknown_order"), (("orders", "list", "--status", "x"), "unknown_status"),
        (("orders", "list", "--side", "x"), "unknown_side"), (("orders", "list", "--portfolio", "x"), "unknown_portfolio"),
    ):  # fmt: skip
        result = await asyncio.to_thread(command, database, *arguments)
        assert (result.exit_code, code in result.output) == (1, True), result.output
