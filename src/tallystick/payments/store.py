"""One function a query of the nostros and the external payments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from tallystick.db import Claimed, Queries, ReadTx, Tx
from tallystick.payments.model import Counterparty, History, Nostro, Payment, Step


@dataclass(frozen=True, slots=True)
class Locked:
    """What moving a payment needs; accounts are ledger ids, the amount is in minor units."""

    id: int
    direction: str
    nostro_id: int
    account_id: int | None
    amount: int
    asset: str
    status: str
    principal: str


@dataclass(frozen=True, slots=True)
class NewRow:
    """A payment about to be stored with its first step; `step_account` is the account of ours that the step moved."""

    id: int
    direction: str
    nostro_id: int
    account_id: int | None
    beneficiary: str | None
    amount: int
    asset: str
    end_to_end_id: str | None
    counterparty: Counterparty
    remittance: str | None
    status: str
    reason: str | None
    journal_id: int | None
    step_account: int | None
    booked_on: date | None


@dataclass(frozen=True, slots=True)
class Moved:
    """A change of status about to be stored."""

    id: int
    old: str
    new: str
    reason: str | None
    account_id: int | None
    journal_id: int | None
    booked_on: date | None


_queries = Queries(__package__)
_TAKE_KEYS = _queries.bind("take_keys", Claimed)
_TAKE_MOVE_KEYS = _queries.bind("take_move_keys", Claimed)
_REGISTER = _queries.bind("register", int)
_NOSTROS_BY_NAME = _queries.bind("nostros_by_name", Nostro)
_NOSTROS_AFTER = _queries.bind("nostros_after", Nostro)
_INSERT = _queries.command("insert")
_BY_IDS = _queries.bind("by_ids", Payment)
_PAGE = _queries.bind("page", Payment)
_STEPS = _queries.bind("steps", Step)
_LOCK = _queries.bind("lock", Locked)
_MOVE = _queries.command("move")


async def take_keys(tx: Tx, scope: str, keys: Sequence[str | None], hashes: Sequence[bytes | None]) -> list[Claimed]:
    scopes = [scope] * len(keys)
    return await tx.all(_TAKE_KEYS, {"scopes": scopes, "keys": list(keys), "hashes": list(hashes), "count": len(keys)})


async def take_move_keys(tx: Tx, scope: str, keys: Sequence[str | None], hashes: Sequence[bytes | None]) -> list[Claimed]:
    scopes = [scope] * len(keys)
    return await tx.all(_TAKE_MOVE_KEYS, {"scopes": scopes, "keys": list(keys), "hashes": list(hashes), "count": len(keys)})


async def register(
    tx: Tx,
    principal: str,
    *,
    account_id: int,
    clearing_id: int,
    suspense_id: int,
    asset: str,
    bank: str,
    their_account: str,
) -> bool:
    return (
        await tx.one(
            _REGISTER,
            {
                "account_id": account_id,
                "clearing_id": clearing_id,
                "suspense_id": suspense_id,
                "asset": asset,
                "bank": bank,
                "their_account": their_account,
                "principal": principal,
            },
        )
        is not None
    )


async def nostros_by_name(tx: ReadTx, names: Sequence[str]) -> list[Nostro]:
    return await tx.all(_NOSTROS_BY_NAME, {"names": list(names)})


async def nostros_after(tx: ReadTx, *, after: int, ids: Sequence[int] | None, limit: int) -> list[Nostro]:
    return await tx.all(_NOSTROS_AFTER, {"after": after, "ids": None if ids is None else list(ids), "limit": limit})


async def insert(tx: Tx, principal: str, rows: Sequence[NewRow]) -> None:
    await tx.run(
        _INSERT,
        {
            "principal": principal,
            "ids": [row.id for row in rows],
            "directions": [row.direction for row in rows],
            "nostro_ids": [row.nostro_id for row in rows],
            "account_ids": [row.account_id for row in rows],
            "beneficiaries": [row.beneficiary for row in rows],
            "amounts": [row.amount for row in rows],
            "assets": [row.asset for row in rows],
            "end_to_end_ids": [row.end_to_end_id for row in rows],
            "counterparty_names": [row.counterparty.name for row in rows],
            "counterparty_accounts": [row.counterparty.account for row in rows],
            "counterparty_banks": [row.counterparty.bank for row in rows],
            "remittances": [row.remittance for row in rows],
            "statuses": [row.status for row in rows],
            "reasons": [row.reason for row in rows],
            "journal_ids": [row.journal_id for row in rows],
            "step_accounts": [row.step_account for row in rows],
            "booked_on": [row.booked_on for row in rows],
        },
    )


async def histories(tx: ReadTx, ids: Sequence[int]) -> dict[int, History]:
    return {history.payment.id: history for history in await _with_steps(tx, await tx.all(_BY_IDS, {"ids": list(ids)}))}


async def page(
    tx: ReadTx,
    *,
    nostro_id: int | None,
    account_id: int | None,
    among: Sequence[int] | None,
    direction: str | None,
    status: str | None,
    end_to_end_id: str | None,
    before: int,
    limit: int,
) -> list[History]:
    parameters = {
        "nostro_id": nostro_id,
        "account_id": account_id,
        "among": None if among is None else list(among),
        "direction": direction,
        "status": status,
        "end_to_end_id": end_to_end_id,
        "before": before,
        "limit": limit,
    }
    return await _with_steps(tx, await tx.all(_PAGE, parameters))


async def lock(tx: Tx, ids: Sequence[int]) -> dict[int, Locked]:
    return {row.id: row for row in await tx.all(_LOCK, {"ids": list(ids)})}


async def move(tx: Tx, principal: str, moves: Sequence[Moved]) -> int:
    return await tx.run(
        _MOVE,
        {
            "principal": principal,
            "ids": [move.id for move in moves],
            "olds": [move.old for move in moves],
            "news": [move.new for move in moves],
            "reasons": [move.reason for move in moves],
            "account_ids": [move.account_id for move in moves],
            "journal_ids": [move.journal_id for move in moves],
            "booked_on": [move.booked_on for move in moves],
        },
    )


async def _with_steps(tx: ReadTx, payments: Sequence[Payment]) -> list[History]:
    steps: dict[int, list[Step]] = {payment.id: [] for payment in payments}
    for step in await tx.all(_STEPS, {"ids": list(steps)}):
        steps[step.payment_id].append(step)
    return [History(payment, tuple(steps[payment.id])) for payment in payments]
