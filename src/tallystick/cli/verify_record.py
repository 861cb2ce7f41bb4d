"""`tallystick verify` of the record: of an export by the offline verifier, or of the database."""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from tallystick import audit, tlog
from tallystick.cli.record import KNOWN, SOURCES, bar
from tallystick.cli.runtime import console
from tallystick.db import Database, ReadTx
from tallystick.kit import Invalid, dumps

Kept = Sequence[tuple[str, bytes]]


def read_keys(path: Path) -> tuple[tlog.VerifierKey, ...]:
    """Verifier keys from a file; refuses with `Invalid` (`keys_malformed`)."""
    try:
        return tlog.parse_keys(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tlog.NoteError) as error:
        raise Invalid("keys_malformed", f"{path}: {error}") from None


def read_checkpoint(path: Path) -> bytes:
    """A checkpoint from a file, as it is; refuses with `Invalid` (`checkpoint_malformed`) one that cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid("checkpoint_malformed", f"{path}: {error}") from None


def report_export(path: Path, keys: Sequence[tlog.VerifierKey], kept: Kept, *, as_json: bool) -> None:
    """Verify an export and print what was found; exit status 1 where anything is wrong."""
    meaning = tlog.Meaning()
    with bar("verifying") as progress:
        found = tlog.verify_export(path, keys=keys, checkpoints=kept, progress=progress, visit=meaning, finish=meaning.end)
    if as_json:
        facts = dataclasses.asdict(found) | {"root": found.root.hex(), "total": found.total}
        typer.echo(dumps(facts).decode())
    else:
        _table([(one.code, "export", one.place, one.detail) for one in found.findings])
        console.print(
            f"verified origin={found.origin} events={found.first}..{found.last} size={found.size} items={found.items}"
            f" payloads={found.payloads} erased={found.erased} checkpoints={len(kept)} findings={found.total}",
            soft_wrap=True,
        )
    if not found.clean:
        raise typer.Exit(1)


async def report_record(
    database: Database, own: tlog.KeyFolder, keys: Sequence[tlog.VerifierKey] | None, kept: Kept, *, as_json: bool
) -> bool:
    """Verify the record in the database and print what was found; whether nothing is wrong."""
    began = time.perf_counter()
    last = own.last_checkpoint()
    outside = [*kept, *([] if last is None else [("the last checkpoint signed here", str(last).encode())])]
    with bar("verifying the record") as progress:
        async with database.snapshot() as tx:
            found = await verify_record(tx, keys or own.public(), outside, progress)
    seconds = time.perf_counter() - began
    total = sum(found.counts.values())
    if as_json:
        facts = {
            "events": found.events,
            "leaves": found.leaves,
            "rows": found.rows,
            "total": total,
            "counts": dict(found.counts),
            "findings": [dataclasses.asdict(one) for one in found.findings],
            "seconds": str(round(seconds, 1)),
        }
        typer.echo(dumps(facts).decode())
    else:
        _table([(one.code, one.relation, one.place, one.detail) for one in found.findings])
        console.print(
            f"verified events={found.events} leaves={found.leaves} rows={found.rows} checkpoints={len(outside)}"
            f" findings={total} seconds={seconds:.1f}",
            soft_wrap=True,
        )
    return found.clean


async def verify_record(
    tx: ReadTx, keys: Sequence[tlog.VerifierKey], outside: Kept, progress: audit.Progress | None = None
) -> audit.Checked:
    """The record in the database against itself, and then, by the verifier of exports, against what was signed."""
    found = await audit.check(tx, keys, kept=outside, known=KNOWN, progress=progress)
    if (await audit.lag(tx)).signed is None:
        return found
    with tempfile.TemporaryDirectory(prefix="tallystick-verify-") as folder:
        path = Path(folder) / "export.zip"
        await audit.export(tx, path, keys, SOURCES, progress=progress)
        meaning = tlog.Meaning()
        exported = await asyncio.to_thread(
            tlog.verify_export, path, keys=keys, checkpoints=outside, progress=progress, visit=meaning, finish=meaning.end
        )
    for one in exported.findings:
        found.add(one.code, "as exported", one.place, one.detail)
    return found


def _table(findings: Sequence[tuple[str, str, str, str]]) -> None:
    if findings:
        table = Table("code", "where", "place", "what is wrong")
        for one in findings:
            table.add_row(*(Text(cell) for cell in one))
        console.print(table)
