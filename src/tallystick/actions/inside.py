"""What policy sees of money between two accounts of the bank, whatever kind of action moves it."""

from __future__ import annotations

from typing import Any

from tallystick import ledger
from tallystick.actions import store
from tallystick.db import ReadTx


async def between(tx: ReadTx, giver: str, taker: str) -> dict[str, Any]:
    """The facts of the account that is paid and of who pays; none where one of the two is not there."""
    known = await ledger.references(tx, [giver, taker])
    if giver not in known or taker not in known:
        return {}
    account, counterparty = known[giver], known[taker]
    around = await store.payee_facts(tx, account.id, counterparty.id)
    facts: dict[str, Any] = {
        "account_kind": account.kind,
        "counterparty": counterparty.name,
        "counterparty_kind": counterparty.kind,
        "payee_known_s": around.known_s,
    }
    return facts if around.customer is None else facts | {"customer": str(around.customer)}
