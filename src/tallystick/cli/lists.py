"""`tallystick lists`: the names and ids that policies look for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tallystick import actions, policy
from tallystick.cli.list_files import FORMATS, entries
from tallystick.cli.operator import As, operator, perform
from tallystick.cli.options import Data
from tallystick.cli.runtime import connected, console, errors, run
from tallystick.db import Tx
from tallystick.kit import Invalid

app = typer.Typer(help="Lists: names and ids that policies look for, such as those of sanctions.", no_args_is_help=True)


@app.command("import")
def import_(
    name: Annotated[str, typer.Argument(help="The list, as policies name it.")],
    file: Annotated[Path, typer.Argument(help="The file; one that ends in .gz is unpacked on the way.")],
    *,
    format: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}.")] = "csv",
    kind: Annotated[
        str, typer.Option("--kind", help="What stands on the list: names, or ids such as account numbers.")
    ] = "names",
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Have nobody be on the list, where the file says so.")
    ] = False,
    as_: As = None,
    data: Data = None,
) -> None:
    """Have a list be what the file says. Until all of it is taken in, the list is what it was before.

    Rows without a name, or with one that has no letter and no digit, are dropped, and counted.
    """

    async def work() -> None:
        read = 0

        def seen(count: int) -> None:
            nonlocal read
            read = count
            progress.update(bar, completed=count)

        by = operator(as_)
        if kind not in ("names", "ids"):
            raise Invalid("unknown_kind", "a list is of names or of ids")
        async with connected(data) as database:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,} names"))
            with Progress(*columns, TimeElapsedColumn(), console=errors, disable=not errors.is_terminal) as progress:
                bar = progress.add_task(f"reading {file.name}", total=None)

                async def take(tx: Tx) -> policy.ListInfo:
                    return await policy.import_list(
                        tx,
                        name,
                        entries(file, format),
                        kind="names" if kind == "names" else "ids",
                        source=file.name,
                        by=by,
                        allow_empty=allow_empty,
                        progress=seen,
                    )

                info = await perform(database, by, actions.ImportList(name, kind, file.name), take)
        told = f"list={info.name} kind={info.kind} entries={info.entries} dropped={read - info.entries} version={info.version}"
        console.print(told, markup=False, soft_wrap=True)

    run(work)


@app.command("list")
def list_(data: Data = None) -> None:
    """Show every list."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            found = await policy.lists(tx)
        table = Table("list", "kind", "entries", "source", "imported", "by")
        for one in found:
            at = f"{one.imported_at:%Y-%m-%d %H:%M}"
            table.add_row(one.name, one.kind, f"{one.entries:,}", one.source, at, one.imported_by)
        console.print(table)

    run(work)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="The list.")],
    after: Annotated[str, typer.Option("--after", help="Only entries whose ids come after this one.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000)] = 50,
    data: Data = None,
) -> None:
    """Show entries of a list, by their ids."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            info = await policy.get_list(tx, name)
            found = await policy.entries_of(tx, name, after=after, limit=limit)
        _print(found)
        console.print(f"{len(found)} shown of {info.entries:,}")

    run(work)


@app.command("find")
def find(
    value: Annotated[str, typer.Argument(help="A name or an id; spelling, order and accents do not matter.")],
    name: Annotated[str | None, typer.Option("--list", help="Only on this list.")] = None,
    data: Data = None,
) -> None:
    """Show whose entries a name or an id is found by; exit status 1 where there is none."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            if name is not None:
                await policy.get_list(tx, name)
            found = await policy.find(tx, value, list_name=name)
        _print(found)
        if not found:
            console.print("nobody is found by that")
            raise typer.Exit(1)

    run(work)


def _print(found: list[policy.ListEntry]) -> None:
    if found:
        table = Table("list", "id", "name")
        for one in found:
            table.add_row(one.list, one.entry_id, one.name)
        console.print(table)
