"""How fast the offline verifier is: events a second of an export that is made up for it, on one core.

    python -m bench.record_verify [--events 200000] [--rounds 3]

A quarter of the events tells of two transfers that were decided and posted, a quarter records a step with its prompt, a quarter
has a payload, and the rest has nothing beside it. All of that is verified: texts, items, rows, payloads, decisions and what was
done under them, the transfers as they stand, the tree and its signature.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from tallystick import tlog

_KEY = tlog.SigningKey("tallystick/bench", b"\x01" * 32)
_AT = "2026-11-21T18:00:00.000000Z"
_FIELDS: tuple[dict[str, Any], ...] = (
    {"verb": "transfers.propose", "subject": {"kind": "journal"}},
    {"verb": "work.step", "subject": {"kind": "step"}, "step": "score", "task": "77"},
    {"verb": "cases.open", "subject": {"id": "5", "kind": "case"}},
    {"verb": "work.finish", "subject": {"id": "77", "kind": "task"}, "detail": {"state": "done"}},
)


def main() -> None:
    """Run the benchmark and print its figure."""
    parser = argparse.ArgumentParser(prog="python -m bench.record_verify", description="The offline verifier on one core.")
    parser.add_argument("--events", type=int, default=200_000, help="events in the export (default 200,000)")
    parser.add_argument("--rounds", type=int, default=3, help="runs; the median counts (default 3)")
    arguments = parser.parse_args()
    print(f"offline verification: {measure(arguments.events, arguments.rounds):,.0f} leaves/s")


def measure(events: int, rounds: int = 3) -> float:
    """Leaves a second, the median of some rounds over one export."""
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as folder:
        export = Path(folder) / "export.zip"
        write_export(export, events)
        return statistics.median(_round(export, events) for _ in range(rounds))


def _round(export: Path, events: int) -> float:
    began = time.perf_counter()
    meaning = tlog.Meaning()
    found = tlog.verify_export(export, keys=(_KEY.verifier,), visit=meaning, finish=meaning.end)
    seconds = time.perf_counter() - began
    if not found.clean or found.events != events:
        raise SystemExit(f"the export of the benchmark does not verify: {found.findings[:3]}")
    return events / seconds


def write_export(path: Path, events: int) -> None:
    """Write an export as docs/record.md describes it."""
    files: dict[str, list[bytes]] = defaultdict(list)
    edge = tlog.Frontier()
    for name, line in _lines(events):
        files[name].append(orjson.dumps(line, option=orjson.OPT_SORT_KEYS) + b"\n")
    edge.extend([bytes.fromhex(orjson.loads(line)["hash"]) for line in files["events.jsonl"]])
    note = str(tlog.sign_checkpoint(tlog.Checkpoint(_KEY.name, events, edge.root()), [_KEY]))
    files |= {"checkpoint": [note.encode()], "keys": [f"{_KEY.verifier}\n".encode()], "tree.json": [b'{"left":[],"right":[]}']}
    whole = {name: b"".join(lines) for name, lines in files.items()}
    listed = [
        {
            "name": name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "rows": str(len(files[name]) if name.endswith(".jsonl") else 0),
        }
        for name, data in whole.items()
    ]
    manifest = {
        "format": "tallystick-record-1",
        "origin": _KEY.name,
        "first": "0",
        "last": str(events - 1),
        "size": str(events),
        "checkpoint": note,
        "from": _AT,
        "to": _AT,
        "files": listed,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("manifest.json", json.dumps(manifest, ensure_ascii=False, separators=(",", ":"), sort_keys=True))
        for name, data in whole.items():
            archive.writestr(name, data)


def _lines(events: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for index in range(events):
        event = {
            **_FIELDS[index % 4],
            "at": _AT,
            "event": str(index + 1),
            "principal": "settlement-agent",
            "tx": str(1000 + index),
        }
        line: dict[str, Any] = {"index": str(index)}
        text = f'{{"prompt": "{index} {"Is this payment in order? " * 8}"}}'
        salt = hashlib.sha256(str(index).encode()).digest()[:16]
        commitment = hashlib.sha256(salt + text.encode()).digest()
        if index % 4 == 0:
            sent = [_sent(2 * index + n) for n in (0, 1)]
            digests = [hashlib.sha256(row).digest() for row in sent]
            rows = [{"id": str(2 * index + n), "sent": row.hex()} for n, row in enumerate(sent)]
            _add_items(event, line, digests, rows)
            yield from (("rows/journal.jsonl", row) for row in rows)
            decisions = [_decided(2 * index + n, index) for n in (0, 1)]
            event["detail"] = {
                "decided": hashlib.sha256(b"".join(_digest(one) for one in decisions)).hexdigest(),
                "decisions": [one["id"] for one in decisions],
                "transfers": [[row["id"], "posted"] for row in rows],
            }
            yield from (("rows/decision.jsonl", one) for one in decisions)
            yield from (("rows/transfer.jsonl", _stands(row["id"])) for row in rows)
        elif index % 4 == 1:
            row = {"id": str(index), "salt": salt.hex(), "text": text}
            _add_items(event, line, [commitment], [row])
            yield "rows/step.jsonl", row
        elif index % 4 == 2:
            event["payload"] = commitment.hex()
            line["payload"] = {"salt": salt.hex(), "text": text}
        leaf = orjson.dumps(event, option=orjson.OPT_SORT_KEYS)
        yield "events.jsonl", {**line, "leaf": leaf.decode(), "hash": tlog.leaf_hash(leaf).hex()}


def _decided(decision: int, index: int) -> dict[str, str]:
    head = {"action": "transfer", "digest": "0" * 64, "outcome": "allow", "policy": "0" * 64, "principal": "settlement-agent"}
    facts = {"account": "ALICE", "action": "transfer", "amount": 1250, "at": _AT, "counterparty": "BOB", "kind": "service"}
    facts |= {"principal": "settlement-agent", "roles": ["operator"], "used": {"per day": [3, 3750]}}
    verdict = {"outcome": "allow", "reasons": [{"limit": "1,000.00 CZK", "outcome": "allow", "rule": "per day"}]}
    text = b"\n".join(orjson.dumps(line, option=orjson.OPT_SORT_KEYS) for line in (head, facts, verdict))
    return {"id": str(decision), "salt": f"{decision:032x}", "text": text.decode(), "used": str(1000 + index)}


def _stands(id: str) -> dict[str, Any]:
    return {
        "id": id,
        "principal": "settlement-agent",
        "status": "posted",
        "journal": id,
        "decision": id,
        "digests": ["0" * 64],
    }


def _digest(decision: dict[str, str]) -> bytes:
    return hashlib.sha256(bytes.fromhex(decision["salt"]) + decision["text"].encode()).digest()


def _add_items(event: dict[str, Any], line: dict[str, Any], digests: list[bytes], rows: list[dict[str, str]]) -> None:
    refs = [row["id"] for row in rows]
    event["items"] = {
        "count": len(digests),
        "refs": hashlib.sha256(",".join(refs).encode()).hexdigest(),
        "root": tlog.root(tlog.leaf_hashes(digests)).hex(),
    }
    line |= {"items": [digest.hex() for digest in digests], "refs": refs}


def _sent(journal: int) -> bytes:
    """As long as the binary form of a transfer with two entries."""
    return bytes.fromhex("0000000d0000001400000008") + journal.to_bytes(8, "big") + b"\x05" * 200


if __name__ == "__main__":
    main()
