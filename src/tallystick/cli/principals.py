"""`tallystick principals`: who may do and see what."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Literal

import typer

from tallystick import customers, identity, ledger
from tallystick.cli.operator import As, operator
from tallystick.cli.options import Data, known_number
from tallystick.cli.runtime import connected, run
from tallystick.db import ReadTx, Tx
from tallystick.kit import Invalid

app = typer.Typer(help="Principals: agents, people and services, what they may do and see.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the principal.")]
Kind = Literal["agent", "person", "service"]
Role = str  # typer takes no list of literals; the verbs say which roles there are
Tier = Literal["low", "medium", "high"]

_ALL, _NONE = "all", "none"


@app.command("add")
def add(
    *,
    name: Name,
    kind: Annotated[Kind, typer.Option(help="What it is.")],
    role: Annotated[list[Role] | None, typer.Option(help="A role; may be given more than once.", show_default=False)] = None,
    owner: Annotated[str | None, typer.Option(help="The person who answers for an agent.", show_default=False)] = None,
    risk: Annotated[Tier | None, typer.Option(help="An agent's risk tier.", show_default=False)] = None,
    who: As = None,
    data: Data = None,
) -> None:
    """Make a principal known. An agent sees nothing until `reach` lets it."""

    async def change(tx: Tx, actor: str) -> identity.PrincipalInfo:
        if kind == "agent" and owner is None:
            raise Invalid("owner_missing", "an agent has an owner, the person who answers for it: --owner")
        return await identity.add_principal(tx, name, kind=kind, by=actor, roles=role, owner=owner, risk_tier=risk)

    _changed(change, who, data)


@app.command("first-admin")
def first_admin(name: Name, who: As = None, data: Data = None) -> None:
    """Make the first person who may give authority to others, and show their key, once. Refused where there is an admin."""

    async def work() -> None:
        actor = operator(who)
        async with connected(data) as database, database.write() as tx:
            key = await identity.first_admin(tx, name, by=actor)
        typer.echo(key.secret)
        typer.echo(f"key {key.id} for {key.principal}, who is admin; it is shown this once", err=True)

    run(work)


@app.command("list")
def list_principals(
    kind: Annotated[Kind | None, typer.Option(help="Only those of this kind.", show_default=False)] = None,
    after: Annotated[str | None, typer.Option(help="Begin after this principal.", show_default=False)] = None,
    most: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many.")] = 100,
    data: Data = None,
) -> None:
    """List principals as JSON lines, in the order they became known."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            start = 0 if after is None else (await identity.get(tx, after)).id
            for one in await identity.principals(tx, kind=kind, after=start, limit=most):
                typer.echo(json.dumps(_told(one)))

    run(work)


