"""The offline verifier: whether an export of the record is what was sealed. It needs neither our server nor our database.

`docs/record.md` describes the format. Everything is read once, line by line; what is kept in memory does not grow with the
number of events, but for one bit an event number and what was erased.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any, Protocol

from tallystick.tlog.checkpoints import Checkpoint, open_checkpoint
from tallystick.tlog.decisions import detail_of, loads, told_by
from tallystick.tlog.notes import Note, NoteError, VerifierKey
from tallystick.tlog.tree import Frontier, check_consistency, check_inclusion, root, subtrees

FORMAT = "tallystick-record-1"
MAX_LISTED = 100
"""Of each code as many findings are listed; all are counted."""

_CHUNK_BYTES = 1 << 20
_MAX_LINE_BYTES = 64 << 20
_MAX_AHEAD = 10_000
_MAX_SMALL_BYTES = 16 << 20
_PROGRESS_EVERY = 10_000
_NAMED = 200
_MANIFEST = "manifest.json"
_MANIFEST_KEYS = {"format", "origin", "first", "last", "size", "checkpoint", "from", "to", "files"}
_EVENT_KEYS = {"index", "hash", "leaf", "items", "refs", "payload"}
_OTHER_KEYS = {*_EVENT_KEYS, "path", "rows"}
_NEEDED = ("checkpoint", "keys", "tree.json", "events.jsonl")
_BAD = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """One place that is wrong. `code` is stable; `place` names a file, an event or a row."""

    code: str
    place: str
    detail: str


@dataclass(frozen=True, slots=True)
class Row:
    """What an item is a digest of: `text` of JSON or `sent` in binary, or neither, as it was erased by an event.

    Of a decision, `used` is the transaction that is said to have used it.
    """

    id: str
    text: str | None = None
    sent: bytes | None = None
    erased: str | None = None
    used: str | None = None


@dataclass(frozen=True, slots=True)
class Sealed:
    """An event as it was sealed, with what lies beneath and beside it, all compared with its digests.

    `told` are the decisions that it tells of, and `detail` says all that it says of them.
    """

    index: int
    event: Mapping[str, Any]
    rows: Sequence[Row]
    payload: str | None
    detail: Mapping[str, Any] = field(default_factory=dict)
    told: Sequence[Row] = ()


Visit = Callable[[Sealed], Iterable[Finding]]
"""Looks at each event, first those of `others.jsonl` and then the others in order, and says what is wrong with its meaning."""

States = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By kind and id, how things stand of which events tell."""


class Finish(Protocol):
    """Says what is wrong once all events were seen; see `Meaning.end`."""

    def __call__(self, states: States | None, *, from_start: bool) -> Iterable[Finding]: ...


@dataclass(slots=True)
class Verified:
    """What was verified, and everything that is wrong with it."""

    origin: str = ""
    size: int = 0
    root: bytes = b""
    first: int = 0
    last: int = -1
    events: int = 0
    items: int = 0
    payloads: int = 0
    erased: int = 0
    signed_by: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.counts

    @property
    def total(self) -> int:
        """How many findings there are, listed or not."""
        return sum(self.counts.values())

    def add(self, code: str, place: str, detail: str) -> None:
        """Note a finding."""
        self.counts[code] = count = self.counts.get(code, 0) + 1
        if count <= MAX_LISTED:
            self.findings.append(Finding(code, place, detail))


def verify_export(
    export: Path | str | IO[bytes],
    *,
    keys: Iterable[VerifierKey],
    checkpoints: Sequence[tuple[str, bytes]] = (),
    progress: Progress | None = None,
    visit: Visit | None = None,
    finish: Finish | None = None,
) -> Verified:
    """Verify an export with the keys that one trusts, and against checkpoints kept from before, each with a name to call it by.

    The keys and checkpoints must not come out of the export itself.
    """
    found = Verified()
    try:
        with zipfile.ZipFile(export) as archive:
            _Verifier(archive, found, tuple(keys), visit, progress).run(checkpoints, finish)
    except _BROKEN as error:
        found.add("export_broken", "export", f"cannot be read: {error}")
    return found


