"""What is amended is decided anew, and counts when it is carried out."""

from __future__ import annotations

from typing import Any

from tallystick import actions
from tallystick.actions import AddPayee
from tallystick.db import Database
from tallystick.identity import house
from tests.permitted import strict
from tests.serving import fund
from tests.test_gate import EVA, _hold, _rules, _vote

TWO = {"id": "two", "when": {"action": "payee.add"}, "window": {"count": {"at_most": 2}, "per": "account", "over": "24h"}}


async def _add(db: Database, payee: str) -> Any:
    what = AddPayee("ALICE", payee, "Carl")
    clerk = house("clerk")
    return await actions.perform(strict(db), clerk, what, lambda tx: actions.carry_out(tx, clerk, what))


async def test_an_amendment_counts_for_nothing_until_it_is_carried_out(db: Database) -> None:
    await fund(db)
    await _rules(db, TWO | {"otherwise": "deny"}, _hold(action="payee.add", counterparty="CZ001"))
    held = await _add(db, "CZ001")
    assert isinstance(held, actions.Held)
    for payee in ("CZ002", "CZ003", "CZ004"):
        new = {"account": "ALICE", "payee": payee, "name": "Carl"}
        async with strict(db).write() as tx:
            amended = await actions.amend(tx, held.action_id, house("clerk"), new)
        assert amended.status == "held"
    assert isinstance(await _add(db, "CZ005"), int)
    assert (await _vote(db, held.approval_id, EVA)).status == "consumed"
    async with db.read() as tx:
        assert (await actions.action(tx, held.action_id)).status == "executed"
    assert isinstance(await _add(db, "CZ006"), actions.Denied)
