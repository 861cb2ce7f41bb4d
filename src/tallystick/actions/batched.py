"""One function a query of batches of transfers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tallystick.actions import store
from tallystick.actions.model import Transfer
from tallystick.db import Queries, ReadTx, Tx, bigints, sparse, texts


@dataclass(frozen=True, slots=True)
class Move:
    """Minor units of an asset from one account to another, by their ids in the ledger."""

    from_account: int
    to_account: int
    amount: int
    asset: str
    description: str | None


_queries = Queries(__package__, "batched.sql")
_AROUND = _queries.bind("around", store.PayeeFacts)
_NEXT_IDS = _queries.bind("next_ids", int)
_INSERT_BATCH = _queries.bind("insert_batch", datetime)
_OF_BATCH = _queries.bind("of_batch", int)


async def around(tx: ReadTx, moves: Sequence[Move]) -> list[store.PayeeFacts]:
    return await tx.all(
        _AROUND,
        {
            "from_accounts": bigints([move.from_account for move in moves]),
            "to_accounts": bigints([move.to_account for move in moves]),
        },
    )


async def next_ids(tx: Tx, count: int) -> list[int]:
    return await tx.all(_NEXT_IDS, {"count": count})


async def insert(
    tx: Tx,
    principal: str,
    moves: Sequence[Move],
    *,
    ids: Sequence[int],
    journals: Sequence[int | None],
    reasons: Sequence[str | None],
    decision_id: int,
    action_id: int,
) -> None:
    await tx.single(
        _INSERT_BATCH,
        {
            "principal": principal,
            "ids": bigints(ids),
            "from_accounts": bigints([move.from_account for move in moves]),
            "to_accounts": bigints([move.to_account for move in moves]),
            "amounts": bigints([move.amount for move in moves]),
            "assets": texts([move.asset for move in moves]),
            "descriptions": sparse([move.description for move in moves]),
            "journals": sparse(journals),
            "reasons": sparse(reasons),
            "decision_id": decision_id,
            "action_id": action_id,
        },
    )


async def of_batch(tx: ReadTx, action_id: int) -> list[Transfer]:
    ids = await tx.all(_OF_BATCH, {"action_id": action_id})
    found = await store.by_ids(tx, ids)
    return [found[id] for id in ids]
