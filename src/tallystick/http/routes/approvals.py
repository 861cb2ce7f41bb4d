"""`/v1/approvals`: what people are asked, their votes and remarks, and reviews of what could not wait."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import actions, approvals
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.services import Call, CurrentCall
from tallystick.http.shapes import IdempotencyKey, Name, PathId, Strict
from tallystick.http.voting import vote
from tallystick.identity import Principal, sees_all
from tallystick.kit import Forbidden, NotFound, TallystickError

router = APIRouter(route_class=ExactRoute, tags=["approvals"])
_KIND = "approvals"
_REVIEWS = "approval reviews"
_WATCHERS = frozenset({"operator", "approver", "auditor", "admin"})
_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_EXAMPLE: JsonDict = {
    "id": "12",
    "action": "transfer",
    "action_id": "40",
    "status": "open",
    "version": 1,
    "digest": _DIGEST,
    "maker": "payments-agent",
    "excluded": ["anna"],
    "approve": [{"role": "approver", "people": 2}],
    "asked_at": "2026-04-21T12:34:56.789012Z",
    "expires_at": "2026-04-22T12:34:56.789012Z",
    "escalate_at": None,
    "escalated_at": None,
    "glass_broken_at": None,
    "changed_at": "2026-04-21T12:34:56.789012Z",
}
_DETAIL: JsonDict = {
    **_EXAMPLE,
    "shown": {"from": "ACC-1", "to": "ACC-2", "amount": {"amount": "125000.00", "currency": "CZK"}},
    "outcome": {"status": "held", "reason": None},
    "quorum": [{"role": "approver", "people": ["eva"], "missing": 1}],
    "votes": [
        {
            "person": "eva",
            "vote": "approve",
            "version": 1,
            "counts": True,
            "reason": None,
            "at": "2026-04-21T12:40:00.000000Z",
        }
    ],
    "comments": [{"by": "payments-agent", "text": "the invoice is in case 7", "at": "2026-04-21T12:36:00.000000Z"}],
}
_REVIEW: JsonDict = {
    "approval_id": "12",
    "action": "transfer",
    "maker": "payments-agent",
    "broken_by": ["eva", "jan"],
    "opened_at": "2026-04-21T12:40:00.000000Z",
    "closed_at": None,
    "closed_by": None,
    "verdict": None,
}

Status = Literal["open", "approved", "rejected", "expired", "withdrawn", "consumed"]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class VoteBody(Strict):
    """A person's word on a question. `digest` is that of what they saw: of anything else the vote is refused."""

    vote: Literal["approve", "reject"] = Field(examples=["approve"])
    digest: Digest = Field(examples=[_DIGEST])
    reason: Reason | None = Field(default=None, description="Needed to reject.", examples=["known payee"])


class GlassBody(Strict):
    """Why what is asked cannot wait. `digest` is that of what the person saw."""

    digest: Digest = Field(examples=[_DIGEST])
    reason: Reason = Field(examples=["the payment system closes in ten minutes"])


class CommentBody(Strict):
    """A remark."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=4000)] = Field(examples=["the invoice is in case 7"])


class ReviewBody(Strict):
    """Whether it was right to break the glass."""

    verdict: Literal["justified", "not_justified"] = Field(examples=["justified"])
    note: Annotated[str, StringConstraints(min_length=1, max_length=4000)] = Field(examples=["the cut-off was missed once"])


class Place(BaseModel):
    """How many people of a role have to agree."""

    role: str
    people: int


class Filled(BaseModel):
    """Who stands for a role so far, and how many are missing."""

    role: str
    people: list[str]
    missing: int


class VoteAnswer(BaseModel):
    """What a person said of a version; a vote `counts` where it approves the last one."""

    person: str
    vote: Literal["approve", "reject", "break_glass"]
    version: int
    counts: bool
    reason: str | None
    at: datetime


class CommentAnswer(BaseModel):
    """What somebody remarked."""

    by: str
    text: str
    at: datetime


class ApprovalAnswer(BaseModel):
    """A question as it stands. Who made it, and those who are `excluded`, do not vote."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    action: str
    action_id: str | None
    status: Status
    version: int
    digest: str
    maker: str
    excluded: list[str]
    approve: list[Place]
    asked_at: datetime
    expires_at: datetime
    escalate_at: datetime | None
    escalated_at: datetime | None
    glass_broken_at: datetime | None
    changed_at: datetime


class OutcomeAnswer(BaseModel):
    """What became of the action that people were asked about; `reason` says why where it was not carried out."""

    status: Literal["held", "executed", "failed", "rejected", "expired", "withdrawn"]
    reason: str | None


