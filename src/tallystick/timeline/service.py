"""Timelines: which events of the record are of a thing, and what is kept readable of what they tell of."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

from tallystick import actions, audit, cases, ledger, work
from tallystick.db import ReadTx
from tallystick.kit import Invalid, dumps, loads_stored
from tallystick.timeline import store
from tallystick.timeline.model import Entry, Kind, Mark, RowText, State, Timeline, what_event, what_item

MAX_ITEMS = 50
"""Of an event with more items, a timeline of an agent shows so many; the event names them all."""

_LOOKED_AT = 2000
_MOST_LOOKS = 10
_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
_LAST = 2**63 - 1

Shown = Callable[[str, Sequence[int]], Awaitable[Iterable[int]]]
"""Which items of a kind belong into a timeline."""


@dataclass(frozen=True, slots=True)
class _Found:
    """Ids of events, in order, which of their items are shown, and where the next page begins."""

    event_ids: Sequence[int]
    shown: Shown
    next: Mark | None


async def page(
    tx: ReadTx, kind: Kind, id: str, *, after: Mark | None = None, start: datetime | None = None, limit: int = 50
) -> Timeline:
    """What became of a thing, oldest first, from `start` on where that is given: the entries of up to `limit` events.

    Cases, transfers and tasks are known by their number, agents and accounts by their name. Refuses with `NotFound`
    (`unknown_case`, `unknown_transfer`, `unknown_task`, `unknown_account`) and `Invalid` (`subject_malformed`). An agent that
    has done nothing has no entries.
    """
    mark = after or Mark()
    if start is not None:
        mark = Mark(max(mark.event_id, await store.first_id(tx, start) - 1), mark.seq)
    if kind == "agent":
        found = await _of_agent(tx, id, mark, limit)
    elif kind == "account":
        found = await _of_account(tx, id, mark, start, limit)
    else:
        found = await _of_number(tx, kind, _number(kind, id), mark, limit)
    events = await audit.by_ids(tx, found.event_ids)
    if start is not None:
        events = [event for event in events if event.at >= start]
    return Timeline(await _entries(tx, events, found.shown, proposals=kind != "account"), found.next)


async def _of_number(tx: ReadTx, kind: Kind, number: int, mark: Mark, limit: int) -> _Found:
    """The events of a case, a transfer or a task: few enough to be gathered from wherever they are named."""
    tasks: list[int] = []
    journals: list[int] = []
    after = mark.event_id
    ids = set(await store.of_thing(tx, kind=kind, id=number, after=after, limit=limit + 1))
    if kind == "case":
        await cases.get(tx, number)
    elif kind == "task":
        await work.get(tx, number)
        tasks = [number]
    else:
        transfer = await actions.get(tx, number)
        tasks = [] if transfer.task_id is None else [transfer.task_id]
        journals = [] if transfer.journal_id is None else [transfer.journal_id]
        ids |= set(await store.of_transfer(tx, number, after=after))
        if (question := await store.question_of_transfer(tx, number)) is not None:
            things = [("action", question.action)] + ([] if question.approval is None else [("approval", question.approval)])
            for thing, id in things:
                ids |= set(await store.of_thing(tx, kind=thing, id=id, after=after, limit=limit + 1))
    if tasks or journals:
        ids |= set(await store.of_tasks(tx, tasks, journals, after=after, limit=limit + 1))

    async def shown(item_kind: str, refs: Sequence[int]) -> Iterable[int]:
        if item_kind in ("task", "outcome"):
            return set(refs) & set(tasks)
        if item_kind == "step":
            return await store.steps_of_tasks(tx, refs, tasks)
        if item_kind == "journal" and kind == "transfer":
            return set(refs) & set(journals)
        return refs[:MAX_ITEMS]

    taken = sorted(ids)
    more = len(taken) > limit
    return _Found(taken[:limit], shown, Mark(taken[limit - 1]) if more else None)


async def _of_account(tx: ReadTx, name: str, mark: Mark, start: datetime | None, limit: int) -> _Found:
    """The events of an account: what was done to it, and the postings on it, which its entries have in the same order."""
    account_id = (await ledger.account(tx, name)).id
    seq = mark.seq
    if start is not None and seq == 0:
        seq = await store.last_before(tx, account_id=account_id, start=start)
    about = await store.of_thing(tx, kind="account", id=account_id, after=mark.event_id, limit=limit + 1)
    entries = await store.of_entries(tx, account_id=account_id, seq=seq, limit=limit + 1)
    read, is_all = entries[:limit], len(entries) <= limit
    postings = {entry.event_id for entry in read if entry.event_id is not None}
    # What is behind the last entry that was read is not known yet.
    read_to = _LAST if is_all else max(postings, default=mark.event_id)
    ids = {*about, *postings}
    taken = sorted(id for id in ids if id <= read_to)[:limit]
    last = taken[-1] if taken else mark.event_id
    seen = list(takewhile(lambda entry: entry.event_id is None or entry.event_id <= last, read))
    more = not is_all or len(seen) < len(read) or any(id > last for id in ids)
    wanted = {entry.journal_id for entry in seen}

    async def shown(item_kind: str, refs: Sequence[int]) -> Iterable[int]:
        return set(refs) & wanted if item_kind == "journal" else ()

    return _Found(taken, shown, Mark(last, seen[-1].seq if seen else seq) if more else None)


async def _of_agent(tx: ReadTx, agent: str, mark: Mark, limit: int) -> _Found:
    """The events of an agent: looked for among all, so many at a time, as an agent may have done anything."""
    taken: list[int] = []
    after, more = mark.event_id, True
    for _ in range(_MOST_LOOKS):
        scanned = await store.of_agent(tx, agent, after=after, limit=_LOOKED_AT)
        wanted = [one.id for one in scanned if one.wanted][: limit - len(taken)]
        taken += wanted
        if len(taken) == limit:
            after = taken[-1]
            break
        if len(scanned) < _LOOKED_AT:
            more = False
            break
        after = scanned[-1].id

    async def shown(item_kind: str, refs: Sequence[int]) -> Iterable[int]:
        if item_kind in ("task", "outcome"):
            refs = sorted(await store.tasks_of_agent(tx, refs, agent))
        elif item_kind == "step":
            refs = sorted(await store.steps_of_agent(tx, refs, agent))
        return refs[:MAX_ITEMS]

    return _Found(taken, shown, Mark(after) if more else None)


async def _entries(tx: ReadTx, events: Sequence[audit.RecordedEvent], shown: Shown, *, proposals: bool) -> list[Entry]:
    wanted: dict[int, list[int]] = {}
    of_kind: dict[str, set[int]] = {}
    for event in events:
        if event.items_kind is not None and event.refs is not None:
            wanted[event.id] = sorted(await shown(event.items_kind, event.refs))
            of_kind.setdefault(event.items_kind, set()).update(wanted[event.id])
    texts = {kind: await store.texts(tx, kind, ids) for kind, ids in of_kind.items()}
    entries: list[Entry] = []
    for event in events:
        items = wanted.get(event.id)
        if items and event.items_kind is not None:
            rows = texts[event.items_kind]
            entries += [_item_entry(event, event.items_kind, item, rows) for item in items]
        # A proposal that was carried out at once holds the postings, and is one itself.
        if not items or event.items_kind is None or (proposals and event.subject_kind == "transfer"):
            entries.append(_event_entry(event))
    return entries


def _item_entry(event: audit.RecordedEvent, kind: str, item: int, rows: Mapping[int, RowText] | None) -> Entry:
    row = None if rows is None else rows.get(item)
    text = None if row is None or row.erased else row.text
    state: State | None = None
    if rows is not None:
        state = "gone" if row is None else "erased" if row.erased else "kept"
    what = what_item(kind, loads_stored(text) if text is not None and kind == "step" else None)
    return _entry(event, what, kind=kind, id=item, text=text, state=state)


def _event_entry(event: audit.RecordedEvent) -> Entry:
    what = what_event(event.verb)
    if event.erased_by is not None:
        return _entry(event, what, kind=event.subject_kind, id=event.subject_id, text=None, state="erased")
    if event.payload is None:
        return _entry(event, what, kind=event.subject_kind, id=event.subject_id, text=None, state=None)
    return _entry(event, what, kind=event.subject_kind, id=event.subject_id, text=dumps(event.payload).decode(), state="kept")


def _entry(event: audit.RecordedEvent, what: str, *, kind: str, id: int | None, text: str | None, state: State | None) -> Entry:
    return Entry(
        at=event.at,
        event_id=event.id,
        index=event.index,
        verb=event.verb,
        principal=event.principal,
        on_behalf_of=event.on_behalf_of,
        what=what,
        task_id=event.task_id,
        step=event.step,
        detail=event.detail,
        kind=kind,
        id=id,
        text=text,
        state=state,
    )


def _number(kind: str, id: str) -> int:
    if not _NUMBER.fullmatch(id) or int(id) > _LAST:
        raise Invalid("subject_malformed", f"a {kind} is known by its number")
    return int(id)
