"""`tallystick nostro`: our accounts at other banks."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from tallystick import payments
from tallystick.cli.options import Data
from tallystick.cli.runtime import connected, console, run

app = typer.Typer(help="Nostro accounts: our accounts at other banks, mirrored in our books.", no_args_is_help=True)

_OPERATOR = "operator:cli"
_PAGE = 200


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="The internal account of our books; opened where it does not exist.")],
    bank: Annotated[str, typer.Option(help="The other bank: BIC or name.")],
    account: Annotated[str, typer.Option(help="Our account there: IBAN or whatever they call it.")],
    currency: Annotated[str, typer.Option(help="What both accounts hold.")],
    data: Data = None,
) -> None:
    """Mirror an account of ours at another bank, with a clearing and a suspense account beside it."""

    async def work() -> None:
        async with connected(data) as database, database.write() as tx:
            nostro = await payments.register(tx, _OPERATOR, name=name, bank=bank, their_account=account, currency=currency)
        typer.echo(f"{nostro.name} mirrors {nostro.their_account} at {nostro.bank} in {nostro.asset}")

    run(work)


@app.command("list")
def list_nostros(data: Data = None) -> None:
    """List every nostro account."""

    async def work() -> None:
        table = Table("name", "bank", "their account", "currency", "registered")
        async with connected(data) as database, database.read() as tx:
            after = 0
            while found := await payments.nostros(tx, after=after, limit=_PAGE):
                for nostro in found:
                    registered = f"{nostro.registered_at:%Y-%m-%d %H:%M}"
                    table.add_row(nostro.name, nostro.bank, nostro.their_account, nostro.asset, registered)
                after = found[-1].id
        console.print(table)

    run(work)
