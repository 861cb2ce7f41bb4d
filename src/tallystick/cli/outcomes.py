"""What the books said of one thing, as one JSON line and an exit status."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import typer

from tallystick import ledger
from tallystick.cli.runtime import run
from tallystick.db import key_reused

Outcome = ledger.Posted | ledger.Placed | ledger.Released


def say(work: Callable[[], Coroutine[Any, Any, Outcome]], done: str) -> None:
    """Run a command and print what became of its one thing; exit status 1 where the books refused it."""
    outcomes: list[Outcome] = []

    async def noted() -> None:
        outcome = await work()
        if outcome.refusal == "key_reused":
            raise key_reused()
        outcomes.append(outcome)

    run(noted)
    (outcome,) = outcomes
    id = outcome.journal_id if isinstance(outcome, ledger.Posted) else outcome.hold_id
    status = done if outcome.refusal is None else "refused"
    told = {"status": status, "reason": outcome.refusal, "id": None if id is None else str(id), "replayed": outcome.replayed}
    typer.echo(json.dumps(told))
    if outcome.refusal is not None:
        raise typer.Exit(1)
