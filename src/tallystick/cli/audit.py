"""`tallystick audit` and `tallystick timeline`: ask the record."""

from __future__ import annotations

from typing import Annotated

import typer

from tallystick import audit, timeline
from tallystick.cli.options import Data, known_number, read_moment
from tallystick.cli.runtime import connected, run
from tallystick.cli.tasks.text import AsJson, columns, plain, short
from tallystick.kit import dumps

app = typer.Typer(help="The record: what was done, by whom, and what shows it.", no_args_is_help=True)

EventId = Annotated[int, typer.Argument(metavar="EVENT", min=1, help="Number of the event.")]
From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="Only from this time on.", show_default=False)]
_WIDE = 100
_PAGE = 200


@app.command("events")
def list_events(
    *,
    principal: Annotated[str | None, typer.Option(help="Only what this principal did.", show_default=False)] = None,
    on_behalf_of: Annotated[str | None, typer.Option(help="Only what was done for this one.", show_default=False)] = None,
    kind: Annotated[str | None, typer.Option(help="Only what is about things of this kind.", show_default=False)] = None,
    id_: Annotated[
        int | None, typer.Option("--id", min=1, help="With --kind: only what is about this thing.", show_default=False)
    ] = None,
    verb: Annotated[
        str | None, typer.Option(help="A verb, as ledger.post, or how verbs begin, as tasks.", show_default=False)
    ] = None,
    task: Annotated[int | None, typer.Option(min=1, help="Only what was done in this task.", show_default=False)] = None,
    request: Annotated[str | None, typer.Option(help="Only what answered this request.", show_default=False)] = None,
    start: From = None,
    to: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only before this time.", show_default=False)] = None,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="The other way round.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = 50,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """List events of the record, newest first; with --json a line of JSON each."""

    async def main() -> None:
        asked = audit.Filter(
            principal=principal,
            on_behalf_of=on_behalf_of,
            subject_kind=kind,
            subject_id=None if id_ is None else known_number(id_, "not_on_record"),
            verb=verb,
            task_id=None if task is None else known_number(task, "unknown_task"),
            request_id=request,
            start=None if start is None else read_moment(start),
            end=None if to is None else read_moment(to),
        )
        async with connected(data) as database, database.snapshot() as tx:
            found = await audit.page(tx, asked, ascending=oldest_first, limit=limit)
        if as_json:
            for event in found:
                typer.echo(dumps(audit.event_json(event)))
            return
        head = ("EVENT", "INDEX", "AT (UTC)", "PRINCIPAL", "VERB", "ABOUT", "TASK", "DETAIL")
        columns(head, [_row(event) for event in found])

    run(main)


@app.command("show")
def show(event_id: EventId, as_json: AsJson = False, data: Data = None) -> None:
    """Show one event, whole."""

    async def main() -> None:
        number = known_number(event_id, "unknown_event")
        async with connected(data) as database, database.snapshot() as tx:
            event = await audit.get(tx, number)
        told = audit.event_json(event)
        if as_json:
            typer.echo(dumps(told))
            return
        typer.secho(f"event {event.id}  {plain(event.verb)}", bold=True)
        facts = {name: value for name, value in told.items() if name not in ("id", "verb", "at") and value is not None}
        for name, value in {"at": event.at.isoformat(), **facts, "leaf": event.leaf}.items():
            typer.echo(f"  {name:<12} {plain(value if isinstance(value, str) else dumps(value).decode())}")

    run(main)


@app.command("receipt")
def show_receipt(
    event_id: Annotated[
        int | None, typer.Argument(metavar="[EVENT]", min=1, help="Number of the event.", show_default=False)
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Instead of an event: the kind of a thing, as journal.")] = None,
    id_: Annotated[int | None, typer.Option("--id", min=1, help="With --kind: its number. With an event: its item.")] = None,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Show what proves that an event, or a thing that it tells of, is in the record. Exit status 1 while that is pending."""
    if (event_id is None) == (kind is None) or (kind is not None and id_ is None):
        raise typer.BadParameter("name an event, or a thing by --kind and --id")
    told: list[audit.Receipt] = []

    async def main() -> None:
        item = None if id_ is None else known_number(id_, "not_on_record")
        async with connected(data) as database, database.snapshot() as tx:
            if event_id is not None:
                told.append(await audit.receipt(tx, known_number(event_id, "unknown_event"), item=item))
            else:
                assert kind is not None
                assert item is not None
                told.append(await audit.find_receipt(tx, kind=kind, id=item))

    run(main)
    (receipt,) = told
    if as_json:
        typer.echo(dumps(audit.receipt_json(receipt)))
    else:
        _print(receipt)
    if receipt.checkpoint is None:
        raise typer.Exit(1)


def show_timeline(
    kind: Annotated[timeline.Kind, typer.Argument(help="What the thing is.")],
    id_: Annotated[str, typer.Argument(metavar="ID", help="Its number; of an agent or an account, its name.")],
    *,
    start: From = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many events at most.")] = 1000,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Show what became of a case, a transfer, a task, an agent or an account, in the order of the record.

    Every prompt, step, decision, vote, posting and event of it, oldest first; with --json a line of JSON each.
    """

    async def main() -> None:
        began = None if start is None else read_moment(start)
        entries: list[timeline.Entry] = []
        async with connected(data) as database, database.snapshot() as tx:
            mark: timeline.Mark | None = timeline.Mark()
            events: set[int] = set()
            while mark is not None and len(events) < limit:
                count = min(_PAGE, limit - len(events))
                found = await timeline.page(tx, kind, id_, after=mark, start=began, limit=count)
                entries += found.entries
                events |= {entry.event_id for entry in found.entries}
                mark = found.next
        if as_json:
            for entry in entries:
                typer.echo(dumps(timeline.entry_json(entry)))
            return
        columns(("AT (UTC)", "EVENT", "INDEX", "WHAT", "VERB", "PRINCIPAL", "ABOUT", ""), [_entry_row(one) for one in entries])

    run(main)


def _row(event: audit.RecordedEvent) -> tuple[str, ...]:
    return (
        str(event.id),
        _or_dash(event.index),
        f"{event.at:%Y-%m-%d %H:%M:%S.%f}",
        event.principal,
        event.verb,
        f"{event.subject_kind} {_or_dash(event.subject_id)}",
        _or_dash(event.task_id),
        short(event.detail, _WIDE),
    )


def _entry_row(entry: timeline.Entry) -> tuple[str, ...]:
    text = entry.text or entry.state or short(entry.detail, _WIDE)
    return (
        f"{entry.at:%Y-%m-%d %H:%M:%S.%f}",
        str(entry.event_id),
        _or_dash(entry.index),
        entry.what,
        entry.verb,
        entry.principal,
        f"{entry.kind} {_or_dash(entry.id)}",
        text if len(text) <= _WIDE else text[: _WIDE - 1] + "…",
    )


def _print(receipt: audit.Receipt) -> None:
    typer.secho(f"event {receipt.event_id}  {receipt.state}", bold=True)
    typer.echo(f"  leaf      {plain(receipt.leaf)}")
    typer.echo(f"  hash      {receipt.leaf_hash.hex()}")
    if receipt.checkpoint is not None:
        typer.echo(f"  place     {receipt.index} of {receipt.checkpoint.size}")
        for step in receipt.path:
            typer.echo(f"  path      {step.hex()}")
    if receipt.item is not None:
        typer.echo(f"  item      {receipt.item.kind} {receipt.item.id}, {receipt.item.place} of {receipt.item.count}")
        typer.echo(f"  digest    {receipt.item.digest.hex()}")
        for step in receipt.item.path:
            typer.echo(f"  path      {step.hex()}")
        typer.echo(f"  root      {receipt.item.root.hex()}")
    if receipt.checkpoint is not None:
        typer.echo("")
        typer.echo(receipt.checkpoint.note)


def _or_dash(number: int | None) -> str:
    return "-" if number is None else str(number)