class ApprovalDetail(ApprovalAnswer):
    """A question with what people are shown, what became of the action, who agreed, who is missing, and what was said."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DETAIL]})

    shown: dict[str, Any]
    outcome: OutcomeAnswer | None
    quorum: list[Filled]
    votes: list[VoteAnswer]
    comments: list[CommentAnswer]


class ApprovalPage(BaseModel):
    """Questions, newest first."""

    items: list[ApprovalAnswer]
    next_cursor: str | None


class ReviewAnswer(BaseModel):
    """A review that is owed, or was given, after a glass was broken."""

    model_config = ConfigDict(json_schema_extra={"examples": [_REVIEW]})

    approval_id: str
    action: str
    maker: str
    broken_by: list[str]
    opened_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    verdict: Literal["justified", "not_justified"] | None


class ReviewPage(BaseModel):
    """Reviews, newest first. `open` counts all that are open: an alarm that is over at 0."""

    items: list[ReviewAnswer]
    next_cursor: str | None
    open: int = Field(examples=[0])


@router.get("/v1/approvals", response_model=ApprovalPage)
async def list_approvals(
    *,
    call: CurrentCall,
    status: Annotated[Status | None, Query(description="Only those in this status.")] = None,
    action: Annotated[Name | None, Query(description="Only those of this type of action.")] = None,
    role: Annotated[Name | None, Query(description="Only those in which people of this role are asked.")] = None,
    mine: Annotated[bool, Query(description="Only those that the caller made, or stands behind.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """What people are asked, newest first. Who has no role that votes or watches sees their own alone; who has some accounts
    and customers in reach sees those questions besides that touch no other.
    """
    before = bound_of(cursor, _KIND)
    me = call.principal
    of = me.name if mine or not _watches(me) else None
    async with call.database.read() as tx:
        within = None if of is not None or sees_all(me) else (await actions.reach_of(tx, me), me.name)
        rows = await approvals.page(
            tx, status=status, action=action, role=role, of=of, within=within, before=before, limit=limit + 1
        )
    return page(rows, limit, _KIND, item=_answer, bound=lambda row: row.id)


@router.get("/v1/approvals/reviews", response_model=ReviewPage)
async def list_reviews(
    *,
    call: CurrentCall,
    open: Annotated[bool | None, Query(description="Only those that are open, or closed.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Reviews of broken glasses, newest first, and how many are open."""
    if not _watches(call.principal):
        raise Forbidden("role_missing", "reviews are for those who operate, approve, audit or administer")
    before = bound_of(cursor, _REVIEWS)
    async with call.database.read() as tx:
        reach = await actions.reach_of(tx, call.principal)
        rows = await approvals.reviews(tx, reach=reach, open=open, before=before, limit=limit + 1)
        count = await approvals.open_reviews(tx, reach=reach)
    return page(rows, limit, _REVIEWS, item=_review, bound=lambda row: row.approval_id, more={"open": count})


@router.get("/v1/approvals/{approval_id}", response_model=ApprovalDetail)
async def get_approval(approval_id: PathId, call: CurrentCall) -> Response:
    """One question: what is shown, who agreed, who is missing, what was said."""
    async with call.database.read() as tx:
        await _seen(tx, approval_id, call.principal)
        return Json(await _detail(tx, approval_id))


@router.post("/v1/approvals/{approval_id}/votes", response_model=ApprovalDetail)
async def vote_on_approval(
    approval_id: PathId, body: VoteBody, call: CurrentCall, idempotency_key: IdempotencyKey = None
) -> Response:
    """Approve or reject. The last vote that is needed approves; one rejection ends it. A refused vote is on the record."""
    request = [approval_id, body.vote, body.digest, body.reason]
    return await _say(call, idempotency_key, "approval vote", request, said=body.vote, digest=body.digest, reason=body.reason)


@router.post("/v1/approvals/{approval_id}/break-glass", response_model=ApprovalDetail)
async def break_glass(
    approval_id: PathId, body: GlassBody, call: CurrentCall, idempotency_key: IdempotencyKey = None
) -> Response:
    """Say that it cannot wait. Two people who say so approve it without its quorum; a third one has to review that."""
    request = [approval_id, body.digest, body.reason]
    return await _say(
        call, idempotency_key, "approval glass", request, said="break_glass", digest=body.digest, reason=body.reason
    )


@router.post("/v1/approvals/{approval_id}/comments", response_model=ApprovalDetail)
async def comment_on_approval(
    approval_id: PathId, body: CommentBody, call: CurrentCall, idempotency_key: IdempotencyKey = None
) -> Response:
    """Remark something, whatever the status."""

    async def create(tx: Tx) -> int:
        await _seen(tx, approval_id, call.principal)
        await approvals.comment(tx, approval_id, call.principal, body.text)
        return approval_id

    request = [approval_id, body.text]
    return Json(await once(call, idempotency_key, kind="approval comment", request=request, create=create, read=_detail))


