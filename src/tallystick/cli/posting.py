"""`tallystick post` and `tallystick reverse`: journals from a file, and back."""

from __future__ import annotations

import json
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tallystick import actions, ledger
from tallystick.cli.operator import As, OneKey, check_key, operator, perform, refusal
from tallystick.cli.options import Data, known_number
from tallystick.cli.outcomes import say
from tallystick.cli.runtime import connected, errors, run
from tallystick.db import Database, Tx
from tallystick.http import JournalBody
from tallystick.identity import house
from tallystick.kit import Invalid, TallystickError, digest, loads

_CHUNK = 1000
_MAX_AT_ONCE = 8192
_MAX_LINE = 1024 * 1024

Line = tuple[int, ledger.NamedJournal | TallystickError]


@dataclass(slots=True)
class _Tally:
    posted: int = 0
    replayed: int = 0
    refused: int = 0

    def __str__(self) -> str:
        return f"{self.posted} posted, {self.replayed} of them earlier, {self.refused} refused"


@dataclass(slots=True)
class _Keys:
    """The idempotency key of each line: of its number, where there is a prefix, else of what it says."""

    prefix: str | None
    seen: Counter[bytes] = field(default_factory=Counter)

    def of(self, number: int, line: Any) -> str:
        if self.prefix is not None:
            return f"{self.prefix}:{number}"
        content = digest(line)
        self.seen[content] += 1
        return f"line:{content.hex()}:{self.seen[content]}"


class _Undone(Exception):
    """Takes back a transaction of all or none, so that no refusal is kept for the lines that were in order."""

    def __init__(self, answers: list[ledger.Posted | TallystickError]) -> None:
        super().__init__()
        self.answers = answers


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
            help="Line N goes out under the key PREFIX:N, so that running it again posts nothing twice. By default a line's "
            "key is made of what it says and how many equal lines are above it: where lines were added or mended, only "
            "those are posted, and a line equal to one of an earlier file is taken for that one. "
            "Standard input, and whatever is no regular file, needs a prefix.",
            show_default=False,
        ),
    ] = None,
    who: As = None,
    data: Data = None,
) -> None:
    """Post journals; what became of each goes to standard output as a JSON line. Exit status 1 where one was refused.

    A refused line stays refused until it is changed or goes out under another prefix; with --atomic a refusal is not kept.
    """
    tally = _Tally()

    async def work() -> None:
        actor = operator(who)
        keys = _keys(file, key_prefix, dry_run)
        async with connected(data) as database:
            with _opened(file) as source, _shown(file) as progress:
                for chunk in _chunks(_lines(source, keys), whole=atomic or dry_run):
                    answers = await _post(database, actor, [named for _, named in chunk], atomic=atomic, dry_run=dry_run)
                    told = [_told(answer, tally) for answer in answers]
                    for (number, _), one in zip(chunk, told, strict=True):
                        typer.echo(json.dumps({"line": number, **one}))
                    progress.advance(progress.task_ids[0], len(chunk))

    kept = "; nothing was kept, as this was a rehearsal" if dry_run else ""
    try:
        run(work)
    except BrokenPipeError:
        again = "" if dry_run else "; the same command again posts the rest, and nothing twice"
        errors.print(f"standard output was closed, so posting stopped: {tally}{kept}{again}", markup=False, soft_wrap=True)
        raise
    errors.print(f"{tally}{kept}", markup=False)
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
        number = known_number(journal, "unknown_journal")
        named = ledger.NamedReversal(number, amount=amount, key=check_key(key))

        async def attempt(tx: Tx) -> ledger.Posted:
            return await ledger.reverse_on_record(tx, await ledger.read_reversal(tx, actor, named), dry_run=dry_run)

        async with connected(data) as database:
            payload = actions.ReverseJournal(str(number), amount)
            return await perform(database, actor, payload, attempt, key=named.key, dry_run=dry_run)

    say(work, "posted")


