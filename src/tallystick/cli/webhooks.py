"""`tallystick webhooks`: who is told of what becomes of questions."""

from __future__ import annotations

from typing import Annotated

import typer

from tallystick import approvals
from tallystick.cli.operator import As, operator
from tallystick.cli.options import Data, known_number
from tallystick.cli.runtime import connected, run
from tallystick.cli.tasks.text import columns, moment

app = typer.Typer(help="Webhooks: who is told of approvals, by signed notices.", no_args_is_help=True)


@app.command("add")
def add(
    url: Annotated[str, typer.Argument(help="Where notices are posted to: an https: URL.")],
    event: Annotated[
        list[str] | None,
        typer.Option(help=f"Of what they tell: {', '.join(approvals.EVENTS)}; may be given again. Of all without it."),
    ] = None,
    who: As = None,
    data: Data = None,
) -> None:
    """Tell somebody of what becomes of approvals, and print the secret that signs, once."""

    async def main() -> None:
        actor = operator(who)
        async with connected(data) as database, database.write() as tx:
            made = await approvals.add_webhook(tx, url, event or ["*"], by=actor)
        typer.echo(made.secret)
        typer.echo(f"webhook {made.webhook.id}; its secret is shown this once", err=True)

    run(main)


@app.command("list")
def list_webhooks(data: Data = None) -> None:
    """List who is told; secrets are not known."""

    async def main() -> None:
        async with connected(data) as database, database.read() as tx:
            found = await approvals.webhooks(tx)
        rows = [(str(each.id), each.url, ",".join(each.events), each.created_by, moment(each.created_at)) for each in found]
        columns(("ID", "URL", "EVENTS", "BY", "SINCE (UTC)"), rows)

    run(main)


@app.command("remove")
def remove(
    webhook_id: Annotated[int, typer.Argument(metavar="ID", help="Its number in the list.")], who: As = None, data: Data = None
) -> None:
    """Tell somebody no more; notices that are on their way are dropped."""

    async def main() -> None:
        actor, number = operator(who), known_number(webhook_id, "unknown_webhook")
        async with connected(data) as database, database.write() as tx:
            await approvals.remove_webhook(tx, number, by=actor)
        typer.echo(f"webhook {number} is removed")

    run(main)