@app.command("show")
def show(name: Name, data: Data = None) -> None:
    """Show a principal, as JSON."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            typer.echo(json.dumps(_told(await identity.get(tx, name))))

    run(work)


@app.command("roles")
def roles(
    name: Name,
    role: Annotated[list[Role] | None, typer.Argument(help="The roles; none takes all away.", show_default=False)] = None,
    who: As = None,
    data: Data = None,
) -> None:
    """Give a principal these roles and no others; servers notice within seconds."""
    _changed(lambda tx, actor: identity.set_roles(tx, name, role or [], by=actor), who, data)


@app.command("reach")
def reach(
    name: Name,
    account: Annotated[
        list[str] | None, typer.Option(help="An account that it sees and touches; `all`, or `none`.", show_default=False)
    ] = None,
    customer: Annotated[
        list[str] | None, typer.Option(help="A customer likewise; `all`, or `none`.", show_default=False)
    ] = None,
    who: As = None,
    data: Data = None,
) -> None:
    """Let a principal see and touch these accounts and customers and no others; what is not given stays."""

    async def change(tx: Tx, actor: str) -> identity.PrincipalInfo:
        before = await identity.get(tx, name)
        accounts = before.accounts if account is None else await _accounts(tx, account)
        ids = before.customers if customer is None else await _customers(tx, customer)
        return await identity.set_reach(tx, name, accounts=accounts, customers=ids, by=actor)

    _changed(change, who, data)


@app.command("owner")
def owner(
    name: Name,
    person: Annotated[str, typer.Argument(metavar="PERSON", help="Who answers for the agent from now on.")],
    risk: Annotated[Tier | None, typer.Option(help="Its risk tier from now on.", show_default=False)] = None,
    who: As = None,
    data: Data = None,
) -> None:
    """Have another person answer for an agent."""
    _changed(lambda tx, actor: identity.set_owner(tx, name, person, by=actor, risk_tier=risk), who, data)


@app.command("login")
def login(
    name: Name,
    issuer: Annotated[str, typer.Option(help="The issuer of OpenID Connect, as an address.")],
    subject: Annotated[str, typer.Option(help="What the issuer calls the account: its `sub`.")],
    who: As = None,
    data: Data = None,
) -> None:
    """Let a principal be known by an account elsewhere: people sign in with it, services bring its tokens."""

    async def change(tx: Tx, actor: str) -> identity.PrincipalInfo:
        await identity.add_login(tx, name, issuer=issuer, subject=subject, by=actor)
        return await identity.get(tx, name)

    _changed(change, who, data)


@app.command("logins")
def logins(name: Name, data: Data = None) -> None:
    """List the accounts elsewhere by which a principal is known, as JSON lines."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            for one in await identity.logins(tx, name):
                typer.echo(json.dumps({"id": str(one.id), "issuer": one.issuer, "subject": one.subject}))

    run(work)


@app.command("logout")
def logout(
    name: Name,
    login_id: Annotated[int, typer.Argument(metavar="LOGIN", min=1, help="The login's number in the list of `logins`.")],
    who: As = None,
    data: Data = None,
) -> None:
    """Let a principal be known by an account elsewhere no more, and sign it out everywhere."""

    async def change(tx: Tx, actor: str) -> identity.PrincipalInfo:
        await identity.remove_login(tx, name, known_number(login_id, "unknown_login"), by=actor)
        return await identity.get(tx, name)

    _changed(change, who, data)


@app.command("disable")
def disable(name: Name, who: As = None, data: Data = None) -> None:
    """Let a principal in no more, nor the agents that a person owns; servers notice within seconds."""
    _changed(lambda tx, actor: identity.disable(tx, name, by=actor), who, data)


@app.command("enable")
def enable(name: Name, who: As = None, data: Data = None) -> None:
    """Let a principal in again."""
    _changed(lambda tx, actor: identity.enable(tx, name, by=actor), who, data)


def _changed(change: Callable[[Tx, str], Awaitable[identity.PrincipalInfo]], who: str | None, data: Data) -> None:
    async def work() -> None:
        actor = operator(who)
        async with connected(data) as database, database.write() as tx:
            changed = await change(tx, actor)
        typer.echo(json.dumps(_told(changed)))

    run(work)


async def _accounts(tx: ReadTx, named: Sequence[str]) -> list[str] | None:
    if (those := _some(named)) is not None:
        for name in those:
            await ledger.account(tx, name)
    return those


async def _customers(tx: ReadTx, named: Sequence[str]) -> list[int] | None:
    those = _some(named)
    return None if those is None else [(await customers.get(tx, name)).id for name in those]


def _some(named: Sequence[str]) -> list[str] | None:
    if len(named) > 1 and {_ALL, _NONE} & set(named):
        raise Invalid("reach_malformed", "all and none stand alone")
    return None if list(named) == [_ALL] else [] if list(named) == [_NONE] else list(named)


def _told(info: identity.PrincipalInfo) -> dict[str, object]:
    return {
        "name": info.name,
        "kind": info.kind,
        "roles": info.roles,
        "owner": info.owner,
        "risk_tier": info.risk_tier,
        "accounts": _ALL if info.accounts is None else info.accounts,
        "customers": _ALL if info.customers is None else [str(id) for id in info.customers],
        "disabled_at": None if info.disabled_at is None else info.disabled_at.isoformat(),
        "created_at": info.created_at.isoformat(),
    }
