"""`tallystick keys`: API keys."""

from __future__ import annotations

from typing import Annotated

import typer

from tallystick import identity
from tallystick.cli.operator import As, operator
from tallystick.cli.options import Data, known_number
from tallystick.cli.principals import Kind, Role, Tier
from tallystick.cli.runtime import connected, run
from tallystick.cli.tasks.text import columns, moment, seconds_of
from tallystick.db import ReadTx
from tallystick.kit import NotFound

app = typer.Typer(help="API keys: who may call the server.", no_args_is_help=True)

_PAGE = 500
_HEAD = ("id", "for", "begins with", "scopes", "version", "mandate", "created", "expires", "last used", "revoked")

KeyId = Annotated[int, typer.Argument(metavar="ID", min=1, help="The key's number in the list.")]
Expires = Annotated[str | None, typer.Option(help="How long it lasts, as 90d; else until it is revoked.", show_default=False)]


@app.command("create")
def create(
    *,
    name: Annotated[str, typer.Argument(help="Whom the key is for.")],
    kind: Annotated[
        Kind | None, typer.Option(help="Make NAME known, as this; without it NAME has to be known.", show_default=False)
    ] = None,
    role: Annotated[
        list[Role] | None,
        typer.Option(help="A role of NAME, where it is new; may be repeated.", show_default=False),
    ] = None,
    owner: Annotated[str | None, typer.Option(help="The person who answers for a new agent.", show_default=False)] = None,
    risk: Annotated[Tier | None, typer.Option(help="A new agent's risk tier.", show_default=False)] = None,
    scope: Annotated[
        list[Role] | None, typer.Option(help="Only this one of NAME's roles; may be given more than once.", show_default=False)
    ] = None,
    expires: Expires = None,
    version: Annotated[str | None, typer.Option(help="The version of an agent that it is for.", show_default=False)] = None,
    mandate: Annotated[
        int | None, typer.Option(min=1, help="The mandate under which an agent acts with it.", show_default=False)
    ] = None,
    who: As = None,
    data: Data = None,
) -> None:
    """Make a key and show it, once; only its hash is stored."""

    async def work() -> None:
        actor = operator(who)
        lasts_s = None if expires is None else seconds_of(expires)
        async with connected(data) as database, database.write() as tx:
            if kind is None:
                await _known(tx, name)
            key = await identity.create_key(
                tx,
                name,
                kind=kind or "service",
                by=actor,
                roles=role,
                owner=owner,
                risk_tier=risk,
                scopes=scope,
                expires_in_s=lasts_s,
                version=version,
                mandate_id=None if mandate is None else known_number(mandate, "unknown_mandate"),
            )
        _show(key)

    run(work)


@app.command("list")
def list_keys(
    name: Annotated[str | None, typer.Option("--of", help="Only those of this principal.", show_default=False)] = None,
    data: Data = None,
) -> None:
    """List every key; secrets are not known."""

    async def work() -> None:
        rows: list[list[str]] = []
        async with connected(data) as database, database.read() as tx:
            before: int | None = None
            while known := await identity.keys(tx, principal=name, before=before, limit=_PAGE):
                rows += [_row(key) for key in known]
                before = known[-1].id
        columns(_HEAD, rows)

    run(work)


@app.command("revoke")
def revoke(key_id: KeyId, who: As = None, data: Data = None) -> None:
    """Make a key useless; servers notice within seconds."""

    async def work() -> None:
        actor, number = operator(who), known_number(key_id, "unknown_key")
        async with connected(data) as database, database.write() as tx:
            await identity.revoke_key(tx, number, by=actor)
        typer.echo(f"key {number} is revoked")

    run(work)


@app.command("rotate")
def rotate(
    key_id: KeyId,
    overlap: Annotated[str, typer.Option(help="How long the old key goes on working, as 1h.")] = "0s",
    expires: Expires = None,
    who: As = None,
    data: Data = None,
) -> None:
    """Make a key that takes the place of another, with all it has, and show it, once."""

    async def work() -> None:
        actor, number = operator(who), known_number(key_id, "unknown_key")
        lasts_s = None if expires is None else seconds_of(expires)
        async with connected(data) as database, database.write() as tx:
            key = await identity.rotate_key(tx, number, by=actor, overlap_s=seconds_of(overlap), expires_in_s=lasts_s)
        _show(key)

    run(work)


async def _known(tx: ReadTx, name: str) -> None:
    """Refuse a name that nobody has: a slip of the hand makes no principal."""
    try:
        await identity.get(tx, name)
    except NotFound as error:
        raise NotFound(error.code, f"{error.detail}; with --kind it is made known") from None


def _row(key: identity.KeyInfo) -> list[str]:
    times = (key.created_at, key.expires_at, key.used_at, key.revoked_at)
    scopes = "all" if key.scopes is None else ",".join(key.scopes)
    return [
        str(key.id),
        key.principal,
        key.prefix,
        scopes,
        key.version or "-",
        str(key.mandate_id or "-"),
        *(moment(at) for at in times),
    ]


def _show(key: identity.NewKey) -> None:
    typer.echo(key.secret)
    typer.echo(f"key {key.id} for {key.principal}; it is shown this once", err=True)
