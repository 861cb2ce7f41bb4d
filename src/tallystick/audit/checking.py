"""The record in the database against itself, against its signatures and against a checkpoint kept outside.

An export shows that what was sealed is what was signed. Here the rest is looked at: that what events are looked up by says
what their leaves say, that nothing waits or stands where it should not, that all nodes and checkpoints are those of the tree,
and that what rooms keep is what some event told of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from tallystick import tlog
from tallystick.audit import store
from tallystick.audit.model import Origin, SealedEvent, SignedCheckpoint, StoredEvent
from tallystick.db import Query, ReadTx
from tallystick.kit import TallystickError, loads

PIECE = 2000
_BAD = (ValueError, KeyError, TypeError, AttributeError, TallystickError)
LISTED = 100

Progress = Callable[[int, int], None]
Known = Mapping[str, Query[int]]
"""Of kinds of items, the query that takes `after` and `limit` and returns ids of all rows of that kind in order."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One place where the record is wrong: `place` names a row of the table `relation`."""

    code: str
    relation: str
    place: str
    detail: str


@dataclass(slots=True)
class Checked:
    """What was gone through: events, leaves and rows; the findings by code, and the first hundred of each."""

    events: int = 0
    leaves: int = 0
    rows: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not self.counts

    def add(self, code: str, relation: str, place: str, detail: str) -> None:
        self.counts[code] += 1
        if self.counts[code] <= LISTED:
            self.findings.append(Finding(code, relation, place, detail))


async def check(
    tx: ReadTx,
    keys: Sequence[tlog.VerifierKey],
    *,
    kept: Sequence[tuple[str, bytes]] = (),
    known: Known | None = None,
    progress: Progress | None = None,
) -> Checked:
    """Go through the record in one snapshot.

    `keys` are those one trusts, `kept` checkpoints from outside, each with a name to call it by, `known` what rooms keep.
    """
    found = Checked()
    told: dict[str, set[int]] = {kind: set() for kind in known or {}}
    total = await store.size(tx)
    async for event in _events(tx):
        found.events += 1
        _columns(event, found)
        if event.items_kind in told and event.refs is not None:
            told[event.items_kind].update(event.refs)
        for kind, id in await _things(tx, event):
            if kind in told:
                told[kind].add(id)
        if progress is not None and found.events % PIECE == 0:
            progress(found.events, 2 * total)
    for stray in await store.strays(tx):
        found.add("row_of_no_event", stray.relation, f"{stray.id}", "belongs to no event, or to one it does not fit")
    origins = await store.origins(tx)
    _origins(origins, keys, found)
    await _Tree(tx, keys, origins, found).go_through(kept, progress)
    for kind, query in (known or {}).items():
        await _rows(tx, kind, query, told[kind], found)
    return found


async def _events(tx: ReadTx) -> AsyncIterator[StoredEvent]:
    after = -(2**63)
    while events := await store.columns(tx, after=after, limit=PIECE):
        for event in events:
            yield event
        after = events[-1].id


def _columns(event: StoredEvent, found: Checked) -> None:
    place = f"id={event.id}"
    if (event.index is None) != event.is_pending:
        found.add("event_unsealed", "audit.event", place, "is neither in the tree nor waits for it, or both")
    try:
        leaf = loads(event.leaf)
        said = _said(leaf)
    except _BAD as error:
        found.add("leaf_malformed", "audit.event", place, f"is not what an event looks like: {error}")
        return
    stored = {name: getattr(event, name) for name in said}
    for name, value in said.items():
        if stored[name] != value:
            found.add("column_differs", "audit.event", f"{place} {name}", f"is {stored[name]!r}, the leaf says {value!r}")
    items = leaf.get("items")
    if items is None:
        if event.items is not None or event.refs is not None or event.items_kind is not None:
            found.add("items_altered", "audit.event", place, "has items that the leaf does not know")
        return
    digests = event.items or b""
    cut = [digests[at : at + 32] for at in range(0, len(digests), 32)]
    refs = event.refs or []
    root = tlog.root(tlog.leaf_hashes(cut)).hex()
    told = (items.get("count"), items.get("kind"), items.get("root"), items.get("refs"))
    if told != (len(cut), event.items_kind, root, _refs_hash(refs)):
        found.add("items_altered", "audit.event", place, "its items are not those that the leaf tells of")


