"""`tallystick hold`: set money aside, capture it, give it back."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tallystick import actions, ledger
from tallystick.cli.operator import As, OneKey, check_key, operator, perform
from tallystick.cli.options import Data, known_number
from tallystick.cli.outcomes import say
from tallystick.cli.runtime import connected, run
from tallystick.db import Tx
from tallystick.kit import format_minor

app = typer.Typer(help="Holds: money that is set aside.", no_args_is_help=True)
_TEN_YEARS_S = 10 * 365 * 86_400

HoldId = Annotated[int, typer.Argument(metavar="HOLD", min=1, help="Number of the hold.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would become of it; change nothing.")]


@app.command("place")
def place(
    *,
    account: Annotated[str, typer.Argument(help="On which account.")],
    amount: Annotated[str, typer.Argument(help="How much, in the account's currency.")],
    expires_in_s: Annotated[
        int | None,
        typer.Option("--for", min=1, max=_TEN_YEARS_S, help="For how many seconds; by default until it is resolved."),
    ] = None,
    dry_run: DryRun = False,
    key: OneKey = None,
    who: As = None,
    data: Data = None,
) -> None:
    """Set money aside."""

    async def work() -> ledger.Placed:
        actor = operator(who)
        named = ledger.NamedHold(account, amount, key=check_key(key), expires_in_s=expires_in_s)

        async def attempt(tx: Tx) -> ledger.Placed:
            (read,) = await ledger.read_holds(tx, actor, [named])
            if not isinstance(read, ledger.NewHold):
                raise read
            (placed,) = await ledger.place_on_record(tx, [read], dry_run=dry_run)
            return placed

        async with connected(data) as database:
            payload = actions.PlaceHolds((actions.HoldPayload.of(named),))
            return await perform(database, actor, payload, attempt, key=named.key, dry_run=dry_run)

    say(work, "placed")


@app.command("capture")
def capture(
    *,
    hold: HoldId,
    to_account: Annotated[str, typer.Argument(help="For which account.")],
    amount: Annotated[str, typer.Argument(help="How much of it.")],
    final: Annotated[bool, typer.Option("--final", help="Free what then remains of the hold.")] = False,
    dry_run: DryRun = False,
    key: OneKey = None,
    who: As = None,
    data: Data = None,
) -> None:
    """Take what was set aside, or a part of it, and give it to another account."""

    async def work() -> ledger.Posted:
        actor = operator(who)
        number = known_number(hold, "unknown_hold")
        named = ledger.NamedCapture(number, to_account, amount, final=final, key=check_key(key))

        async def attempt(tx: Tx) -> ledger.Posted:
            return await ledger.capture_on_record(tx, await ledger.read_capture(tx, actor, named), dry_run=dry_run)

        async with connected(data) as database:
            payload = actions.CaptureHold(str(number), to_account, amount, final=final)
            return await perform(database, actor, payload, attempt, key=named.key, dry_run=dry_run)

    say(work, "posted")


@app.command("release")
def release(hold: HoldId, dry_run: DryRun = False, key: OneKey = None, who: As = None, data: Data = None) -> None:
    """Give back what remains of a hold."""

    async def work() -> ledger.Released:
        wanted = ledger.Release(known_number(hold, "unknown_hold"), operator(who), check_key(key))

        async def attempt(tx: Tx) -> ledger.Released:
            return await ledger.release_on_record(tx, wanted, dry_run=dry_run)

        async with connected(data) as database:
            payload = actions.ReleaseHold(str(wanted.hold_id))
            return await perform(database, wanted.actor, payload, attempt, key=wanted.key, dry_run=dry_run)

    say(work, "released")


@app.command("list")
def list_holds(
    account: Annotated[str | None, typer.Option(help="Only those on this account.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="Those that are resolved as well.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest first.")] = 50,
    data: Data = None,
) -> None:
    """List holds as JSON lines, newest first."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            of = None if account is None else (await ledger.account(tx, account)).id
            holds = await ledger.holds(tx, account_id=of, open_only=not every, limit=limit)
        for hold in holds:
            typer.echo(json.dumps(_told(hold)))

    run(work)


def _told(hold: ledger.Hold) -> dict[str, str | None]:
    return {
        "id": str(hold.id),
        "status": hold.status,
        "account": hold.account,
        "currency": hold.asset,
        "amount": format_minor(hold.amount, hold.unit),
        "captured": format_minor(hold.captured, hold.unit),
        "remaining": format_minor(hold.remaining, hold.unit),
        "actor": hold.actor,
        "placed_at": hold.placed_at.isoformat(),
        "expires_at": None if hold.expires_at is None else hold.expires_at.isoformat(),
    }
