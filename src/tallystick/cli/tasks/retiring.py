"""`tallystick tasks retire`: old tasks are exported to files, and only then dropped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tallystick import __version__, work
from tallystick.cli.operator import As, operator
from tallystick.cli.options import Data
from tallystick.cli.runtime import connected, errors, run
from tallystick.cli.tasks.archive import Archive, archive
from tallystick.cli.tasks.text import seconds_of
from tallystick.db import Database, Queries
from tallystick.kit import Conflict

_CLOCK = Queries(__package__, "retiring.sql").bind("clock", datetime)
_TASK = b'"fact": "task"'
_LOCK_MS = 300
_TRIES = 9


def retire(
    *,
    older_than: Annotated[str, typer.Option(metavar="LENGTH", help="How long ago all its tasks ended, as 90d.")],
    export: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder that they are exported to; made where it is missing.")
    ],
    keep: Annotated[bool, typer.Option("--keep", help="Export, and drop nothing.")] = False,
    who: As = None,
    data: Data = None,
) -> None:
    """Export old tasks with their attempts, steps and outcomes, then drop them from the database.

    Tasks are kept in ranges of a million ids, which go as a whole, the oldest first: when all their tasks have ended, and the
    last did so long enough ago. Each becomes a gzip file of JSON Lines and a manifest with counts and SHA-256. It is read back
    from the disk before anything is dropped, so the command may be killed at any moment and run again.
    """

    async def main() -> None:
        actor = operator(who)
        age_s = seconds_of(older_than)
        async with connected(data) as database:
            async with database.read() as tx:
                now = await tx.single(_CLOCK)
            with archive(export) as folder:
                retiring = _Retiring(database, folder, actor, now - timedelta(seconds=age_s), drops=not keep)
                await retiring.all()

    run(main)


@dataclass(frozen=True, slots=True)
class _Retiring:
    database: Database
    folder: Archive
    actor: str
    ended_before: datetime
    drops: bool

    async def all(self) -> None:
        """Every range that may go. One that may not holds up those behind it."""
        async with self.database.read() as tx:
            kept = [each for each in await work.history(tx) if each.dropped_at is None]
        for each in kept:
            try:
                exported = await self._export(each)
            except Conflict as refusal:
                if refusal.code not in ("history_not_ended", "history_too_recent"):
                    raise
                typer.echo(f"kept: {refusal.detail}")
                return
            if self.drops:
                await self._drop(exported)
            typer.echo(
                f"{_name(each)}: {exported.tasks} tasks, {exported.attempts} attempts, {exported.steps} steps, "
                f"{exported.outcomes} outcomes; exported{' and dropped' if self.drops else ''}"
            )

    async def _export(self, each: work.HistoryRange) -> work.ExportedHistory:
        """The export of a range, complete and on the disk: a new one, or the same that is there from an earlier time."""
        name = _name(each)
        with self.folder.part(name) as part, _bar(each) as progress:

            def write(lines: bytes) -> None:
                part.write(lines)
                progress(lines)

            async with self.database.read() as tx:
                exported = await work.export_history(tx, each.from_id, ended_before=self.ended_before, write=write)
            if part.to_disk() != exported.sha256:
                raise Conflict("export_failed", f"{part.path} is not what was written to it")
            found = self.folder.manifest(name)
            if found is None:
                file = self.folder.keep(part, name)
                manifest = {
                    **dataclasses.asdict(exported),
                    **file,
                    "exported_by": self.actor,
                    "ended_before": self.ended_before,
                    "tallystick": __version__,
                }
                self.folder.describe(name, manifest)
            elif found.get("sha256") != exported.sha256 or self.folder.lines_digest(name) != exported.sha256:
                raise Conflict("export_exists", f"the folder holds another export called {name}")
        return exported

    async def _drop(self, exported: work.ExportedHistory) -> None:
        await self.database.retrying(
            lambda tx: work.drop_history(tx, self.actor, exported, ended_before=self.ended_before),
            lock_timeout_ms=_LOCK_MS,
            attempts=_TRIES,
        )


def _name(each: work.HistoryRange) -> str:
    return f"tasks-{each.from_id:012}-{each.to_id - 1:012}"


@contextmanager
def _bar(each: work.HistoryRange) -> Iterator[Callable[[bytes], None]]:
    """A bar on a terminal, which counts the tasks of a range."""
    columns = (TextColumn("exporting"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal, transient=True) as progress:
        bar = progress.add_task("exporting", total=each.to_id - each.from_id)
        yield lambda lines: progress.advance(bar, lines.count(_TASK))
