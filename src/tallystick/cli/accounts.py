"""`tallystick account` and `tallystick period`: what accounts may do, and up to when the books are closed."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from tallystick import actions, ledger
from tallystick.cli.operator import As, operator, perform
from tallystick.cli.options import Data, read_moment
from tallystick.cli.runtime import connected, run
from tallystick.kit import format_minor

app = typer.Typer(help="Accounts: open them, freeze them, limit them.", no_args_is_help=True)
period = typer.Typer(help="Periods: up to when the books are closed.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Name of the account.")]


@app.command("open")
def open_account(
    *,
    name: Name,
    currency: Annotated[str, typer.Argument(help="What it holds, such as CZK.")],
    owner: Annotated[str | None, typer.Option(help="The customer who owns it.", show_default=False)] = None,
    internal: Annotated[bool, typer.Option("--internal", help="It is the bank's own, and has no limit.")] = False,
    who: As = None,
    data: Data = None,
) -> None:
    """Open an account."""

    async def work() -> None:
        actor = operator(who)

        payload = actions.OpenAccount(name, currency, "internal" if internal else "customer", owner)
        async with connected(data) as database:
            await perform(database, actor, payload)
            async with database.read() as tx:
                typer.echo(json.dumps(_told(await ledger.account(tx, name))))

    run(work)


@app.command("freeze")
def freeze(name: Name, who: As = None, data: Data = None) -> None:
    """Stop an account: it neither gives nor takes."""
    _become(name, "frozen", who, data)


@app.command("unfreeze")
def unfreeze(name: Name, who: As = None, data: Data = None) -> None:
    """Let a frozen account give and take again."""
    _become(name, "open", who, data)


@app.command("close")
def close(name: Name, who: As = None, data: Data = None) -> None:
    """Close an account that holds nothing, for good."""
    _become(name, "closed", who, data)


@app.command("limit")
def limit(
    name: Name,
    amount: Annotated[str, typer.Argument(help="How far it may be overdrawn, in its currency; `none` is without end.")],
    who: As = None,
    data: Data = None,
) -> None:
    """Set how far an account may be overdrawn."""

    async def work() -> None:
        actor = operator(who)
        async with connected(data) as database:
            await perform(database, actor, actions.ChangeLimit(name, None if amount == "none" else amount))
            async with database.read() as tx:
                typer.echo(json.dumps(_told(await ledger.account(tx, name))))

    run(work)


@app.command("show")
def show(name: Name, data: Data = None) -> None:
    """Show an account and the last changes of what it may do, as JSON."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            account = await ledger.account(tx, name)
            changes = await ledger.account_changes(tx, account.id)
        told = [
            {"n": one.n, "status": one.status, "overdraft_limit": _limit(one.floor, account), "actor": one.actor,
             "changed_at": one.changed_at.isoformat()}
            for one in changes
        ]  # fmt: skip
        typer.echo(json.dumps({**_told(account), "changes": told}))

    run(work)


@app.command("list")
def list_accounts(
    after: Annotated[str | None, typer.Option(help="Begin after this account.", show_default=False)] = None,
    most: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many.")] = 100,
    data: Data = None,
) -> None:
    """List accounts as JSON lines, in the order they were opened."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            start = 0 if after is None else (await ledger.account(tx, after)).id
            found = await ledger.accounts(tx, after=start, limit=most)
        for account in found:
            typer.echo(json.dumps(_told(account)))

    run(work)


@period.command("close")
def close_period(
    until: Annotated[str, typer.Option(help="Up to this day (00:00 UTC) or time with its offset, which has to be over.")],
    who: As = None,
    data: Data = None,
) -> None:
    """Close the books up to a time: nothing is posted with an effective date before it from then on."""

    async def work() -> None:
        actor, moment = operator(who), read_moment(until)
        async with connected(data) as database, database.write() as tx:
            closed = await ledger.close_period(tx, moment, actor=actor)
        typer.echo(json.dumps({"closed_until": closed.isoformat()}))

    run(work)


@period.command("show")
def show_period(data: Data = None) -> None:
    """Show up to when the books are closed."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            closed = await ledger.closed_until(tx)
        typer.echo(json.dumps({"closed_until": None if closed is None else closed.isoformat()}))

    run(work)


def _become(name: str, status: ledger.AccountStatus, who: str | None, data: Any) -> None:
    async def work() -> None:
        actor = operator(who)
        async with connected(data) as database:
            await perform(database, actor, actions.ChangeStatus(name, status))
            async with database.read() as tx:
                typer.echo(json.dumps(_told(await ledger.account(tx, name))))

    run(work)


def _told(account: ledger.Account) -> dict[str, str | int | None]:
    return {
        "id": account.name,
        "currency": account.asset,
        "kind": account.kind,
        "status": account.status,
        "posted": format_minor(account.posted, account.unit),
        "held": format_minor(account.held, account.unit),
        "available": format_minor(account.available, account.unit),
        "overdraft_limit": _limit(account.floor, account),
        "seq": account.seq,
    }


def _limit(floor: int | None, account: ledger.Account) -> str | None:
    return None if floor is None else format_minor(-floor, account.unit)
