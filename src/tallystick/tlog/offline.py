"""The offline verifier: whether an export of the record is what was sealed. It needs neither our server nor our database.

`docs/record.md` describes the format. Everything is read once, line by line; what is kept in memory does not grow with the
number of events, but for one bit an event number and what was erased.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

from tallystick.tlog.checkpoints import Checkpoint, open_checkpoint
from tallystick.tlog.decisions import detail_of, loads, told_by
from tallystick.tlog.found import Finish, Row, Sealed, Verified, Visit
from tallystick.tlog.lines import (
    BAD,
    MAX_LINE_BYTES,
    Numbers,
    Rows,
    commitment_of,
    event_line,
    hash_of,
    is_entry,
    number_of,
    row_of,
    sent_id,
)
from tallystick.tlog.notes import Note, NoteError, VerifierKey
from tallystick.tlog.standing import TELLING, things_of
from tallystick.tlog.tree import Frontier, check_consistency, check_inclusion, root, subtrees

FORMAT = "tallystick-record-1"
_CHUNK_BYTES = 1 << 20
_MAX_SMALL_BYTES = 16 << 20
_PROGRESS_EVERY = 10_000
_NAMED = 200
_MANIFEST = "manifest.json"
_MANIFEST_KEYS = {"format", "origin", "first", "last", "size", "checkpoint", "from", "to", "files"}
_EVENT_KEYS = {"index", "hash", "leaf", "items", "refs", "payload"}
_OTHER_KEYS = {*_EVENT_KEYS, "path", "rows"}
_NEEDED = ("checkpoint", "keys", "tree.json", "events.jsonl")
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)

Progress = Callable[[int, int], None]


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
        self.rows: dict[str, Rows] = {}
        self.read: set[str] = set()
        self.seen = Numbers()
        self.earlier: list[tuple[str, Checkpoint]] = []
        self.erasures: dict[str, set[str]] = {}
        self.claimed: list[tuple[str, str | None, str]] = []
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
                states[name[7:-6]] = {row["id"]: row for row in map(row_of, self._lines(name)) if row["id"] is not None}
        whole = self.found.first == 0 and self.found.last == self.found.size - 1
        try:
            for finding in finish(states if whole else None, from_start=self.found.first == 0):
                self.found.add(finding.code, finding.place, finding.detail)
        except BAD as error:
            self.found.add("state_malformed", "states", f"cannot be read: {error!r}"[:200])

    def _manifest(self) -> bool:
        names = Counter(self.archive.namelist())
        try:
            data = self._whole(_MANIFEST)
            self.manifest = json.loads(data)
            self.listed = {entry["name"]: entry for entry in self.manifest["files"]}
            first, last, size = (number_of(self.manifest[key]) for key in ("first", "last", "size"))
            if set(self.manifest) != _MANIFEST_KEYS or not all(map(is_entry, self.manifest["files"])):
                raise ValueError("other fields than there should be")
            if len(self.listed) != len(self.manifest["files"]):
                raise ValueError("a file is named twice")
            if json.dumps(self.manifest, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode() != data:
                raise ValueError("not in canonical form")
            if self.manifest["format"] != FORMAT or not 0 <= first <= last + 1 <= size:
                raise ValueError(f"format {self.manifest['format']}, events {first} to {last} of {size}")
        except BAD as error:
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
            self.right = [hash_of(text) for text in tree["right"]]
            self.proofs = {
                number_of(proof["size"]): [hash_of(step) for step in proof["path"]] for proof in tree.get("proofs", ())
            }
            self.edge = Frontier(self.found.first, [hash_of(text) for text in tree["left"]])
        except BAD as error:
            self.found.add("tree_malformed", "tree.json", str(error))

    def _events(self) -> None:
        found, expected, total = self.found, self.found.first, self.found.last - self.found.first + 1
        hashes: list[bytes] = []
        flush_at = self._compared(expected)
        for at, line in enumerate(self._lines("events.jsonl")):
            try:
                row, text, index = event_line(line, _EVENT_KEYS)
                hashed = sha256(b"\x00" + text).digest()
                stated = hashed if hashed.hex() == row["hash"] else hash_of(row["hash"])
            except BAD:
                found.add("line_malformed", f"events.jsonl line {at + 1}", "is not an event")
                continue
            if index != str(expected):
                found.add("index_differs", f"event at index {expected}", f"has the index {index[:20]}")
                with suppress(ValueError):
                    expected = number_of(index)
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
        except BAD:
            self.found.add("leaf_malformed", place, "is not what an event looks like")
            return ""
        try:
            for finding in self.visit(sealed) if self.visit else ():
                self.found.add(finding.code, finding.place, finding.detail)
        except BAD as error:
            self.found.add("event_malformed", place, f"is not what it should be: {error!r}"[:200])
        return str(sealed.event["at"])

    def _event(self, place: str, index: int, event: dict[str, Any], line: dict[str, Any]) -> Sealed:
        verb, kind = event["verb"], event["subject"]["kind"]
        if not event["principal"] or not isinstance(event["at"], str):
            raise ValueError("nobody did it")
        if not self.seen.add(number_of(event["event"])):
            self.found.add("event_twice", place, f"event {event['event']} stands in the record before")
        is_erasing = verb.endswith(".erase")
        if is_erasing:
            self.erasures[event["event"]] = set()
        payload = self._payload(place, event.get("payload"), line.get("payload"))
        rows: Sequence[Row] = ()
        if "items" in event or "items" in line:
            digests = self._items(place, event.get("items"), line)
            kind = event["items"].get("kind", kind) if "items" in event else kind
            if is_erasing:
                self.erasures[event["event"]].update(digests)
            else:
                # Where there are more of the one than of the other, that was found; the rows are read on nevertheless.
                take = iter(line["rows"]) if "rows" in line else None
                pairs = zip_longest(line["refs"], digests)
                rows = [self._row(kind, ref, digest, take) for ref, digest in pairs if ref is not None]
                for row in take or ():
                    self.found.add("row_unasked", f"{kind} {row['id']}", "no event has its digest")
        detail = detail_of(event, payload)
        told = self._told(place, event, detail) if "decided" in detail else ()
        return Sealed(index, event, rows, payload, detail, told, self._stand(place, event, detail) if verb in TELLING else ())

    def _told(self, place: str, event: dict[str, Any], detail: Mapping[str, Any]) -> list[Row]:
        """The decisions that an event tells of, compared with the one digest that it has of them all."""
        rows: list[Row] = []
        digests: list[str] = []
        refs = told_by(event, detail)
        for ref in refs:
            row = self._take("decision", ref)
            if row is None:
                self.found.add("row_missing", f"decision {ref}", f"{place} has its digest")
            elif "erased" in row:
                self._claim(row["erased"], row["digest"], f"decision {ref}")
                digests.append(row["digest"])
                rows.append(Row(ref, row.get("text"), None, row["erased"], row.get("used")))
            else:
                digests.append(commitment_of(row))
                rows.append(Row(ref, row["text"], None, None, row.get("used")))
        if rows and len(digests) == len(refs):
            self._compare(rows, digests, detail["decided"])
        return rows

    def _stand(self, place: str, event: dict[str, Any], detail: Mapping[str, Any]) -> list[dict[str, Any] | None]:
        """How the transfers and actions stand that an event tells of."""
        rows: list[dict[str, Any] | None] = []
        for kind, ref in things_of(event, detail) if "tx" in event else ():
            row = self._take(kind, ref)
            if row is None:
                self.found.add("row_missing", f"{kind} {ref}", f"{place} tells of it")
            elif "erased" in row:
                self._claim(row["erased"], None, f"{kind} {ref}")
            rows.append(row)
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
        if payload.keys() != {"salt", "text"} or commitment_of(payload) != commitment:
            self.found.add("payload_altered", place, "its payload is not the one committed to")
        return payload["text"]

    def _items(self, place: str, sealed: dict[str, Any] | None, line: dict[str, Any]) -> list[str]:
        digests: list[str] = line.get("items", [])
        count = len(digests)
        self.found.items += count
        if sealed is None or sealed["count"] != count or len(line.get("refs", ())) != count:
            self.found.add("items_differ", place, f"{count} items, not as many as were sealed")
            return digests
        if root([sha256(b"\x00" + hash_of(digest)).digest() for digest in digests]).hex() != sealed["root"]:
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
        if "erased" in row and len(row) == 2:
            self._claim(row["erased"], digest or "", place)
            return Row(ref, erased=row["erased"])
        if "sent" in row and len(row) == 2:
            sent = bytes.fromhex(row["sent"])
            good = sha256(sent).hexdigest() == digest and str(sent_id(sent)) == ref
            found = Row(ref, sent=sent)
        else:
            good = len(row) == 3 and commitment_of(row) == digest
            found = Row(ref, text=row["text"])
        if not good:
            self.found.add("row_altered", place, "has another digest than was sealed")
        return found

    def _take(self, kind: str, ref: str) -> dict[str, Any] | None:
        rows = self.rows.get(kind)
        if rows is None:
            name = f"rows/{kind}.jsonl"
            if name not in self.listed:
                return None
            rows = self.rows[kind] = Rows(kind, self._lines(name), self.found)
        return rows.take(ref)

    def _claim(self, event: str, digest: str | None, place: str) -> None:
        """Something is said to be erased by an event, which holds its digest, where the record had one."""
        self.found.erased += 1
        self.claimed.append((str(number_of(event)), digest, place))

    def _right_of_the_events(self) -> None:
        if self.edge is None:
            return
        try:
            right = list(zip(subtrees(self.edge.size, self.found.size), self.right, strict=True))
            for (height, _), node in right:
                self.edge.push(height, node)
        except BAD as error:
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
                row, leaf, index = event_line(line, _OTHER_KEYS)
                path = [hash_of(step) for step in row["path"]]
                hashed = sha256(b"\x00" + leaf).digest()
                inside = check_inclusion(hashed, number_of(index), self.found.size, path, self.found.root)
                if "items" in row:
                    row.setdefault("rows", [])
                elif "rows" in row:
                    raise ValueError("rows of no items")
            except BAD:
                self.found.add("line_malformed", place, "is not an event with its path")
                continue
            if hashed.hex() != row["hash"] or not inside:
                self.found.add("leaf_altered", place, "is not in the tree that was signed")
            self._meaning(place, number_of(index), leaf, row)

    def _erasures(self) -> None:
        for event, digest, place in self.claimed:
            if event not in self.erasures or (digest is not None and digest not in self.erasures[event]):
                self.found.add("erasure_unknown", place, f"is said to be erased, but event {event} did not erase it")

    def _ends(self) -> None:
        """Everything was read to its end, and the manifest says what is there."""
        for rows in self.rows.values():
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
            if len(rest) > MAX_LINE_BYTES:
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
