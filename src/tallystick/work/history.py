"""What is kept of tasks that ended, by ranges of task ids: it is exported before it is given up."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tallystick import audit
from tallystick.db import Queries, Query, ReadTx, Tx
from tallystick.kit import Conflict, NotFound, dumps

_PAGE = 500
_IDS = 1000


@dataclass(frozen=True, slots=True)
class HistoryRange:
    """The facts of the tasks with ids from `from_id` to before `to_id`, which are kept and given up together.

    `complete`: all these ids were given out and every task has ended, so nothing of it will ever change; false again once it
    was dropped, at `dropped_at`. `exported` is what `drop_history` was told: the fields of an `ExportedHistory`.
    """

    from_id: int
    to_id: int
    made_at: datetime
    dropped_at: datetime | None
    exported: Mapping[str, Any] | None
    complete: bool


@dataclass(frozen=True, slots=True)
class ExportedHistory:
    """What an export holds: how many facts of each kind, and the SHA-256 of its bytes in hex."""

    from_id: int
    to_id: int
    tasks: int
    attempts: int
    steps: int
    outcomes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Line:
    task_id: int
    part: int
    name: str
    state: str
    fence: int
    try_number: int
    line: str


_queries = Queries(__package__, "history.sql")
_HISTORY = _queries.bind("history", HistoryRange)
_LAST_END = _queries.bind("last_end", datetime)
_STREAMS = tuple(_queries.bind(name, _Line) for name in ("tasks", "attempts", "steps", "outcomes"))
_DROP = _queries.bind("drop_history", str)


async def history(tx: ReadTx) -> list[HistoryRange]:
    """The ranges of task ids whose facts are or were kept, oldest first."""
    return await tx.all(_HISTORY)


async def export_history(
    tx: ReadTx, from_id: int, *, ended_before: datetime, write: Callable[[bytes], object]
) -> ExportedHistory:
    """Write all facts of the range that begins at `from_id` as JSON Lines; what was written.

    `write` is given whole lines, some hundreds at a time, in the order of task ids; of each task first itself, then its
    attempts that came to nothing, its steps, and its outcome. `fact` says which of these a line is (`task`, `attempt`,
    `step`, `outcome`). Numbers are exact, times in UTC. As nothing of a complete range changes any more, `tx` may be one of
    `Database.read`: it holds no snapshot, so it may take its time. The same range always gives the same bytes.

    Refuses with `NotFound` (`unknown_history`: no kept range begins there) and `Conflict` (`history_not_ended`: the range is
    not complete; `history_too_recent`: a task of it ended at `ended_before` or later), before anything is written.
    """
    found = next((each for each in await history(tx) if each.from_id == from_id and each.dropped_at is None), None)
    if found is None:
        raise _refusal("unknown", from_id)
    if not found.complete:
        raise _refusal("not_ended", from_id)
    last_end = await tx.one(_LAST_END, {"from_id": from_id, "to_id": found.to_id})
    if last_end is not None and last_end >= ended_before:
        raise _refusal("too_recent", from_id)
    counts = [0] * len(_STREAMS)
    sha256 = hashlib.sha256()
    streams = [_Stream(tx, query, from_id, found.to_id) for query in _STREAMS]
    while lines := await _next_lines(streams):
        for line in lines:
            counts[line.part] += 1
        chunk = "".join(f"{line.line}\n" for line in lines).encode()
        sha256.update(chunk)
        write(chunk)
    tasks, attempts, steps, outcomes = counts
    return ExportedHistory(from_id, found.to_id, tasks, attempts, steps, outcomes, sha256.hexdigest())


async def drop_history(tx: Tx, principal: str, exported: ExportedHistory, *, ended_before: datetime) -> None:
    """Give up the facts of the oldest range that is kept, all of them or none, after they were exported as `exported` says.

    What it says is kept in `history` and on the record. Ids of dropped tasks that stand elsewhere stay as they are; the
    tasks themselves are unknown from then on, and their keys stay used. To be called by `Database.retrying` with a
    `lock_timeout_ms` of a few hundred: at its end it waits for every transaction that uses tasks, and all others wait for
    it.

    Refuses with `NotFound` (`unknown_history`: no kept range begins there) and `Conflict` (`history_out_of_order`: an older
    range is kept; `history_not_ended`: the range is not complete; `history_too_recent`: a task of it ended at `ended_before`
    or later; `history_changed`: it does not hold what `exported` says).
    """
    facts = dataclasses.asdict(exported)
    parameters = {"from_id": exported.from_id, "ended_before": ended_before, "exported": dumps(facts).decode()}
    verdict = await tx.single(_DROP, parameters)
    if verdict != "dropped":
        raise _refusal(verdict, exported.from_id)
    await audit.append(
        tx, principal=principal, verb="tasks.drop_history", subject_kind="work", subject_id=exported.from_id, detail=facts
    )


class _Stream:
    """The lines of one kind of fact in the order of task ids, read page by page.

    A page is of few ids, so that it is cheap however the planner reads it: statistics of a range may be poor.
    """

    def __init__(self, tx: ReadTx, query: Query[_Line], from_id: int, to_id: int) -> None:
        self._tx = tx
        self._query = query
        self._from_id = from_id
        self._to_id = to_id
        self._last = _Line(from_id - 1, 0, "", "", 0, 0, "")
        self.lines: deque[_Line] = deque()

    async def fill(self) -> None:
        """Have a line, where there is one left."""
        while not self.lines and self._from_id < self._to_id:
            last, until = self._last, min(self._from_id + _IDS, self._to_id)
            parameters = {
                "from_id": self._from_id, "to_id": until, "task_id": last.task_id, "name": last.name, "state": last.state,
                "fence": last.fence, "try_number": last.try_number, "limit": _PAGE,
            }  # fmt: skip
            self.lines.extend(await self._tx.all(self._query, parameters))
            if len(self.lines) == _PAGE:
                self._last = self.lines[-1]
            else:
                self._from_id, self._last = until, _Line(until - 1, 0, "", "", 0, 0, "")


async def _next_lines(streams: Sequence[_Stream]) -> list[_Line]:
    """Some hundred lines of all streams, merged by task and kind; empty where there are no more."""
    merged: list[_Line] = []
    while len(merged) < _PAGE:
        for stream in streams:
            await stream.fill()
        first = min((stream for stream in streams if stream.lines), key=_next_of, default=None)
        if first is None:
            break
        task_id = first.lines[0].task_id
        while first.lines and first.lines[0].task_id == task_id:
            merged.append(first.lines.popleft())
    return merged


def _next_of(stream: _Stream) -> tuple[int, int]:
    line = stream.lines[0]
    return line.task_id, line.part


def _refusal(verdict: str, from_id: int) -> NotFound | Conflict:
    match verdict:
        case "unknown":
            return NotFound("unknown_history", f"no range of tasks that is kept begins at {from_id}")
        case "out_of_order":
            return Conflict("history_out_of_order", f"tasks older than {from_id} are kept")
        case "not_ended":
            return Conflict("history_not_ended", f"not all tasks of the range from {from_id} have ended")
        case "too_recent":
            return Conflict("history_too_recent", f"tasks of the range from {from_id} ended too recently")
        case _:
            return Conflict("history_changed", f"the range from {from_id} does not hold what was exported of it")