@router.post("/v1/approvals/{approval_id}/withdraw", response_model=ApprovalDetail)
async def withdraw_approval(approval_id: PathId, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Take a question back, open or approved. Who made it may, who stands behind them, and an admin."""

    async def create(tx: Tx) -> int:
        await _seen(tx, approval_id, call.principal)
        return (await actions.withdraw(tx, approval_id, call.principal)).id

    return Json(await once(call, idempotency_key, kind="approval withdraw", request=[approval_id], create=create, read=_detail))


@router.post("/v1/approvals/{approval_id}/review", response_model=ReviewAnswer)
async def review_approval(
    approval_id: PathId, body: ReviewBody, call: CurrentCall, idempotency_key: IdempotencyKey = None
) -> Response:
    """Say whether it was right to break the glass, as a person who had no part in it."""

    async def create(tx: Tx) -> int:
        await _seen(tx, approval_id, call.principal)
        await approvals.close_review(tx, approval_id, call.principal, body.verdict, body.note)
        return approval_id

    request = [approval_id, body.verdict, body.note]
    given = await once(call, idempotency_key, kind="approval review", request=request, create=create, read=approvals.review)
    return Json(_review(given))


async def _say(
    call: Call, key: str | None, kind: str, request: list[Any], *, said: str, digest: str, reason: str | None
) -> Response:
    approval_id: int = request[0]

    async def create(tx: Tx) -> int | TallystickError:
        if call.principal.kind == "agent":
            await _known_to_agents(tx, approval_id)
        elif not sees_all(call.principal):
            await _seen(tx, approval_id, call.principal)
        became = await vote(tx, approval_id, call.principal, said, digest=bytes.fromhex(digest), reason=reason)
        return became if isinstance(became, TallystickError) else became.id

    answer = await once(call, key, kind=kind, request=request, create=create, read=_detail)
    # A task that waited for this is queued again.
    call.services.bell.ring()
    return Json(answer)


def _watches(principal: Principal) -> bool:
    return bool(principal.roles & _WATCHERS)


async def _seen(tx: ReadTx, approval_id: int, principal: Principal) -> approvals.Approval:
    """The question, where the caller may see it; for others it is not there."""
    approval = await approvals.get(tx, approval_id)
    if not _watches(principal) and principal.name != approval.maker and principal.name not in approval.excluded:
        raise approvals.refused("unknown_approval")
    await actions.check_seen(tx, approval_id, principal)
    return approval


async def _known_to_agents(tx: ReadTx, approval_id: int) -> None:
    """An agent that votes is told the same of a question that is not there."""
    try:
        await approvals.get(tx, approval_id)
    except NotFound:
        raise approvals.refused("agents_never_vote") from None


async def _detail(tx: ReadTx, approval_id: int) -> dict[str, Any]:
    approval = await approvals.get(tx, approval_id)
    votes = await approvals.votes(tx, approval_id)
    quorum = approvals.quorum_of(approval, votes)
    missing = dict(quorum.missing)
    action = await actions.put_to_people(tx, approval_id)
    return {
        **_answer(approval),
        "shown": (await approvals.shown(tx, approval)).shown,
        "outcome": None if action is None else {"status": action.status, "reason": action.reason},
        "quorum": [
            {"role": role, "people": list(quorum.filled[role]), "missing": missing.get(role, 0)} for role in approval.roles
        ],
        "votes": [
            {
                "person": each.person,
                "vote": each.vote,
                "version": each.version,
                "counts": each.vote == "approve" and each.version == approval.version and not each.gone,
                "reason": each.reason,
                "at": each.at,
            }
            for each in votes
        ],
        "comments": [
            {"by": each.said_by, "text": each.text, "at": each.at} for each in await approvals.comments(tx, approval_id)
        ],
    }


def _answer(approval: approvals.Approval) -> dict[str, Any]:
    return {
        "id": str(approval.id),
        "action": approval.action,
        "action_id": None if approval.action_id is None else str(approval.action_id),
        "status": approval.status,
        "version": approval.version,
        "digest": approval.digest.hex(),
        "maker": approval.maker,
        "excluded": approval.excluded,
        "approve": [{"role": role, "people": count} for role, count in approval.approve],
        "asked_at": approval.asked_at,
        "expires_at": approval.expires_at,
        "escalate_at": approval.escalate_at,
        "escalated_at": approval.escalated_at,
        "glass_broken_at": approval.broken_at,
        "changed_at": approval.changed_at,
    }


def _review(review: approvals.Review) -> dict[str, Any]:
    return {
        "approval_id": str(review.approval_id),
        "action": review.action,
        "maker": review.maker,
        "broken_by": review.broken_by,
        "opened_at": review.opened_at,
        "closed_at": review.closed_at,
        "closed_by": review.closed_by,
        "verdict": review.verdict,
    }
