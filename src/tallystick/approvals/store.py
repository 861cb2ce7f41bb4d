"""One function a query of the approvals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tallystick.approvals.model import (
    Answer,
    Approval,
    Asked,
    Comment,
    MovedOn,
    Question,
    Reach,
    Review,
    Said,
    Shown,
    Touched,
    Vote,
)
from tallystick.audit import Items
from tallystick.db import Queries, ReadTx, Tx
from tallystick.identity import Principal
from tallystick.kit import dumps

_queries = Queries(__package__)
_ASK = _queries.bind("ask", Asked)
_VOTE = _queries.bind("vote", Answer)
_AMEND = _queries.bind("amend", Answer)
_LOCK = _queries.bind("lock", bool)
_WITHDRAW = _queries.bind("withdraw", Answer)
_CONSUME = _queries.bind("consume", Answer)
_SAY = _queries.bind("say", Answer)
_CLOSE_REVIEW = _queries.bind("close_review", Answer)
_MOVE_ON = _queries.bind("move_on", MovedOn)
_DIGESTS = {
    "approval_shown": _queries.bind("shown_digest", bytes),
    "approval_vote": _queries.bind("vote_digest", bytes),
    "approval_comment": _queries.bind("comment_digest", bytes),
}
_GET = _queries.bind("get", Approval)
_PAGE = _queries.bind("page", Approval)
_PAGE_WITHIN = _queries.bind("page_within", Approval)
_SHOWN = _queries.bind("shown", Shown)
_PLACES = _queries.bind("places", list[str])
_VOTES = _queries.bind("votes", Vote)
_COMMENTS = _queries.bind("comments", Comment)
_REVIEWS = _queries.bind("reviews", Review)
_OPEN_REVIEWS = _queries.bind("open_reviews", int)


async def ask(tx: Tx, question: Question, *, excluded: Sequence[str], by: str) -> Asked:
    escalation = question.escalate
    return await tx.single(
        _ASK,
        {
            "action": question.action,
            "action_id": question.action_id,
            "digest": question.digest,
            "shown": dumps(dict(question.shown)).decode(),
            "maker": question.maker,
            "excluded": list(excluded),
            "roles": [role for role, _ in question.approve],
            "counts": [count for _, count in question.approve],
            "expires_s": question.expires_s,
            "wider": sorted(set(escalation.roles)) if escalation else [],
            "escalate_s": escalation.after_s if escalation else None,
            "by": by,
            "accounts": list(question.touches.accounts),
            "customers": list(question.touches.customers),
        },
    )


async def vote(tx: Tx, approval_id: int, principal: Principal, said: Said, *, digest: bytes, reason: str | None) -> Answer:
    return await tx.single(_VOTE, {"id": approval_id, **_who(principal), "vote": said, "digest": digest, "reason": reason})


async def amend(
    tx: Tx, approval_id: int, digest: bytes, shown: Mapping[str, Any], *, by: str, editors: Sequence[str], touches: Touched
) -> Answer:
    parameters = {
        "id": approval_id, "digest": digest, "shown": dumps(dict(shown)).decode(), "by": by, "editors": list(editors),
        "accounts": list(touches.accounts), "customers": list(touches.customers),
    }  # fmt: skip
    return await tx.single(_AMEND, parameters)


async def lock(tx: Tx, approval_id: int) -> bool:
    return await tx.single(_LOCK, {"id": approval_id})


async def withdraw(tx: Tx, approval_id: int) -> Answer:
    return await tx.single(_WITHDRAW, {"id": approval_id})


async def consume(tx: Tx, approval_id: int, digest: bytes) -> Answer:
    return await tx.single(_CONSUME, {"id": approval_id, "digest": digest})


async def say(tx: Tx, approval_id: int, by: str, text: str) -> Answer:
    return await tx.single(_SAY, {"id": approval_id, "by": by, "text": text})


async def close_review(tx: Tx, approval_id: int, principal: Principal, verdict: str) -> Answer:
    return await tx.single(_CLOSE_REVIEW, {"id": approval_id, **_who(principal), "verdict": verdict})


async def move_on(tx: Tx, limit: int) -> list[MovedOn]:
    return await tx.all(_MOVE_ON, {"limit": limit})


async def items(tx: ReadTx, kind: str, row_id: int) -> Items:
    return Items(kind, [row_id], await tx.single(_DIGESTS[kind], {"id": row_id}))


async def places(tx: ReadTx, vote_id: int) -> list[str]:
    return await tx.single(_PLACES, {"id": vote_id})


async def get(tx: ReadTx, approval_id: int) -> Approval | None:
    return await tx.one(_GET, {"id": approval_id})


async def page(
    tx: ReadTx,
    *,
    status: str | None,
    action: str | None,
    role: str | None,
    maker: str | None,
    of: str | None,
    before: int,
    limit: int,
) -> list[Approval]:
    parameters = {
        "status": status, "action": action, "role": role, "maker": maker, "of": of, "before": before, "limit": limit,
    }  # fmt: skip
    return await tx.all(_PAGE, parameters)


async def page_within(
    tx: ReadTx,
    reach: Reach,
    *,
    status: str | None,
    action: str | None,
    role: str | None,
    of: str,
    before: int,
    limit: int,
) -> list[Approval]:
    parameters = {
        "status": status, "action": action, "role": role, "of": of, "before": before, "limit": limit, **_within(reach),
    }  # fmt: skip
    return await tx.all(_PAGE_WITHIN, parameters)


async def shown(tx: ReadTx, approval_id: int, version: int) -> Shown:
    return await tx.single(_SHOWN, {"id": approval_id, "version": version})


async def votes(tx: ReadTx, approval_id: int) -> list[Vote]:
    return await tx.all(_VOTES, {"id": approval_id})


async def comments(tx: ReadTx, approval_id: int) -> list[Comment]:
    return await tx.all(_COMMENTS, {"id": approval_id})


async def reviews(tx: ReadTx, reach: Reach, *, open: bool | None, id: int | None, before: int, limit: int) -> list[Review]:
    return await tx.all(_REVIEWS, {"open": open, "id": id, "before": before, "limit": limit, **_narrow(reach)})


async def open_reviews(tx: ReadTx, reach: Reach) -> int:
    return await tx.single(_OPEN_REVIEWS, _narrow(reach))


def _within(reach: Reach) -> dict[str, Any]:
    return {
        "accounts": None if reach.accounts is None else sorted(reach.accounts),
        "customers": None if reach.customers is None else sorted(reach.customers),
    }


def _narrow(reach: Reach) -> dict[str, Any]:
    return {"narrow": reach.accounts is not None or reach.customers is not None, **_within(reach)}


def _who(principal: Principal) -> dict[str, Any]:
    return {"person": principal.name, "kind": principal.kind, "roles": sorted(principal.roles)}
