"""`tallystick agents`: the versions that agents were made in."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated

import typer

from tallystick import identity
from tallystick.cli.operator import As, operator
from tallystick.cli.options import Data
from tallystick.cli.runtime import connected, run
from tallystick.kit import Invalid

app = typer.Typer(help="Agents: who answers for them, and the versions that they were made in.", no_args_is_help=True)

Agent = Annotated[str, typer.Argument(metavar="AGENT", help="Name of the agent.")]


@app.command("add-version")
def add_version(
    *,
    agent: Agent,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="What its author calls the version.")],
    model: Annotated[str, typer.Option(help="The model that it asks.")],
    prompt: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The file of its prompt; its digest is kept.")],
    tools: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The file of its tools; likewise.")],
    who: As = None,
    data: Data = None,
) -> None:
    """Keep what a version of an agent is made of, for good: the model, and SHA-256 of its prompt and of its tools."""

    async def work() -> None:
        actor = operator(who)
        digests = [_digest(file) for file in (prompt, tools)]
        async with connected(data) as database, database.write() as tx:
            kept = await identity.add_version(
                tx, agent, version, model=model, prompt_digest=digests[0], tools_digest=digests[1], by=actor
            )
        typer.echo(json.dumps(_told(kept)))

    run(work)


@app.command("versions")
def versions(
    agent: Agent,
    most: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many.")] = 100,
    data: Data = None,
) -> None:
    """List an agent's versions as JSON lines, newest first."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            for one in await identity.versions(tx, agent, limit=most):
                typer.echo(json.dumps(_told(one)))

    run(work)


@app.command("list")
def list_agents(
    most: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many.")] = 100, data: Data = None
) -> None:
    """List agents with their owners and risk tiers, as JSON lines."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            for one in await identity.principals(tx, kind="agent", limit=most):
                told = {"name": one.name, "owner": one.owner, "risk_tier": one.risk_tier, "enabled": one.disabled_at is None}
                typer.echo(json.dumps(told))

    run(work)


def _digest(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").digest()
    except OSError as error:
        raise Invalid("file_unreadable", f"{file} cannot be read: {error.strerror}") from None


def _told(version: identity.AgentVersion) -> dict[str, object]:
    return {
        "agent": version.agent,
        "version": version.version,
        "model": version.model,
        "prompt_digest": version.prompt_digest.hex(),
        "tools_digest": version.tools_digest.hex(),
        "created_by": version.created_by,
        "created_at": version.created_at.isoformat(),
    }
