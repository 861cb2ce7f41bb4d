"""One function a query of the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from tallystick.db import Queries, ReadTx, Tx
from tallystick.kit import Asset, digest, dumps
from tallystick.ledger.model import Account, AccountRef, AccountSpec, Entry, Journal, OpenedAccount, Posted, TrialBalance

_queries = Queries(__package__)
_POST = _queries.bind("post", Posted)
_OPEN_ACCOUNTS = _queries.bind("open_accounts", OpenedAccount)
_SET_STATUS = _queries.bind("set_status", int)
_LOWER_FLOORS = _queries.bind("lower_floors", int)
_ACCOUNTS_BY_NAME = _queries.bind("accounts_by_name", Account)
_REFERENCES_BY_NAME = _queries.bind("references_by_name", AccountRef)
_ACCOUNTS_AFTER = _queries.bind("accounts_after", Account)
_ENTRIES_BEFORE = _queries.bind("entries_before", Entry)
_ENTRIES_AFTER = _queries.bind("entries_after", Entry)
_ASSETS = _queries.bind("assets", Asset)
_TRIAL_BALANCE = _queries.bind("trial_balance", TrialBalance)


async def post(tx: Tx, journals: Sequence[Journal]) -> list[Posted]:
    entries = [(place, account, amount) for place, journal in enumerate(journals, 1) for account, amount in journal.entries]
    return await tx.all(
        _POST,
        {
            "scopes": [journal.actor for journal in journals],
            "keys": [journal.key for journal in journals],
            "hashes": [_hash(journal) if journal.key is not None else None for journal in journals],
            "kinds": [journal.kind for journal in journals],
            "ref_ids": [journal.ref_id for journal in journals],
            "actors": [journal.actor for journal in journals],
            "on_behalf_of": [journal.on_behalf_of for journal in journals],
            "task_ids": [journal.task_id for journal in journals],
            "approval_ids": [journal.approval_id for journal in journals],
            "effective_at": [journal.effective_at for journal in journals],
            "metas": [dumps(journal.meta).decode() if journal.meta else None for journal in journals],
            "entry_journals": [place for place, _, _ in entries],
            "entry_accounts": [account for _, account, _ in entries],
            "entry_amounts": [amount for _, _, amount in entries],
        },
    )


def _hash(journal: Journal) -> bytes:
    facts: list[Any] = [
        journal.kind,
        journal.ref_id,
        [list(entry) for entry in journal.entries],
        journal.on_behalf_of,
        journal.effective_at,
        dict(journal.meta),
    ]
    return digest(facts)


async def open_accounts(tx: Tx, specs: Sequence[AccountSpec]) -> list[OpenedAccount]:
    return await tx.all(
        _OPEN_ACCOUNTS,
        {
            "names": [spec.name for spec in specs],
            "assets": [spec.asset for spec in specs],
            "kinds": [spec.kind for spec in specs],
            "floors": [spec.floor for spec in specs],
        },
    )


async def set_status(tx: Tx, account_id: int, *, old: str, new: str) -> bool:
    return await tx.one(_SET_STATUS, {"account_id": account_id, "old": old, "new": new}) is not None


async def lower_floors(tx: Tx, floors: Sequence[tuple[int, int]]) -> int:
    return await tx.single(
        _LOWER_FLOORS, {"account_ids": [account for account, _ in floors], "floors": [floor for _, floor in floors]}
    )


async def accounts_by_name(tx: ReadTx, names: Sequence[str]) -> list[Account]:
    return await tx.all(_ACCOUNTS_BY_NAME, {"names": list(names)})


async def references_by_name(tx: ReadTx, names: Sequence[str]) -> list[AccountRef]:
    return await tx.all(_REFERENCES_BY_NAME, {"names": list(names)})


async def accounts_after(tx: ReadTx, *, after: int, limit: int, kind: str | None, ids: Sequence[int] | None) -> list[Account]:
    parameters = {"after": after, "limit": limit, "kind": kind, "ids": None if ids is None else list(ids)}
    return await tx.all(_ACCOUNTS_AFTER, parameters)


async def entries(tx: ReadTx, account_id: int, *, order: Literal["asc", "desc"], bound: int, limit: int) -> list[Entry]:
    query = _ENTRIES_AFTER if order == "asc" else _ENTRIES_BEFORE
    return await tx.all(query, {"account_id": account_id, "bound": bound, "limit": limit})


async def assets(tx: ReadTx) -> list[Asset]:
    return await tx.all(_ASSETS)


async def trial_balance(tx: ReadTx) -> list[TrialBalance]:
    return await tx.all(_TRIAL_BALANCE)
