"""`tallystick record`, `tallystick checkpoint`, `tallystick export`: the sealed record as operators and auditors handle it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tallystick import actions, approvals, audit, cases, ledger, memory, policy, tlog, work
from tallystick.cli.operator import As, operator
from tallystick.cli.options import Data, check_output, read_moment
from tallystick.cli.runtime import errors, opened, prepare, refusals_as_lines, run, server, settings_for
from tallystick.cli.sealing import key_folder, sealing_database
from tallystick.kit import Invalid

record = typer.Typer(help="The record: how far it is sealed, and a new origin after a restore.", no_args_is_help=True)
checkpoint = typer.Typer(help="Signed checkpoints of the record.", no_args_is_help=True)

SOURCES = audit.Sources(
    {**work.RECORDED, **memory.RECORDED, **cases.RECORDED, **ledger.RECORDED, **approvals.RECORDED},
    policy.RECORDED_DECISIONS,
    approvals.RECORDED_STATES,
    actions.RECORDED_THINGS,
)
"""What events tell of, in every room."""
KNOWN = {
    **work.RECORDED_IDS, **memory.RECORDED_IDS, **cases.RECORDED_IDS, **ledger.RECORDED_IDS, **approvals.RECORDED_IDS,
    **actions.RECORDED_IDS,
}  # fmt: skip
"""What every room keeps, and some event has told of."""


@record.command("status")
def status(
    max_lag_s: Annotated[
        float | None,
        typer.Option("--max-lag", min=0, help="Seconds that an event may wait to be sealed; as set, where none are named."),
    ] = None,
    data: Data = None,
) -> None:
    """Say how far the record is sealed; exit status 1 where an event waits for longer than it may."""

    async def main() -> None:
        settings = settings_for(data)
        with server(settings) as urls:
            prepare(urls)
            async with opened(urls, settings) as database, database.read() as tx:
                lag = await audit.lag(tx)
                origin = await audit.origin(tx)
        oldest = lag.oldest_s or 0.0
        typer.echo(
            f"origin={origin.name if origin else '-'} leaves={lag.size} signed={lag.signed or 0} pending={lag.pending}"
            f" oldest_s={oldest:.1f}"
        )
        if oldest > (settings.max_sealing_lag_s if max_lag_s is None else max_lag_s):
            errors.print(f"an event waits for {oldest:.0f} s: does a worker run, and has it the signing key?", style="red")
            raise typer.Exit(1)

    run(main)


@record.command("reopen")
def reopen(as_: As = None, data: Data = None) -> None:
    """Open a new origin that commits to the last published checkpoint, after the database was restored to an earlier state."""

    async def main() -> None:
        settings = settings_for(data)
        with server(settings) as urls:
            prepare(urls)
            database = sealing_database(urls, settings)
            await database.open()
            try:
                origin = await audit.Sealer(database, key_folder(settings)).reopen(operator(as_))
            finally:
                await database.close()
        typer.echo(origin.name)

    run(main)


@checkpoint.command("show")
def show(data: Data = None) -> None:
    """Print the newest checkpoint, a signed note."""
    typer.echo(_newest(data).note, nl=False)


@checkpoint.command("publish")
def publish(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that others read, or that is written once.")],
    data: Data = None,
) -> None:
    """Write the newest checkpoint into a folder, under a name of its own; a file that is there is never changed."""
    with refusals_as_lines(), _written(folder):
        folder.mkdir(parents=True, exist_ok=True)
    newest = _newest(data)
    path = folder / f"checkpoint-{newest.size:012}"
    with refusals_as_lines(), _written(path):
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(newest.note)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            if path.read_text("utf-8") != newest.note:
                errors.print(f"{path} holds another checkpoint of this size: the record forked", style="red", soft_wrap=True)
                raise typer.Exit(1) from None
    typer.echo(str(path))


def export(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The zip file to write; it is there when it is whole.")],
    since: Annotated[str | None, typer.Option("--from", help="Events from this time on; without it, from the first.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Events before this time; without it, to the last.")] = None,
    proof: Annotated[
        list[Path] | None, typer.Option("--checkpoint", help="A checkpoint that will be compared with; may be given again.")
    ] = None,
    data: Data = None,
) -> None:
    """Write the sealed record of a time into one file, which `tallystick verify FILE` checks without us."""

    async def main() -> None:
        check_output(path)
        begin, end = [None if text is None else read_moment(text) for text in (since, until)]
        if begin is not None and end is not None and begin > end:
            raise Invalid("period_malformed", "the time of --from is after that of --to")
        settings = settings_for(data)
        sizes = [_size_of(kept) for kept in proof or ()]
        with server(settings) as urls:
            prepare(urls)
            async with opened(urls, settings) as database, database.snapshot() as tx:
                with _written(path), bar("exporting") as progress:
                    done = await audit.export(
                        tx,
                        path,
                        key_folder(settings).public(),
                        SOURCES,
                        since=begin,
                        until=end,
                        proofs=sizes,
                        progress=progress,
                    )
        counts = f"events={done.first}..{done.last} size={done.size} rows={done.rows}"
        typer.echo(f"exported origin={done.origin} {counts} to {path}")

    run(main)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Invalid("file_not_written", f"{error.filename or path}: {error.strerror or error}") from None


@contextmanager
def bar(what: str) -> Iterator[audit.Progress | None]:
    """A bar on a terminal, and nothing where there is none."""
    if not errors.is_terminal:
        yield None
        return
    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _newest(data: Path | None) -> audit.SignedCheckpoint:
    found: list[audit.SignedCheckpoint] = []

    async def main() -> None:
        settings = settings_for(data)
        with server(settings) as urls:
            prepare(urls)
            async with opened(urls, settings) as database, database.read() as tx:
                found.append(await audit.checkpoint(tx))

    run(main)
    return found[0]


def _size_of(path: Path) -> int:
    try:
        return tlog.Checkpoint.parse(tlog.Note.parse(path.read_bytes()).text).size
    except (OSError, tlog.NoteError) as error:
        raise Invalid("checkpoint_malformed", f"{path}: {error}") from None
