"""`tallystick approvals`: what people are asked, and their word on it, which is given with a person's own key."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tallystick import actions, approvals, identity
from tallystick.cli.operator import As, operator
from tallystick.cli.options import Data, known_number
from tallystick.cli.runtime import connected, run
from tallystick.cli.tasks.text import AsJson, columns, moment
from tallystick.db import ReadTx, Tx
from tallystick.http import vote
from tallystick.kit import Invalid, TallystickError, Unauthorized, dumps

app = typer.Typer(help="Approvals: what people are asked before an action is carried out.", no_args_is_help=True)

_KEY = "TALLYSTICK_KEY"
_MIN_DIGEST = 12

Id = Annotated[int, typer.Argument(metavar="ID", help="Number of the question.")]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        help=f"File with your own API key; - is standard input. Without it, {_KEY} of the environment, or you are asked.",
        show_default=False,
    ),
]
Digest = Annotated[
    str, typer.Option(help=f"The digest that `show` printed, or its first {_MIN_DIGEST} digits or more: what you agree to.")
]
Status = Literal["open", "approved", "rejected", "expired", "withdrawn", "consumed"]


@app.command("list")
def list_approvals(
    *,
    status: Annotated[Status | None, typer.Option(help="Only those in this status.", show_default=False)] = None,
    action: Annotated[str | None, typer.Option(help="Only those of this type of action.", show_default=False)] = None,
    role: Annotated[
        str | None, typer.Option(help="Only those in which people of this role are asked.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 200,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """List what people are asked, newest first; with --json a line of JSON each."""

    async def main() -> None:
        async with connected(data) as database, database.read() as tx:
            found = await approvals.page(tx, status=status, action=action, role=role, limit=limit)
        if as_json:
            for each in found:
                typer.echo(dumps(_told(each)))
            return
        head = ("ID", "STATUS", "ACTION", "MAKER", "ASKED", "EXPIRES (UTC)", "DIGEST")
        columns(head, [_row(each) for each in found])

    run(main)


@app.command("show")
def show(approval_id: Id, data: Data = None) -> None:
    """Show a question as JSON: what people see, who agreed, who is missing, what was said."""

    async def main() -> None:
        number = known_number(approval_id, "unknown_approval")
        async with connected(data) as database, database.read() as tx:
            typer.echo(dumps(await _detail(tx, number)))

    run(main)


@app.command("approve")
def approve(
    approval_id: Id,
    digest: Digest,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.", show_default=False)] = None,
    key_file: KeyFile = None,
    data: Data = None,
) -> None:
    """Agree to what has this digest, as the person whose key it is."""
    _say(approval_id, "approve", digest, reason=reason, key_file=key_file, data=data)


@app.command("reject")
def reject(
    approval_id: Id,
    digest: Digest,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    key_file: KeyFile = None,
    data: Data = None,
) -> None:
    """Say no to what has this digest; one no ends it."""
    _say(approval_id, "reject", digest, reason=reason, key_file=key_file, data=data)


@app.command("break-glass")
def break_glass(
    approval_id: Id,
    digest: Digest,
    reason: Annotated[str, typer.Option(help="Why it cannot wait, for the record.")],
    key_file: KeyFile = None,
    data: Data = None,
) -> None:
    """Say that it cannot wait. Two people who say so approve it; a third one has to review that."""
    _say(approval_id, "break_glass", digest, reason=reason, key_file=key_file, data=data)


@app.command("comment")
def comment(
    approval_id: Id,
    text: Annotated[str, typer.Argument(help="What there is to say.")],
    who: As = None,
    data: Data = None,
) -> None:
    """Remark something on a question."""

    async def change(tx: Tx, number: int, actor: identity.Principal) -> str:
        await approvals.comment(tx, number, actor, text)
        return f"remarked on approval {number}"

    _changed(approval_id, change, who, data)


@app.command("withdraw")
def withdraw(approval_id: Id, who: As = None, data: Data = None) -> None:
    """Take a question back, open or approved: nothing is carried out."""

    async def change(tx: Tx, number: int, actor: identity.Principal) -> str:
        return f"approval {number} is {(await approvals.withdraw(tx, number, actor)).status}"

    _changed(approval_id, change, who, data)


@app.command("reviews")
def reviews(
    all_: Annotated[bool, typer.Option("--all", help="Those that are closed, too.")] = False,
    data: Data = None,
) -> None:
    """List reviews that are owed after a glass was broken; exit status 1 where there are any."""

    async def main() -> None:
        async with connected(data) as database, database.read() as tx:
            found = await approvals.reviews(tx, open=None if all_ else True, limit=1000)
            owed = await approvals.open_reviews(tx)
        head = ("ID", "ACTION", "MAKER", "BROKEN BY", "SINCE (UTC)", "VERDICT", "BY")
        columns(
            head,
            [
                (str(each.approval_id), each.action, each.maker, ", ".join(each.broken_by), moment(each.opened_at),
                 each.verdict or "-", each.closed_by or "-")
                for each in found
            ],
        )  # fmt: skip
        if owed:
            raise typer.Exit(1)

    run(main)


@app.command("review")
def review(
    *,
    approval_id: Id,
    justified: Annotated[bool, typer.Option("--justified/--not-justified", help="Whether it was right.", show_default=False)],
    note: Annotated[str, typer.Option(help="Why, for the record.")],
    key_file: KeyFile = None,
    data: Data = None,
) -> None:
    """Say whether it was right to break the glass, as a person who had no part in it."""

    async def main() -> None:
        number, secret = known_number(approval_id, "unknown_review"), _secret(key_file)
        async with connected(data) as database, database.write() as tx:
            reviewer = await _person(tx, secret)
            given = await approvals.close_review(tx, number, reviewer, "justified" if justified else "not_justified", note)
        typer.echo(f"the review of approval {number} is closed: {given.verdict}")

    run(main)


def _say(approval_id: int, said: str, digest: str, *, reason: str | None, key_file: Path | None, data: Path | None) -> None:
    async def main() -> None:
        number, secret = known_number(approval_id, "unknown_approval"), _secret(key_file)

        async def attempt(tx: Tx) -> approvals.Approval | TallystickError:
            person = await _person(tx, secret)
            seen = _whole(digest, await approvals.get(tx, number))
            return await vote(tx, number, person, said, digest=seen, reason=reason)

        async with connected(data) as database:
            became = await database.retrying(attempt)
            if isinstance(became, TallystickError):
                raise became
            async with database.read() as tx:
                action = await actions.put_to_people(tx, number)
        typer.echo(f"approval {became.id} is {became.status}")
        if action is not None and action.status in ("executed", "failed"):
            typer.echo(f"action {action.id} {action.status}" + (f": {action.reason}" if action.reason else ""))

    run(main)


def _changed(
    approval_id: int,
    change: Callable[[Tx, int, identity.Principal], Awaitable[str]],
    who: str | None,
    data: Path | None,
) -> None:
    async def main() -> None:
        number = known_number(approval_id, "unknown_approval")
        # Who works at the machine of the bank is not asked for a key: what they do is no vote.
        actor = identity.Principal(operator(who), "service", frozenset({"operator", "admin"}))
        async with connected(data) as database, database.write() as tx:
            told = await change(tx, number, actor)
        typer.echo(told)

    run(main)


def _secret(key_file: Path | None) -> str:
    if key_file is not None:
        try:
            text = typer.get_text_stream("stdin").read() if str(key_file) == "-" else key_file.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            raise Invalid("key_unreadable", f"{key_file} cannot be read") from None
        return text.strip()
    return os.environ.get(_KEY) or str(typer.prompt("Your API key", hide_input=True, err=True)).strip()


async def _person(tx: ReadTx, secret: str) -> identity.Principal:
    found = await identity.authenticate(tx, secret)
    if found is None:
        raise Unauthorized("key_unknown", "this API key is not known")
    return found


def _whole(digest: str, approval: approvals.Approval) -> bytes:
    """The digest that is meant: the question's, where it begins so, and else one that it does not have."""
    wanted = digest.strip().lower()
    if len(wanted) < _MIN_DIGEST or set(wanted) - set("0123456789abcdef"):
        raise Invalid("digest_malformed", f"a digest is hexadecimal, and {_MIN_DIGEST} digits of it are given at least")
    return approval.digest if approval.digest.hex().startswith(wanted) else bytes(32)


