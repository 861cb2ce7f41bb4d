"""Exports: a range of the record in one file, with which it can be verified without us. docs/record.md has the format."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tallystick import tlog
from tallystick.audit import proving, store
from tallystick.audit.model import RecordedDecision, RecordedRow, RecordedState, RecordedThing, SealedEvent
from tallystick.db import Query, ReadTx
from tallystick.kit import digest, dumps, loads

FORMAT = "tallystick-record-1"
_PIECE = 1000
_PROOFS = 100
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where what lies beneath events is read.

    `rows`: of each kind of items, the query that takes `ids` and returns what they are digests of, in that order; `decisions`
    likewise of the decisions that events tell of. `states`: of each kind of things that change, the query that takes `after`
    and `limit` and returns how they stand. `things`: of each kind of things that events tell of by their ids, the query that
    takes `ids` and returns how those stand, in that order.
    """

    rows: Mapping[str, Query[RecordedRow]]
    decisions: Query[RecordedDecision]
    states: Mapping[str, Query[RecordedState]]
    things: Mapping[str, Query[RecordedThing]]


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds: events from index `first` to `last`, of a tree of `size` leaves."""

    first: int
    last: int
    size: int
    origin: str
    rows: int


async def export(
    tx: ReadTx,
    path: Path,
    keys: Sequence[tlog.VerifierKey],
    sources: Sources,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    proofs: Sequence[int] = (),
    progress: Progress | None = None,
) -> Exported:
    """Write the sealed events of a time, from `since` and before `until`, and all that lies beneath and beside them.

    `tx` is a snapshot. The events between the first and the last one of that time are all in it, so that none can be left out
    unseen. The consistency proofs are those from the sizes in `proofs` and from the last hundred that were signed before the
    range. The file is there when it is whole. Refuses with `NotFound` (`no_checkpoint`) and `Invalid` (`sizes_out_of_order`).
    """
    checkpoint = await proving.checkpoint(tx)
    size = checkpoint.size
    first, last = 0, size - 1
    if since is not None or until is not None:
        found = await store.range_of(tx, since=since or _EARLIEST, until=until or _LATEST, size=size)
        first, last = (size, size - 1) if found.first is None or found.last is None else (found.first, found.last)
    with ExitStack() as stack:
        parts = _Parts(Path(stack.enter_context(tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-"))))
        parts.write("checkpoint", checkpoint.note.encode())
        parts.write("keys", "".join(f"{key}\n" for key in keys).encode())
        parts.write("tree.json", dumps(await _tree(tx, first, last, size, proofs)))
        part = _Export(tx, parts, first, last, sources)
        await part.events(progress)
        await part.others(size)
        if first == 0 and last == size - 1:
            await part.states()
        origin = tlog.Checkpoint.parse(tlog.Note.parse(checkpoint.note).text).origin
        manifest = {
            "format": FORMAT,
            "origin": origin,
            "first": str(first),
            "last": str(last),
            "size": str(size),
            "checkpoint": checkpoint.note,
            "from": part.times[0],
            "to": part.times[1],
            "files": parts.listed(),
        }
        parts.pack(dumps(manifest), path)
    return Exported(first, last, size, origin, part.rows)


async def _tree(tx: ReadTx, first: int, last: int, size: int, proofs: Sequence[int]) -> dict[str, Any]:
    left = tlog.range_hashes(0, first, await proving.reader(tx, tlog.range_tiles(0, first)))
    right = tlog.range_hashes(last + 1, size, await proving.reader(tx, tlog.range_tiles(last + 1, size)))
    tree: dict[str, Any] = {"left": [node.hex() for node in left], "right": [node.hex() for node in right]}
    asked = {*proofs, *await store.signed_sizes(tx, before=first, limit=_PROOFS)} - {0}
    if asked:
        tree["proofs"] = [
            {"size": str(old), "path": [step.hex() for step in await proving.consistency_proof(tx, old, size)]}
            for old in sorted(asked)
        ]
    return tree


class _Export:
    """One range of the record on its way into the files."""

    def __init__(self, tx: ReadTx, parts: _Parts, first: int, last: int, sources: Sources) -> None:
        self.rows = 0
        self.times: tuple[str | None, str | None] = (None, None)
        self._tx = tx
        self._parts = parts
        self._first = first
        self._last = last
        self._sources = sources
        self._erasers: set[int] = set()

    async def events(self, progress: Progress | None) -> None:
        """The events, and the rows that their items are digests of."""
        self._parts.touch("events.jsonl")
        for begin in range(self._first, self._last + 1, _PIECE):
            events = await store.sealed(self._tx, begin, min(begin + _PIECE - 1, self._last))
            self._parts.add("events.jsonl", [_line(event) for event in events])
            told: list[int] = []
            things: dict[str, list[int]] = {}
            for event in events:
                leaf = loads(event.leaf)
                at = leaf["at"]
                self.times = (min(at, self.times[0] or at), max(at, self.times[1] or at))
                if event.erased_by is not None:
                    self._erasers.add(event.erased_by)
                detail = tlog.detail_of(leaf, event.text)
                told += map(int, tlog.told_by(leaf, detail))
                for kind, id in tlog.things_of(leaf, detail) if "tx" in leaf else ():
                    things.setdefault(kind, []).append(int(id))
            await self._rows_of(events)
            await self._decisions(told)
            await self._things(things)
            if progress is not None:
                progress(min(begin + _PIECE, self._last + 1) - self._first, self._last + 1 - self._first)

    async def others(self, size: int) -> None:
        """Events outside of the range that have erased something in it, each with its proof."""
        for index in await store.indexes_of(self._tx, sorted(self._erasers)):
            if index < size and not self._first <= index <= self._last:
                (event,) = await store.sealed(self._tx, index, index)
                path = [step.hex() for step in await proving.inclusion_proof(self._tx, index, size)]
                self._parts.add("others.jsonl", [{**_line(event), "path": path}])

    async def states(self) -> None:
        """How things stand of which events tell, for an export of all of them."""
        for kind, query in self._sources.states.items():
            after = 0
            while found := await self._tx.all(query, {"after": after, "limit": _PIECE}):
                self._parts.add(f"states/{kind}.jsonl", [{**row.state, "id": str(row.id)} for row in found])
                after = found[-1].id

    async def _decisions(self, ids: Sequence[int]) -> None:
        for part in range(0, len(ids), _PIECE):
            found = await self._tx.all(self._sources.decisions, {"ids": list(ids[part : part + _PIECE])})
            self._erasers.update(row.erased_by for row in found if row.erased_by is not None)
            self._parts.add("rows/decision.jsonl", [_decision(row) for row in found])

    async def _things(self, told: Mapping[str, Sequence[int]]) -> None:
        for kind, ids in told.items():
            for part in range(0, len(ids), _PIECE):
                found = await self._tx.all(self._sources.things[kind], {"ids": ids[part : part + _PIECE]})
                self._erasers.update(int(row.state["erased"]) for row in found if "erased" in row.state)
                self._parts.add(f"rows/{kind}.jsonl", [_thing(row) for row in found])

    async def _rows_of(self, events: Sequence[SealedEvent]) -> None:
        wanted: dict[str, list[int]] = {}
        for event in events:
            # The items of an erasure are digests of what is there no more.
            if event.items_kind is not None and event.items_kind in self._sources.rows and event.refs is not None:
                wanted.setdefault(event.items_kind, []).extend(event.refs)
        for kind, ids in wanted.items():
            for part in range(0, len(ids), _PIECE):
                found = await self._tx.all(self._sources.rows[kind], {"ids": ids[part : part + _PIECE]})
                self._erasers.update(row.erased_by for row in found if row.erased_by is not None)
                self._parts.add(f"rows/{kind}.jsonl", [_row(row) for row in found])
                self.rows += len(found)


def _line(event: SealedEvent) -> dict[str, Any]:
    line: dict[str, Any] = {"index": str(event.index), "hash": event.hash.hex(), "leaf": event.leaf}
    if event.items is not None and event.refs is not None:
        line["items"] = [event.items[at : at + 32].hex() for at in range(0, len(event.items), 32)]
        line["refs"] = [str(ref) for ref in event.refs]
    if event.erased_by is not None:
        line["payload"] = {"erased": str(event.erased_by)}
    elif event.salt is not None:
        line["payload"] = {"salt": event.salt.hex(), "text": event.text}
    return line


def _row(row: RecordedRow) -> dict[str, Any]:
    if row.erased_by is not None:
        return {"id": str(row.id), "erased": str(row.erased_by)}
    if row.sent is not None:
        return {"id": str(row.id), "sent": row.sent.hex()}
    return {"id": str(row.id), "salt": (row.salt or b"").hex(), "text": row.text or ""}


def _decision(row: RecordedDecision) -> dict[str, Any]:
    used = {} if row.used is None else {"used": row.used}
    if row.erased_by is not None:
        return {"id": str(row.id), "erased": str(row.erased_by), "digest": (row.digest or b"").hex(), **used}
    return {"id": str(row.id), "salt": (row.salt or b"").hex(), "text": row.text or "", **used}


def _thing(row: RecordedThing) -> dict[str, Any]:
    digests = [None if asked is None else digest(asked).hex() for asked in row.asked]
    return {**row.state, "id": str(row.id), "digests": digests}


class _Parts:
    """The files of an export, until they are packed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hashes: dict[str, Any] = {}
        self._rows: dict[str, int] = {}

    def touch(self, name: str) -> None:
        """Have the file, with nothing in it as yet."""
        self._append(name, b"")

    def write(self, name: str, data: bytes) -> None:
        self._append(name, data)

    def add(self, name: str, lines: Sequence[Mapping[str, Any]]) -> None:
        self._append(name, b"".join(dumps(dict(line)) + b"\n" for line in lines))
        self._rows[name] = self._rows.get(name, 0) + len(lines)

    def listed(self) -> list[dict[str, str]]:
        return [
            {"name": name, "sha256": hashed.hexdigest(), "rows": str(self._rows.get(name, 0))}
            for name, hashed in self._hashes.items()
        ]

    def pack(self, manifest: bytes, path: Path) -> None:
        """All of it in one file, which has its name once it is whole."""
        whole = self._folder / "export.zip"
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("manifest.json", manifest)
            for name in self._hashes:
                with self._file(name).open("rb") as source, archive.open(name, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, 1 << 20)
        whole.replace(path)

    def _append(self, name: str, data: bytes) -> None:
        self._hashes.setdefault(name, hashlib.sha256()).update(data)
        with self._file(name).open("ab") as file:
            file.write(data)

    def _file(self, name: str) -> Path:
        return self._folder / name.replace("/", "-")