class _Verifier:
    def __init__(
        self,
        archive: zipfile.ZipFile,
        found: Verified,
        keys: tuple[VerifierKey, ...],
        visit: Visit | None,
        progress: Progress | None,
    ) -> None:
        self.archive = archive
        self.found = found
        self.keys = keys
        self.visit = visit
        self.progress = progress
        self.manifest: dict[str, Any] = {}
        self.listed: dict[str, dict[str, Any]] = {}
        self.right: list[bytes] = []
        self.proofs: dict[int, list[bytes]] = {}
        self.edge: Frontier | None = None
        self.rows: dict[str, _Rows | None] = {}
        self.read: set[str] = set()
        self.seen = _Numbers()
        self.earlier: list[tuple[str, Checkpoint]] = []
        self.erasures: dict[str, set[str]] = {}
        self.claimed: list[tuple[str, str, str]] = []
        self.times = ("~", "")

    def run(self, checkpoints: Sequence[tuple[str, bytes]], finish: Finish | None) -> None:
        if not self._manifest():
            return
        small = {name: self._small(name) for name in ("checkpoint", "tree.json")}
        self._checkpoint(small["checkpoint"])
        self._earlier(checkpoints)
        self._tree(small["tree.json"])
        self._others()
        self._events()
        self._right_of_the_events()
        if finish is not None:
            self._finish(finish)
        self._erasures()
        self._ends()

    def _finish(self, finish: Finish) -> None:
        """Have the last word said on what the events mean."""
        states: dict[str, dict[str, Any]] = {}
        for name in self.listed:
            if name.startswith("states/") and name.endswith(".jsonl"):
                states[name[7:-6]] = {row["id"]: row for row in map(_object, self._lines(name)) if row["id"] is not None}
        whole = self.found.first == 0 and self.found.last == self.found.size - 1
        for finding in finish(states if whole else None, from_start=self.found.first == 0):
            self.found.add(finding.code, finding.place, finding.detail)

    def _manifest(self) -> bool:
        names = Counter(self.archive.namelist())
        try:
            data = self._whole(_MANIFEST)
            self.manifest = json.loads(data)
            self.listed = {entry["name"]: entry for entry in self.manifest["files"]}
            first, last, size = (_number(self.manifest[key]) for key in ("first", "last", "size"))
            if set(self.manifest) != _MANIFEST_KEYS or not all(map(_is_entry, self.manifest["files"])):
                raise ValueError("other fields than there should be")
            if len(self.listed) != len(self.manifest["files"]):
                raise ValueError("a file is named twice")
            if json.dumps(self.manifest, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode() != data:
                raise ValueError("not in canonical form")
            if self.manifest["format"] != FORMAT or not 0 <= first <= last + 1 <= size:
                raise ValueError(f"format {self.manifest['format']}, events {first} to {last} of {size}")
        except _BAD as error:
            self.found.add("manifest_malformed", _MANIFEST, str(error))
            return False
        self.found.first, self.found.last, self.found.size = first, last, size
        self.found.origin = str(self.manifest["origin"])
        for name in sorted({*names, *self.listed, *_NEEDED, _MANIFEST}):
            if names[name] != 1:
                self.found.add("file_missing" if name not in names else "file_twice", name, "the archive must hold it once")
            if name not in self.listed and name != _MANIFEST:
                self.found.add("file_unlisted", name, "the manifest does not name it")
        return not {*_NEEDED} - {*names} and not {*_NEEDED} - {*self.listed}

    def _checkpoint(self, data: bytes) -> None:
        found = self.found
        if self.manifest["checkpoint"] != data.decode("utf-8", "replace"):
            found.add("checkpoint_differs", "checkpoint", "the manifest has another")
        try:
            note = Note.parse(data)
            checkpoint = open_checkpoint(note, self.keys)
        except NoteError as error:
            found.add(error.code, "checkpoint", error.detail)
            return
        found.root = checkpoint.root
        found.signed_by = tuple(str(key) for key in note.verified_by(self.keys))
        if (checkpoint.origin, checkpoint.size) != (found.origin, found.size):
            found.add("checkpoint_differs", "checkpoint", f"is of {checkpoint.origin} with {checkpoint.size} leaves")

    def _earlier(self, checkpoints: Sequence[tuple[str, bytes]]) -> None:
        for name, data in checkpoints:
            try:
                checkpoint = open_checkpoint(data, self.keys)
            except NoteError as error:
                self.found.add(error.code, name, error.detail)
                continue
            if checkpoint.origin != self.found.origin:
                self.found.add("checkpoint_of_another_log", name, f"is of {checkpoint.origin}, not {self.found.origin}")
            elif checkpoint.size > self.found.size:
                self.found.add("checkpoint_newer", name, f"has {checkpoint.size} leaves, the export's only {self.found.size}")
            else:
                self.earlier.append((name, checkpoint))
        self.earlier.sort(key=lambda pair: pair[1].size)

    def _tree(self, data: bytes) -> None:
        try:
            tree = json.loads(data)
            if not {"left", "right"} <= tree.keys() <= {"left", "right", "proofs"}:
                raise ValueError("other fields than there should be")
            self.right = [_hash(text) for text in tree["right"]]
            self.proofs = {_number(proof["size"]): [_hash(step) for step in proof["path"]] for proof in tree.get("proofs", ())}
            self.edge = Frontier(self.found.first, [_hash(text) for text in tree["left"]])
        except _BAD as error:
            self.found.add("tree_malformed", "tree.json", str(error))

    def _events(self) -> None:
        found, expected, total = self.found, self.found.first, self.found.last - self.found.first + 1
        hashes: list[bytes] = []
        flush_at = self._compared(expected)
        for at, line in enumerate(self._lines("events.jsonl")):
            try:
                row, text, index = _line(line, _EVENT_KEYS)
                hashed = sha256(b"\x00" + text).digest()
                stated = hashed if hashed.hex() == row["hash"] else _hash(row["hash"])
            except _BAD:
                found.add("line_malformed", f"events.jsonl line {at + 1}", "is not an event")
                continue
            if index != str(expected):
                found.add("index_differs", f"event at index {expected}", f"has the index {index[:20]}")
                with suppress(ValueError):
                    expected = _number(index)
            hashes.append(stated)
            if hashed is not stated:
                found.add("leaf_altered", f"event at index {expected}", "its text has another hash than was sealed")
            at_of = self._meaning(f"event at index {expected}", expected, text, row)
            if at_of and (at_of < self.times[0] or at_of > self.times[1]):
                self.times = (min(at_of, self.times[0]), max(at_of, self.times[1]))
            expected += 1
            found.events += 1
            if len(hashes) == flush_at or len(hashes) == _PROGRESS_EVERY:
                self._extend(hashes)
                flush_at = self._compared(self.edge.size if self.edge else expected)
                if self.progress:
                    self.progress(found.events, total)
        self._extend(hashes)
        if self.edge:
            self._compared(self.edge.size)
        if found.events != total:
            found.add("events_missing", "events.jsonl", f"has {found.events} events, the manifest says {total}")
        if self.progress:
            self.progress(found.events, total)

    def _extend(self, hashes: list[bytes]) -> None:
        if self.edge:
            self.edge.extend(hashes)
        hashes.clear()

    def _compared(self, size: int) -> int:
        """Compare the earlier checkpoints of this size; how many leaves there are to the next one."""
        while self.earlier and self.earlier[0][1].size <= size:
            name, checkpoint = self.earlier.pop(0)
            if checkpoint.size == size and self.edge:
                if self.edge.root() != checkpoint.root:
                    self.found.add("checkpoint_inconsistent", name, f"has another root of {size} leaves: they were re-written")
            else:
                self._by_proof(name, checkpoint)
        return self.earlier[0][1].size - size if self.earlier else -1

    def _by_proof(self, name: str, checkpoint: Checkpoint) -> None:
        """An earlier checkpoint of a size outside of the events: it takes a consistency proof to compare it."""
        old, new = checkpoint.size, self.found.size
        path = self.proofs.get(old, [] if old in {0, new} else None)
        if path is None:
            self.found.add("checkpoint_not_compared", name, f"has {old} leaves, and the export no proof from there")
            return
        good = check_consistency(old=old, old_root=checkpoint.root, new=new, new_root=self.found.root, path=path)
        if not good:
            self.found.add("checkpoint_inconsistent", name, f"is not continued: of its {old} leaves some were re-written")

    def _meaning(self, place: str, index: int, text: bytes, line: dict[str, Any]) -> str:
        """Look at what an event says and what is beside it; when it was."""
        try:
            sealed = self._event(place, index, loads(text), line)
        except _BAD:
            self.found.add("leaf_malformed", place, "is not what an event looks like")
            return ""
        for finding in self.visit(sealed) if self.visit else ():
            self.found.add(finding.code, finding.place, finding.detail)
        return str(sealed.event["at"])

    def _event(self, place: str, index: int, event: dict[str, Any], line: dict[str, Any]) -> Sealed:
        verb, kind = event["verb"], event["subject"]["kind"]
        if not event["principal"] or not isinstance(event["at"], str):
            raise ValueError("nobody did it")
        if not self.seen.add(_number(event["event"])):
            self.found.add("event_twice", place, f"event {event['event']} stands in the record before")
        payload = self._payload(place, event.get("payload"), line.get("payload"))
        rows: Sequence[Row] = ()
        if "items" in event or "items" in line:
            digests = self._items(place, event.get("items"), line)
            kind = event["items"].get("kind", kind) if "items" in event else kind
            if verb.endswith(".erase"):
                self.erasures[event["event"]] = set(digests)
            else:
                # Where there are more of the one than of the other, that was found; the rows are read on nevertheless.
                take = iter(line["rows"]) if "rows" in line else None
                pairs = [(ref, digest) for ref, digest in zip_longest(line["refs"], digests) if ref is not None]
                rows = [self._row(kind, ref, digest, take) for ref, digest in pairs]
                for row in take or ():
                    self.found.add("row_unasked", f"{kind} {row['id']}", "no event has its digest")
        detail = detail_of(event, payload)
        return Sealed(index, event, rows, payload, detail, self._told(place, event, detail) if "decided" in detail else ())

    def _told(self, place: str, event: dict[str, Any], detail: Mapping[str, Any]) -> list[Row]:
        """The decisions that an event tells of, compared with the one digest that it has of them all."""
        rows: list[Row] = []
        digests: list[str] = []
        refs = told_by(event, detail)
        for ref in refs:
            row = self._take("decision", ref)
            if row is None:
                self.found.add("row_missing", f"decision {ref}", f"{place} has its digest")
                continue
            if "erased" in row:
                self._claim(row["erased"], row["digest"], f"decision {ref}")
            digests.append(row["digest"] if "erased" in row else _commitment(row))
            rows.append(Row(ref, text=row.get("text"), erased=row.get("erased"), used=row.get("used")))
        if rows and len(digests) == len(refs):
            self._compare(rows, digests, detail["decided"])
        return rows

    def _compare(self, rows: Sequence[Row], digests: Sequence[str], decided: str) -> None:
        if sha256(bytes.fromhex("".join(digests))).hexdigest() == decided:
            return
        if len(rows) == 1:
            self.found.add("decision_altered", f"decision {rows[0].id}", "has another digest than was sealed")
            return
        listed = ", ".join(row.id for row in rows[:_NAMED]) + (f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else "")
        self.found.add("decision_altered", f"decisions {listed}", "have another digest than was sealed: one was altered")

    def _payload(self, place: str, commitment: str | None, payload: dict[str, str] | None) -> str | None:
        if commitment is None and payload is None:
            return None
        self.found.payloads += 1
        if commitment is None or payload is None:
            self.found.add("payload_missing" if commitment else "payload_unasked", place, "payload and commitment go together")
            return None
        if payload.keys() == {"erased"}:
            self._claim(payload["erased"], commitment, place)
            return None
        if payload.keys() != {"salt", "text"} or _commitment(payload) != commitment:
            self.found.add("payload_altered", place, "its payload is not the one committed to")
        return payload["text"]

    def _items(self, place: str, sealed: dict[str, Any] | None, line: dict[str, Any]) -> list[str]:
        digests: list[str] = line.get("items", [])
        count = len(digests)
        self.found.items += count
        if sealed is None or sealed["count"] != count or len(line.get("refs", ())) != count:
            self.found.add("items_differ", place, f"{count} items, not as many as were sealed")
            return digests
        if root([sha256(b"\x00" + _hash(digest)).digest() for digest in digests]).hex() != sealed["root"]:
            self.found.add("items_altered", place, "its items have another root than was sealed")
        if "refs" in sealed and sha256(",".join(line["refs"]).encode()).hexdigest() != sealed["refs"]:
            self.found.add("refs_altered", place, "its items are said to be of other rows than was sealed")
        return digests

    def _row(self, kind: str, ref: str, digest: str | None, inline: Iterator[dict[str, Any]] | None) -> Row:
        place = f"{kind} {ref}"
        if inline is not None:
            row = next(inline, None)
            row = row if row and row["id"] == ref else None
        else:
            row = self._take(kind, ref)
        if row is None:
            self.found.add("row_missing", place, "an event has its digest")
            return Row(ref)
        if row.keys() == {"id", "erased"}:
            self._claim(row["erased"], digest or "", place)
            return Row(ref, erased=row["erased"])
        if row.keys() == {"id", "sent"}:
            sent = bytes.fromhex(row["sent"])
            good = sha256(sent).hexdigest() == digest and sent_id(sent) == _number(ref)
            found = Row(ref, sent=sent)
        else:
            good = row.keys() == {"id", "salt", "text"} and _commitment(row) == digest
            found = Row(ref, text=row["text"])
        if not good:
            self.found.add("row_altered", place, "has another digest than was sealed")
        return found

    def _take(self, kind: str, ref: str) -> dict[str, Any] | None:
        if kind not in self.rows:
            name = f"rows/{kind}.jsonl"
            self.rows[kind] = _Rows(kind, self._lines(name), self.found) if name in self.listed else None
        rows = self.rows[kind]
        return rows.take(ref) if rows else None

    def _claim(self, event: str, digest: str, place: str) -> None:
        self.found.erased += 1
        self.claimed.append((str(_number(event)), str(digest), place))

    def _right_of_the_events(self) -> None:
        if self.edge is None:
            return
        try:
            right = list(zip(subtrees(self.edge.size, self.found.size), self.right, strict=True))
            for (height, _), node in right:
                self.edge.push(height, node)
        except _BAD as error:
            self.found.add("tree_malformed", "tree.json", f"right: {error}")
            return
        finally:
            self._compared(self.found.size)
        if self.found.root and self.edge.root() != self.found.root:
            self.found.add("root_differs", "checkpoint", "the events are not those of the tree that was signed")

    def _others(self) -> None:
        """Events outside of the range that something in it refers to, each with its path to the root."""
        if "others.jsonl" not in self.listed:
            return
        for at, line in enumerate(self._lines("others.jsonl")):
            place = f"others.jsonl line {at + 1}"
            try:
                row, leaf, index = _line(line, _OTHER_KEYS)
                path = [_hash(step) for step in row["path"]]
                hashed = sha256(b"\x00" + leaf).digest()
                inside = check_inclusion(hashed, _number(index), self.found.size, path, self.found.root)
                if "items" in row:
                    row.setdefault("rows", [])
                elif "rows" in row:
                    raise ValueError("rows of no items")
            except _BAD:
                self.found.add("line_malformed", place, "is not an event with its path")
                continue
            if hashed.hex() != row["hash"] or not inside:
                self.found.add("leaf_altered", place, "is not in the tree that was signed")
            self._meaning(place, _number(index), leaf, row)

    def _erasures(self) -> None:
        for event, digest, place in self.claimed:
            if digest not in self.erasures.get(event, ()):
                self.found.add("erasure_unknown", place, f"is said to be erased, but event {event} did not erase it")

    def _ends(self) -> None:
        """Everything was read to its end, and the manifest says what is there."""
        for rows in self.rows.values():
            if rows:
                rows.end()
        for name in self.listed:
            if not name.endswith(".jsonl") and self.listed[name]["rows"] != "0":
                self.found.add("manifest_differs", _MANIFEST, f"{name} has no rows")
            if name not in self.read:
                for _ in self._lines(name) if name.endswith(".jsonl") else self._chunks(name):
                    pass
        times = self.times if self.found.events else (None, None)
        if (self.manifest["from"], self.manifest["to"]) != times and not self.found.counts.get("leaf_malformed"):
            self.found.add("manifest_differs", _MANIFEST, f"its events are from {times[0]} to {times[1]}")

    def _whole(self, name: str) -> bytes:
        with self.archive.open(name) as file:
            data = file.read(_MAX_SMALL_BYTES + 1)
        if len(data) > _MAX_SMALL_BYTES:
            raise ValueError(f"{name} is too long")
        return data

    def _small(self, name: str) -> bytes:
        if self.archive.getinfo(name).file_size > _MAX_SMALL_BYTES:
            self.found.add("file_broken", name, "is too long")
            return b""
        return b"".join(self._chunks(name))

    def _lines(self, name: str) -> Iterator[bytes]:
        rest = b""
        rows = 0
        for chunk in self._chunks(name):
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            rows += len(lines)
            yield from lines
            if len(rest) > _MAX_LINE_BYTES:
                self.found.add("line_malformed", f"{name} line {rows + 1}", "is too long")
                return
        if rest:
            self.found.add("line_malformed", f"{name} line {rows + 1}", "ends without a newline")
        if str(rows) != self.listed[name]["rows"]:
            self.found.add("file_altered", name, f"has {rows} lines, not as many as the manifest says")

    def _chunks(self, name: str) -> Iterator[bytes]:
        """A file of the archive, whose hash is compared once it was read to its end."""
        self.read.add(name)
        hashed = sha256()
        try:
            with self.archive.open(name) as file:
                while chunk := file.read(_CHUNK_BYTES):
                    hashed.update(chunk)
                    yield chunk
        except (*_BROKEN, KeyError) as error:
            self.found.add("file_broken", name, f"cannot be read: {error}")
        if hashed.hexdigest() != self.listed[name]["sha256"]:
            self.found.add("file_altered", name, "has another hash than the manifest says")


class _Rows:
    """The rows of one kind, which stand in the order in which the events name them.

    Where the next one is not the one that was asked for, it is looked for further on, within bounds, so that one row or event
    that is missing does not make all that follow look wrong.
    """

    def __init__(self, kind: str, lines: Iterator[bytes], found: Verified) -> None:
        self.kind = kind
        self.lines = lines
        self.found = found
        self.ahead: deque[tuple[dict[str, Any], int]] = deque()
        self.ahead_bytes = 0
        self.ids: Counter[object] = Counter()

    def take(self, ref: str) -> dict[str, Any] | None:
        """The row with this id; those before it belong to no event."""
        if not self.ahead:
            line = next(self.lines, None)
            if line is None:
                return None
            row = _object(line)
            if row["id"] == ref:
                # As it is where nothing is wrong, and fast.
                return row
            self._push(row, len(line))
        if self.ahead[0][0]["id"] != ref:
            while len(self.ahead) < _MAX_AHEAD and self.ahead_bytes < _MAX_LINE_BYTES and self._read():
                pass
            if not self.ids[ref]:
                return None
        while (row := self._pop())["id"] != ref:
            self._unasked(row)
        return row

    def end(self) -> None:
        """What was not asked for until now belongs to no event."""
        while self.ahead or self._read():
            self._unasked(self._pop())

    def _read(self) -> bool:
        line = next(self.lines, None)
        if line is None:
            return False
        self._push(_object(line), len(line))
        return True

    def _push(self, row: dict[str, Any], length: int) -> None:
        self.ahead.append((row, length))
        self.ahead_bytes += length
        self.ids[row["id"]] += 1

    def _pop(self) -> dict[str, Any]:
        row, length = self.ahead.popleft()
        self.ahead_bytes -= length
        self.ids[row["id"]] -= 1
        if not self.ids[row["id"]]:
            del self.ids[row["id"]]
        return row

    def _unasked(self, row: dict[str, Any]) -> None:
        self.found.add("row_unasked", f"{self.kind} {row['id']}", "no event has its digest")


class _Numbers:
    """A set of numbers that lie close together."""

    def __init__(self) -> None:
        self.pages: dict[int, bytearray] = {}

    def add(self, number: int) -> bool:
        """Whether the number is new."""
        page = self.pages.get(number >> 10)
        if page is None:
            page = self.pages[number >> 10] = bytearray(128)
        at, bit = (number >> 3) & 127, 1 << (number & 7)
        if page[at] & bit:
            return False
        page[at] |= bit
        return True


def sent_id(sent: bytes) -> int:
    """The first column, a bigint, of a row in PostgreSQL's binary form: count, then type, length and bytes of each."""
    if sent[4:12] != b"\x00\x00\x00\x14\x00\x00\x00\x08" or len(sent) < 20:
        raise ValueError("the row does not begin with a bigint")
    return int.from_bytes(sent[12:20], "big", signed=True)


def _is_entry(entry: dict[str, Any]) -> bool:
    return set(entry) == {"name", "sha256", "rows"} and all(isinstance(value, str) for value in entry.values())


def _line(line: bytes, keys: set[str]) -> tuple[dict[str, Any], bytes, str]:
    """A line with an event: itself, the bytes of the leaf, and its index."""
    row = loads(line)
    index = row["index"]
    if not isinstance(index, str) or not row.keys() <= keys:
        raise ValueError("not the fields of an event")
    return row, row["leaf"].encode(), index


def _commitment(salted: dict[str, str]) -> str:
    return sha256(bytes.fromhex(salted["salt"]) + salted["text"].encode()).hexdigest()


def _object(line: bytes) -> dict[str, Any]:
    """The row in a line; one that is none has an id that nobody asks for."""
    try:
        row = loads(line)
        return row if isinstance(row["id"], str) else {"id": None}
    except _BAD:
        return {"id": None}


def _hash(text: str) -> bytes:
    found = bytes.fromhex(text)
    if len(found) != 32 or found.hex() != text:
        raise ValueError("a hash is 64 hexadecimal digits")
    return found


def _number(text: str) -> int:
    found = int(text)
    if str(found) != text or not -1 <= found < 2**63:
        raise ValueError("a number is written in decimal digits")
    return found
