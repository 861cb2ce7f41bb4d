"""One function a query of the record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tallystick.audit.model import (
    AuditEvent,
    Filter,
    IndexRange,
    Lag,
    Node,
    Origin,
    PendingEvent,
    RecordedEvent,
    SealedEvent,
    SignedCheckpoint,
    StoredEvent,
    StoredTile,
    Stray,
)
from tallystick.db import Queries, ReadTx, Tx, bigints, byteas
from tallystick.kit import dumps

_queries = Queries(__package__)
_APPEND = _queries.bind("append", list[int])
_LATEST = _queries.bind("latest", RecordedEvent)
_SEALERS_TURN = _queries.bind("sealers_turn", bool)
_PENDING = _queries.bind("pending", PendingEvent)
_SIZE = _queries.bind("size", int)
_ADD_LEAVES = _queries.command("add_leaves")
_TILES = _queries.bind("tiles", StoredTile)
_ORIGIN = _queries.bind("origin", Origin)
_OPEN_ORIGIN = _queries.command("open_origin")
_NEWEST_CHECKPOINT = _queries.bind("newest_checkpoint", SignedCheckpoint)
_CHECKPOINT_AT = _queries.bind("checkpoint_at", SignedCheckpoint)
_KEEP_CHECKPOINT = _queries.command("keep_checkpoint")
_LAG = _queries.bind("lag", Lag)
_SEALED = _queries.bind("sealed", SealedEvent)
_INDEXES_OF = _queries.bind("indexes_of", int)
_RANGE_OF = _queries.bind("range_of", IndexRange)
_ORIGINS = _queries.bind("origins", Origin)
_CHECKPOINTS = _queries.bind("checkpoints", SignedCheckpoint)
_NODES = _queries.bind("nodes", Node)
_COUNT_NODES = _queries.bind("count_nodes", int)
_COLUMNS = _queries.bind("columns", StoredEvent)
_PAYLOAD_TEXT = _queries.bind("payload_text", str)
_STRAYS = _queries.bind("strays", Stray)
_SIGNED_SIZES = _queries.bind("signed_sizes", int)
_PAGE = _queries.bind("page", RecordedEvent)
_BY_IDS = _queries.bind("by_ids", RecordedEvent)
_TELLS_OF = _queries.bind("tells_of", int)
_DIGESTS = _queries.bind("digests", bytes)
_LEAVES = _queries.bind("leaves", str)


async def append(tx: Tx, events: Sequence[AuditEvent]) -> list[int]:
    return await tx.single(
        _APPEND,
        {
            "principals": [event.principal for event in events],
            "on_behalf_of": [event.on_behalf_of for event in events],
            "verbs": [event.verb for event in events],
            "subject_kinds": [event.subject_kind for event in events],
            "subject_ids": [event.subject_id for event in events],
            "task_ids": [event.task_id for event in events],
            "steps": [event.step for event in events],
            "decision_ids": [event.decision_id for event in events],
            "approval_ids": [event.approval_id for event in events],
            "request_ids": [event.request_id for event in events],
            "trace_ids": [event.trace_id for event in events],
            "details": [dumps(dict(event.detail)).decode() for event in events],
            "items_kinds": [event.items.kind if event.items else None for event in events],
            "refs": ["{" + ",".join(map(str, event.items.ids)) + "}" if event.items else None for event in events],
            "items": [event.items.digests if event.items else None for event in events],
            "payloads": [None if event.payload is None else dumps(dict(event.payload)).decode() for event in events],
        },
    )


async def latest(tx: ReadTx, *, subject_kind: str, subject_id: int, verb: str | None) -> RecordedEvent | None:
    return await tx.one(_LATEST, {"subject_kind": subject_kind, "subject_id": subject_id, "verb": verb})


async def sealers_turn(tx: Tx) -> bool:
    return await tx.single(_SEALERS_TURN)


async def pending(tx: ReadTx, *, limit: int) -> list[PendingEvent]:
    return await tx.all(_PENDING, {"limit": limit})


async def size(tx: ReadTx) -> int:
    return await tx.single(_SIZE)


async def add_leaves(
    tx: Tx, *, size: int, event_ids: Sequence[int], hashes: Sequence[bytes], nodes: Sequence[tuple[int, int, bytes]]
) -> None:
    await tx.run(
        _ADD_LEAVES,
        {
            "size": size,
            "event_ids": bigints(event_ids),
            "hashes": byteas(hashes),
            "levels": [level for level, _, _ in nodes],
            "ns": [n for _, n, _ in nodes],
            "nodes": [node for _, _, node in nodes],
        },
    )


async def tiles(tx: ReadTx, wanted: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    found = await tx.all(_TILES, {"levels": [level for level, _ in wanted], "ns": [n for _, n in wanted]})
    return {(tile.level, tile.n): tile.hashes or b"" for tile in found}


async def origin(tx: ReadTx) -> Origin | None:
    return await tx.one(_ORIGIN)


async def open_origin(tx: Tx, *, n: int, name: str, follows: str | None) -> None:
    await tx.run(_OPEN_ORIGIN, {"n": n, "name": name, "follows": follows})


async def newest_checkpoint(tx: ReadTx) -> SignedCheckpoint | None:
    return await tx.one(_NEWEST_CHECKPOINT)


async def checkpoint_at(tx: ReadTx, size: int) -> SignedCheckpoint | None:
    return await tx.one(_CHECKPOINT_AT, {"size": size})


async def keep_checkpoint(tx: Tx, *, size: int, origin: int, root: bytes, note: str) -> None:
    await tx.run(_KEEP_CHECKPOINT, {"size": size, "origin": origin, "root": root, "note": note})


async def lag(tx: ReadTx) -> Lag:
    return await tx.single(_LAG)


async def sealed(tx: ReadTx, first: int, last: int) -> list[SealedEvent]:
    return await tx.all(_SEALED, {"first": first, "last": last})


async def indexes_of(tx: ReadTx, event_ids: Sequence[int]) -> list[int]:
    return await tx.all(_INDEXES_OF, {"event_ids": list(event_ids)})


async def range_of(tx: ReadTx, *, since: datetime, until: datetime, size: int) -> IndexRange:
    return await tx.single(_RANGE_OF, {"since": since, "until": until, "size": size})


async def signed_sizes(tx: ReadTx, *, before: int, limit: int) -> list[int]:
    return await tx.all(_SIGNED_SIZES, {"before": before, "limit": limit})


async def origins(tx: ReadTx) -> list[Origin]:
    return await tx.all(_ORIGINS)


async def checkpoints(tx: ReadTx, first: int, last: int) -> list[SignedCheckpoint]:
    return await tx.all(_CHECKPOINTS, {"first": first, "last": last})


async def nodes(tx: ReadTx, first: int, last: int) -> list[Node]:
    return await tx.all(_NODES, {"first": first, "last": last})


async def count_nodes(tx: ReadTx) -> int:
    return await tx.single(_COUNT_NODES)


async def columns(tx: ReadTx, *, after: int, limit: int) -> list[StoredEvent]:
    return await tx.all(_COLUMNS, {"after": after, "limit": limit})


async def payload_text(tx: ReadTx, event_id: int) -> str | None:
    return await tx.one(_PAYLOAD_TEXT, {"event_id": event_id})


async def strays(tx: ReadTx) -> list[Stray]:
    return await tx.all(_STRAYS)


async def page(tx: ReadTx, asked: Filter, *, after: int, before: int, ascending: bool, limit: int) -> list[RecordedEvent]:
    return await tx.all(
        _PAGE,
        {
            "principal": asked.principal,
            "on_behalf_of": asked.on_behalf_of,
            "kind": asked.subject_kind,
            "subject": asked.subject_id,
            "verb": asked.verb,
            "task_id": asked.task_id,
            "request_id": asked.request_id,
            "start": asked.start,
            "end": asked.end,
            "after": after,
            "before": before,
            "ascending": ascending,
            "limit": limit,
        },
    )


async def by_ids(tx: ReadTx, ids: Sequence[int]) -> list[RecordedEvent]:
    return await tx.all(_BY_IDS, {"ids": list(ids)})


async def tells_of(tx: ReadTx, *, kind: str, id: int) -> int | None:
    return await tx.one(_TELLS_OF, {"kind": kind, "id": id})


async def digests(tx: ReadTx, event_id: int) -> bytes:
    return await tx.single(_DIGESTS, {"event_id": event_id})


async def leaves(tx: ReadTx, *, first: int, count: int) -> list[str]:
    return await tx.all(_LEAVES, {"first": first, "count": count})
