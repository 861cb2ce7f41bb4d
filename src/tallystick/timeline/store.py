"""One function a query of the timelines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from tallystick.db import Queries, Query, ReadTx
from tallystick.timeline.model import EntryEvent, Question, RowText, Scanned

_queries = Queries(__package__)
_OF_TASKS = _queries.bind("of_tasks", int)
_OF_THING = _queries.bind("of_thing", int)
_OF_TRANSFER = _queries.bind("of_transfer", int)
_QUESTION_OF_TRANSFER = _queries.bind("question_of_transfer", Question)
_OF_ENTRIES = _queries.bind("of_entries", EntryEvent)
_LAST_BEFORE = _queries.bind("last_before", int)
_OF_AGENT = _queries.bind("of_agent", Scanned)
_FIRST_ID = _queries.bind("first_id", int)
_TASKS_OF_AGENT = _queries.bind("tasks_of_agent", int)
_STEPS_OF_TASKS = _queries.bind("steps_of_tasks", int)
_STEPS_OF_AGENT = _queries.bind("steps_of_agent", int)
_TEXTS: Mapping[str, Query[RowText]] = {
    "task": _queries.bind("tasks", RowText),
    "outcome": _queries.bind("outcomes", RowText),
    "step": _queries.bind("steps", RowText),
    "event": _queries.bind("events", RowText),
    "case": _queries.bind("cases", RowText),
    "journal": _queries.bind("journals", RowText),
}


async def of_tasks(tx: ReadTx, tasks: Sequence[int], journals: Sequence[int], *, after: int, limit: int) -> list[int]:
    return await tx.all(_OF_TASKS, {"tasks": list(tasks), "journals": list(journals), "after": after, "limit": limit})


async def of_thing(tx: ReadTx, *, kind: str, id: int, after: int, limit: int) -> list[int]:
    return await tx.all(_OF_THING, {"kind": kind, "id": id, "after": after, "limit": limit})


async def of_transfer(tx: ReadTx, transfer_id: int, *, after: int) -> list[int]:
    return await tx.all(_OF_TRANSFER, {"transfer": transfer_id, "after": after})


async def question_of_transfer(tx: ReadTx, transfer_id: int) -> Question | None:
    return await tx.one(_QUESTION_OF_TRANSFER, {"transfer": transfer_id})


async def of_entries(tx: ReadTx, *, account_id: int, seq: int, limit: int) -> list[EntryEvent]:
    return await tx.all(_OF_ENTRIES, {"account": account_id, "seq": seq, "limit": limit})


async def last_before(tx: ReadTx, *, account_id: int, start: datetime) -> int:
    return await tx.single(_LAST_BEFORE, {"account": account_id, "start": start})


async def of_agent(tx: ReadTx, agent: str, *, after: int, limit: int) -> list[Scanned]:
    return await tx.all(_OF_AGENT, {"agent": agent, "after": after, "limit": limit})


async def first_id(tx: ReadTx, start: datetime) -> int:
    return await tx.single(_FIRST_ID, {"start": start})


async def tasks_of_agent(tx: ReadTx, ids: Iterable[int], agent: str) -> set[int]:
    return set(await tx.all(_TASKS_OF_AGENT, {"ids": list(ids), "agent": agent}))


async def steps_of_tasks(tx: ReadTx, ids: Iterable[int], tasks: Iterable[int]) -> set[int]:
    return set(await tx.all(_STEPS_OF_TASKS, {"ids": list(ids), "tasks": list(tasks)}))


async def steps_of_agent(tx: ReadTx, ids: Iterable[int], agent: str) -> set[int]:
    return set(await tx.all(_STEPS_OF_AGENT, {"ids": list(ids), "agent": agent}))


async def texts(tx: ReadTx, kind: str, ids: Iterable[int]) -> dict[int, RowText] | None:
    """What is kept readable of things of a kind, by id; None for a kind that has nothing readable."""
    query = _TEXTS.get(kind)
    return None if query is None else {row.id: row for row in await tx.all(query, {"ids": list(ids)})}