async def _things(tx: ReadTx, event: StoredEvent) -> list[tuple[str, int]]:
    """What an event tells of by its id; of more than its leaf has room for, its payload has the list."""
    if event.verb not in tlog.TELLING:
        return []
    try:
        leaf = loads(event.leaf)
        beside = await store.payload_text(tx, event.id) if "payload" in leaf else None
        return [(kind, int(id)) for kind, id in tlog.things_of(leaf, tlog.detail_of(leaf, beside))]
    except _BAD:
        # That is told of where the columns are compared.
        return []


def _said(leaf: Mapping[str, Any]) -> dict[str, Any]:
    subject = leaf["subject"]
    return {
        "id": int(leaf["event"]),
        "at": datetime.fromisoformat(leaf["at"]),
        "principal": leaf["principal"],
        "on_behalf_of": leaf.get("for"),
        "verb": leaf["verb"],
        "subject_kind": subject["kind"],
        "subject_id": _number(subject.get("id")),
        "task_id": _number(leaf.get("task")),
        "step": leaf.get("step"),
        "decision_id": _number(leaf.get("decision")),
        "approval_id": _number(leaf.get("approval")),
        "request_id": leaf.get("request"),
        "trace_id": leaf.get("trace"),
    }


class _Tree:
    """The leaves, nodes and checkpoints, gone through from the first to the last."""

    def __init__(self, tx: ReadTx, keys: Sequence[tlog.VerifierKey], origins: Sequence[Origin], found: Checked) -> None:
        self._tx = tx
        self._keys = keys
        self._names = {origin.n: origin.name for origin in origins}
        self._found = found
        self._edge = tlog.Frontier()
        self._nodes = _Nodes()

    async def go_through(self, kept: Sequence[tuple[str, bytes]], progress: Progress | None) -> None:
        size = await store.size(self._tx)
        outside = _outside(kept, self._keys, self._names, size, self._found)
        for first in range(0, size, PIECE):
            row = await self._leaves(first, min(first + PIECE, size))
            await self._stored_nodes(first, row)
            await self._roots(first, row, outside)
            if progress is not None:
                progress(self._found.events + self._found.leaves, self._found.events + size)
        if await store.count_nodes(self._tx) != self._nodes.count:
            self._add("node_altered", "audit.node", "count", f"there are not {self._nodes.count}, as many as the tree has")
        for checkpoint in await store.checkpoints(self._tx, size + 1, 2**62):
            place = f"size={checkpoint.size}"
            self._add("checkpoint_newer", "audit.checkpoint", place, f"the tree has {size} leaves: its tail was cut")

    async def _leaves(self, first: int, end: int) -> list[bytes]:
        events = await store.sealed(self._tx, first, end - 1)
        hashes = {event.index: event.hash for event in events}
        for index in range(first, end):
            if index not in hashes:
                self._add("leaf_missing", "audit.leaf", f"idx={index}", "there is none, or its event is gone")
        for event in events:
            if tlog.leaf_hash(event.leaf.encode()) != event.hash:
                self._add("leaf_altered", "audit.event", f"id={event.id}", f"is not what was sealed at index {event.index}")
            _payload(event, self._found)
        self._found.leaves += len(events)
        return [hashes.get(index, bytes(tlog.HASH_BYTES)) for index in range(first, end)]

    async def _stored_nodes(self, first: int, row: Sequence[bytes]) -> None:
        stored = {(node.level, node.n): node.hash for node in await store.nodes(self._tx, first + 1, first + len(row))}
        for level, n, node in (full for leaf in row for full in self._nodes.add(leaf)):
            if stored.pop((level, n), None) != node:
                self._add("node_altered", "audit.node", f"level={level} n={n}", "is not the root of the leaves beneath it")
        for level, n in stored:
            self._add("node_altered", "audit.node", f"level={level} n={n}", "stands where no subtree is full")

    async def _roots(self, first: int, row: Sequence[bytes], outside: Mapping[int, Sequence[tuple[str, bytes]]]) -> None:
        end = first + len(row)
        signed = {checkpoint.size: checkpoint for checkpoint in await store.checkpoints(self._tx, first + 1, end)}
        at = first
        for stop in sorted({end, *signed, *(size for size in outside if first < size <= end)}):
            self._edge.extend(row[at - first : stop - first])
            at = stop
            root = self._edge.root()
            if stop in signed:
                _checkpoint(signed[stop], root, self._keys, self._names, self._found)
            for name, said in outside.get(stop, ()):
                if said != root:
                    self._add("checkpoint_inconsistent", name, f"size={stop}", "is not continued: leaves were re-written")

    def _add(self, code: str, relation: str, place: str, detail: str) -> None:
        self._found.add(code, relation, place, detail)


