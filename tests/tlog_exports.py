"""Writes exports as docs/record.md describes them, apart from what the application uses: true ones, and forged ones.

`Bank` is a record in memory: events with items, payloads and erasures. `files` is what an export holds, `packed` its zip.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field
from typing import Any

from tallystick import tlog

ORIGIN = "tallystick/0123456789abcdef"
KEY = tlog.SigningKey(ORIGIN, b"\x07" * 32)
Files = dict[str, bytes]


def dumps(value: Any) -> str:
    """JSON in canonical form."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def digest(salt: bytes, text: str) -> bytes:
    """The commitment to a text."""
    return hashlib.sha256(salt + text.encode()).digest()


def sent(journal: int, kind: str = "transfer", entries: int = 2) -> bytes:
    """The start of a row in PostgreSQL's binary form, and entries of 24 bytes."""
    columns = (20, journal.to_bytes(8, "big")), (25, kind.encode())
    row = b"".join(oid.to_bytes(4, "big") + len(data).to_bytes(4, "big") + data for oid, data in columns)
    return len(columns).to_bytes(4, "big") + row + b"".join(n.to_bytes(8, "big") * 3 for n in range(entries))


@dataclass
class Event:
    """An event, its leaf, and the line of the export beside it."""

    leaf: str
    kind: str
    line: dict[str, Any]
    rows: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Bank:
    """A record that grows by `do` and its relations."""

    events: list[Event] = field(default_factory=list)
    origin: str = ORIGIN

    def do(self, verb: str, kind: str, *, rows: list[dict[str, str]] = [], payload: str | None = None) -> Event:  # noqa: B006
        n = len(self.events)
        event: dict[str, Any] = {
            "at": f"2026-11-21T18:{n // 60 % 60:02}:{n % 60:02}.{n % 1_000_000:06}Z",
            "detail": {"code": 'é"\\', "count": n},
            "event": str(1_000 + (n ^ 1)),
            "principal": "me",
            "subject": {"id": str(n), "kind": kind},
            "verb": verb,
        }
        line: dict[str, Any] = {}
        if rows:
            self._items(event, line, [row["id"] for row in rows], [_digest_of(row) for row in rows])
        if payload is not None:
            salt = hashlib.sha256(f"salt {n}".encode()).digest()[:16]
            event["payload"] = digest(salt, payload).hex()
            line["payload"] = {"salt": salt.hex(), "text": payload}
        return self._add(event, kind, line, rows)

    def post(self, *journals: int) -> Event:
        """Journals, of which the binary form is what the digest is of."""
        return self.do("ledger.post", "journal", rows=[{"id": str(n), "sent": sent(n).hex()} for n in journals])

    def step(self, *ids: int, prompt: str = '{"prompt": "Is Ada Lovelace late?"}') -> Event:
        """Rows with payloads."""
        rows = [{"id": str(n), "salt": f"{n:032x}", "text": prompt} for n in ids]
        return self.do("work.step", "step", rows=rows)

    def erase(self, *erased: Event) -> Event:
        """Erase the payloads and rows of events, as an event of its own."""
        n = len(self.events)
        event = {
            "at": f"2026-11-21T19:00:00.{n:06}Z",
            "event": str(1_000 + (n ^ 1)),
            "principal": "dpo",
            "subject": {"id": "1", "kind": "customer"},
            "verb": "customers.erase",
        }
        digests, refs = [], []
        for one in erased:
            sealed = json.loads(one.leaf)
            if "payload" in one.line:
                digests.append(bytes.fromhex(sealed["payload"]))
                refs.append(sealed["event"])
                one.line["payload"] = {"erased": event["event"]}
            digests += [_digest_of(row) for row in one.rows]
            refs += [row["id"] for row in one.rows]
            one.rows[:] = [{"id": row["id"], "erased": str(event["event"])} for row in one.rows]
        line: dict[str, Any] = {}
        self._items(event, line, refs, digests)
        return self._add(event, "customer", line, [])

    @staticmethod
    def _items(event: dict[str, Any], line: dict[str, Any], refs: list[str], digests: list[bytes]) -> None:
        event["items"] = {
            "count": len(digests),
            "refs": hashlib.sha256(",".join(refs).encode()).hexdigest(),
            "root": tlog.root(tlog.leaf_hashes(digests)).hex(),
        }
        line |= {"items": [digest.hex() for digest in digests], "refs": refs}

    def _add(self, event: dict[str, Any], kind: str, line: dict[str, Any], rows: list[dict[str, str]]) -> Event:
        leaf = dumps(event)
        line |= {"hash": tlog.leaf_hash(leaf.encode()).hex(), "index": str(len(self.events)), "leaf": leaf}
        self.events.append(found := Event(leaf, kind, line, rows))
        return found

    def hashes(self) -> list[bytes]:
        return [tlog.leaf_hash(event.leaf.encode()) for event in self.events]

    def tile(self, level: int, n: int) -> bytes:
        width = 256**level
        full = [self.hashes()[at : at + width] for at in range(n * 256 * width, len(self.events) // width * width, width)]
        return b"".join(tlog.root(part) for part in full[:256])

    def checkpoint(self, size: int | None = None, *keys: tlog.SigningKey) -> bytes:
        """The signed checkpoint of the first `size` events."""
        hashes = self.hashes()[:size]
        checkpoint = tlog.Checkpoint(self.origin, len(hashes), tlog.root(hashes))
        return str(tlog.sign_checkpoint(checkpoint, keys or (KEY,))).encode()

    def path(self, index: int) -> list[str]:
        """The way of an event to the root."""
        return [step.hex() for step in tlog.inclusion_proof(index, len(self.events), self.tile)]

    def _other(self, n: int) -> dict[str, Any]:
        event = self.events[n]
        return {**event.line, "path": self.path(n), **({"rows": event.rows} if event.rows else {})}

    def files(self, first: int = 0, last: int | None = None, *, others: list[int] = [], proofs: list[int] = []) -> Files:  # noqa: B006
        """The files of the export of the events from `first` to `last`."""
        size = len(self.events)
        end = size if last is None else last + 1
        chosen = self.events[first:end]
        tree: dict[str, Any] = {
            "left": [node.hex() for node in tlog.range_hashes(0, first, self.tile)],
            "right": [node.hex() for node in tlog.range_hashes(end, size, self.tile)],
        }
        if proofs:
            paths = {old: tlog.consistency_proof(old, size, self.tile) for old in proofs}
            tree["proofs"] = [{"path": [step.hex() for step in path], "size": str(old)} for old, path in paths.items()]
        found = {
            "checkpoint": self.checkpoint(),
            "keys": f"{KEY.verifier}\n".encode(),
            "tree.json": dumps(tree).encode(),
            "events.jsonl": lines(event.line for event in chosen),
        }
        for kind in sorted({event.kind for event in chosen if event.rows}):
            found[f"rows/{kind}.jsonl"] = lines(row for event in chosen if event.kind == kind for row in event.rows)
        if others:
            found["others.jsonl"] = lines(self._other(n) for n in others)
        times = [json.loads(event.leaf)["at"] for event in chosen]
        manifest = {
            "format": "tallystick-record-1",
            "origin": self.origin,
            "first": str(first),
            "last": str(end - 1),
            "size": str(size),
            "from": min(times, default=None),
            "to": max(times, default=None),
        }
        return {"manifest.json": dumps(manifest).encode(), **found}


def lines(values: Any) -> bytes:
    """JSON Lines."""
    return "".join(f"{dumps(value)}\n" for value in values).encode()


def signed_off(files: Files) -> Files:
    """The files with a manifest that fits them: a forger would compute it anew as well."""
    manifest = json.loads(files["manifest.json"])
    manifest["checkpoint"] = files["checkpoint"].decode()
    manifest["files"] = [
        {
            "name": name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "rows": str(data.count(b"\n") if name.endswith(".jsonl") else 0),
        }
        for name, data in files.items()
        if name != "manifest.json"
    ]
    return {**files, "manifest.json": dumps(manifest).encode()}


def zipped(files: Files) -> bytes:
    """A zip of the files as they are."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def packed(files: Files) -> bytes:
    """A zip of the files with a manifest that fits them."""
    return zipped(signed_off(files))


def _digest_of(row: dict[str, str]) -> bytes:
    if "sent" in row:
        return hashlib.sha256(bytes.fromhex(row["sent"])).digest()
    return digest(bytes.fromhex(row["salt"]), row["text"])
