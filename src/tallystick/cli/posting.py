"""`tallystick post` and `tallystick reverse`: journals from a file, and back."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tallystick import ledger
from tallystick.cli.operator import As, OneKey, check_key, operator
from tallystick.cli.options import Data
from tallystick.cli.outcomes import say
from tallystick.cli.runtime import connected, errors, run
from tallystick.db import Database, Tx
from tallystick.http import JournalBody
from tallystick.kit import Invalid, TallystickError, loads

_CHUNK = 1000
_MAX_AT_ONCE = 8192
_MAX_LINE = 1024 * 1024

Line = tuple[int, ledger.NamedJournal | TallystickError]


@dataclass(slots=True)
class _Tally:
    posted: int = 0
    replayed: int = 0
    refused: int = 0


def post(
    *,
    file: Annotated[
        str, typer.Argument(help="Journals as JSON lines, each as POST /v1/journals takes it; - is standard input.")
    ],
    atomic: Annotated[bool, typer.Option("--atomic", help="All of them or none; up to 8,192.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would become of them, up to 8,192; change nothing.")
    ] = False,
    key_prefix: Annotated[
        str | None,
        typer.Option(
            help="Line N goes out under the key PREFIX:N, so that running it again posts nothing twice. "
            "By default made of what the file holds; standard input needs one.",
            show_default=False,
        ),
    ] = None,
    who: As = None,
    data: Data = None,
) -> None:
    """Post journals; what became of each goes to standard output as a JSON line. Exit status 1 where one was refused."""
    tally = _Tally()

    async def work() -> None:
        actor = operator(who)
        prefix = _prefix(file, key_prefix, dry_run)
        async with connected(data) as database:
            with _opened(file) as source, _shown(file) as progress:
                for chunk in _chunks(_lines(source, prefix), whole=atomic or dry_run):
                    answers = await _post(database, actor, [named for _, named in chunk], atomic=atomic, dry_run=dry_run)
                    for (number, _), answer in zip(chunk, answers, strict=True):
                        typer.echo(json.dumps({"line": number, **_told(answer, tally)}))
                    progress.advance(progress.task_ids[0], len(chunk))

    run(work)
    told = f"{tally.posted} posted, {tally.replayed} of them earlier, {tally.refused} refused"
    errors.print(f"{told}; nothing was kept, as this was a rehearsal" if dry_run else told, markup=False)
    if tally.refused:
        raise typer.Exit(1)


def reverse(
    *,
    journal: Annotated[int, typer.Argument(min=1, help="Number of the journal to take back.")],
    amount: Annotated[str | None, typer.Option(help="How much of it; by default all.", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would become of it; change nothing.")] = False,
    key: OneKey = None,
    who: As = None,
    data: Data = None,
) -> None:
    """Take a journal back, wholly or in part, by another journal. Exit status 1 where the books refuse."""

    async def work() -> ledger.Posted:
        actor = operator(who)
        named = ledger.NamedReversal(journal, amount=amount, key=check_key(key))

        async def attempt(tx: Tx) -> ledger.Posted:
            return await ledger.reverse_on_record(tx, await ledger.read_reversal(tx, actor, named), dry_run=dry_run)

        async with connected(data) as database:
            return await database.retrying(attempt)

    say(work, "posted")


async def _post(
    database: Database, actor: str, named: Sequence[ledger.NamedJournal | TallystickError], *, atomic: bool, dry_run: bool
) -> list[ledger.Posted | TallystickError]:
    """Post a chunk in one transaction. What cannot be read is refused by itself, and with `atomic` refuses the others."""

    async def attempt(tx: Tx) -> list[ledger.Posted | TallystickError]:
        readable = [one for one in named if isinstance(one, ledger.NamedJournal)]
        read = iter(await ledger.read_journals(tx, actor, readable))
        journals = [one if isinstance(one, TallystickError) else next(read) for one in named]
        good = [one for one in journals if isinstance(one, ledger.Journal)]
        if atomic and len(good) < len(journals):
            refused = Invalid("batch_refused", "another line of the file cannot be read")
            return [refused if isinstance(one, ledger.Journal) else one for one in journals]
        mode: ledger.Mode = "atomic" if atomic else "independent"
        posted = iter(await ledger.post_on_record(tx, good, mode=mode, dry_run=dry_run))
        return [one if isinstance(one, TallystickError) else next(posted) for one in journals]

    return await database.retrying(attempt)


def _told(answer: ledger.Posted | TallystickError, tally: _Tally) -> dict[str, Any]:
    if isinstance(answer, TallystickError):
        tally.refused += 1
        return {"status": "refused", "reason": answer.code, "detail": answer.detail, "id": None}
    tally.refused += answer.refusal is not None
    tally.posted += answer.refusal is None
    tally.replayed += answer.refusal is None and answer.replayed
    return {
        "status": "posted" if answer.refusal is None else "refused",
        "reason": answer.refusal,
        "id": None if answer.journal_id is None else str(answer.journal_id),
        "posted_at": None if answer.posted_at is None else answer.posted_at.isoformat(),
        "replayed": answer.replayed,
    }


def _prefix(file: str, given: str | None, dry_run: bool) -> str:
    if given is not None:
        check_key(given)
        return given
    if file == "-":
        if dry_run:
            return "rehearsal"
        raise Invalid("key_prefix_needed", "what comes by standard input needs a --key-prefix, so that it is posted once")
    with _opened(file) as source:
        content = hashlib.sha256()
        while block := source.read(_MAX_LINE):
            content.update(block)
    return f"file:{content.hexdigest()}"


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        with Path(file).open("rb") as source:
            yield source
    except OSError as error:
        raise Invalid("file_unreadable", f"{file}: {error.strerror}") from None


@contextmanager
def _shown(file: str) -> Iterator[Progress]:
    columns = (TextColumn("posting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as progress:
        progress.add_task("posting", total=None if file == "-" else _count(file))
        yield progress


def _count(file: str) -> int:
    with _opened(file) as source:
        return sum(1 for line in source if line.strip())


def _lines(source: BinaryIO, prefix: str) -> Iterator[Line]:
    number = 0
    while text := source.readline(_MAX_LINE + 1):
        number += 1
        if len(text) > _MAX_LINE:
            raise Invalid("line_too_long", f"line {number} has more than {_MAX_LINE} bytes")
        if text.strip():
            yield number, _read(text, f"{prefix}:{number}")


def _read(text: bytes, key: str) -> ledger.NamedJournal | TallystickError:
    try:
        return JournalBody.model_validate(loads(text)).named(key)
    except TallystickError as refusal:
        return refusal
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        return Invalid("validation_failed", f"{'/'.join(str(step) for step in found['loc'])}: {found['msg']}")


def _chunks(lines: Iterator[Line], *, whole: bool) -> Iterator[list[Line]]:
    chunk: list[Line] = []
    for line in lines:
        chunk.append(line)
        if whole and len(chunk) > _MAX_AT_ONCE:
            raise Invalid("batch_too_large", f"what is posted as one or rehearsed has at most {_MAX_AT_ONCE} lines")
        if not whole and len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
