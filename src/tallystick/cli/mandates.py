"""`tallystick mandates`: what people let agents do for them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import typer

from tallystick import identity, ledger
from tallystick.cli.operator import As, operator
from tallystick.cli.options import Data, known_number, read_moment
from tallystick.cli.runtime import connected, run
from tallystick.db import ReadTx
from tallystick.kit import Asset, Invalid, format_minor, parse_minor

app = typer.Typer(help="Mandates: what people let agents do for them.", no_args_is_help=True)


@app.command("grant")
def grant(
    *,
    person: Annotated[str, typer.Argument(metavar="PERSON", help="For whom the agent is to act.")],
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="The agent.")],
    operation: Annotated[list[str], typer.Option(help="A type of action, such as transfer; `*` is all.")],
    until: Annotated[str, typer.Option(help="Up to this day (00:00 UTC) or time with its offset.")],
    account: Annotated[list[str] | None, typer.Option(help="An account that it is bounded to.", show_default=False)] = None,
    most: Annotated[
        list[str] | None,
        typer.Option("--max", metavar="AMOUNT", help="At most so much in one action, as '100.00 CZK'.", show_default=False),
    ] = None,
    total: Annotated[
        list[str] | None, typer.Option(metavar="AMOUNT", help="At most so much in all.", show_default=False)
    ] = None,
    payee: Annotated[
        list[str] | None,
        typer.Option(help="A payee that it is bounded to: ACCOUNT here, BANK/ACCOUNT elsewhere.", show_default=False),
    ] = None,
    beyond: Annotated[Literal["deny", "ask"], typer.Option(help="Refuse what lies beyond it, or ask people.")] = "deny",
    who: As = None,
    data: Data = None,
) -> None:
    """Let an agent act for a person; `keys create AGENT --mandate ID` makes a key that does."""

    async def work() -> None:
        actor, moment = operator(who), read_moment(until)
        async with connected(data) as database, database.write() as tx:
            for name in account or ():
                await ledger.account(tx, name)
            new = identity.NewMandate(
                person, agent, operation, moment, account, await _amounts(tx, most), await _amounts(tx, total), payee, beyond
            )
            granted = await identity.grant_mandate(tx, new, by=actor)
            typer.echo(json.dumps(_told(granted, await _units(tx))))

    run(work)


@app.command("list")
def list_mandates(
    person: Annotated[str | None, typer.Option(help="Only those of this person.", show_default=False)] = None,
    agent: Annotated[str | None, typer.Option(help="Only those of this agent.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that are over or revoked, too.")] = False,
    most: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many.")] = 100,
    data: Data = None,
) -> None:
    """List mandates as JSON lines, newest first."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            units = await _units(tx)
            for one in await identity.mandates(tx, person=person, agent=agent, in_force=not everything, limit=most):
                typer.echo(json.dumps(_told(one, units)))

    run(work)


@app.command("revoke")
def revoke(
    mandate_id: Annotated[int, typer.Argument(metavar="ID", min=1, help="The mandate's number.")],
    who: As = None,
    data: Data = None,
) -> None:
    """End a mandate; servers notice within seconds."""

    async def work() -> None:
        actor, number = operator(who), known_number(mandate_id, "unknown_mandate")
        async with connected(data) as database, database.write() as tx:
            await identity.revoke_mandate(tx, number, by=actor)
        typer.echo(f"mandate {number} is revoked")

    run(work)


async def _amounts(tx: ReadTx, written: Sequence[str] | None) -> dict[str, int] | None:
    if written is None:
        return None
    found: dict[str, int] = {}
    for one in written:
        amount, _, currency = one.strip().partition(" ")
        if not currency or currency in found:
            raise Invalid("amount_malformed", "an amount is written as '100.00 CZK', once for each currency")
        found[currency] = parse_minor(amount, await ledger.asset(tx, currency))
    return found


async def _units(tx: ReadTx) -> dict[str, Asset]:
    return {asset.code: asset for asset in await ledger.assets(tx)}


def _told(mandate: identity.MandateInfo, units: Mapping[str, Asset]) -> dict[str, object]:
    return {
        "id": str(mandate.id),
        "person": mandate.person,
        "agent": mandate.agent,
        "operations": mandate.operations,
        "accounts": mandate.accounts,
        "max_amount": _written(mandate.max_amount, units),
        "total": _written(mandate.total, units),
        "payees": mandate.payees,
        "until": mandate.until.isoformat(),
        "beyond": mandate.beyond,
        "granted_by": mandate.granted_by,
        "granted_at": mandate.granted_at.isoformat(),
        "revoked_at": None if mandate.revoked_at is None else mandate.revoked_at.isoformat(),
    }


def _written(amounts: Mapping[str, int] | None, units: Mapping[str, Asset]) -> list[str] | None:
    return None if amounts is None else [f"{format_minor(minor, units[asset])} {asset}" for asset, minor in amounts.items()]
