"""One function a query of the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tallystick.actions.model import Transfer
from tallystick.audit import current_request
from tallystick.db import Claimed, Queries, ReadTx, Tx, bigints, byteas, sparse, texts


@dataclass(frozen=True, slots=True)
class Queued:
    """What settling a queued transfer needs; accounts are ledger ids, the amount is in minor units."""

    id: int
    principal: str
    from_account: int
    to_account: int
    amount: int
    task_id: int | None


@dataclass(frozen=True, slots=True)
class NewRow:
    """A transfer about to be made, accounts as ledger ids, with its key and the hash of the request under it."""

    key: str | None
    hash: bytes | None
    from_account: int
    to_account: int
    amount: int
    asset: str
    description: str | None


@dataclass(frozen=True, slots=True)
class Proposed:
    """What became of a transfer that was to be carried out at once; `state` as in `Claimed`."""

    ord: int
    state: str
    transfer_id: int
    journal_id: int | None
    reason: str | None
    stored_at: datetime | None


_queries = Queries(__package__)
_TAKE_KEYS = _queries.bind("take_keys", Claimed)
_PROPOSE_NOW = _queries.bind("propose_now", Proposed)
_INSERT_QUEUED = _queries.bind("insert_queued", datetime)
_BY_IDS = _queries.bind("by_ids", Transfer)
_OF_JOURNALS = _queries.bind("of_journals", Transfer)
_PAGE = _queries.bind("page", Transfer)
_PAGE_OF_ACCOUNT = _queries.bind("page_of_account", Transfer)
_LOCK_QUEUED = _queries.bind("lock_queued", Queued)
_SETTLE = _queries.command("settle")


async def take_keys(tx: Tx, scope: str, keys: Sequence[str | None], hashes: Sequence[bytes | None]) -> list[Claimed]:
    return await tx.all(_TAKE_KEYS, {"scope": scope, "keys": texts(keys), "hashes": byteas(hashes), "count": len(keys)})


async def propose_now(tx: Tx, principal: str, rows: Sequence[NewRow], *, task_id: int | None) -> list[Proposed]:
    return await tx.all(
        _PROPOSE_NOW,
        {
            "principal": principal,
            "task_id": task_id,
            "request": current_request(),
            "keys": texts([row.key for row in rows]),
            "hashes": byteas([row.hash for row in rows]),
            "from_accounts": bigints([row.from_account for row in rows]),
            "to_accounts": bigints([row.to_account for row in rows]),
            "amounts": bigints([row.amount for row in rows]),
            "assets": texts([row.asset for row in rows]),
            "descriptions": sparse([row.description for row in rows]),
        },
    )


async def insert_queued(
    tx: Tx, principal: str, rows: Sequence[NewRow], *, ids: Sequence[int], task_ids: Sequence[int]
) -> datetime:
    return await tx.single(
        _INSERT_QUEUED,
        {
            "principal": principal,
            "ids": bigints(ids),
            "from_accounts": bigints([row.from_account for row in rows]),
            "to_accounts": bigints([row.to_account for row in rows]),
            "amounts": bigints([row.amount for row in rows]),
            "assets": texts([row.asset for row in rows]),
            "descriptions": sparse([row.description for row in rows]),
            "task_ids": bigints(task_ids),
        },
    )


async def by_ids(tx: ReadTx, ids: Sequence[int]) -> dict[int, Transfer]:
    return {transfer.id: transfer for transfer in await tx.all(_BY_IDS, {"ids": list(ids)})}


async def of_journals(tx: ReadTx, journal_ids: Sequence[int]) -> list[Transfer]:
    return await tx.all(_OF_JOURNALS, {"journals": list(journal_ids)})


async def page(tx: ReadTx, *, account_id: int | None, before: int, limit: int) -> list[Transfer]:
    if account_id is None:
        return await tx.all(_PAGE, {"before": before, "limit": limit})
    return await tx.all(_PAGE_OF_ACCOUNT, {"account_id": account_id, "before": before, "limit": limit})


async def lock_queued(tx: Tx, ids: Sequence[int]) -> list[Queued]:
    return await tx.all(_LOCK_QUEUED, {"ids": list(ids)})


async def settle(
    tx: Tx, *, ids: Sequence[int], statuses: Sequence[str], journal_ids: Sequence[int | None], reasons: Sequence[str | None]
) -> int:
    return await tx.run(
        _SETTLE,
        {"ids": list(ids), "statuses": list(statuses), "journal_ids": list(journal_ids), "reasons": list(reasons)},
    )
