"""The verbs of the approvals.

What is refused to a voter, or to whoever carries out an action, is on the record: `vote`, `break_glass` and `consume` give the
refusal back as a value, so that its event is committed before the caller raises it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tallystick import audit
from tallystick.approvals import store, webhooks
from tallystick.approvals.model import (
    EVERYTHING,
    MAX_COMMENT,
    MAX_REASON,
    NOTHING,
    STATUSES,
    VERDICTS,
    Answer,
    Approval,
    Comment,
    MovedOn,
    Question,
    Quorum,
    Reach,
    Review,
    Said,
    Shown,
    Touched,
    Verdict,
    Vote,
    check_question,
    check_shown,
    quorum_of,
)
from tallystick.db import ReadTx, Tx
from tallystick.identity import Principal
from tallystick.kit import Conflict, Forbidden, Invalid, NotFound, TallystickError, check_text

MAX_AT_ONCE = 500
_NEWEST = 2**63 - 1
_SYSTEM = "tallystick"
_REFUSALS: Mapping[str, tuple[type[TallystickError], str]] = {
    "unknown_approval": (NotFound, "there is no such question"),
    "unknown_review": (NotFound, "there is no such review"),
    "agents_never_vote": (Forbidden, "an agent does not vote"),
    "only_people_vote": (Forbidden, "a service does not vote; a person does, with a key of theirs"),
    "maker_is_not_checker": (
        Forbidden,
        "who asked, who answers for them, whom they act for and who edited it do not vote on it",
    ),
    "role_missing": (Forbidden, "this person has none of the roles that are asked"),
    "reviewer_took_part": (Forbidden, "who took part in it does not review it"),
    "voted_already": (Conflict, "this person has voted on it already"),
    "approval_changed": (Conflict, "what is asked is not what this names: look at it again"),
    "approval_closed": (Conflict, "it is not open any more"),
    "approval_needed": (Conflict, "people have not agreed to it yet"),
    "amended_too_often": (Conflict, "a question is amended 99 times at most; ask a new one"),
    "too_many_comments": (Conflict, "a question has a thousand comments at most"),
    "review_closed": (Conflict, "this review is closed already"),
}


async def ask(tx: Tx, question: Question, by: Principal) -> Approval:
    """Ask people; it is `open` until they agreed, one of them rejected it, it was withdrawn, or its time is over.

    Who asks, who owns them and whom they act for are excluded, named or not. Refuses as `check_question` does.
    """
    check_question(question)
    excluded = sorted((question.excluded | _stands_behind(by)) - {question.maker})
    asked = await store.ask(tx, question, excluded=excluded, by=by.name)
    await audit.append(
        tx,
        principal=by.name,
        on_behalf_of=by.on_behalf_of,
        verb="approvals.ask",
        subject_kind="approval",
        subject_id=asked.approval_id,
        approval_id=asked.approval_id,
        detail={
            "action": question.action,
            "approve": [list(each) for each in question.approve],
            "maker": question.maker,
            "excluded": excluded,
            "version": 1,
        },
        items=await store.items(tx, "approval_shown", asked.row_id),
    )
    await webhooks.tell(tx, "asked", asked.approval_id)
    return await get(tx, asked.approval_id)


async def vote(
    tx: Tx,
    approval_id: int,
    principal: Principal,
    said: Literal["approve", "reject"],
    digest: bytes,
    *,
    reason: str | None = None,
) -> Approval | TallystickError:
    """Take down a person's vote on what has this digest. The last one that is needed approves it; one `reject` rejects it.

    A refusal is given back, and is on the record: `NotFound` (`unknown_approval`); `Forbidden` (`agents_never_vote`,
    `only_people_vote`, `maker_is_not_checker`, `role_missing`); `Conflict` (`approval_closed`, `approval_changed`,
    `voted_already`). Refuses with `Invalid` a rejection without a reason (`reason_missing`), and `text_too_long`.
    """
    return await _vote(tx, approval_id, principal, said, digest=digest, reason=reason)


async def break_glass(
    tx: Tx, approval_id: int, principal: Principal, digest: bytes, *, reason: str
) -> Approval | TallystickError:
    """Say that what is asked cannot wait. When a second person says so it is `approved` without its quorum, for a review later.

    They are two people with the role `approver` or `admin`, neither of them excluded. It takes the place of the quorum and of
    waiting for it, and of nothing else: policy is asked again when the action is carried out, and what it denies stays denied.
    Refusals are given back as by `vote`; a reason is needed.
    """
    return await _vote(tx, approval_id, principal, "break_glass", digest=digest, reason=reason)


async def lock(tx: Tx, approval_id: int) -> None:
    """Have a question stay as it is until this transaction ends. Its row is locked before those of actions and balances.

    Refuses with `NotFound` (`unknown_approval`).
    """
    if not await store.lock(tx, approval_id):
        raise refused("unknown_approval")


async def amend(
    tx: Tx, approval_id: int, digest: bytes, shown: Mapping[str, Any], by: Principal, *, touches: Touched = NOTHING
) -> Approval:
    """Let an open question be about something else. All votes are void, and `by`, with who stands behind them, may not vote.

    Its time does not begin again. Refuses with `Invalid` (`digest_malformed`, `shown_too_large`), `NotFound`
    (`unknown_approval`) and `Conflict` (`approval_closed`, `amended_too_often`).
    """
    check_shown(digest, shown)
    editors = sorted(_stands_behind(by))
    answer = await store.amend(tx, approval_id, digest, shown, by=by.name, editors=editors, touches=touches)
    _raise(answer)
    assert answer.row_id is not None
    await _clock(tx, approval_id, answer)
    approval = await get(tx, approval_id)
    await audit.append(
        tx,
        principal=by.name,
        on_behalf_of=by.on_behalf_of,
        verb="approvals.amend",
        subject_kind="approval",
        subject_id=approval_id,
        approval_id=approval_id,
        detail={"version": approval.version, "editors": editors},
        items=await store.items(tx, "approval_shown", answer.row_id),
    )
    await webhooks.tell(tx, "amended", approval_id)
    return approval


async def withdraw(tx: Tx, approval_id: int, by: Principal) -> Approval:
    """Take a question back, open or approved: it will not be carried out.

    The maker may, who stands behind them, and an `admin`. Refuses with `NotFound` (`unknown_approval`), `Forbidden`
    (`not_the_maker`) and `Conflict` (`approval_closed`).
    """
    approval = await get(tx, approval_id)
    if by.name != approval.maker and by.name not in approval.excluded and "admin" not in by.roles:
        raise Forbidden("not_the_maker", "who asked takes it back, who stands behind them, or an admin")
    answer = await store.withdraw(tx, approval_id)
    _raise(answer)
    await _clock(tx, approval_id, answer)
    await _record(tx, by, "withdraw", approval_id)
    await webhooks.tell(tx, "withdrawn", approval_id)
    return await get(tx, approval_id)


async def consume(tx: Tx, approval_id: int, digest: bytes, *, by: str) -> TallystickError | None:
    """Use what was approved, in the transaction that carries it out; `None`, or the refusal, which is on the record.

    It is used once, by one caller, within its time, and for what has this digest. Refusals: `NotFound` (`unknown_approval`);
    `Conflict` (`approval_needed`, `approval_closed`, `approval_changed`).
    """
    answer = await store.consume(tx, approval_id, digest)
    refusal = await _refusal(tx, approval_id, answer, by, "consume")
    if refusal is None:
        await audit.append(
            tx, principal=by, verb="approvals.consume", subject_kind="approval", subject_id=approval_id, approval_id=approval_id
        )
        await webhooks.tell(tx, "consumed", approval_id)
    return refusal


async def comment(tx: Tx, approval_id: int, by: Principal, text: str) -> int:
    """Remark something on a question, whatever its status; the remark's id.

    Refuses with `Invalid` (`text_missing`, `text_too_long`, `text_malformed`), `NotFound` (`unknown_approval`) and `Conflict`
    (`too_many_comments`).
    """
    if not text.strip():
        raise Invalid("text_missing", "a comment says something")
    check_text(text, "a comment", MAX_COMMENT)
    answer = await store.say(tx, approval_id, by.name, text)
    _raise(answer)
    assert answer.row_id is not None
    await audit.append(
        tx,
        principal=by.name,
        on_behalf_of=by.on_behalf_of,
        verb="approvals.comment",
        subject_kind="approval",
        subject_id=approval_id,
        approval_id=approval_id,
        items=await store.items(tx, "approval_comment", answer.row_id),
    )
    await webhooks.tell(tx, "commented", approval_id)
    return answer.row_id


async def close_review(tx: Tx, approval_id: int, principal: Principal, verdict: Verdict, note: str) -> Review:
    """Say, as a person who had no part in it, whether it was right to break the glass. The note is a comment on the question.

    Refuses with `Invalid` (`unknown_verdict`, `text_missing`, `text_too_long`), `NotFound` (`unknown_review`), `Forbidden`
    (`agents_never_vote`, `only_people_vote`, `role_missing`, `reviewer_took_part`) and `Conflict` (`review_closed`).
    """
    if verdict not in VERDICTS:
        raise Invalid("unknown_verdict", f"a verdict is {' or '.join(sorted(VERDICTS))}")
    _raise(await store.close_review(tx, approval_id, principal, verdict))
    await comment(tx, approval_id, principal, note)
    await _record(tx, principal, "review", approval_id, verdict=verdict)
    await webhooks.tell(tx, "reviewed", approval_id)
    return await review(tx, approval_id)


async def expire_due(tx: Tx, *, limit: int = MAX_AT_ONCE) -> list[MovedOn]:
    """Let the clock have its say: what is over is `expired`, and what waited for long is escalated; `limit` of each at most.

    Those that another transaction has in hand are left to it. Call it again while it returns `limit` or more.
    """
    moved = await store.move_on(tx, limit)
    await audit.append_many(tx, [_moved_on(each.approval_id, each.clock) for each in moved])
    for each in moved:
        await webhooks.tell(tx, each.clock, each.approval_id)
    return moved


async def get(tx: ReadTx, approval_id: int) -> Approval:
    """A question as it stands; refuses with `NotFound` (`unknown_approval`)."""
    approval = await store.get(tx, approval_id)
    if approval is None:
        raise refused("unknown_approval")
    return approval


async def page(
    tx: ReadTx,
    *,
    status: str | None = None,
    action: str | None = None,
    role: str | None = None,
    maker: str | None = None,
    of: str | None = None,
    within: tuple[Reach, str] | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Approval]:
    """A page of questions below the id `before`, newest first; `of` a person are those they made or stand behind.

    `within` the reach of a person are those that it holds, and those of the person.

    Refuses with `Invalid` (`unknown_status`).
    """
    if status is not None and status not in STATUSES:
        raise Invalid("unknown_status", f"a question is {', '.join(sorted(STATUSES))}")
    bound = _NEWEST if before is None else before
    if within is not None:
        reach, whose = within
        return await store.page_within(tx, reach, status=status, action=action, role=role, of=whose, before=bound, limit=limit)
    return await store.page(tx, status=status, action=action, role=role, maker=maker, of=of, before=bound, limit=limit)


async def shown(tx: ReadTx, approval: Approval) -> Shown:
    """What people are shown of a question."""
    return await store.shown(tx, approval.id, approval.version)


async def votes(tx: ReadTx, approval_id: int) -> list[Vote]:
    """All that people said of a question, oldest first; what was said of another version than its last is void."""
    return await store.votes(tx, approval_id)


async def comments(tx: ReadTx, approval_id: int) -> list[Comment]:
    """What was remarked on a question, oldest first."""
    return await store.comments(tx, approval_id)


async def quorum(tx: ReadTx, approval: Approval) -> Quorum:
    """Who fills which place of the quorum so far, and who is missing."""
    return quorum_of(approval, await votes(tx, approval.id))


async def review(tx: ReadTx, approval_id: int) -> Review:
    """The review of one question; refuses with `NotFound` (`unknown_review`)."""
    found = await store.reviews(tx, EVERYTHING, open=None, id=approval_id, before=_NEWEST, limit=1)
    if not found:
        raise refused("unknown_review")
    return found[0]


async def reviews(
    tx: ReadTx, *, reach: Reach = EVERYTHING, open: bool | None = None, before: int | None = None, limit: int = 50
) -> list[Review]:
    """A page of reviews of questions below the id `before` and within a reach, newest first."""
    return await store.reviews(tx, reach, open=open, id=None, before=_NEWEST if before is None else before, limit=limit)


async def open_reviews(tx: ReadTx, *, reach: Reach = EVERYTHING) -> int:
    """How many reviews of questions within a reach are open."""
    return await store.open_reviews(tx, reach)


def refused(code: str) -> TallystickError:
    """The refusal with this code."""
    kind, detail = _REFUSALS[code]
    return kind(code, detail)


async def _vote(
    tx: Tx, approval_id: int, principal: Principal, said: Said, *, digest: bytes, reason: str | None
) -> Approval | TallystickError:
    reason = reason if reason is not None and reason.strip() else None
    if reason is None and said != "approve":
        raise Invalid("reason_missing", "say why")
    check_text(reason or "", "a reason", MAX_REASON)
    answer = await store.vote(tx, approval_id, principal, said, digest=digest, reason=reason)
    verb = "break_glass" if said == "break_glass" else "vote"
    refusal = await _refusal(tx, approval_id, answer, principal.name, verb)
    if refusal is not None:
        return refusal
    assert answer.row_id is not None
    approval = await get(tx, approval_id)
    await audit.append(
        tx,
        principal=principal.name,
        verb=f"approvals.{verb}",
        subject_kind="approval",
        subject_id=approval_id,
        approval_id=approval_id,
        detail={
            "status": approval.status,
            "version": approval.version,
            "vote": said,
            "kind": principal.kind,
            "places": await store.places(tx, answer.row_id),
        },
        items=await store.items(tx, "approval_vote", answer.row_id),
    )
    if said != "break_glass":
        await webhooks.tell(tx, "voted", approval_id)
    if approval.status != "open":
        await webhooks.tell(tx, "glass_broken" if said == "break_glass" else approval.status, approval_id)
    return approval


async def _refusal(tx: Tx, approval_id: int, answer: Answer, by: str, verb: str) -> TallystickError | None:
    """What the clock did is on the record now, and what was refused."""
    await _clock(tx, approval_id, answer)
    if answer.code is None:
        return None
    if answer.code != "unknown_approval":
        await audit.append(
            tx,
            principal=by,
            verb=f"approvals.refuse_{verb}",
            subject_kind="approval",
            subject_id=approval_id,
            approval_id=approval_id,
            detail={"code": answer.code},
        )
    return refused(answer.code)


async def _clock(tx: Tx, approval_id: int, answer: Answer) -> None:
    if answer.clock is not None:
        await audit.append_many(tx, [_moved_on(approval_id, answer.clock)])
        await webhooks.tell(tx, answer.clock, approval_id)


async def _record(tx: Tx, by: Principal, verb: str, approval_id: int, **detail: Any) -> None:
    await audit.append(
        tx,
        principal=by.name,
        on_behalf_of=by.on_behalf_of,
        verb=f"approvals.{verb}",
        subject_kind="approval",
        subject_id=approval_id,
        approval_id=approval_id,
        detail=detail,
    )


def _moved_on(approval_id: int, clock: str) -> audit.AuditEvent:
    verb = {"expired": "approvals.expire", "escalated": "approvals.escalate"}[clock]
    return audit.AuditEvent(_SYSTEM, verb, "approval", approval_id, approval_id=approval_id)


def _raise(answer: Answer) -> None:
    if answer.code is not None:
        raise refused(answer.code)


def _stands_behind(principal: Principal) -> frozenset[str]:
    """Who acts, who answers for them, and whom they act for."""
    return frozenset(name for name in (principal.name, principal.owner, principal.on_behalf_of) if name is not None)
