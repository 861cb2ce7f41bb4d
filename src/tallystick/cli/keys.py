"""`tallystick keys`: API keys."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.table import Table

from tallystick import identity
from tallystick.cli.options import Data
from tallystick.cli.runtime import connected, console, run

app = typer.Typer(help="API keys: who may call the server.", no_args_is_help=True)

_OPERATOR = "operator:cli"


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whom the key is for; made known where nobody has that name.")],
    kind: Annotated[Literal["agent", "person", "service"], typer.Option(help="What NAME is, where it is new.")] = "service",
    data: Data = None,
) -> None:
    """Make a key and show it, once; only its hash is stored."""

    async def work() -> None:
        async with connected(data) as database, database.write() as tx:
            key = await identity.create_key(tx, name, kind=kind, by=_OPERATOR)
        typer.echo(key.secret)
        typer.echo(f"key {key.id} for {key.principal}; it is shown this once", err=True)

    run(work)


@app.command("list")
def list_keys(data: Data = None) -> None:
    """List every key; secrets are not known."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            known = await identity.keys(tx)
        table = Table("id", "for", "begins with", "created", "revoked")
        for key in known:
            table.add_row(
                str(key.id), key.principal, key.prefix, f"{key.created_at:%Y-%m-%d %H:%M}", f"{key.revoked_at or '-'}"
            )
        console.print(table)

    run(work)


@app.command("revoke")
def revoke(
    key_id: Annotated[int, typer.Argument(metavar="ID", help="The key's number in the list.")], data: Data = None
) -> None:
    """Make a key useless; servers notice within seconds."""

    async def work() -> None:
        async with connected(data) as database, database.write() as tx:
            await identity.revoke_key(tx, key_id, by=_OPERATOR)
        typer.echo(f"key {key_id} is revoked")

    run(work)