async def _post(
    database: Database, actor: str, named: Sequence[ledger.NamedJournal | TallystickError], *, atomic: bool, dry_run: bool
) -> list[ledger.Posted | TallystickError]:
    """Post a chunk in one transaction. What cannot be read is refused by itself, and with `atomic` refuses the others."""

    async def attempt(tx: Tx) -> list[ledger.Posted | TallystickError]:
        if not dry_run:
            return await within(tx)
        async with tx.rehearsal():
            return await within(tx)

    async def within(tx: Tx) -> list[ledger.Posted | TallystickError]:
        readable = [one for one in named if isinstance(one, ledger.NamedJournal)]
        read = iter(await ledger.read_journals(tx, actor, readable))
        journals = [one if isinstance(one, TallystickError) else next(read) for one in named]
        good = [
            (wanted, one)
            for wanted, one in zip(named, journals, strict=True)
            if isinstance(one, ledger.Journal) and isinstance(wanted, ledger.NamedJournal)
        ]
        if atomic and len(good) < len(journals):
            refused = Invalid("batch_refused", "another line of the file cannot be read")
            return [refused if isinstance(one, ledger.Journal) else one for one in journals]
        posted = iter(await _gated(tx, actor, good, atomic=atomic, dry_run=dry_run))
        answers = [one if isinstance(one, TallystickError) else next(posted) for one in journals]
        if atomic and any(isinstance(one, TallystickError) or one.refusal is not None for one in answers):
            raise _Undone(answers)
        return answers

    try:
        return await database.retrying(attempt)
    except _Undone as undone:
        return undone.answers


async def _gated(
    tx: Tx, actor: str, good: Sequence[tuple[ledger.NamedJournal, ledger.Journal]], *, atomic: bool, dry_run: bool
) -> list[ledger.Posted | TallystickError]:
    """Have each journal decided, or with `atomic` all of them as one, and post those that may be."""
    by = house(actor)
    payloads = [actions.JournalPayload.of(named) for named, _ in good]
    if atomic:
        refused = refusal(await actions.enter(tx, by, actions.PostJournals(tuple(payloads), "atomic"))) if good else None
        if refused is not None:
            return [refused] * len(good)
        posted = await ledger.post_on_record(tx, [journal for _, journal in good], mode="atomic", dry_run=dry_run)
        return list(posted)
    proposals = [(actions.PostJournals((payload,)), named.key) for payload, (named, _) in zip(payloads, good, strict=True)]
    entered = await actions.enter_many(tx, by, proposals)
    passed = [
        (journal, one.decision_id or 0)
        for (_, journal), one in zip(good, entered, strict=True)
        if isinstance(one, actions.Passed)
    ]
    done = iter(
        await ledger.post_on_record(
            tx, [journal for journal, _ in passed], dry_run=dry_run, decisions=[decision for _, decision in passed]
        )
    )
    return [refusal(one) or next(done) for one in entered]


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


def _keys(file: str, prefix: str | None, dry_run: bool) -> _Keys:
    if prefix is None and not dry_run and not _is_regular(file):
        raise Invalid("key_prefix_needed", "what comes from no regular file needs a --key-prefix, so that it is posted once")
    return _Keys(check_key(prefix))


def _is_regular(file: str) -> bool:
    """Whether it can be read more than once. A folder, and what is not there, is left to be refused on opening."""
    if file == "-":
        return False
    try:
        mode = Path(file).stat().st_mode
    except OSError:
        return True
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        source = Path(file).open("rb")  # noqa: SIM115 - closed below; an error past the opening is not the file's
    except OSError as error:
        raise Invalid("file_unreadable", f"{file}: {error.strerror}") from None
    with source:
        yield source


@contextmanager
def _shown(file: str) -> Iterator[Progress]:
    columns = (TextColumn("posting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as progress:
        progress.add_task("posting", total=_count(file) if errors.is_terminal and _is_regular(file) else None)
        yield progress


def _count(file: str) -> int:
    with _opened(file) as source:
        return sum(1 for line in source if line.strip())


def _lines(source: BinaryIO, keys: _Keys) -> Iterator[Line]:
    number = 0
    while text := source.readline(_MAX_LINE + 1):
        number += 1
        if len(text) > _MAX_LINE:
            raise Invalid("line_too_long", f"line {number} has more than {_MAX_LINE} bytes")
        if text.strip():
            yield number, _read(text, number, keys)


def _read(text: bytes, number: int, keys: _Keys) -> ledger.NamedJournal | TallystickError:
    try:
        line = loads(text)
        return JournalBody.model_validate(line).named(keys.of(number, line))
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
