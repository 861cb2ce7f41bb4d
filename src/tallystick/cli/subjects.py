"""`tallystick erase`, `tallystick legal-hold` and `tallystick retention`: what is known of a customer, and how long."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from tallystick import actions, subjects
from tallystick.cli.operator import As, operator
from tallystick.cli.options import Data, known_number
from tallystick.cli.runtime import connected, prepare, run, server, settings_for
from tallystick.db import OWNER, Database
from tallystick.identity import house
from tallystick.kit import Conflict, Invalid, TallystickError

holds = typer.Typer(help="Legal holds: whose data must not be erased until the hold is lifted.", no_args_is_help=True)
retention = typer.Typer(help="Retention: how long data of each kind is kept at least.", no_args_is_help=True)

# An erasure reads all history once.
_PATIENCE_MS = 12 * 3600 * 1000

Customer = Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer, as the bank calls them: CUST-1042.")]
Reason = Annotated[str, typer.Option(help="Why, as a code: it stands on the record for good, so no personal data.")]


def erase(
    *,
    customer: Customer,
    reason: Reason,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be erased, and erase nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000_000, help="Refuse to erase more rows than this.")] = 100_000,
    without_gate: Annotated[
        bool,
        typer.Option(
            "--without-gate",
            help="As the owner of the database, where nobody can be asked; the record says that nobody was.",
        ),
    ] = False,
    who: As = None,
    data: Data = None,
) -> None:
    """Erase what is known of a customer, for good, where no legal hold and no retention period stands against it.

    Policy decides it. Where people are asked, the approval is printed, and their last vote erases. Legal holds and retention
    periods refuse it, on the record. What is counted before you are asked, and a --dry-run, connects as TALLYSTICK_OWNER_URL.
    Backups and exports that were made before are not touched. Prints the number of rows of each table and the event of the
    record.
    """

    async def work() -> None:
        actor = operator(who)
        if dry_run or not yes:
            # What is refused is refused below, where the record is told of it.
            with nullcontext() if dry_run else suppress(Conflict):
                async with _owning(data) as owner:
                    planned = await subjects.rehearse(owner, actor, customer, reason=reason, limit=limit)
                if dry_run:
                    typer.echo(json.dumps({"customer": customer, "would_erase": planned.rows}))
                    return
                rows = sum(planned.rows.values())
                typer.confirm(f"Erase {rows} rows of {customer}, for good?", abort=True, err=True)
        if without_gate:
            async with _owning(data) as owner:
                done = await subjects.erase(owner, actor, customer, reason=reason, limit=limit)
        else:
            outcome = await _by_the_gate(data, actor, customer, reason, limit)
            if isinstance(outcome, actions.Held):
                asked = {"action": str(outcome.action_id), "approval": str(outcome.approval_id)}
                typer.echo(json.dumps({"held": True, **asked}))
                return
            done = outcome
        typer.echo(json.dumps({"event": str(done.event_id), "erased": done.rows}))

    run(work)


@holds.command("place")
def place(customer: Customer, reason: Reason, who: As = None, data: Data = None) -> None:
    """Keep the data of a customer from being erased."""

    async def work() -> None:
        actor = operator(who)
        async with connected(data) as database, database.write() as tx:
            placed = await subjects.place_hold(tx, actor, customer, reason=reason)
        typer.echo(json.dumps(_told(placed)))

    run(work)


@holds.command("lift")
def lift(
    hold_id: Annotated[int, typer.Argument(metavar="HOLD", min=1, help="Number of the legal hold.")],
    who: As = None,
    data: Data = None,
) -> None:
    """Lift a legal hold."""

    async def work() -> None:
        actor = operator(who)
        async with connected(data) as database, database.write() as tx:
            lifted = await subjects.lift_hold(tx, actor, known_number(hold_id, "unknown_legal_hold"))
        typer.echo(json.dumps(_told(lifted)))

    run(work)


@holds.command("list")
def list_holds(
    customer: Annotated[str | None, typer.Option(help="Only those of this customer.", show_default=False)] = None,
    lifted: Annotated[bool, typer.Option("--all", help="Those that were lifted too.")] = False,
    after: Annotated[int, typer.Option(min=0, help="Begin after this hold.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 1000,
    data: Data = None,
) -> None:
    """List legal holds as JSON lines, oldest first."""

    async def work() -> None:
        start = known_number(after, "unknown_legal_hold")
        async with connected(data) as database, database.read() as tx:
            found = await subjects.holds(tx, customer=customer, lifted=lifted, after=start, limit=limit)
        for hold in found:
            typer.echo(json.dumps(_told(hold)))

    run(work)


@retention.command("list")
def list_retention(data: Data = None) -> None:
    """List how long each kind of data is kept, as JSON lines."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            found = await subjects.retention(tx)
        for rule in found:
            typer.echo(json.dumps(_rule(rule)))

    run(work)


@retention.command("set")
def set_retention(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(subjects.KINDS)}.")],
    keep: Annotated[str, typer.Argument(help="How long: 10y, 18m, or 0 for not at all.")],
    who: As = None,
    data: Data = None,
) -> None:
    """Change how long data of a kind is kept at least. Connects as TALLYSTICK_OWNER_URL."""

    async def work() -> None:
        actor, months = operator(who), _months(keep)
        async with _owning(data) as owner, owner.write() as tx:
            rule = await subjects.set_retention(tx, actor, kind, months)
        typer.echo(json.dumps(_rule(rule)))

    run(work)


async def _by_the_gate(data: Path | None, actor: str, customer: str, reason: str, limit: int) -> subjects.Erased | actions.Held:
    """Propose it as an operator. What was refused is raised after its event was committed."""
    async with connected(data) as database:
        async with database.read() as tx:
            payload = subjects.EraseSubject(await subjects.subject_of(tx, customer), reason, limit)
        outcome = await actions.perform(database, house(actor), payload)
    if isinstance(outcome, actions.Denied):
        raise actions.denied(outcome)
    if isinstance(outcome, TallystickError):
        raise outcome
    assert isinstance(outcome, subjects.Erased | actions.Held)
    return outcome


@asynccontextmanager
async def _owning(data: Path | None) -> AsyncIterator[Database]:
    """The database as its owner, who is given time."""
    settings = settings_for(data)
    with server(settings) as urls:
        prepare(urls)
        patient = settings.model_copy(update={"statement_timeout_ms": _PATIENCE_MS, "pool_max_size": 1})
        owner = Database(urls.owner, patient, role=OWNER)
        try:
            await owner.open()
            yield owner
        finally:
            await owner.close()


def _months(keep: str) -> int:
    found = re.fullmatch(r"(\d{1,4})([ym])|0", keep)
    if found is None:
        raise Invalid("retention_out_of_range", "how long something is kept is written as 10y, 18m, or 0")
    return 0 if found[1] is None else int(found[1]) * (12 if found[2] == "y" else 1)


def _rule(rule: subjects.Retention) -> dict[str, Any]:
    return {"kind": rule.kind, "keep_months": rule.keep_months, "set_by": rule.set_by, "set_at": rule.set_at.isoformat()}


def _told(hold: subjects.LegalHold) -> dict[str, Any]:
    return {
        "id": str(hold.id),
        "customer": hold.customer,
        "reason": hold.reason,
        "placed_by": hold.placed_by,
        "placed_at": hold.placed_at.isoformat(),
        "lifted_by": hold.lifted_by,
        "lifted_at": None if hold.lifted_at is None else hold.lifted_at.isoformat(),
    }