class _Nodes:
    """The roots of full subtrees, level by level, as leaves are added."""

    def __init__(self) -> None:
        self.count = 0
        self._rows: list[list[bytes]] = [[]]
        self._full: list[int] = [0]

    def add(self, leaf: bytes) -> Iterator[tuple[int, int, bytes]]:
        """The nodes, as (level, number, hash), that the leaf completes."""
        level, node = 0, leaf
        while True:
            row = self._rows[level]
            row.append(node)
            if len(row) < tlog.TILE_WIDTH:
                return
            node = tlog.root(row)
            row.clear()
            number = self._full[level]
            self._full[level] += 1
            level += 1
            self.count += 1
            yield level, number, node
            if level == len(self._rows):
                self._rows.append([])
                self._full.append(0)


def _origins(origins: Sequence[Origin], keys: Sequence[tlog.VerifierKey], found: Checked) -> None:
    for place, origin in enumerate(origins, 1):
        if origin.n != place:
            found.add("origin_altered", "audit.origin", f"n={origin.n}", f"is number {place} of those there are")
        if (origin.follows is None) != (place == 1):
            found.add("origin_altered", "audit.origin", f"n={origin.n}", "the first follows none, and the others one each")
        elif origin.follows is not None:
            try:
                tlog.open_checkpoint(origin.follows, keys)
            except tlog.NoteError as error:
                found.add(error.code, "audit.origin", f"n={origin.n}", error.detail)


def _outside(
    kept: Sequence[tuple[str, bytes]],
    keys: Sequence[tlog.VerifierKey],
    names: Mapping[int, str],
    size: int,
    found: Checked,
) -> dict[int, list[tuple[str, bytes]]]:
    """The roots that checkpoints kept outside say, by size."""
    said: dict[int, list[tuple[str, bytes]]] = {}
    for name, data in kept:
        try:
            checkpoint = tlog.open_checkpoint(data, keys)
        except tlog.NoteError as error:
            found.add(error.code, name, "the checkpoint", error.detail)
            continue
        if checkpoint.origin not in names.values():
            found.add("checkpoint_of_another_log", name, checkpoint.origin, f"the origins here are {', '.join(names.values())}")
        elif checkpoint.size > size:
            found.add("checkpoint_newer", name, f"size={checkpoint.size}", f"the tree has {size} leaves: its tail was cut")
        else:
            said.setdefault(checkpoint.size, []).append((name, checkpoint.root))
    return said


def _checkpoint(
    stored: SignedCheckpoint, root: bytes, keys: Sequence[tlog.VerifierKey], names: Mapping[int, str], found: Checked
) -> None:
    place = f"size={stored.size}"
    try:
        signed = tlog.open_checkpoint(stored.note, keys)
    except tlog.NoteError as error:
        found.add(error.code, "audit.checkpoint", place, error.detail)
        return
    if (signed.origin, signed.size, signed.root) != (names.get(stored.origin), stored.size, stored.root):
        found.add("checkpoint_differs", "audit.checkpoint", place, "the row says something else than the note in it")
    if signed.root != root:
        found.add("checkpoint_inconsistent", "audit.checkpoint", place, "the leaves do not make the root that was signed")


async def _rows(tx: ReadTx, kind: str, query: Query[int], told: set[int], found: Checked) -> None:
    """Every row that the record should know is an item of some event."""
    after = -(2**63)
    while ids := await tx.all(query, {"after": after, "limit": 10 * PIECE}):
        found.rows += len(ids)
        for missing in sorted(set(ids) - told):
            found.add("row_unrecorded", kind, f"id={missing}", "no event of the record tells of it")
        told.difference_update(ids)
        after = ids[-1]


def _refs_hash(refs: Sequence[int]) -> str:
    return sha256(",".join(map(str, refs)).encode()).hexdigest()


def _payload(event: SealedEvent, found: Checked) -> None:
    place = f"event_id={event.id}"
    try:
        commitment = loads(event.leaf).get("payload")
    except _BAD:
        # That is told of where the columns are compared.
        return
    if (commitment is None) == event.has_payload:
        found.add("payload_missing", "audit.payload", place, "payload and commitment go together")
    elif event.has_payload and event.erased_by is None:
        text = (event.salt or b"") + (event.text or "").encode()
        if sha256(text).hexdigest() != commitment:
            found.add("payload_altered", "audit.payload", place, "is not the one committed to")


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