async def _detail(tx: ReadTx, approval_id: int) -> dict[str, Any]:
    approval = await approvals.get(tx, approval_id)
    votes = await approvals.votes(tx, approval_id)
    quorum = approvals.quorum_of(approval, votes)
    return {
        **_told(approval),
        "shown": (await approvals.shown(tx, approval)).shown,
        "agreed": {role: list(people) for role, people in quorum.filled.items()},
        "missing": dict(quorum.missing),
        "votes": [
            {"person": each.person, "vote": each.vote, "version": each.version, "reason": each.reason, "at": each.at}
            for each in votes
        ],
        "comments": [
            {"by": each.said_by, "text": each.text, "at": each.at} for each in await approvals.comments(tx, approval_id)
        ],
    }


def _told(approval: approvals.Approval) -> dict[str, Any]:
    return {
        "id": str(approval.id),
        "action": approval.action,
        "status": approval.status,
        "version": approval.version,
        "digest": approval.digest.hex(),
        "maker": approval.maker,
        "excluded": approval.excluded,
        "approve": dict(approval.approve),
        "asked_at": approval.asked_at,
        "expires_at": approval.expires_at,
    }


def _row(approval: approvals.Approval) -> tuple[str, ...]:
    asked = ", ".join(f"{count} {role}" for role, count in approval.approve)
    return (
        str(approval.id),
        approval.status,
        approval.action,
        approval.maker,
        asked,
        moment(approval.expires_at),
        approval.digest.hex()[:16],
    )
