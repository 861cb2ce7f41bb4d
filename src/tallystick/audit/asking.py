"""What the record says: events by what is asked for, and what shows that one of them is in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from tallystick import tlog
from tallystick.audit import proving, store
from tallystick.audit.model import Filter, ItemReceipt, Receipt, RecordedEvent
from tallystick.db import ReadTx
from tallystick.kit import Invalid, NotFound

_LAST = 2**63 - 1
_BATCH = 500


async def page(
    tx: ReadTx, asked: Filter, *, bound: int | None = None, ascending: bool = False, limit: int = 50
) -> list[RecordedEvent]:
    """Events, newest first, below the id `bound`; with `ascending`, oldest first, above it.

    Refuses with `Invalid`: `subject_malformed` an id without its kind; `filter_too_wide` a request that is to be looked for
    among all events there are.
    """
    _check(asked)
    after = bound if ascending and bound is not None else 0
    before = _LAST if ascending or bound is None else bound
    return await store.page(tx, asked, after=after, before=before, ascending=ascending, limit=limit)


async def stream(tx: ReadTx, asked: Filter, *, ascending: bool = False) -> AsyncIterator[RecordedEvent]:
    """All events that are asked for, a few hundred at a time. Refuses as `page` does."""
    bound: int | None = None
    while events := await page(tx, asked, bound=bound, ascending=ascending, limit=_BATCH):
        for event in events:
            yield event
        bound = events[-1].id
        if len(events) < _BATCH:
            return


async def get(tx: ReadTx, event_id: int) -> RecordedEvent:
    """The event with that id; refuses with `NotFound` (`unknown_event`)."""
    found = await store.by_ids(tx, [event_id])
    if not found:
        raise NotFound("unknown_event", f"the record has no event {event_id}")
    return found[0]


async def by_ids(tx: ReadTx, ids: Sequence[int]) -> list[RecordedEvent]:
    """Those of the events that there are, in the order of their ids."""
    return await store.by_ids(tx, ids)


async def tells_of(tx: ReadTx, *, kind: str, id: int) -> int | None:
    """The event that has a thing among its items, or else the first that is about it, as its id; `None` where there is none."""
    return await store.tells_of(tx, kind=kind, id=id)


async def receipt(tx: ReadTx, event_id: int, *, item: int | None = None) -> Receipt:
    """What shows that an event is in the record; with `item`, the id of one of its items, also that it tells of that one.

    The path leads to the newest signed checkpoint. Refuses with `NotFound` (`unknown_event`, `unknown_item`).
    """
    event = await get(tx, event_id)
    leaf_hash = tlog.leaf_hash(event.leaf.encode())
    of_item = None if item is None else await _item(tx, event, item)
    newest = await store.newest_checkpoint(tx)
    if event.index is None or newest is None or newest.size <= event.index:
        return Receipt(event.id, event.leaf, leaf_hash, event.index, [], None, of_item)
    path = await proving.inclusion_proof(tx, event.index, newest.size)
    return Receipt(event.id, event.leaf, leaf_hash, event.index, path, newest, of_item)


async def find_receipt(tx: ReadTx, *, kind: str, id: int) -> Receipt:
    """The receipt of the event that tells of a thing, and of the thing where it is one of its items.

    Refuses with `NotFound` (`not_on_record`).
    """
    event_id = await store.tells_of(tx, kind=kind, id=id)
    if event_id is None:
        raise NotFound("not_on_record", f"the record has no event that tells of {kind} {id}")
    event = await get(tx, event_id)
    is_item = event.items_kind == kind and id in (event.refs or ())
    return await receipt(tx, event_id, item=id if is_item else None)


async def _item(tx: ReadTx, event: RecordedEvent, item: int) -> ItemReceipt:
    refs = event.refs or []
    if event.items_kind is None or item not in refs:
        raise NotFound("unknown_item", f"event {event.id} has no item {item}")
    place = refs.index(item)
    digests = await store.digests(tx, event.id)
    split = [digests[at : at + tlog.HASH_BYTES] for at in range(0, len(digests), tlog.HASH_BYTES)]
    hashes = tlog.leaf_hashes(split)
    return ItemReceipt(event.items_kind, item, place, len(refs), split[place], _path(hashes, place), tlog.root(hashes))


def _path(hashes: Sequence[bytes], place: int) -> list[bytes]:
    """The audit path of one of a few thousand leaf hashes (RFC 6962, 2.1.1)."""
    if len(hashes) == 1:
        return []
    half = 1 << ((len(hashes) - 1).bit_length() - 1)
    left, right = hashes[:half], hashes[half:]
    if place < half:
        return [*_path(left, place), tlog.root(right)]
    return [*_path(right, place - half), tlog.root(left)]


def _check(asked: Filter) -> None:
    if asked.subject_id is not None and asked.subject_kind is None:
        raise Invalid("subject_malformed", "the id of a thing needs its kind")
    narrow = (asked.principal, asked.on_behalf_of, asked.subject_id, asked.task_id, asked.start)
    if asked.request_id is not None and all(one is None for one in narrow):
        raise Invalid("filter_too_wide", "a request is looked for from a time on, or with a principal, a thing or a task")
